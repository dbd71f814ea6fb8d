//! poll(2): the kernel is asked who is ready, and sleeps until someone is.
//!
//! Every round hands the kernel the whole list, one `pollfd` for each client; it looks at all of them, sleeps if
//! nobody is ready, and marks those who are. Nothing is tried in vain any more. The course's template (section 10.2)
//! passes `timeout = 0` in an endless loop: that is chapter 10.1 again, busy polling with a detour. Here the timeout
//! is the time to the earliest deadline.
//!
//! What it costs, measured in November 2026 (release build, virtual machine with two cores, Linux 6.18, kept
//! connections, 1 KiB): for each request one read, one write, and 1.0 waits with one client, 0.1 with sixteen; 475
//! octets for each silent client.
//!
//! Where it breaks: nowhere suddenly; but the list is walked from end to end in every round, by the kernel and by
//! us, so that ten thousand silent clients tax every request of the few who speak.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::house::{ACCEPTS_PER_ROUND, House, is_due, time_until};
use crate::config::Config;
use crate::net::{Client, Interest, Listener, Worker};
use crate::signals::Signals;
use crate::stats::Stats;

/// poll(2) counts in milliseconds.
const GRAIN: Duration = Duration::from_millis(1);

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

        // The borrow checker has the list built anew for each call: it may not outlive a client that leaves.
        let mut watched = Vec::with_capacity(self.clients.len() + 2);
        watched.push(PollFd::new(self.signals.alarm(), PollFlags::POLLIN));
        watched.extend(self.house.doors(self.clients.len()).map(|door| PollFd::new(door, PollFlags::POLLIN)));
        let doors = watched.len();
        watched.extend(self.clients.iter().filter_map(|client| {
            let flags = match client.interest()? {
                Interest::Read => PollFlags::POLLIN,
                Interest::Write => PollFlags::POLLOUT,
            };
            Some(PollFd::new(client.stream().as_fd(), flags))
        }));

        let timeout = time_until(deadline, now, GRAIN).and_then(|time| PollTimeout::try_from(time).ok());
        // An error is EINTR, a round in which nobody is ready.
        let named = poll(&mut watched, timeout.unwrap_or(PollTimeout::NONE)).unwrap_or(0);
        // Any bit counts: POLLERR and POLLHUP come unasked, and only a read or write tells what they mean.
        let mut ready: Vec<_> = watched.iter().map(|fd| named > 0 && fd.any() != Some(false)).collect();
        let clients = ready.split_off(doors);
        if ready.first() == Some(&true) {
            self.house.heed(self.signals);
        }
        self.house.worker.stats.waits += 1;
        self.house.worker.stats.wakeups += named.unsigned_abs() as u64;
        (pause.is_some() || ready.contains(&true), clients)
    }

    fn accept(&mut self, now: Instant) {
        for _ in 0..ACCEPTS_PER_ROUND {
            let Some(newcomer) = self.house.accept(self.clients.len(), now) else { return };
            self.clients.push(newcomer);
        }
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
