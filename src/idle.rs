//! What the loop does after a sweep: nothing if there was work, otherwise rest, in one of five ways.
//!
//! Work and rest are two objects; the loop only carries a number between them. Nothing here knows HTTP or
//! sockets: what a resting loop must be woken by, it says through [`Resting`].

use std::os::fd::BorrowedFd;
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// `backoff` and `park` spin for this long before they rest: about as long as a rest costs. Then a wait is never
/// more than twice as dear as it could have been had one known its length (Karlin et al. 1988). At 2,000 requests/s
/// `park` answers 28 µs after `spin` (medians 41 and 13 µs, `benches/results/2026-11-21.json`): within a factor of 2.
pub const SPIN_FOR: Duration = Duration::from_micros(50);

/// What one more descriptor adds to poll(2), about: 10,000 of them take 3 ms, because their sockets are in no cache.
/// So `park` beside a crowd spins longer before it asks about all of it.
const DESCRIPTOR_COSTS: Duration = Duration::from_nanos(300);

/// `backoff` yields this often between spinning and sleeping.
const YIELDS: u32 = 5;

/// The first sleep of `backoff`; each further one is twice as long, up to the cap.
const FIRST_SLEEP: Duration = Duration::from_micros(10);

/// The longest sleep of `backoff` unless another is given. Being woken and sweeping in vain costs 19 µs of processor
/// on a 2-core KVM guest (November 2026, `benches/results/2026-11-21.json`): at 3 ms 0.7 % of a core, at 1 ms 1.8 %.
/// A newcomer waits no longer than a display takes for a fifth of a frame.
pub const BACKOFF_CAP: Duration = Duration::from_millis(3);

/// What to do after an idle sweep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdleStrategy {
    /// Sweep again at once: the chapter's pure form. Burns a core; answers soonest.
    Spin,
    /// sched_yield(2): let others run first. Burns a core that nobody else wants.
    Yield,
    /// Sleep for this long.
    Sleep(Duration),
    /// Spin, then yield, then sleeps that double up to this cap; back to spinning at the first work.
    Backoff(Duration),
    /// Spin for about as long as a sleep costs, then let poll(2) sleep until a socket or a deadline needs us.
    Park,
}

impl Default for IdleStrategy {
    fn default() -> Self {
        Self::Backoff(BACKOFF_CAP)
    }
}

impl IdleStrategy {
    /// The longest the loop will sleep without looking; `None` if it is woken by what happens.
    pub const fn cap(self) -> Option<Duration> {
        match self {
            Self::Spin | Self::Yield => Some(Duration::ZERO),
            Self::Sleep(time) | Self::Backoff(time) => Some(time),
            Self::Park => None,
        }
    }

    /// One sentence on what it costs and buys.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Spin => "never rests: burns one core, answers soonest",
            Self::Yield => "rests only when someone else wants the core: burns it otherwise",
            Self::Sleep(_) => "sleeps after every fruitless sweep, however busy it was just now",
            Self::Backoff(_) => "spins briefly, then sleeps longer and longer",
            Self::Park => "spins briefly, then sleeps in poll(2) until woken",
        }
    }
}

impl std::fmt::Display for IdleStrategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Spin => f.write_str("spin"),
            Self::Yield => f.write_str("yield"),
            Self::Sleep(time) => write!(f, "sleep:{}", DisplayDuration(*time)),
            Self::Backoff(BACKOFF_CAP) => f.write_str("backoff"),
            Self::Backoff(cap) => write!(f, "backoff:{}", DisplayDuration(*cap)),
            Self::Park => f.write_str("park"),
        }
    }
}

impl FromStr for IdleStrategy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None => match text {
                "spin" => Ok(Self::Spin),
                "yield" => Ok(Self::Yield),
                "backoff" => Ok(Self::default()),
                "park" => Ok(Self::Park),
                "sleep" => Err("say how long, like sleep:1ms".to_owned()),
                _ => {
                    Err("expected spin, yield, sleep:DURATION, backoff, backoff:DURATION or park".to_owned())
                }
            },
            Some(("sleep", time)) => Ok(Self::Sleep(parse_duration(time)?)),
            Some(("backoff", time)) => Ok(Self::Backoff(parse_duration(time)?)),
            Some(_) => Err("only sleep and backoff take a duration".to_owned()),
        }
    }
}

/// Reads `10us`, `1ms`, `0.5s`, `2m`; the unit must be there.
///
/// # Errors
/// A sentence that says what is expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected =
        || format!("{text:?} is not a duration: expected a number and a unit (us, ms, s, m), like 1ms");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| expected())?;
    let seconds = match unit {
        "ns" => number * 1e-9,
        "us" | "µs" => number * 1e-6,
        "ms" => number * 1e-3,
        "s" => number,
        "m" => number * 60.0,
        _ => return Err(expected()),
    };
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| *time <= Duration::from_secs(86_400))
        .ok_or_else(|| format!("{text:?} is too long: at most a day"))
}

/// A duration as [`parse_duration`] reads it.
pub struct DisplayDuration(pub Duration);

impl std::fmt::Display for DisplayDuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nanos = self.0.as_nanos();
        for (unit, size) in [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)] {
            if nanos >= size && nanos.is_multiple_of(size / 1000) {
                return write!(f, "{}{unit}", nanos as f64 / size as f64);
            }
        }
        write!(f, "{nanos}ns")
    }
}

/// What a resting loop is woken by, and where its rest is counted.
pub trait Resting {
    /// Adds every descriptor that `park` must wake for.
    fn watch<'a>(&'a self, descriptors: &mut Vec<PollFd<'a>>);

    /// Told after `park` was woken: for each descriptor of [`Resting::watch`], in its order, whether it is ready.
    fn woken(&mut self, ready: &[bool]);

    /// The descriptor that becomes readable at a signal: ends any sleep.
    fn alarm(&self) -> BorrowedFd<'_>;

    /// The earliest instant at which somebody must be told the time.
    fn deadline(&self, now: Instant) -> Option<Instant>;

    /// When the loop must look up, whoever is silent and however long it meant to sleep: the end of the grace,
    /// or a reader of the log who did not take all. Asked after [`Resting::before_sleep`].
    fn ends(&self) -> Option<Instant> {
        None
    }

    /// A strategy to change to, if somebody asked for one.
    fn new_strategy(&mut self) -> Option<IdleStrategy> {
        None
    }

    /// Called before the loop falls asleep: the moment for what can wait, like writing the log.
    fn before_sleep(&mut self);

    /// Counts a rest.
    fn rested(&mut self, rest: Rest);
}

/// What a rest was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// The core was offered to others.
    Yielded,
    /// Asked for, achieved.
    Slept(Duration, Duration),
    /// Slept in poll(2) for so long; so many descriptors were named.
    Parked(Duration, usize),
}

/// Carries a strategy out. Remembers how long there has been no work.
#[derive(Debug)]
pub struct Idle {
    strategy: IdleStrategy,
    /// When the first idle sweep after work ended.
    since: Option<Instant>,
    yields: u32,
    next_sleep: Duration,
    /// Descriptors that the last `park` has watched.
    watched: u32,
}

impl Idle {
    /// A fresh one. Lowers this thread's timer slack, or a sleep of 1 µs would take 55 (prctl(2),
    /// `PR_SET_TIMERSLACK`).
    pub fn new(strategy: IdleStrategy) -> Self {
        #[cfg(target_os = "linux")]
        if let Err(error) = nix::sys::prctl::set_timerslack(1) {
            log::debug!("timer slack stays as it is, short sleeps will be longer: {error}");
        }
        Self { strategy, since: None, yields: 0, next_sleep: FIRST_SLEEP, watched: 0 }
    }

    /// The strategy carried out.
    pub const fn strategy(&self) -> IdleStrategy {
        self.strategy
    }

    /// Rests, if the sweep found no work.
    #[inline]
    pub fn idle(&mut self, work: usize, resting: &mut impl Resting) {
        if work > 0 {
            self.since = None;
            return;
        }
        self.rest(resting);
    }

    fn rest(&mut self, resting: &mut impl Resting) {
        if let Some(strategy) = resting.new_strategy() {
            self.strategy = strategy;
            self.since = None;
        }
        match self.strategy {
            IdleStrategy::Spin => {}
            IdleStrategy::Yield => offer_core(resting),
            IdleStrategy::Sleep(time) => sleep(time, resting),
            IdleStrategy::Backoff(cap) => self.back_off(cap, resting),
            IdleStrategy::Park => {
                if self.has_spun(spins_before_park(self.watched)) {
                    self.watched = park(resting);
                    self.since = None;
                }
            }
        }
    }

    /// Whether there has been no work for so long.
    fn has_spun(&mut self, time: Duration) -> bool {
        let now = Instant::now();
        match self.since {
            Some(since) => now - since >= time,
            None => {
                self.since = Some(now);
                self.yields = 0;
                self.next_sleep = FIRST_SLEEP;
                false
            }
        }
    }

    fn back_off(&mut self, cap: Duration, resting: &mut impl Resting) {
        if !self.has_spun(SPIN_FOR) {
            return;
        }
        if self.yields < YIELDS {
            self.yields += 1;
            return offer_core(resting);
        }
        sleep(self.next_sleep.min(cap), resting);
        self.next_sleep = (self.next_sleep * 2).min(cap);
    }
}

fn offer_core(resting: &mut impl Resting) {
    std::thread::yield_now();
    resting.rested(Rest::Yielded);
}

/// Sleeps, but not through a signal: ppoll(2) on the alarm alone, which takes nanoseconds.
fn sleep(time: Duration, resting: &mut impl Resting) {
    resting.before_sleep();
    let start = Instant::now();
    let time = resting.ends().map_or(time, |ends| time.min(ends.saturating_duration_since(start)));
    let alarm = resting.alarm();
    wait(&mut [PollFd::new(&alarm, PollFlags::IN)], Some(time));
    let slept = start.elapsed();
    resting.rested(Rest::Slept(time, slept));
}

/// How long `park` spins before it asks about so many descriptors.
fn spins_before_park(descriptors: u32) -> Duration {
    SPIN_FOR.max(DESCRIPTOR_COSTS * descriptors)
}

/// Returns how many descriptors it has watched.
fn park(resting: &mut impl Resting) -> u32 {
    resting.before_sleep();
    let start = Instant::now();
    let deadline = resting.deadline(start).into_iter().chain(resting.ends()).min();
    let timeout = deadline.map(|deadline| deadline.saturating_duration_since(start));
    let mut descriptors = vec![PollFd::from_borrowed_fd(resting.alarm(), PollFlags::IN)];
    resting.watch(&mut descriptors);
    let count = wait(&mut descriptors, timeout);
    let ready: Vec<bool> =
        descriptors.iter().skip(1).map(|descriptor| !descriptor.revents().is_empty()).collect();
    if count > 0 {
        resting.woken(&ready);
    }
    resting.rested(Rest::Parked(start.elapsed(), count));
    u32::try_from(ready.len()).unwrap_or(u32::MAX)
}

/// ppoll(2); an error (EINTR, or too many descriptors) is a wait that ended early.
fn wait(descriptors: &mut [PollFd<'_>], timeout: Option<Duration>) -> usize {
    let timeout = timeout.and_then(|time| Timespec::try_from(time).ok());
    poll(descriptors, timeout.as_ref()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_are_read_as_they_are_written() {
        for text in
            ["spin", "yield", "sleep:1ms", "sleep:250us", "backoff", "backoff:5ms", "park", "sleep:1.5s"]
        {
            assert_eq!(text.parse::<IdleStrategy>().unwrap().to_string(), text);
        }
        for text in
            ["", "sleep", "sleep:", "sleep:1", "sleep:1h", "spin:1ms", "Park", "backoff:-1ms", "sleep:2000m"]
        {
            assert!(text.parse::<IdleStrategy>().is_err(), "{text:?}");
        }
    }

    /// Counts rests; its alarm never rings.
    struct Counted {
        alarm: std::os::unix::net::UnixStream,
        _other: std::os::unix::net::UnixStream,
        rests: Vec<Rest>,
        ends: Option<Instant>,
    }

    impl Counted {
        fn new() -> Self {
            let (alarm, other) = std::os::unix::net::UnixStream::pair().unwrap();
            Self { alarm, _other: other, rests: Vec::new(), ends: None }
        }
    }

    impl Resting for Counted {
        fn watch<'a>(&'a self, _: &mut Vec<PollFd<'a>>) {}
        fn woken(&mut self, _: &[bool]) {}
        fn alarm(&self) -> BorrowedFd<'_> {
            std::os::fd::AsFd::as_fd(&self.alarm)
        }
        fn deadline(&self, now: Instant) -> Option<Instant> {
            Some(now + Duration::from_millis(1))
        }
        fn ends(&self) -> Option<Instant> {
            self.ends
        }
        fn before_sleep(&mut self) {}
        fn rested(&mut self, rest: Rest) {
            self.rests.push(rest);
        }
    }

    #[test]
    fn work_is_never_followed_by_rest() {
        for strategy in ["spin", "yield", "sleep:1s", "backoff", "park"] {
            let mut counted = Counted::new();
            Idle::new(strategy.parse().unwrap()).idle(1, &mut counted);
            assert_eq!(counted.rests, [], "{strategy}");
        }
    }

    #[test]
    fn park_beside_a_crowd_spins_for_as_long_as_asking_about_it_takes() {
        assert_eq!(spins_before_park(0), SPIN_FOR);
        assert_eq!(spins_before_park(100), SPIN_FOR, "few cost less than a sleep");
        assert_eq!(spins_before_park(10_000), Duration::from_millis(3));
    }

    #[test]
    fn backoff_spins_then_yields_then_sleeps_doubling_up_to_its_cap() {
        let mut counted = Counted::new();
        let mut idle = Idle::new(IdleStrategy::Backoff(Duration::from_micros(100)));
        while counted.rests.len() < YIELDS as usize + 6 {
            idle.idle(0, &mut counted);
        }
        let (yields, sleeps) = counted.rests.split_at(YIELDS as usize);
        assert!(yields.iter().all(|rest| *rest == Rest::Yielded));
        let asked: Vec<_> = sleeps
            .iter()
            .map(|rest| match rest {
                Rest::Slept(asked, achieved) => {
                    assert!(achieved >= asked);
                    asked.as_micros()
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(asked, [10, 20, 40, 80, 100, 100]);
        idle.idle(1, &mut counted);
        counted.rests.clear();
        idle.idle(0, &mut counted);
        assert_eq!(counted.rests, [], "after work it spins again");
    }

    #[test]
    fn the_longest_sleep_ends_with_the_grace() {
        let grace = Duration::from_millis(50);
        let mut counted = Counted { ends: Some(Instant::now() + grace), ..Counted::new() };
        Idle::new("sleep:1440m".parse().unwrap()).idle(0, &mut counted);
        assert!(
            matches!(counted.rests[..], [Rest::Slept(asked, _)] if asked <= grace),
            "{:?}",
            counted.rests
        );
    }

    #[test]
    fn park_wakes_for_a_deadline() {
        let mut counted = Counted::new();
        let mut idle = Idle::new(IdleStrategy::Park);
        while counted.rests.is_empty() {
            idle.idle(0, &mut counted);
        }
        assert!(matches!(counted.rests[..], [Rest::Parked(slept, 0)] if slept >= Duration::from_micros(900)));
    }
}
