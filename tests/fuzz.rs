//! The laws that tests/fuzz/ fuzzes, held to here without a fuzzer: by its corpus, and by that corpus bent in many ways.
//! What a fuzzer has found once stands in the corpus and is tried again by every run of the tests.

#[path = "fuzz/laws/config.rs"]
mod config;
#[path = "fuzz/laws/connection.rs"]
mod connection;
#[path = "fuzz/laws/site.rs"]
mod site;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What each input of the corpus is bent into, times.
const BENT: u64 = 300;

/// Every input of a corpus, as it is and bent, by name.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut inputs = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let input = std::fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for seed in 0..BENT {
            inputs.push((format!("{target}/{name}, bent with seed {seed}"), bent(input.clone(), seed)));
        }
        inputs.push((name, input));
    }
    assert!(!inputs.is_empty(), "{} has no inputs", folder.display());
    inputs
}

/// A few octets changed, doubled, taken out or moved; the same for the same seed.
fn bent(mut input: Vec<u8>, seed: u64) -> Vec<u8> {
    const LIKED: &[u8] = b"\r\n\t :;,=%./\\\"0123456789-abcxyzABC\0\x7f\xc3\xff";
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..random.usize(1..8) {
        let at = random.usize(0..=input.len());
        let to = random.usize(at..=input.len().min(at + 16));
        match random.u8(0..5) {
            0 if at < input.len() => input[at] = random.u8(..),
            1 => input.insert(at, LIKED[random.usize(0..LIKED.len())]),
            2 => {
                let piece = input[at..to].to_vec();
                input.splice(at..at, piece);
            }
            3 => drop(input.drain(at..to)),
            _ => {
                let piece: Vec<_> = input.drain(at..to).collect();
                let at = random.usize(0..=input.len());
                input.splice(at..at, piece);
            }
        }
    }
    input
}

/// Tries all inputs, and says which one broke the law.
fn hold(target: &str, law: impl Fn(&[u8])) {
    for (name, input) in inputs(target) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| law(&input))) {
            eprintln!("{name}: {}", input.escape_ascii());
            resume_unwind(panic);
        }
    }
}

#[test]
fn no_octets_however_cut_confuse_a_connection() {
    hold("connection", connection::hold);
}

#[test]
fn no_request_brings_out_what_lies_outside() {
    hold("site", site::hold);
}

#[test]
fn no_text_on_the_command_line_panics() {
    hold("config", |input| config::hold(&String::from_utf8_lossy(input)));
}
