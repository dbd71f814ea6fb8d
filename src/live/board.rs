//! The board between the loop and its readers: plain data under one lock that two sides touch a few times a second.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::silent::Silent;
use crate::config::Sweep;
use crate::http::{Connection, Phase};
use crate::idle::IdleStrategy;
use crate::stats::Stats;

/// How often the loop writes while somebody looks: fast enough for a page that asks four times a second.
const WATCHED: Duration = Duration::from_millis(100);
/// How often it writes while nobody does: only the history, four comparisons and one copy a second.
const UNWATCHED: Duration = Duration::from_millis(250);
/// How long after the last look the loop goes on describing its clients.
const ATTENTION: Duration = Duration::from_secs(10);
/// One sample a second, kept for a minute: a page that is opened late or reloaded still has a chart.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
const SAMPLES: usize = 61;
/// Most clients described one by one. More would make the answer itself the load that is being watched.
pub(super) const CELLS: usize = 400;
/// Most steps kept of a recorded sweep.
const STEPS: usize = 512;

/// Where a client's connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CellState {
    /// Between two requests, or before the first: nothing is buffered.
    Idle,
    /// Part of a request head has come.
    Head,
    /// A request body is being read past.
    Body,
    /// An answer is owed or under way.
    Write,
    /// The last answer is out; what still comes is read and discarded before the close.
    Drain,
}

impl CellState {
    /// What there is to see of a connection.
    pub fn of(connection: &Connection) -> Self {
        match connection.phase() {
            Phase::Shutdown | Phase::Linger | Phase::Closed if !connection.has_output() => Self::Drain,
            _ if connection.has_output() => Self::Write,
            Phase::Idle => Self::Idle,
            Phase::Head => Self::Head,
            Phase::Body => Self::Body,
            Phase::Answer | Phase::Shutdown | Phase::Linger | Phase::Closed => Self::Write,
        }
    }

    /// One letter for pages and text: I, H, B, W, D.
    pub const fn letter(self) -> char {
        match self {
            Self::Idle => 'I',
            Self::Head => 'H',
            Self::Body => 'B',
            Self::Write => 'W',
            Self::Drain => 'D',
        }
    }
}

/// One client as the loop sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    /// A number that no other client of this server has or had.
    pub id: u64,
    /// The peer's port; 0 for a Unix socket.
    pub port: u16,
    /// Where its connection stands.
    pub state: CellState,
    /// Whether it is tried in every sweep, or in slices.
    pub hot: bool,
    /// Since it was accepted.
    pub age: Duration,
    /// Since something was last read from it or written to it.
    pub quiet: Duration,
    /// Octets read.
    pub bytes_in: u64,
    /// Octets written.
    pub bytes_out: u64,
    /// Requests answered.
    pub requests: u64,
}

/// The counters at one instant.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Since the server started.
    pub at: Duration,
    /// A copy.
    pub stats: Stats,
}

/// How the loop runs at the moment; the loop says so whenever it writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The idle strategy.
    pub idle: IdleStrategy,
    /// The sweep.
    pub sweep: Sweep,
    /// Most octets per read; `None` is the ordinary buffer.
    pub read_limit: Option<NonZeroUsize>,
}

/// What a reader asked the loop to change. Fields that are `None` stay as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Controls {
    /// An idle strategy that sleeps at most a second.
    pub idle: Option<IdleStrategy>,
    /// The sweep.
    pub sweep: Option<Sweep>,
    /// Most octets per read; `Some(None)` takes the handicap away.
    pub read_limit: Option<Option<NonZeroUsize>>,
    /// Record the next sweep.
    pub record: bool,
}

impl Controls {
    /// Adds a later wish; what it says replaces what was said before.
    pub(super) fn merge(&mut self, later: Self) {
        self.idle = later.idle.or(self.idle);
        self.sweep = later.sweep.or(self.sweep);
        self.read_limit = later.read_limit.or(self.read_limit);
        self.record |= later.record;
    }
}

/// What was tried in one step of a recorded sweep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// `accept` on the listener.
    Accept,
    /// One poll(2) for a slice of the quiet.
    Poll,
    /// A client's turn.
    Turn,
}

/// One step of a recorded sweep: who, from when to when, and what it did, as a difference of the counters.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What was tried.
    pub call: Call,
    /// The client's [`Cell::id`]; 0 for `accept`.
    pub id: u64,
    /// Nanoseconds after the beginning of the sweep.
    pub from_ns: u64,
    /// Likewise.
    pub to_ns: u64,
    /// Attempts in this step, and those that would have blocked.
    pub attempts: u64,
    /// See `attempts`.
    pub would_blocks: u64,
    /// Octets read.
    pub bytes_in: u64,
    /// Octets written.
    pub bytes_out: u64,
}

/// One real sweep with the time of every step. Reading the clock around each step is part of what it shows.
#[derive(Clone, Debug, Default)]
pub struct SweepRecord {
    /// [`Stats::sweeps`] before it: which sweep this was.
    pub number: u64,
    /// The steps in order; at most 512 are kept.
    pub steps: Vec<Step>,
    /// Steps beyond those kept.
    pub more: u64,
}

impl SweepRecord {
    /// Begins the record of a sweep.
    pub const fn new(number: u64) -> Self {
        Self { number, steps: Vec::new(), more: 0 }
    }

    /// Adds a step that ran from `from` to `to` in a sweep that `began`; `before` and `after` are the counters
    /// on both sides of it.
    pub fn push(
        &mut self,
        (call, id): (Call, u64),
        [began, from, to]: [Instant; 3],
        [before, after]: [&Stats; 2],
    ) {
        if self.steps.len() >= STEPS {
            self.more += 1;
            return;
        }
        let since = |at: Instant| u64::try_from((at - began).as_nanos()).unwrap_or(u64::MAX);
        self.steps.push(Step {
            call,
            id,
            from_ns: since(from),
            to_ns: since(to),
            attempts: after.attempts() - before.attempts(),
            would_blocks: after.would_blocks() - before.would_blocks(),
            bytes_in: after.bytes_in - before.bytes_in,
            bytes_out: after.bytes_out - before.bytes_out,
        });
    }
}

/// What is on the board. Written by the loop's [`Observer`] and by [`super::Live`], read by `Live`.
#[derive(Debug)]
pub(super) struct State {
    pub(super) started: Instant,
    pub(super) settings: Settings,
    pub(super) cells: Vec<Cell>,
    /// Clients beyond those described.
    pub(super) cells_more: u64,
    pub(super) history: VecDeque<Sample>,
    pub(super) record: Option<SweepRecord>,
    pub(super) watched_until: Option<Instant>,
    pub(super) controls: Option<Controls>,
    pub(super) silent_wanted: usize,
    pub(super) silent_until: Option<Instant>,
    /// The local ports of the silent connections that are open.
    pub(super) silent_ports: Vec<u16>,
}

/// The board. One per server; shared by its loop and its service.
#[derive(Debug)]
pub struct Board(Mutex<State>);

impl Board {
    /// An empty board of a server that started `now` with these settings.
    pub fn new(now: Instant, settings: Settings) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            started: now,
            settings,
            cells: Vec::new(),
            cells_more: 0,
            history: VecDeque::with_capacity(SAMPLES),
            record: None,
            watched_until: None,
            controls: None,
            silent_wanted: 0,
            silent_until: None,
            silent_ports: Vec::new(),
        })))
    }

    /// The state. A panic elsewhere cannot leave it half-written in a way that matters: every field stands alone.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody looked: the loop describes its clients for the next ten seconds.
    pub(super) fn watch(&self, now: Instant) {
        self.state().watched_until = Some(now + ATTENTION);
    }
}

/// The loop's end of the board.
#[derive(Debug)]
pub struct Observer {
    board: Arc<Board>,
    due: Instant,
    silent: Silent,
}

impl Observer {
    /// For the loop that serves `address`; silent connections are opened to it.
    pub fn new(board: Arc<Board>, address: Option<SocketAddr>, now: Instant) -> Self {
        Self { board, due: now, silent: Silent::new(address) }
    }

    /// The one question per sweep: whether [`Observer::observe`] is to be called now.
    #[inline]
    pub fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// Writes what there is to see and returns what a reader asked to change. `cells` is called only while
    /// somebody looks; `settings` say how the loop runs now.
    ///
    /// Opens or drops silent connections too, a bounded number per call.
    pub fn observe<I>(
        &mut self,
        now: Instant,
        stats: &Stats,
        settings: impl FnOnce() -> Settings,
        cells: impl FnOnce() -> I,
    ) -> Option<Controls>
    where
        I: IntoIterator<Item = Cell>,
    {
        let mut state = self.board.state();
        let state = &mut *state;
        let at = now.saturating_duration_since(state.started);
        if state.history.back().is_none_or(|last| at.saturating_sub(last.at) >= SAMPLE_EVERY) {
            if state.history.len() == SAMPLES {
                state.history.pop_front();
            }
            state.history.push_back(Sample { at, stats: *stats });
        }
        if state.silent_until.is_some_and(|until| now >= until) {
            state.silent_wanted = 0;
            state.silent_until = None;
        }
        self.silent.tend(state.silent_wanted, &mut state.silent_ports);
        let watched = state.watched_until.is_some_and(|until| now < until);
        self.due = now + if watched { WATCHED } else { UNWATCHED };
        state.settings = settings();
        if watched {
            state.cells.clear();
            let mut cells = cells().into_iter();
            state.cells.extend(cells.by_ref().take(CELLS));
            state.cells_more = cells.count() as u64;
        }
        let controls = state.controls.take();
        if controls.is_some() {
            // What a reader changed is to be seen at the next look, not a quarter of a second later.
            self.due = now;
        }
        controls
    }

    /// Puts a recorded sweep on the board, in place of the last one.
    pub fn recorded(&self, record: SweepRecord) {
        self.board.state().record = Some(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings { idle: IdleStrategy::Spin, sweep: Sweep::Full, read_limit: None }
    }

    fn cell(id: u64) -> Cell {
        Cell {
            id,
            port: 40_000,
            state: CellState::Idle,
            hot: true,
            age: Duration::ZERO,
            quiet: Duration::ZERO,
            bytes_in: 0,
            bytes_out: 0,
            requests: 0,
        }
    }

    #[test]
    fn clients_are_described_only_while_somebody_looks() {
        let now = Instant::now();
        let board = Board::new(now, settings());
        let mut observer = Observer::new(Arc::clone(&board), None, now);
        let unwatched = || -> [Cell; 0] { panic!("nobody looks") };
        assert_eq!(observer.observe(now, &Stats::default(), settings, unwatched), None);

        board.watch(now);
        observer.observe(now, &Stats::default(), settings, || [cell(7)]);
        assert_eq!(board.state().cells, [cell(7)]);

        let later = now + ATTENTION;
        observer.observe(later, &Stats::default(), settings, unwatched);
    }

    #[test]
    fn a_described_crowd_is_cut_and_the_rest_counted() {
        let now = Instant::now();
        let board = Board::new(now, settings());
        let mut observer = Observer::new(Arc::clone(&board), None, now);
        board.watch(now);
        observer.observe(now, &Stats::default(), settings, || (0..CELLS as u64 + 5).map(cell));
        let state = board.state();
        assert_eq!((state.cells.len(), state.cells_more), (CELLS, 5));
    }

    #[test]
    fn the_history_is_one_sample_a_second_for_a_minute() {
        let now = Instant::now();
        let board = Board::new(now, settings());
        let mut observer = Observer::new(Arc::clone(&board), None, now);
        for quarter in 0..4 * 200 {
            let at = now + UNWATCHED * quarter;
            assert!(observer.is_due(at));
            observer.observe(at, &Stats::default(), settings, || []);
            assert!(!observer.is_due(at));
        }
        let state = board.state();
        assert_eq!(state.history.len(), SAMPLES);
        assert!(
            state
                .history
                .iter()
                .zip(state.history.iter().skip(1))
                .all(|(one, next)| next.at - one.at == SAMPLE_EVERY)
        );
        assert_eq!(state.history.back().map(|last| last.at), Some(Duration::from_secs(199)));
    }

    #[test]
    fn controls_reach_the_loop_once() {
        let now = Instant::now();
        let board = Board::new(now, settings());
        let mut observer = Observer::new(Arc::clone(&board), None, now);
        let wish = Controls { sweep: Some(Sweep::Hot), ..Controls::default() };
        board.state().controls = Some(wish);
        assert_eq!(observer.observe(now, &Stats::default(), settings, || []), Some(wish));
        assert_eq!(observer.observe(now, &Stats::default(), settings, || []), None);
    }

    #[test]
    fn a_recorded_step_is_a_difference_of_counters() {
        let began = Instant::now();
        let before = Stats { reads: 10, read_would_blocks: 4, bytes_in: 100, ..Stats::default() };
        let after = Stats { reads: 11, read_would_blocks: 5, bytes_in: 100, ..Stats::default() };
        let mut record = SweepRecord::new(3);
        let times = [began, began + Duration::from_nanos(20), began + Duration::from_nanos(150)];
        record.push((Call::Turn, 9), times, [&before, &after]);
        let step = record.steps[0];
        assert_eq!((step.from_ns, step.to_ns), (20, 150));
        assert_eq!((step.attempts, step.would_blocks, step.bytes_in), (1, 1, 0));
        for _ in 0..STEPS {
            record.push((Call::Turn, 9), times, [&before, &after]);
        }
        assert_eq!((record.steps.len(), record.more), (STEPS, 1));
    }
}
