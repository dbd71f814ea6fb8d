//! One fruitless sweep over N silent connections, and what the models that ask the kernel pay for the same news:
//! nobody has said anything. Real sockets, all of them.
//!
//! The cost model says that a full sweep takes a + N·r; the line through the measured points is printed at the end.

mod common;

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use common::samples::{Line, Samples, show};
use common::silent::{Silent, SilentSockets};
use wouldblock::access_log::AccessLog;
use wouldblock::config::{Config, Sweep};
use wouldblock::http::{Request, Status};
use wouldblock::net::{Address, Listener, Worker};
use wouldblock::server::Server;
use wouldblock::service::{Content, Context, Response, Service};
use wouldblock::signals::Signals;

const SIZES: [usize; 6] = [0, 1, 10, 100, 1_000, 10_000];

/// select(2) has a bit for each of so many descriptors and none for others.
const FD_SETSIZE: usize = 1024;

/// Nobody is put out for being silent.
const FOREVER: Duration = Duration::from_secs(3600);

fn main() {
    if common::was_holder() {
        return;
    }
    let mut criterion = common::criterion();
    let samples = Samples::default();
    sweeps(&mut criterion, &samples);
    idle_turns(&mut criterion, &samples);
    criterion.final_summary();
    if !common::is_trial() {
        print_lines(&samples);
    }
}

/// The loop's own sweep, clock reading included, after everybody has cooled down.
fn sweeps(criterion: &mut Criterion, samples: &Samples) {
    let mut group = criterion.benchmark_group("idle sweep");
    for sweep in [Sweep::Full, Sweep::Hot] {
        for size in SIZES {
            if !common::has_room_for(size) {
                continue;
            }
            let name = sweep.to_string();
            let mut house = None;
            group.bench_function(BenchmarkId::new(&name, size), |b| {
                let house = house.get_or_insert_with(|| House::with_silent_clients(sweep, size));
                samples.iter(b, &name, size, || house.server.sweep(Instant::now()));
                assert_eq!(house.server.roster().len(), size, "nobody left while being measured");
            });
        }
    }
    group.finish();
}

/// The waiting call of each model with a timeout of zero. The models also build their lists and look through the
/// deadlines before each call; "poll, list built anew" shows what the list adds.
fn idle_turns(criterion: &mut Criterion, samples: &Samples) {
    let mut group = criterion.benchmark_group("idle turn");
    for size in SIZES {
        if !common::has_room_for(size) {
            continue;
        }
        let mut silent = None;
        group.bench_function(BenchmarkId::new("select", size), |b| {
            let silent = silent.get_or_insert_with(|| SilentSockets::new(size));
            select(b, silent, samples, size);
        });
        group.bench_function(BenchmarkId::new("poll", size), |b| {
            let silent = silent.get_or_insert_with(|| SilentSockets::new(size));
            let mut watched = list(silent);
            samples.iter(b, "poll", size, || poll(&mut watched, Some(&Timespec::default())));
        });
        group.bench_function(BenchmarkId::new("poll, list built anew", size), |b| {
            let silent = silent.get_or_insert_with(|| SilentSockets::new(size));
            samples.iter(b, "poll, list built anew", size, || {
                poll(&mut list(silent), Some(&Timespec::default()))
            });
        });
        #[cfg(target_os = "linux")]
        group.bench_function(BenchmarkId::new("epoll", size), |b| {
            let silent = silent.get_or_insert_with(|| SilentSockets::new(size));
            epoll(b, silent, samples, size);
        });
    }
    group.finish();
}

fn list(silent: &SilentSockets) -> Vec<PollFd<'_>> {
    silent.sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect()
}

type Bencher<'a> = criterion::Bencher<'a, criterion::measurement::WallTime>;

/// The set is filled anew for each call, because the call empties it: that is part of the price.
fn select(b: &mut Bencher<'_>, silent: &SilentSockets, samples: &Samples, size: usize) {
    use nix::sys::select::{FdSet, select};
    use nix::sys::time::TimeVal;
    // Whoever has no bit cannot be asked about: measured is what select(2) can do.
    let asked: Vec<_> =
        silent.sockets.iter().filter(|socket| (socket.as_raw_fd() as usize) < FD_SETSIZE).collect();
    if asked.len() < size {
        println!("select: {} of {size} connections have a bit in its set; asked about those", asked.len());
    }
    let highest = asked.iter().map(|socket| socket.as_raw_fd() + 1).max().unwrap_or(0);
    samples.iter(b, "select", asked.len(), || {
        let mut readable = FdSet::new();
        for socket in &asked {
            readable.insert(socket.as_fd());
        }
        select(highest, &mut readable, None, None, &mut TimeVal::new(0, 0))
    });
}

#[cfg(target_os = "linux")]
fn epoll(b: &mut Bencher<'_>, silent: &SilentSockets, samples: &Samples, size: usize) {
    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("an epoll");
    for (i, socket) in silent.sockets.iter().enumerate() {
        epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, i as u64)).expect("a socket can be watched");
    }
    let mut events = [EpollEvent::empty(); 256];
    samples.iter(b, "epoll", size, || epoll.wait(&mut events, EpollTimeout::ZERO));
}

/// Our server with silent clients in it, in this thread.
struct House {
    server: Server<'static>,
    _holder: Silent,
}

impl House {
    fn with_silent_clients(sweep: Sweep, count: usize) -> Self {
        let mut config = Config { sweep, ..Config::default() };
        config.limits.idle_timeout = FOREVER;
        let listener = Listener::bind(&[Address::Ip(SocketAddr::from(([127, 0, 0, 1], 0)))])
            .expect("loopback has a free port");
        let Some(Address::Ip(address)) = listener.addresses().pop() else { panic!("bound to IP") };
        let worker = Worker::new(Box::new(Nobody), config.limits.clone(), AccessLog::off());
        let signals = Box::leak(Box::new(Signals::none().expect("two descriptors")));
        let mut server = Server::new(listener, worker, &config, signals);
        let mut holder = Silent::start(address, count);
        while server.roster().len() < count {
            server.sweep(Instant::now());
        }
        assert_eq!(holder.held(), count, "all connections were made");
        // Newcomers are hot for a while; then the sweep is what a sweep over silent clients is.
        let cool = Instant::now() + 2 * wouldblock::net::HOT_FOR;
        while sweep == Sweep::Hot && server.roster().hot() > 0 || Instant::now() < cool {
            server.sweep(Instant::now());
        }
        Self { server, _holder: holder }
    }
}

/// Is never asked: all clients are silent.
struct Nobody;

impl Service for Nobody {
    fn respond(&mut self, _: &Request<'_>, _: &Context<'_>) -> Option<Response> {
        Some(self.refuse(Status::NOT_FOUND, ""))
    }

    fn refuse(&mut self, status: Status, _: &str) -> Response {
        Response { status, fields: Arc::from([]), content: Content::Empty }
    }
}

fn print_lines(samples: &Samples) {
    println!("\nOne fruitless look at N silent connections takes a + N·r:\n");
    println!("| way | a | r | R² | at N = 10,000 |\n| --- | --- | --- | --- | --- |");
    for way in ["full", "hot", "select", "poll", "poll, list built anew", "epoll"] {
        let points = samples.series(way);
        let Some(line) = Line::through(&points) else { continue };
        let measured =
            points.iter().find(|(n, _)| *n == 10_000.0).map_or_else(|| "–".to_owned(), |(_, y)| show(*y));
        println!("| {way} | {} | {} | {:.4} | {measured} |", show(line.a), show(line.r), line.r2);
    }
    println!(
        "\n`hot` asks a bounded slice of the quiet and epoll is told: neither is a line in N, and R² says so.\n"
    );
}
