//! What every model but the heart keeps beside its clients: the door, the rules of the house, and what they share.
//!
//! What lives here: what the listings would otherwise repeat. What must not: waiting, and the clients themselves;
//! those two are what the models differ in.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::http::CloseReason;
use crate::net::{Accepted, Client, Listener, Worker};
use crate::signals::Signals;
use crate::stats::Stats;

/// Most newcomers accepted in one round, so that a crowd at the door does not keep those inside waiting. (The
/// heart has the same number for its sweeps.)
pub(super) const ACCEPTS_PER_ROUND: usize = 64;

/// The listener, who is let in, and what all clients share.
pub(super) struct House {
    pub(super) listener: Listener,
    pub(super) worker: Worker,
    /// Most clients at once; 0 once the server stops.
    pub(super) max_clients: usize,
}

impl House {
    pub(super) const fn new(listener: Listener, worker: Worker, max_clients: usize) -> Self {
        Self { listener, worker, max_clients }
    }

    /// The listening sockets to wait for: none while the house is full, stops, or has no descriptor to give.
    pub(super) fn doors(&self, clients: usize) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.listener.descriptors().filter(move |_| clients < self.max_clients)
    }

    /// A newcomer's socket; `None` if nobody is at the door or nobody may come in.
    pub(super) fn admit(&mut self, clients: usize, now: Instant) -> Option<Accepted> {
        if clients >= self.max_clients {
            return None;
        }
        self.listener.try_accept(&mut self.worker.stats, now)
    }

    /// A newcomer as a client.
    pub(super) fn accept(&mut self, clients: usize, now: Instant) -> Option<Client> {
        let newcomer = self.admit(clients, now)?;
        Some(Client::new(newcomer.stream, newcomer.peer, &mut self.worker, now))
    }

    /// Gives a client its turn: how much got somewhere, or `None` if the client is to be removed. It is counted as
    /// gone then.
    pub(super) fn turn(&mut self, client: &mut Client, now: Instant) -> Option<usize> {
        match client.turn(&mut self.worker, now) {
            Ok(progress) => Some(progress),
            Err(reason) => {
                self.left(reason);
                None
            }
        }
    }

    /// Counts a client as gone; its descriptor is about to be free.
    pub(super) fn left(&mut self, reason: CloseReason) {
        self.worker.stats.client_left(reason.index());
        self.listener.descriptor_freed();
    }

    /// Puts a client out who does not leave by himself; the log has what went.
    pub(super) fn put_out(&mut self, client: &mut Client, reason: CloseReason) {
        let reason = client.left(reason, &mut self.worker);
        self.left(reason);
    }

    /// A client was served elsewhere, by a thread or a process of its own; this is what was counted there.
    pub(super) fn came_home(&mut self, stats: Stats) {
        self.worker.stats += stats;
        self.worker.stats.clients_now = self.worker.stats.clients_now.saturating_sub(1);
        self.listener.descriptor_freed();
    }

    /// A newcomer could not be served because the system has no `resource` to give: newcomers wait for a while.
    pub(super) fn turned_away(&mut self, resource: &str, error: &std::io::Error, now: Instant) {
        if self.worker.stats.clients_refused == 0 {
            log::warn!(
                "no {resource} for a newcomer, who was turned away: {error}; others wait in the kernel's queue until \
                 a client leaves (said once)"
            );
        }
        self.worker.stats.clients_refused += 1;
        self.left(CloseReason::Refused);
        self.listener.pause(now);
    }

    /// Writes the log before a wait that is to end by then, and returns by when it must end now: lines that the reader
    /// did not take are tried again soon.
    pub(super) fn write_log(&mut self, until: Option<Instant>) -> Option<Instant> {
        self.worker.log.flush();
        earlier(until, self.worker.log.retry())
    }

    /// Something was signalled: silences the alarm, and reads again what SIGHUP is for. Whoever waits sees to the rest.
    /// Returns whether it was SIGHUP.
    pub(super) fn heed(&mut self, signals: &Signals) -> bool {
        signals.silence();
        let reloads = signals.take_reload();
        if reloads {
            reload(&mut self.listener, &mut self.worker);
        }
        reloads
    }

    /// Stops listening.
    pub(super) fn stop(&mut self) {
        self.max_clients = 0;
        self.listener.close();
    }

    /// The end; the clients who remain are put out because the grace is over.
    pub(super) fn finish(mut self, remaining: impl IntoIterator<Item = Client>) -> Stats {
        for mut client in remaining {
            self.put_out(&mut client, CloseReason::Stopping);
        }
        self.worker.finish()
    }
}

/// Reads again what SIGHUP is for.
pub(super) fn reload(listener: &mut Listener, worker: &mut Worker) {
    listener.reload();
    worker.log.reopen();
}

/// Whether a client must have a turn although its socket is silent: its time is up, or it waits for no socket.
pub(super) fn is_due(client: &Client, now: Instant) -> bool {
    client.interest().is_none() || client.deadline(now) <= now
}

/// How long to wait, in whole `grains` of the call that waits. Rounded up: who wakes too early finds nothing to do,
/// waits for no time at all, and spins through the rest. `None`: for as long as it takes.
pub(super) fn time_until(deadline: Option<Instant>, now: Instant, grain: Duration) -> Option<Duration> {
    let time = deadline?.saturating_duration_since(now);
    let grains = time.as_nanos().div_ceil(grain.as_nanos().max(1));
    // A timeout of more than an hour only makes the loop look up once an hour.
    Some(grain.saturating_mul(grains.try_into().unwrap_or(u32::MAX)).min(Duration::from_secs(3600)))
}

/// Waits until some of these are readable, or until then, and tells how many are: for models that wait for
/// newcomers only, because their clients wait for themselves.
pub(super) fn wait_for<'a>(descriptors: impl Iterator<Item = BorrowedFd<'a>>, until: Option<Instant>) -> u64 {
    let mut watched: Vec<_> = descriptors.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    let time = time_until(until, Instant::now(), Duration::from_nanos(1));
    let time = time.and_then(|time| Timespec::try_from(time).ok());
    // An error is EINTR, a wait that ended early.
    poll(&mut watched, time.as_ref()).unwrap_or(0) as u64
}

/// The earlier of two instants that may be missing.
pub(super) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
