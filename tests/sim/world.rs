//! One seed is one world: a whole server, its peers, a clock, and the laws that hold after every sweep.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use wouldblock::access_log::AccessLog;
use wouldblock::config::{Config, Sweep};
use wouldblock::http::{CloseReason, Limits};
use wouldblock::net::Worker;
use wouldblock::server::Server;
use wouldblock::signals::Signals;

use super::peer::Peer;
use super::rng::Rng;
use super::site::SimSite;
use super::turns::Turns;
use super::wire::{Door, Faults, Shared, Tally, wire};

/// Longer than any limit: whoever is not gone after it, never will be.
const EVER: Duration = Duration::from_secs(400);

/// Sweeps in which a server without hurry must have answered everybody.
const PATIENCE: usize = 200_000;

/// What kind of world a seed makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Weather {
    /// No deadline is ever near: everybody must get everything.
    Calm,
    /// The clock jumps over deadlines: what is delivered must still be right, and nobody may overstay.
    Stormy,
    /// The server is told to stop in the middle: nothing may be cut short.
    Stopped,
}

pub(super) struct World {
    server: Server<'static, Door>,
    queue: Rc<RefCell<VecDeque<Shared>>>,
    tally: Rc<Tally>,
    peers: Vec<Peer>,
    arrivals: Vec<usize>,
    rng: Rng,
    now: Instant,
    turns: Turns,
    sweep: Sweep,
    weather: Weather,
    max_connections: usize,
    most_clients: usize,
}

/// Runs one world; panics if a law is broken. Returns its history as one number.
pub(super) fn run(seed: u64, aloud: bool) -> u64 {
    let mut world = World::new(seed, aloud);
    let steps = world.rng.between(20, 400);
    let stop_at = (world.weather == Weather::Stopped).then(|| world.rng.below(steps));
    for step in 0..steps {
        if stop_at == Some(step) {
            break;
        }
        world.let_arrive(step, steps);
        world.step();
    }
    match world.weather {
        Weather::Calm => world.serve_everybody(),
        Weather::Stormy => {}
        Weather::Stopped => world.stop(),
    }
    world.end()
}

impl World {
    fn new(seed: u64, aloud: bool) -> Self {
        let mut rng = Rng::new(seed);
        let weather = rng.pick(&[Weather::Calm, Weather::Calm, Weather::Stormy, Weather::Stopped]);
        let sweep = rng.pick(&[Sweep::Full, Sweep::Hot]);
        let count = if rng.one_in(100) { rng.between(30, 150) } else { rng.between(1, 9) };
        let max_connections = if rng.one_in(4) { rng.between(1, count) } else { 65_536 };
        let limits = if weather == Weather::Stormy { Limits::default() } else { patient() };
        let tally = Rc::new(Tally { aloud, ..Tally::default() });
        let queue = Rc::default();
        let door = Door {
            queue: Rc::clone(&queue),
            rng: rng.fork(),
            would_block: rng.pick(&[0, 30, 200]),
            closed: false,
        };
        let site = SimSite::new(rng.fork(), rng.pick(&[0, 0, 20, 128]));
        let config = Config { sweep, limits: limits.clone(), max_connections, ..Config::default() };
        let worker = Worker::new(Box::new(site), limits, AccessLog::off());
        let server = Server::new(door, worker, &config, signals());
        let now = Instant::now(); // where a run begins is chance; all that counts is what is added to it
        let peers = (0..count)
            .map(|number| {
                let faults = Faults {
                    would_block: rng.pick(&[0, 0, 60, 180]),
                    interrupted: rng.pick(&[0, 0, 30]),
                    short: rng.pick(&[0, 0, 60, 256]),
                    send_buffer: rng.pick(&[1, 100, 5000, 200_000, 4_000_000]),
                    sends_files: rng.one_in(2),
                    knows_acknowledged: rng.one_in(2),
                };
                let shared = wire(number, rng.fork(), faults, &tally);
                Peer::new(number, shared, rng.fork(), now)
            })
            .collect();
        if aloud {
            eprintln!("{weather:?}, sweep {sweep}, {count} peers, at most {max_connections}");
        }
        Self {
            server,
            queue,
            tally,
            peers,
            arrivals: (0..count).rev().collect(),
            rng,
            now,
            turns: Turns::new(now),
            sweep,
            weather,
            max_connections,
            most_clients: 0,
        }
    }

    /// Somebody new may come; by the last step everybody has.
    fn let_arrive(&mut self, step: usize, steps: usize) {
        while !self.arrivals.is_empty()
            && (self.rng.one_in(1 + (steps - step) / (2 * self.arrivals.len())) || step + 1 == steps)
        {
            if let Some(number) = self.arrivals.pop() {
                self.queue.borrow_mut().push_back(Rc::clone(&self.peers[number].wire));
            }
        }
    }

    /// Time passes, everybody acts, the server sweeps, the laws are checked.
    fn step(&mut self) {
        self.now += match self.rng.below(64) {
            0 => Duration::from_millis(self.rng.between(1, 30) as u64),
            1 if self.weather == Weather::Stormy => Duration::from_secs(self.rng.between(1, 70) as u64),
            _ => Duration::from_micros(self.rng.between(0, 150) as u64),
        };
        for peer in &mut self.peers {
            peer.act(self.now);
        }
        self.sweep();
    }

    fn sweep(&mut self) {
        self.tally.moment.set(self.turns.begin(self.most_clients, self.now));
        let work = self.server.sweep(self.now);
        self.turns.end(work, self.server.stats());
        self.check_counters();
        self.check_turns();
    }

    /// Counters add up, and agree with what the network saw.
    fn check_counters(&mut self) {
        let stats = *self.server.stats();
        let tally = &self.tally;
        let clients = self.server.roster().len();
        assert!(clients <= self.max_connections, "{clients} clients");
        assert_eq!(stats.clients_now as usize, clients);
        assert_eq!(stats.closed.iter().sum::<u64>() + stats.clients_now, stats.clients_total);
        assert_eq!(stats.clients_total, stats.accepts - stats.accept_would_blocks);
        assert_eq!(stats.sweeps, tally.moment.get().sweeps);
        assert_eq!(
            (stats.reads, stats.read_would_blocks, stats.bytes_in),
            (tally.reads.get(), tally.read_would_blocks.get(), tally.bytes_in.get())
        );
        assert_eq!(
            (stats.write_would_blocks, stats.bytes_out),
            (tally.write_would_blocks.get(), tally.bytes_out.get())
        );
        // Where the disk fails, the attempt has been counted and the socket is never asked.
        let disk_faults = stats.closed[CloseReason::BodyTruncated.index()]
            + stats.closed[CloseReason::Transport(ErrorKind::Other).index()];
        assert!((tally.writes.get()..=tally.writes.get() + disk_faults).contains(&stats.writes));
        self.most_clients = self.most_clients.max(clients);
    }

    /// Nobody waits for a turn longer than promised, and nobody outlives a deadline by more than that.
    fn check_turns(&self) {
        let moment = self.tally.moment.get();
        for client in self.server.roster().iter() {
            let mut wire = client.stream().0.borrow_mut();
            let full = client.is_full(self.now);
            if client.interest().is_none() || full {
                // The service or the disk was asked, not the socket; or it was full a moment ago and is left alone.
                wire.last_try = moment;
            }
            let late = |last| moment.is_too_late(last, self.sweep, self.most_clients);
            assert!(!late(wire.last_try), "{} waits since {:?}: {moment:?}", client.peer(), wire.last_try);
            let is_overdue = client.connection().deadline() <= self.now && !full;
            wire.overdue = wire.overdue.or(Some(moment)).filter(|_| is_overdue);
            let overstays = wire.overdue.is_some_and(late);
            assert!(!overstays, "{} overstays: {:?}", client.peer(), client.connection());
        }
    }

    /// Calm: everybody hurries until everybody has everything.
    fn serve_everybody(&mut self) {
        for peer in &mut self.peers {
            peer.hurry();
        }
        for _ in 0..PATIENCE {
            if self.peers.iter().all(Peer::is_done) {
                break;
            }
            self.step();
            for peer in &mut self.peers {
                peer.hurry();
            }
        }
        for peer in &self.peers {
            peer.assert_served();
        }
    }

    /// Told to stop: every answer begun is finished, and everybody leaves.
    fn stop(&mut self) {
        self.server.stop(self.now);
        for _ in 0..PATIENCE {
            if self.server.is_empty() {
                break;
            }
            for peer in &mut self.peers {
                peer.hurry();
            }
            self.step();
        }
        assert!(self.server.is_empty(), "{} are still there", self.server.roster().len());
        for peer in &mut self.peers {
            peer.take_all();
            peer.assert_whole_answers();
        }
    }

    /// Everybody falls silent; whoever is still there must be shown the door by his deadlines.
    fn end(mut self) -> u64 {
        for peer in &mut self.peers {
            peer.fall_silent();
        }
        let limits = if self.weather == Weather::Stormy { EVER } else { EVER * 1_000_000 };
        // In a small house they come one after another, and each has a time of his own.
        for _ in 0..10 * self.peers.len() {
            self.now += limits / 10;
            for _ in 0..10 {
                if !self.server.is_empty() {
                    self.sweep_patiently();
                }
            }
            if self.server.is_empty() {
                break;
            }
        }
        assert!(self.server.is_empty(), "{} overstay", self.server.roster().len());
        let history = self.tally.history.get();
        let stats = self.server.finish();
        assert_eq!((stats.clients_now, stats.closed.iter().sum()), (0, stats.clients_total));
        history
    }

    /// A would-block by chance must not look like a client that overstays.
    fn sweep_patiently(&mut self) {
        for _ in 0..40 {
            self.now += Duration::from_micros(100);
            self.sweep();
        }
    }
}

/// Limits that no run comes near.
fn patient() -> Limits {
    let long = Duration::from_secs(1_000_000);
    Limits {
        header_timeout: long,
        idle_timeout: long,
        write_timeout: long,
        linger_timeout: long,
        min_rate: 0,
        ..Limits::default()
    }
}

/// No signal ever comes; all servers share it.
pub(super) fn signals() -> &'static Signals {
    static SIGNALS: OnceLock<Signals> = OnceLock::new();
    SIGNALS.get_or_init(|| Signals::none().unwrap())
}
