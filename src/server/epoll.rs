//! epoll(7), level triggered: the kernel keeps the list, and says who is ready for as long as they are.
//!
//! A client is registered once; the socket itself puts its name on a ready list when something happens, and
//! epoll_wait(2) hands that list over. What a round costs depends on how many are ready, not on how many there are.
//! What is not finished need not be remembered: it is named again.
//!
//! Sections 10.2 and 4.11 of the course. Two of its sayings are wrong: nothing is shared through mmap (ready events
//! are copied out), and level triggered, this file, is the default. And an event is a set of bits: a reset arrives
//! as IN|ERR|HUP, and a server that compares it with IN spins for ever.
//!
//! What it costs, measured in November 2026 (release build, virtual machine with two cores, Linux 6.18, kept
//! connections, 1 KiB): for each request one read, one write, and 1.0 waits with one client, 0.1 with sixteen; one
//! epoll_ctl(2) for each newcomer, two more for an answer that does not fit; 950 octets for each silent client.
//!
//! Where it breaks: on any system but Linux, and for files, which are always "ready".

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::house::{ACCEPTS_PER_ROUND, House, earlier, is_due, time_until};
use crate::config::Config;
use crate::net::{Client, Interest, Listener, Worker};
use crate::signals::Signals;
use crate::stats::Stats;

/// epoll_wait(2) counts in milliseconds.
const GRAIN: Duration = Duration::from_millis(1);

/// Most events taken in one round; the rest is named in the next.
const EVENTS: usize = 256;

/// All clients are walked over at most this often to find whose time is up, so a deadline may be missed by as much.
/// Ten thousand that came within one second would otherwise cost ten thousand walks when their time is up.
const WALK_EVERY: Duration = Duration::from_millis(10);

struct Server<'s> {
    house: House,
    epoll: Epoll,
    signals: &'s Signals,
    /// By descriptor, each with what it is registered for.
    clients: HashMap<RawFd, (Client, Option<Interest>)>,
    /// Named as ready in this round. Whoever is not finished is named again in the next.
    ready: BTreeSet<RawFd>,
    /// The same for the door, and whether it is watched.
    door_ready: bool,
    door_watched: bool,
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
    Ok(server.house.finish(server.clients.into_values().map(|(client, _)| client)))
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

    /// Asks the kernel who is ready.
    fn wait(&mut self, until: Option<Instant>) {
        self.watch_door();
        let now = Instant::now();
        let pause = self.house.listener.deadline();
        let deadline = [self.next_deadline, pause, until].into_iter().flatten().min();

        let mut events = [EpollEvent::empty(); EVENTS];
        let timeout = time_until(deadline, now, GRAIN).and_then(|time| EpollTimeout::try_from(time).ok());
        // An error is EINTR, a round in which nobody is ready.
        let named = self.epoll.wait(&mut events, timeout.unwrap_or(EpollTimeout::NONE)).unwrap_or(0);
        self.house.worker.stats.waits += 1;
        self.house.worker.stats.wakeups += named as u64;

        self.door_ready = pause.is_some();
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

    /// A client's turn. What it leaves unfinished is named again; only a change of interest is to be told.
    fn turn(&mut self, fd: RawFd, now: Instant) {
        let Some((client, registered)) = self.clients.get_mut(&fd) else { return };
        if self.house.turn(client, now).is_none() {
            self.clients.remove(&fd); // closing takes it off the kernel's list
            return;
        }
        if client.interest() != *registered {
            *registered = client.interest();
            self.house.worker.stats.watches += 1;
            if let Err(error) = self.epoll.modify(client.stream(), &mut event(fd, *registered)) {
                self.house.put_out(client, io::Error::from(error).into());
                self.clients.remove(&fd);
                return;
            }
        }
        self.next_deadline = earlier(self.next_deadline, Some(client.deadline(now)));
    }

    fn accept(&mut self, now: Instant) {
        for _ in 0..ACCEPTS_PER_ROUND {
            let Some(newcomer) = self.house.accept(self.clients.len(), now) else { return };
            let fd = newcomer.stream().as_fd().as_raw_fd();
            let interest = newcomer.interest();
            self.house.worker.stats.watches += 1;
            if let Err(error) = self.epoll.add(newcomer.stream(), event(fd, interest)) {
                self.house.left(io::Error::from(error).into());
                continue;
            }
            self.next_deadline = earlier(self.next_deadline, Some(newcomer.deadline(now)));
            self.clients.insert(fd, (newcomer, interest));
        }
    }

    /// Everyone whose time is up. The only walk over all clients, and not in every round.
    fn find_due(&mut self, now: Instant) -> Vec<RawFd> {
        let deadlines = self.clients.values().map(|(client, _)| client.deadline(now));
        self.next_deadline = deadlines.min().map(|deadline| deadline.max(now + WALK_EVERY));
        self.clients.iter().filter(|(_, (client, _))| is_due(client, now)).map(|(fd, _)| *fd).collect()
    }

    /// A level-triggered door that nobody may pass would be named again and again: it is watched only while open.
    fn watch_door(&mut self) {
        let watch = !self.is_door_shut();
        if watch != self.door_watched {
            self.door_watched = watch;
            for door in self.house.listener.sockets() {
                let mut event = event(door.as_raw_fd(), watch.then_some(Interest::Read));
                self.house.worker.stats.watches += 1;
                if let Err(error) = self.epoll.modify(door, &mut event) {
                    log::error!("the listening socket cannot be watched: {error}");
                }
            }
        }
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
        for (client, _) in self.clients.values_mut() {
            client.stop(now);
        }
        self.next_deadline = Some(now);
    }
}

impl<'s> Server<'s> {
    fn new(house: House, signals: &'s Signals) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for fd in house.listener.sockets().chain([signals.alarm()]) {
            epoll.add(fd, event(fd.as_raw_fd(), Some(Interest::Read)))?;
        }
        let (clients, ready) = (HashMap::new(), BTreeSet::new());
        Ok(Self {
            house,
            epoll,
            signals,
            clients,
            ready,
            door_ready: false,
            door_watched: true,
            next_deadline: None,
        })
    }
}

/// What a descriptor is registered for. ERR and HUP are always told.
fn event(fd: RawFd, interest: Option<Interest>) -> EpollEvent {
    let flags = match interest {
        Some(Interest::Read) => EpollFlags::EPOLLIN,
        Some(Interest::Write) => EpollFlags::EPOLLOUT,
        None => EpollFlags::empty(),
    };
    EpollEvent::new(flags, fd as u64)
}
