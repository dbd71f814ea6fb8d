//! 非堵塞, the heart: one thread, one `Vec` of nonblocking sockets, one loop that tries every one of them.
//!
//! Nobody tells this server who has data. It tries: `accept` until that would block, then each client's `read`;
//! `WouldBlock` means "no data", and the next one is tried. What it costs: one fruitless system call for each
//! silent client and sweep, so a sweep over N silent clients takes a + N·r. What it buys: nothing has to be
//! told, registered or woken, so an answer leaves as soon as the loop comes by. Chapter 10.1 of the course.
//!
//! What a production server would do otherwise: sleep in epoll_wait(2) until somebody has data. See `epoll.rs`.

mod watched;

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use crate::config::Config;
use crate::http::CloseReason;
use crate::idle::{Idle, IdleStrategy, Rest, Resting};
use crate::net::{Accept, Client, Listener, Roster, Worker, poll_flags};
use crate::signals::Signals;
use crate::stats::Stats;

/// Most newcomers accepted in one sweep, so that a crowd at the door does not keep those inside waiting.
const ACCEPTS_PER_SWEEP: usize = 64;

/// An accept that would block costs as much as seven such reads, because the kernel makes a socket before it looks
/// whether somebody is there. So after one, the next is tried this much later: a newcomer waits at most this
/// long and a sweep, and a busy loop pays 2 % for the door.
const ACCEPT_EVERY: Duration = Duration::from_micros(50);

/// How often a full house looks whether somebody is at the door.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a client must have been silent to lose its place to a newcomer: a browser that is still loading a page
/// asks again sooner.
const SILENT_FOR: Duration = Duration::from_secs(1);

/// The server: whoever holds it decides when it sweeps, and what time it is.
pub struct Server<'s, L: Accept = Listener> {
    listener: L,
    roster: Roster<L::Stream>,
    worker: Worker,
    signals: &'s Signals,
    max_clients: usize,
    next_accept: Instant,
    next_look: Instant,
    grace: Duration,
    /// The end of the grace, once it has begun.
    ends: Option<Instant>,
    /// The strategy at work, and the one to change to; only pages ask for that.
    idle: IdleStrategy,
    new_idle: Option<IdleStrategy>,
}

/// Sweeps until told to stop, then until the answers in flight are out.
pub(super) fn serve(
    listener: Listener,
    worker: Worker,
    config: &Config,
    signals: &Signals,
) -> io::Result<Stats> {
    let mut server = Server::new(listener, worker, config, signals);
    let mut idle = Idle::new(config.idle);

    while !signals.stop_requested() {
        let work = server.sweep(Instant::now());
        idle.idle(work, &mut server);
    }

    let grace = Instant::now() + config.grace;
    server.stop(Instant::now());
    while !server.is_empty() && Instant::now() < grace {
        let work = server.sweep(Instant::now());
        idle.idle(work, &mut server);
    }
    Ok(server.finish())
}

impl<L: Accept> Server<'_, L> {
    /// One pass: the listener first, then the clients whose turn it is. Returns how many attempts got somewhere.
    pub fn sweep(&mut self, now: Instant) -> usize {
        self.tick(now);
        let mut work = self.accept(now);
        self.roster.begin(&mut self.worker.stats, now);
        while let Some(client) = self.roster.next() {
            match client.turn(&mut self.worker, now) {
                Ok(progress) => {
                    work += progress;
                    self.roster.keep(progress > 0, now);
                }
                Err(reason) => {
                    work += 1;
                    self.roster.remove(); // never skips the neighbour
                    self.listener.descriptor_freed();
                    self.worker.stats.client_left(reason.index());
                }
            }
        }
        self.worker.stats.sweeps += 1;
        self.worker.stats.idle_sweeps += u64::from(work == 0);
        work
    }

    /// Tells the time, shows the loop to whoever looks at it, and reads again what SIGHUP is for.
    fn tick(&mut self, now: Instant) {
        self.worker.tick(now);
        self.show(now);
        if self.signals.take_reload() {
            self.listener.reload();
            self.worker.log.reopen();
            if self.ends.is_some() {
                self.signals.silence(); // the stop is under way: there is nobody left to wake for it
            }
        }
    }

    /// Accepts until that would block, up to a quota.
    fn accept(&mut self, now: Instant) -> usize {
        if self.is_full(now) {
            return self.make_room(now);
        }
        if now < self.next_accept {
            return 0;
        }
        let quota = ACCEPTS_PER_SWEEP.min(self.max_clients.saturating_sub(self.roster.len()));
        for accepted in 0..quota {
            let Some(newcomer) = self.listener.try_accept(&mut self.worker.stats, now) else {
                self.next_accept = now + ACCEPT_EVERY;
                return accepted;
            };
            self.roster.push(Client::new(newcomer.stream, newcomer.peer, &mut self.worker, now));
        }
        quota
    }
}

impl<L: Accept> Server<'_, L> {
    /// Whether nobody can be let in: the limit is reached, or no descriptor is free.
    fn is_full(&self, now: Instant) -> bool {
        self.roster.len() >= self.max_clients || self.listener.is_paused(now)
    }

    /// If somebody is at the door of a full house, those leave who have been idle longest: one of a thousand, so that
    /// looking for them costs each newcomer little. If nobody is idle, the newcomer waits in the kernel's queue.
    #[cold]
    fn make_room(&mut self, now: Instant) -> usize {
        if now < self.next_look {
            return 0;
        }
        let left = match now.checked_sub(SILENT_FOR) {
            Some(since) if self.listener.has_newcomer() => {
                self.roster.make_room(self.roster.len().div_ceil(1024), since, now)
            }
            _ => 0,
        };
        self.next_look = if left > 0 { now } else { now + LOOK_EVERY };
        left
    }
}

impl<'s, L: Accept> Server<'s, L> {
    /// A server with nobody in it.
    pub fn new(listener: L, worker: Worker, config: &Config, signals: &'s Signals) -> Self {
        Self {
            listener,
            roster: Roster::new(config.sweep),
            worker,
            signals,
            max_clients: config.max_connections,
            next_accept: Instant::now(),
            next_look: Instant::now(),
            grace: config.grace,
            ends: None,
            idle: config.idle,
            new_idle: None,
        }
    }

    /// Stops listening; clients leave as soon as they are owed nothing. No rest is longer than the grace from here on.
    pub fn stop(&mut self, now: Instant) {
        self.ends = Some(now + self.grace);
        self.listener.close();
        self.signals.silence();
        for client in self.roster.iter_mut() {
            client.stop(now);
        }
    }

    /// Whether every client has left.
    pub const fn is_empty(&self) -> bool {
        self.roster.is_empty()
    }

    /// Closes what is left and gives the counters.
    pub fn finish(mut self) -> Stats {
        for client in self.roster.iter_mut() {
            let reason = client.left(CloseReason::Stopping, &mut self.worker);
            self.worker.stats.client_left(reason.index());
        }
        self.worker.finish()
    }

    /// The clients.
    pub const fn roster(&self) -> &Roster<L::Stream> {
        &self.roster
    }

    /// The counters so far.
    pub const fn stats(&self) -> &Stats {
        &self.worker.stats
    }
}

impl Server<'_> {
    /// The listening sockets, while there is room for newcomers.
    fn doors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let room = self.roster.len() < self.max_clients;
        self.listener.descriptors().filter(move |_| room)
    }
}

impl Resting for Server<'_> {
    fn watch<'a>(&'a self, descriptors: &mut Vec<PollFd<'a>>) {
        let doors = self.doors().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        descriptors.extend(doors);
        let clients = self.roster.iter();
        descriptors.extend(clients.map(|client| PollFd::new(client.stream(), poll_flags(client.interest()))));
    }

    /// Whoever has spoken is hot: the next sweep tries him first, wherever in the `Vec` he stands.
    fn woken(&mut self, ready: &[bool]) {
        let (doors, clients) = ready.split_at(self.doors().count().min(ready.len()));
        if doors.contains(&true) {
            self.next_accept = Instant::now();
        }
        self.roster.warm(0, clients);
    }

    fn alarm(&self) -> BorrowedFd<'_> {
        self.signals.alarm()
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        let clients = self.roster.iter().map(|client| client.deadline(now));
        let door = self.is_full(now).then_some(self.next_look);
        clients.chain(self.listener.deadline()).chain(door).min()
    }

    fn ends(&self) -> Option<Instant> {
        self.ends.into_iter().chain(self.worker.log.retry()).min()
    }

    fn new_strategy(&mut self) -> Option<IdleStrategy> {
        self.new_idle.take()
    }

    fn before_sleep(&mut self) {
        self.worker.log.flush();
    }

    fn rested(&mut self, rest: Rest) {
        let stats = &mut self.worker.stats;
        match rest {
            Rest::Yielded => stats.yields += 1,
            Rest::Slept(asked, achieved) => {
                stats.sleeps += 1;
                stats.sleep_asked_ns += asked.as_nanos() as u64;
                stats.slept_ns += achieved.as_nanos() as u64;
            }
            Rest::Parked(slept, ready) => {
                stats.waits += 1;
                stats.wakeups += ready as u64;
                stats.slept_ns += slept.as_nanos() as u64;
            }
        }
    }
}
