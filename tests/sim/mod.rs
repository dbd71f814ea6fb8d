//! Whole servers over a simulated network, thousands of them, each made by a seed.
//!
//! `WOULDBLOCK_SEED=7 cargo test sim` replays the world of one seed and tells everything that happens in it;
//! `WOULDBLOCK_SEEDS=1000000 cargo test sim` tries so many.

mod crowd; // thousands at once, coming and going
mod peer; // what the other end says, how, and what it expects
pub(crate) mod rng; // all chance comes from the seed
mod site; // content with a disk that fails
mod turns; // how long anybody may have to wait
mod wire; // sockets and a door that do what TCP allows
mod world; // a server, its peers, a clock, and the laws

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Worlds in every run of the tests; well within two minutes on two cores.
const SEEDS: u64 = 20_000;

/// Names the seed when its world breaks a law.
struct Naming(u64);

impl Drop for Naming {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "seed {0} failed; replay it with WOULDBLOCK_SEED={0} cargo test sim -- --nocapture",
                self.0
            );
        }
    }
}

fn run(seed: u64, aloud: bool) -> u64 {
    let _naming = Naming(seed);
    world::run(seed, aloud)
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().ok().unwrap_or_else(|| panic!("{name}={text} is not a number")))
}

#[test]
fn every_seed_of_the_simulated_network_keeps_the_laws() {
    if let Some(seed) = variable("WOULDBLOCK_SEED") {
        run(seed, true);
        return;
    }
    let seeds = variable("WOULDBLOCK_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    run(seed, false);
                }
            });
        }
    });
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..50 {
        assert_eq!(run(seed, false), run(seed, false), "seed {seed}");
    }
}
