//! What the benches share. Each uses only a part of it.
//!
//! - `silent`: connections that say nothing, their other ends held by a process of their own
//! - `serving`: a server as a child process, on a core of its own, and its processor time
//! - `asking`: a client that spins, so that its own sleep is not measured, and that checks every answer
//! - `samples`: what criterion measured, kept for the tables that it does not print

#![allow(dead_code, reason = "compiled into each bench, and none uses all of it")]

pub(crate) mod asking;
pub(crate) mod samples;
pub(crate) mod serving;
pub(crate) mod silent;

use std::time::Duration;

use criterion::Criterion;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors that a bench needs besides its sockets: the standard three, epoll, pipes, criterion's files.
const OTHER_DESCRIPTORS: usize = 64;

/// To be called first in every `main`. True: this process was started by a bench as the holder of silent connections,
/// has been one, and is to end.
pub(crate) fn was_holder() -> bool {
    raise_descriptor_limit();
    silent::hold_if_told()
}

/// Criterion as all benches here use it: enough samples for an interval, few enough for all benches in ten minutes.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .nresamples(10_000)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1200))
        .configure_from_args()
}

/// Whether this is a trial (`cargo bench -- --test`), in which everything runs once and no figure means anything.
pub(crate) fn is_trial() -> bool {
    let mut arguments = std::env::args();
    arguments.any(|argument| argument == "--test") || !std::env::args().any(|argument| argument == "--bench")
}

fn raise_descriptor_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        println!("the limit of descriptors stays at {soft}: {error}");
    }
}

/// Whether so many sockets can be had in one process; if not, says so.
pub(crate) fn has_room_for(sockets: usize) -> bool {
    let room = getrlimit(Resource::RLIMIT_NOFILE).map_or(usize::MAX, |(soft, _)| soft as usize);
    let fits = sockets + OTHER_DESCRIPTORS <= room;
    if !fits {
        println!(
            "left out: {sockets} connections; the limit of descriptors (RLIMIT_NOFILE, ulimit -Hn) is {room}"
        );
    }
    fits
}

/// The cores that the server and the client are pinned to: apart where there are two.
pub(crate) fn cores() -> Option<(usize, usize)> {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (count > 1).then(|| (count - 1, 0))
}

/// Pins the calling thread, and what it starts from now on.
pub(crate) fn pin(core: usize) {
    #[cfg(target_os = "linux")]
    {
        use nix::sched::{CpuSet, sched_setaffinity};
        let mut set = CpuSet::new();
        let pinned = set.set(core).and_then(|()| sched_setaffinity(nix::unistd::Pid::from_raw(0), &set));
        if let Err(error) = pinned {
            println!("not pinned to core {core}: {error}");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = core;
}
