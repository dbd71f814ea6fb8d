//! What one thread of control shares among its clients.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::access_log::AccessLog;
use crate::http::{CloseReason, HttpDate, Limits, Spare};
use crate::live::Observer;
use crate::service::{Peer, Service};
use crate::stats::Stats;

/// How long the end waits for a reader of the log who takes nothing.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// Most lines about single clients in one second: a thousand bad ones a second must not fill a disk.
const EXPLAINED_A_SECOND: u32 = 10;

/// The service, the counters, the log, the clock and the buffers of one thread of control.
pub struct Worker {
    /// What answers requests.
    pub service: Box<dyn Service + Send>,
    /// What the loop counts.
    pub stats: Stats,
    /// One line for each answer.
    pub log: AccessLog,
    /// Where the loop shows itself to pages, if it does.
    pub observer: Option<Observer>,
    /// A handicap for lessons: most octets per read.
    pub read_limit: ReadLimit,
    /// The limits of every connection.
    pub limits: Arc<Limits>,
    /// The pool that connections borrow their buffers from.
    pub(super) spare: Spare,
    /// Where a piece of a file passes through on its way to a socket that cannot take it from the file itself.
    pub(super) scratch: Vec<u8>,
    /// The Date of this second.
    pub(super) date: HttpDate,
    /// The number of the latest read that brought something.
    pub(super) batch: u64,
    /// Lines about single clients in this second, and those for which there was no place.
    explained: u32,
    unexplained: u64,
    next_second: Instant,
    pub(super) blocking: bool,
}

impl Worker {
    /// A worker for this service.
    pub fn new(service: Box<dyn Service + Send>, limits: Limits, log: AccessLog) -> Self {
        Self {
            service,
            stats: Stats::default(),
            log,
            observer: None,
            read_limit: ReadLimit::default(),
            limits: Arc::new(limits),
            spare: Spare::default(),
            scratch: Vec::new(),
            date: HttpDate::from_unix(unix_time().as_secs()),
            batch: 0,
            explained: 0,
            unexplained: 0,
            next_second: Instant::now(),
            blocking: false,
        }
    }

    /// A worker for another thread: the same limits, the same place for the log; its own counters and buffers.
    pub fn fellow(&self, service: Box<dyn Service + Send>) -> Self {
        let mut fellow = Self::new(service, Limits::default(), self.log.fellow());
        fellow.limits = self.limits.clone();
        fellow.blocking = self.blocking;
        fellow
    }

    /// The sockets block: time passes in every call on them.
    pub const fn expect_blocking(&mut self) {
        self.blocking = true;
    }

    /// What time it is after a call on a socket that was made at `now`. Nonblocking calls take none worth asking
    /// the clock for.
    #[inline]
    pub(super) fn time_after(&mut self, now: Instant) -> Instant {
        if !self.blocking {
            return now;
        }
        let now = Instant::now();
        self.tick(now);
        now
    }

    /// Tells the time. The wall clock is looked at once a second, when the second changes; nowhere else.
    pub fn tick(&mut self, now: Instant) {
        if now >= self.next_second {
            let time = unix_time();
            self.next_second =
                now + Duration::from_secs(1) - Duration::from_nanos(time.subsec_nanos().into());
            self.date = HttpDate::from_unix(time.as_secs());
            self.log.tick(&self.date);
            self.log.flush(); // a loop that never rests has no better moment
            self.explained = 0;
            if self.unexplained > 0 {
                log::info!("{} more such lines were left out", std::mem::take(&mut self.unexplained));
            }
        }
    }

    /// A client left; explains it if it was not in the usual course of things.
    pub(super) fn explain_leaving(&mut self, peer: &Peer, reason: CloseReason) {
        let level = match reason {
            CloseReason::BodyTruncated => log::Level::Warn, // the operator's own files
            CloseReason::PeerClosed
            | CloseReason::Answered
            | CloseReason::IdleTimeout
            | CloseReason::Stopping
            | CloseReason::Reset => return,
            _ => log::Level::Info,
        };
        self.explain(level, format_args!("client {peer} left: {reason}"));
    }

    /// Says something about one client, unless too much was said in this second.
    pub(super) fn explain(&mut self, level: log::Level, what: std::fmt::Arguments<'_>) {
        if log::log_enabled!(level) {
            self.explained += 1;
            if self.explained <= EXPLAINED_A_SECOND {
                log::log!(level, "{what}");
            } else {
                self.unexplained += 1;
            }
        }
    }
}

impl Worker {
    /// The end: writes the rest of the log and gives the counters.
    pub fn finish(&mut self) -> Stats {
        self.log.close(LOG_PATIENCE);
        self.stats.log_lines_dropped += self.log.dropped();
        self.stats
    }
}

/// Most octets per read; ordinarily the buffer is what limits it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReadLimit(pub Option<NonZeroUsize>);

impl ReadLimit {
    /// As much of the space as may be read into.
    #[inline]
    pub fn cut(self, space: &mut [u8]) -> &mut [u8] {
        match self.0 {
            None => space,
            Some(most) => {
                let most = most.get().min(space.len());
                space.split_at_mut(most).0
            }
        }
    }
}

fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
