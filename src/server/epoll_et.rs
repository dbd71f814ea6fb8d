//! epoll(7), edge triggered: the kernel says once that something changed, and the rest is up to us.
//!
//! A client is registered once, for everything, and never again. An event says that its socket *became* ready; it
//! is not repeated, so whoever was named must be tried until the socket would block, or be remembered as ready.
//! This is the nonblocking loop again, over a list of those for whom trying is known to be worth it.
//!
//! Lay it beside `epoll.rs`. What is saved is the change of interest when an answer does not fit; what is paid is
//! one read that would block after each burst. Section 10.2 of the course, whose edge-triggered server accepts one
//! of five newcomers and reads 1024 of 3000 octets for each event, and then waits for ever.
//!
//! What it costs, measured in November 2026 (release build, virtual machine with two cores, Linux 6.18, kept
//! connections, 1 KiB): for each request one write, 1.7 reads and 0.9 waits with one client, 1.9 reads and 0.1 waits
//! with sixteen; one epoll_ctl(2) for each newcomer; 930 octets for each silent client.
//!
//! Where it breaks: wherever one path forgets to try until it would block. Then one client waits for ever, seldom.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::house::{ACCEPTS_PER_ROUND, House, earlier, is_due, time_until};
use crate::config::Config;
use crate::net::{Client, Listener, Worker};
use crate::signals::Signals;
use crate::stats::Stats;

/// epoll_wait(2) counts in milliseconds.
const GRAIN: Duration = Duration::from_millis(1);

/// Most events taken in one round; the rest is named in the next.
const EVENTS: usize = 256;

/// Turns for a ready client in one round: the first takes what is there, the second finds that there is no more.
/// Whoever has more still is remembered, so that one busy client does not hold up the others.
const TURNS_PER_ROUND: usize = 2;

/// All clients are walked over at most this often to find whose time is up, so a deadline may be missed by as much.
/// Ten thousand that came within one second would otherwise cost ten thousand walks when their time is up.
const WALK_EVERY: Duration = Duration::from_millis(10);

struct Server<'s> {
    house: House,
    epoll: Epoll,
    signals: &'s Signals,
    /// By descriptor.
    clients: HashMap<RawFd, Client>,
    /// Named as ready and not yet found to block. Nobody will say it again.
    ready: BTreeSet<RawFd>,
    /// The same for the door.
    door_ready: bool,
    /// Nobody's time is up before this. Deadlines mostly move away unseen, so it may be too early, never too late.
    next_deadline: Option<Instant>,
}

/// Waits and serves until told to stop, then until the answers in flight are out.
pub(super) fn serve(
    listener: Listener,
    worker: Worker,
    config: &Config,
    signals: &Signals,
) -> io::Result<Stats> {
    let house = House::new(listener, worker, config.max_connections);
    let mut server = Server::new(house, signals)?;

    while !signals.stop_requested() {
        server.round(None);
    }

    let grace = Instant::now() + config.grace;
    server.stop();
    while !server.clients.is_empty() && Instant::now() < grace {
        server.round(Some(grace));
    }
    Ok(server.house.finish(server.clients.into_values()))
}

impl Server<'_> {
    /// One round: wait; then a turn for everyone who is ready or whose time is up; then the newcomers.
    fn round(&mut self, until: Option<Instant>) {
        let until = self.house.write_log(until);
        self.wait(until);
        let now = Instant::now();
        self.house.worker.tick(now);
        if self.next_deadline.is_some_and(|deadline| deadline <= now) {
            let due = self.find_due(now);
            self.ready.extend(due);
        }
        for fd in std::mem::take(&mut self.ready) {
            self.turn(fd, now);
        }
        if self.door_ready {
            self.accept(now);
        }
    }

    /// Asks the kernel who became ready. Does not sleep while somebody is still remembered as ready.
    fn wait(&mut self, until: Option<Instant>) {
        let now = Instant::now();
        let pause = self.house.listener.deadline();
        let at_once = !self.ready.is_empty() || self.door_ready && !self.is_door_shut();
        let deadline = [self.next_deadline, pause, until, at_once.then_some(now)].into_iter().flatten().min();

        let mut events = [EpollEvent::empty(); EVENTS];
        let timeout = time_until(deadline, now, GRAIN).and_then(|time| EpollTimeout::try_from(time).ok());
        // An error is EINTR, a round in which nobody is ready.
        let named = self.epoll.wait(&mut events, timeout.unwrap_or(EpollTimeout::NONE)).unwrap_or(0);
        self.house.worker.stats.waits += 1;
        self.house.worker.stats.wakeups += named as u64;

        for event in events.iter().take(named) {
            // Whatever the bits say, only a read or write tells what they mean.
            let fd = event.data() as RawFd;
            if self.clients.contains_key(&fd) {
                self.ready.insert(fd);
            } else if fd == self.signals.alarm().as_raw_fd() {
                self.house.heed(self.signals);
            } else {
                self.door_ready = true;
            }
        }
    }

    /// A client's turns. What it leaves unfinished must be remembered; nothing is ever told to the kernel.
    fn turn(&mut self, fd: RawFd, now: Instant) {
        let Some(client) = self.clients.get_mut(&fd) else { return };
        for turn in 1..=TURNS_PER_ROUND {
            match self.house.turn(client, now) {
                None => {
                    self.clients.remove(&fd); // closing takes it off the kernel's list
                    return;
                }
                Some(0) => break, // would block: from here on the kernel tells
                Some(_) if turn == TURNS_PER_ROUND => {
                    self.ready.insert(fd);
                }
                Some(_) => {}
            }
        }
        self.next_deadline = earlier(self.next_deadline, Some(client.deadline(now)));
    }

    fn accept(&mut self, now: Instant) {
        for _ in 0..ACCEPTS_PER_ROUND {
            let Some(newcomer) = self.house.accept(self.clients.len(), now) else {
                self.door_ready = self.is_door_shut();
                return;
            };
            let fd = newcomer.stream().as_fd().as_raw_fd();
            self.house.worker.stats.watches += 1;
            if let Err(error) = self.epoll.add(newcomer.stream(), event(fd)) {
                self.house.left(io::Error::from(error).into());
                continue;
            }
            self.next_deadline = earlier(self.next_deadline, Some(newcomer.deadline(now)));
            self.clients.insert(fd, newcomer);
        }
    }

    /// Everyone whose time is up. The only walk over all clients, and not in every round.
    fn find_due(&mut self, now: Instant) -> Vec<RawFd> {
        let deadlines = self.clients.values().map(|client| client.deadline(now));
        self.next_deadline = deadlines.min().map(|deadline| deadline.max(now + WALK_EVERY));
        self.clients.iter().filter(|(_, client)| is_due(client, now)).map(|(fd, _)| *fd).collect()
    }

    /// Whether newcomers must wait whatever the kernel says.
    fn is_door_shut(&self) -> bool {
        self.house.doors(self.clients.len()).next().is_none()
    }

    /// Accepts nobody any more; clients leave as soon as they are owed nothing.
    fn stop(&mut self) {
        let now = Instant::now();
        self.house.stop();
        self.signals.silence();
        for client in self.clients.values_mut() {
            client.stop(now);
        }
        self.next_deadline = Some(now);
    }
}

impl<'s> Server<'s> {
    fn new(house: House, signals: &'s Signals) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for fd in house.listener.sockets().chain([signals.alarm()]) {
            epoll.add(fd, event(fd.as_raw_fd()))?;
        }
        let (clients, ready) = (HashMap::new(), BTreeSet::new());
        Ok(Self { house, epoll, signals, clients, ready, door_ready: false, next_deadline: None })
    }
}

/// Registers for both directions, and never asks again. ERR and HUP are always told.
fn event(fd: RawFd) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET, fd as u64)
}
