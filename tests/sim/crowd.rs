//! Thousands of clients at once: crowds that come and go beside many who are silent.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use wouldblock::access_log::AccessLog;
use wouldblock::config::{Config, Sweep};
use wouldblock::http::{CloseReason, Phase};
use wouldblock::net::{HOT_FOR, Worker, question_every};
use wouldblock::server::Server;

use super::rng::Rng;
use super::site::{Kind, SimSite};
use super::turns::Turns;
use super::wire::{Door, Faults, Shared, Tally, wire};
use super::world::signals;

const KIND: Faults = Faults {
    would_block: 0,
    interrupted: 0,
    short: 0,
    send_buffer: 1_000_000,
    sends_files: true,
    knows_acknowledged: true,
};

/// Time between two sweeps.
const SWEEP: Duration = Duration::from_micros(100);

struct Crowd {
    server: Server<'static, Door>,
    queue: Rc<RefCell<VecDeque<Shared>>>,
    tally: Rc<Tally>,
    now: Instant,
    turns: Turns,
    count: usize,
}

impl Crowd {
    fn new(sweep: Sweep) -> Self {
        let queue = Rc::default();
        let door = Door { queue: Rc::clone(&queue), rng: Rng::new(0), would_block: 0, closed: false };
        let config = Config { sweep, ..Config::default() };
        let site = SimSite::new(Rng::new(0), 0);
        let worker = Worker::new(Box::new(site), config.limits.clone(), AccessLog::off());
        let server = Server::new(door, worker, &config, signals());
        let now = Instant::now();
        Self { server, queue, tally: Rc::default(), now, turns: Turns::new(now), count: 0 }
    }

    fn arrive(&mut self) -> Shared {
        self.count += 1;
        let shared = wire(self.count, Rng::new(self.count as u64), KIND, &self.tally);
        self.queue.borrow_mut().push_back(Rc::clone(&shared));
        shared
    }

    fn sweep(&mut self) {
        self.now += SWEEP;
        self.tally.moment.set(self.turns.begin(self.count, self.now));
        let work = self.server.sweep(self.now);
        self.turns.end(work, self.server.stats());
    }

    fn let_in(&mut self, count: usize) -> Vec<Shared> {
        let all: Vec<_> = (0..count).map(|_| self.arrive()).collect();
        while self.server.roster().len() < count {
            self.sweep();
        }
        all
    }
}

fn ask(wire: &Shared, id: u64) {
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", Kind::Memory(100).target(id));
    wire.borrow_mut().send(request.as_bytes());
}

fn answers(wire: &Shared) -> usize {
    let mut got = Vec::new();
    wire.borrow_mut().take(usize::MAX, &mut got);
    got.windows(9).filter(|nine| nine == b"HTTP/1.1 ").count()
}

/// Whoever leaves is replaced, and whoever comes takes somebody's place: that must not move one of the quiet from
/// before the cursor to behind it, again and again.
#[test]
fn comings_and_goings_do_not_make_the_quiet_wait_longer_than_promised() {
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let mut crowd = Crowd::new(Sweep::Hot);
        let quiet = crowd.let_in(if rng.one_in(2) { rng.between(1, 130) } else { rng.between(130, 1500) });
        crowd.now += HOT_FOR;
        crowd.sweep();
        let most = rng.between(1, 64);
        let steady = rng.one_in(2);
        let stay = rng.between(1, 4);
        let mut visiting: VecDeque<Vec<Shared>> = VecDeque::new();
        for _ in 0..200 {
            let visitors = if steady { most } else { rng.between(0, most) };
            visiting.push_back((0..visitors).map(|_| crowd.arrive()).collect());
            for visitor in visiting.back().unwrap() {
                ask(visitor, 1);
            }
            if visiting.len() > stay {
                for visitor in visiting.pop_front().unwrap() {
                    assert_eq!(answers(&visitor), 1);
                    visitor.borrow_mut().half_close();
                }
            }
            crowd.sweep();
            let moment = crowd.tally.moment.get();
            for wire in &quiet {
                let last = wire.borrow().last_try;
                let late = moment.is_too_late(last, Sweep::Hot, crowd.count);
                assert!(!late, "seed {seed}: waits since {last:?}: {moment:?}");
            }
        }
        assert_eq!(crowd.server.stats().clients_total, crowd.count as u64);
    }
}

#[test]
fn ten_thousand_clients_are_all_answered_and_all_leave_by_their_deadlines() {
    const COUNT: usize = 10_000;
    let two_rounds = (question_every(COUNT) * 2 * COUNT as u32).div_duration_f64(SWEEP) as usize + 2;
    for sweep in [Sweep::Full, Sweep::Hot] {
        let mut crowd = Crowd::new(sweep);
        let all = crowd.let_in(COUNT);
        for (number, wire) in all.iter().enumerate() {
            match number % 3 {
                0 => {}                                             // silent
                1 => wire.borrow_mut().send(b"GET / HTTP/1.1\r\n"), // never ends
                _ => ask(wire, number as u64),
            }
        }
        for _ in 0..two_rounds {
            crowd.sweep();
        }
        let answered = all.iter().filter(|wire| answers(wire) == 1).count();
        assert_eq!((answered, crowd.server.stats().requests()), (COUNT / 3, COUNT as u64 / 3));
        let idle = crowd.server.roster().iter().filter(|client| client.connection().phase() == Phase::Idle);
        assert_eq!(idle.count(), COUNT - COUNT / 3);

        // Twelve seconds later those who never end their request have been told so, and have gone; a minute later
        // so have the silent.
        for (seconds, left) in [(10, COUNT), (2, COUNT - COUNT / 3), (50, 0)] {
            crowd.now += Duration::from_secs(seconds);
            for _ in 0..two_rounds {
                crowd.sweep();
            }
            assert_eq!(crowd.server.roster().len(), left, "{sweep}");
        }
        let closed = crowd.server.stats().closed;
        assert_eq!(closed[CloseReason::RequestTimeout.index()], COUNT as u64 / 3);
        assert_eq!(closed[CloseReason::IdleTimeout.index()], (COUNT - COUNT / 3) as u64);
    }
}
