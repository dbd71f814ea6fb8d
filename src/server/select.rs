//! select(2): poll with bitmaps, and with a wall at 1024.
//!
//! Every round fills two sets of 1024 bits, one bit for each descriptor *number*; the kernel looks at all bits up
//! to the highest, sleeps if nobody is ready, and *overwrites* the sets with those who are. So they are built anew
//! each time. The course's template (section 10.2) prepares them once, before its loop: from then on it watches only
//! those who were ready in the round before.
//!
//! What it costs, measured in November 2026 (release build, virtual machine with two cores, Linux 6.18, kept
//! connections, 1 KiB): for each request one read, one write, and 1.0 waits with one client, 0.1 with sixteen; 475
//! octets for each silent client.
//!
//! Where it breaks: a set has no bit for descriptor 1024 and above, even if only that one is watched; setting it
//! anyway is undefined behaviour. Such newcomers are turned away here.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::sys::select::{FD_SETSIZE, FdSet, select};
use nix::sys::time::TimeVal;

use super::house::{ACCEPTS_PER_ROUND, House, is_due, time_until};
use crate::config::Config;
use crate::net::{Client, Interest, Listener, Stream, Transport, Worker};
use crate::signals::Signals;
use crate::stats::Stats;

/// select(2) counts in microseconds.
const GRAIN: Duration = Duration::from_micros(1);

struct Server<'s> {
    house: House,
    clients: Vec<Client>,
    signals: &'s Signals,
}

/// Waits and serves until told to stop, then until the answers in flight are out.
pub(super) fn serve(
    listener: Listener,
    worker: Worker,
    config: &Config,
    signals: &Signals,
) -> io::Result<Stats> {
    if listener.descriptors().chain([signals.alarm()]).any(|fd| !has_bit(&fd)) {
        return Err(io::Error::other(format!("the listener's descriptor is beyond select's {FD_SETSIZE}")));
    }
    let house = House::new(listener, worker, config.max_connections);
    let mut server = Server { house, clients: Vec::new(), signals };

    while !signals.stop_requested() {
        server.round(None);
    }

    let grace = Instant::now() + config.grace;
    server.stop();
    while !server.clients.is_empty() && Instant::now() < grace {
        server.round(Some(grace));
    }
    Ok(server.house.finish(server.clients))
}

impl Server<'_> {
    /// One round: wait; then a turn for everyone who is ready or whose time is up; then the newcomers.
    fn round(&mut self, until: Option<Instant>) {
        let until = self.house.write_log(until);
        let (door, ready) = self.wait(until);
        let now = Instant::now();
        self.house.worker.tick(now);
        let mut ready = ready.into_iter();
        self.clients.retain_mut(|client| {
            let is_ready = client.interest().is_some() && ready.next() == Some(true);
            !(is_ready || is_due(client, now)) || self.house.turn(client, now).is_some()
        });
        if door {
            self.accept(now);
        }
    }

    /// Asks the kernel. Returns whether to look at the door, and for each client that waits for its socket
    /// whether it is ready.
    fn wait(&mut self, until: Option<Instant>) -> (bool, Vec<bool>) {
        let now = Instant::now();
        let pause = self.house.listener.deadline();
        let deadlines = self.clients.iter().map(|client| client.deadline(now));
        let deadline = deadlines.chain(pause).chain(until).min();

        let (mut readable, mut writable) = (FdSet::new(), FdSet::new());
        let alarm = self.signals.alarm();
        let mut highest = alarm.as_raw_fd();
        readable.insert(alarm);
        for door in self.house.doors(self.clients.len()) {
            highest = highest.max(door.as_raw_fd());
            readable.insert(door);
        }
        for client in &self.clients {
            let Some(interest) = client.interest() else { continue };
            let fd = client.stream().as_fd(); // has a bit, or it would not have come in
            highest = highest.max(fd.as_raw_fd());
            match interest {
                Interest::Read => readable.insert(fd),
                Interest::Write => writable.insert(fd),
            }
        }

        let mut timeout = time_until(deadline, now, GRAIN)
            .map(|time| TimeVal::new(time.as_secs() as _, time.subsec_micros() as _));
        let Ok(named) = select(highest + 1, &mut readable, &mut writable, None, timeout.as_mut()) else {
            return (false, Vec::new()); // EINTR: the sets mean nothing now
        };
        let alarmed = readable.contains(alarm);
        let door = self.house.doors(self.clients.len()).any(|door| readable.contains(door));
        let waiting = self.clients.iter().filter(|client| client.interest().is_some());
        let fds = waiting.map(|client| client.stream().as_fd());
        let ready = fds.map(|fd| readable.contains(fd) || writable.contains(fd)).collect();
        if alarmed {
            self.house.heed(self.signals);
        }
        self.house.worker.stats.waits += 1;
        self.house.worker.stats.wakeups += u64::from(named.unsigned_abs());
        (pause.is_some() || door, ready)
    }

    fn accept(&mut self, now: Instant) {
        for _ in 0..ACCEPTS_PER_ROUND {
            let Some(newcomer) = self.house.admit(self.clients.len(), now) else { return };
            if has_bit(&newcomer.stream) {
                let worker = &mut self.house.worker;
                self.clients.push(Client::new(newcomer.stream, newcomer.peer, worker, now));
            } else {
                self.turn_away(newcomer.stream);
            }
        }
    }

    /// Says goodbye to somebody who cannot be waited for, as well as one can without waiting: reading what has come
    /// keeps the close from being a reset. A request that comes later meets one all the same.
    fn turn_away(&mut self, mut newcomer: Stream) {
        let stats = &mut self.house.worker.stats;
        if stats.clients_refused == 0 {
            log::warn!(
                "select(2) has no bit for descriptor {FD_SETSIZE} and above: newcomers are turned away with 503 until \
                 others leave; poll and epoll have no such wall (said once)"
            );
        }
        stats.clients_refused += 1;
        let _ = newcomer.write(FULL);
        let _ = newcomer.shut_down_write();
        let _ = newcomer.read(&mut [0; 4096]);
    }

    /// Accepts nobody any more; clients leave as soon as they are owed nothing.
    fn stop(&mut self) {
        let now = Instant::now();
        self.house.stop();
        self.signals.silence();
        for client in &mut self.clients {
            client.stop(now);
        }
    }
}

/// What those are told who are turned away: the one answer that is not the protocol's, because nobody was heard.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\
    Content-Type: text/plain\r\nContent-Length: 36\r\n\r\nselect(2) cannot watch more sockets\n";

/// Whether the sets have a bit for this descriptor.
fn has_bit(socket: &impl AsFd) -> bool {
    usize::try_from(socket.as_fd().as_raw_fd()).is_ok_and(|fd| fd < FD_SETSIZE)
}
