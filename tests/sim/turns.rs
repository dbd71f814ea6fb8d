//! How long anybody may have to wait for a turn: what the roster and its pace promise, as a law to check.

use std::time::{Duration, Instant};

use wouldblock::config::Sweep;
use wouldblock::net::{BUSY_FOR, QUIET_SLICE_IDLE, question_every};
use wouldblock::stats::Stats;

/// Questions that a busy loop saves up for one call.
const SAVED_UP: u32 = 8;

/// How far a server has come.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Moment {
    pub(super) sweeps: u64,
    /// Sweeps in which it surely was idle.
    idle: u64,
    /// Time in which it surely was busy; of a long sweep no more than a round, for nobody is asked twice in one.
    busy: Duration,
}

impl Moment {
    /// Whether whoever had his last turn at `last` has waited longer than promised, among so many clients.
    pub(super) fn is_too_late(self, last: Self, sweep: Sweep, clients: usize) -> bool {
        if sweep == Sweep::Full {
            return self.sweeps > last.sweeps;
        }
        // Within two rounds, whether it is busy or idle meanwhile: being the other now and then only shortens them.
        let busy = 2 * (round(clients) + SAVED_UP * question_every(clients));
        let idle = 2 * clients.div_ceil(QUIET_SLICE_IDLE) as u64 + 1;
        self.idle - last.idle > idle || self.busy - last.busy > busy
    }
}

/// How long a busy loop takes to ask so many.
fn round(clients: usize) -> Duration {
    question_every(clients) * clients as u32
}

/// Follows a server from sweep to sweep.
#[derive(Debug)]
pub(super) struct Turns {
    moment: Moment,
    now: Instant,
    /// What the last sweep did: attempts that got somewhere, and octets moved or clients gone.
    work: usize,
    moved: bool,
    traffic: u64,
    idle_from: Instant,
}

impl Turns {
    pub(super) fn new(now: Instant) -> Self {
        Self { moment: Moment::default(), now, work: 0, moved: false, traffic: 0, idle_from: now }
    }

    /// A sweep over at most so many clients begins.
    pub(super) fn begin(&mut self, clients: usize, now: Instant) -> Moment {
        self.moment.sweeps += 1;
        if self.moved {
            self.moment.busy += (now - self.now).min(round(clients));
        }
        if self.work > 0 {
            self.idle_from = now + BUSY_FOR;
        }
        if now >= self.idle_from {
            self.moment.idle += 1;
        }
        self.now = now;
        self.moment
    }

    /// It is over.
    pub(super) fn end(&mut self, work: usize, stats: &Stats) {
        let traffic = stats.bytes_in + stats.bytes_out + stats.closed.iter().sum::<u64>();
        self.work = work;
        self.moved = traffic > self.traffic;
        self.traffic = traffic;
    }
}
