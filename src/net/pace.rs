//! How many of the quiet are asked in a sweep.
//!
//! A question costs 110 ns where the sockets are in a cache and 350 to 540 where they are not, and a hot client that
//! speaks meanwhile waits for it. So the pace depends on who is hot:
//!
//! - **nobody**: there is nothing else to do; [`QUIET_SLICE_ALONE`] a sweep.
//! - **idle**: nobody had work for [`BUSY_FOR`]; [`QUIET_SLICE_IDLE`] a sweep.
//! - **busy**: so many by the clock, however long or short the sweeps are: one each [`QUESTION_EVERY`], which
//!   costs a few hundredths of the time, and beside a large crowd so many that all are asked within [`ROUND`].

use std::time::{Duration, Instant};

/// Quiet clients asked in a sweep while nobody is hot.
pub(super) const QUIET_SLICE_ALONE: usize = 512;

/// Quiet clients asked in a sweep while nobody who is hot has work: there is time.
pub const QUIET_SLICE_IDLE: usize = 128;

/// How long after its last work the loop counts as busy: as long as a client takes to ask again when it has its
/// answer, and then some.
pub const BUSY_FOR: Duration = Duration::from_micros(50);

/// A busy loop asks one of the quiet this often.
pub(super) const QUESTION_EVERY: Duration = Duration::from_micros(8);

/// A busy loop has asked all of the quiet after this long, even if it must ask them more often for that. From 2,500 on:
/// 10,000 cost a fifth of the time.
pub(super) const ROUND: Duration = Duration::from_millis(20);

/// Fewer are not worth a system call of their own.
const LEAST: usize = 8;

/// Keeps the pace. It is told the time, and asks for none.
#[derive(Debug)]
pub struct Pace {
    busy_until: Instant,
    /// Up to when the questions due have been asked.
    asked_until: Instant,
}

impl Pace {
    /// A loop that is idle at `now`.
    pub const fn new(now: Instant) -> Self {
        Self { busy_until: now, asked_until: now }
    }

    /// How many of so many quiet clients to ask in the sweep that begins at `now`; `worked`: somebody had work in the
    /// one before.
    pub fn slice(&mut self, hot: usize, quiet: usize, worked: bool, now: Instant) -> usize {
        if worked {
            self.busy_until = now + BUSY_FOR;
        }
        if hot == 0 || now >= self.busy_until {
            self.asked_until = now;
            return quiet.min(if hot == 0 { QUIET_SLICE_ALONE } else { QUIET_SLICE_IDLE });
        }
        let every = question_every(quiet);
        let since = now.saturating_duration_since(self.asked_until);
        if since < every * LEAST.min(quiet) as u32 {
            return 0;
        }
        let due = u32::try_from(since.as_nanos() / every.as_nanos()).unwrap_or(u32::MAX);
        self.asked_until += every * due;
        quiet.min(due as usize)
    }
}

/// How often a busy loop asks one of so many quiet clients.
pub fn question_every(quiet: usize) -> Duration {
    let quiet = u32::try_from(quiet).unwrap_or(u32::MAX).max(1);
    QUESTION_EVERY.min(ROUND / quiet).max(Duration::from_nanos(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: Duration = Duration::from_micros(1);

    /// Questions in `sweeps` busy sweeps, each so long.
    fn asked(quiet: usize, sweeps: u32, each: Duration) -> usize {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        (0..sweeps)
            .map(|_| {
                now += each;
                pace.slice(1, quiet, true, now)
            })
            .sum()
    }

    #[test]
    fn a_busy_loop_asks_by_the_clock_however_long_its_sweeps_are() {
        for (each, sweeps) in [(1, 16_000), (10, 1_600), (100, 160), (1_600, 10)] {
            let count = asked(1_000, sweeps, each * MICROSECOND);
            assert!((1_990..=2_000).contains(&count), "16 ms in sweeps of {each} µs: {count} questions");
        }
    }

    #[test]
    fn beside_a_large_crowd_a_busy_loop_asks_everybody_within_a_round() {
        for quiet in [2_500, 10_000, 1_000_000] {
            let count = asked(quiet, 200, ROUND / 200);
            assert!((quiet * 99 / 100..=quiet).contains(&count), "{count} of {quiet}");
        }
        assert_eq!(asked(100, 1, ROUND * 10), 100, "nobody is asked twice in a sweep");
    }

    #[test]
    fn an_idle_loop_asks_in_each_sweep_and_one_that_just_had_work_counts_as_busy() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.slice(0, 9_999, false, start), QUIET_SLICE_ALONE);
        assert_eq!(pace.slice(1, 9_999, false, start), QUIET_SLICE_IDLE);
        assert_eq!(pace.slice(1, 3, false, start), 3);
        assert_eq!(pace.slice(1, 9_999, true, start), 0, "no time has passed");
        assert_eq!(pace.slice(1, 9_999, false, start + BUSY_FOR - MICROSECOND), 24);
        assert_eq!(pace.slice(1, 9_999, false, start + BUSY_FOR), QUIET_SLICE_IDLE);
        assert_eq!(pace.slice(0, 9_999, true, start + BUSY_FOR), QUIET_SLICE_ALONE, "nobody is kept waiting");
    }
}
