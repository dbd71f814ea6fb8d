//! The price of one call that gets nowhere, and of the ways to wait: what every figure of the cost model is made of.

mod common;

use std::hint::black_box;
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use common::samples::{Samples, show};
use common::silent::SilentSockets;

/// Sockets over which poll(2) and epoll_wait(2) are asked.
const SIZES: [usize; 6] = [0, 1, 10, 100, 1_000, 10_000];

fn main() {
    if common::was_holder() {
        return;
    }
    let mut criterion = common::criterion();
    calls(&mut criterion);
    asking_the_kernel(&mut criterion);
    waiting(&mut criterion);
    criterion.final_summary();
}

/// Single calls. "system call" is the floor: a call that does nothing in the kernel.
fn calls(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attempt");
    group.bench_function("clock", |b| b.iter(Instant::now));
    group.bench_function("system call", |b| b.iter(rustix::process::getppid));

    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.set_nonblocking(true).expect("sockets can be nonblocking");
    group.bench_function("accept that would block", |b| {
        b.iter(|| assert!(listener.accept().is_err(), "nobody connects here"));
    });

    let mut silent = SilentSockets::new(1);
    let mut buffer = [0; wouldblock::http::READ_SIZE];
    group.bench_function("read that would block", |b| {
        let socket = &mut silent.sockets[0];
        b.iter(|| assert!(socket.read(black_box(&mut buffer)).is_err(), "the other end is silent"));
    });
    group.bench_function("yield", |b| b.iter(std::thread::yield_now));
    group.finish();
}

/// poll(2) looks at every socket; epoll_wait(2) at a list that is empty. Both with a timeout of zero.
fn asking_the_kernel(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("nothing ready");
    for size in SIZES {
        if !common::has_room_for(size) {
            continue;
        }
        let mut silent = None;
        group.bench_function(BenchmarkId::new("poll", size), |b| {
            let silent = silent.get_or_insert_with(|| SilentSockets::new(size));
            let mut watched: Vec<_> =
                silent.sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
            b.iter(|| assert_eq!(poll(&mut watched, Some(&Timespec::default())), Ok(0)));
        });
        #[cfg(target_os = "linux")]
        group.bench_function(BenchmarkId::new("epoll_wait", size), |b| {
            use rustix::event::epoll;
            let silent = silent.get_or_insert_with(|| SilentSockets::new(size));
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
            for (i, socket) in silent.sockets.iter().enumerate() {
                epoll::add(
                    &epoll,
                    socket.as_fd(),
                    epoll::EventData::new_u64(i as u64),
                    epoll::EventFlags::IN,
                )
                .expect("a socket can be watched");
            }
            let mut events = [std::mem::MaybeUninit::<epoll::Event>::uninit(); 64];
            b.iter(|| {
                let (named, _) =
                    epoll::wait(&epoll, &mut events[..], Some(&Timespec::default())).expect("a wait");
                assert!(named.is_empty(), "all are silent");
            });
        });
    }
    group.finish();
}

/// Short sleeps, as asked and as got. Linux lets a thread oversleep by its timer slack, 50 µs unless it lowers it
/// (prctl(2), `PR_SET_TIMERSLACK`); 1 ns is what our loop sets.
fn waiting(criterion: &mut Criterion) {
    let samples = Samples::default();
    let mut group = criterion.benchmark_group("sleep");
    let slacks: &[(u64, &str)] =
        if cfg!(target_os = "linux") { &[(50_000, "50us"), (1, "1ns")] } else { &[(0, "system")] };
    for &(slack, slack_name) in slacks {
        set_slack(slack);
        for asked in [1u64, 10, 50, 100, 1000] {
            group.bench_function(
                BenchmarkId::new(format!("slack {slack_name}"), format!("{asked}us")),
                |b| {
                    samples.iter(b, slack_name, asked as usize, || {
                        std::thread::sleep(Duration::from_micros(asked))
                    });
                },
            );
        }
    }
    group.finish();

    if common::is_trial() {
        return;
    }
    println!("\n| timer slack | asked | got (median) |\n| --- | --- | --- |");
    for (_, slack) in slacks {
        for (asked, got) in samples.series(slack) {
            println!("| {slack} | {asked} µs | {} |", show(got));
        }
    }
    println!();
}

fn set_slack(nanoseconds: u64) {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_timerslack(nanoseconds) {
        println!("the timer slack stays as it is: {error}");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = nanoseconds;
}
