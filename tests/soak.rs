//! A mixed load with faults for as long as it is told: every answer is checked, and at the end memory and descriptors
//! are what they were after the first tenth. `WOULDBLOCK_SOAK=1800 cargo test soak` runs for half an hour.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::common::pattern;
use crate::flood::{Flood, LARGE, MIB};
use crate::sim::rng::Rng;

/// Seconds in every run of the tests.
const SECONDS: u64 = 5;

const CLIENTS: usize = 64;

/// What a client asked for, and how much of the answer must come.
struct Visit {
    socket: TcpStream,
    /// The answer's octets so far, without the body of a large one.
    head: Vec<u8>,
    body: usize,
    wants: Wants,
    /// After so many octets it resets.
    patience: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wants {
    Small,
    Large,
    Missing,
    Refusal,
    Nothing,
}

impl Visit {
    fn new(flood: &Flood, rng: &mut Rng) -> Self {
        let mut socket = flood.connect();
        let close = "Host: x\r\nConnection: close\r\n\r\n";
        let (wants, request) = match rng.below(10) {
            0 => (Wants::Large, format!("GET /large HTTP/1.1\r\n{close}")),
            1 => (Wants::Missing, format!("GET /missing HTTP/1.1\r\n{close}")),
            2 => (Wants::Refusal, "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".to_owned()),
            3 => (Wants::Nothing, "GET / HTTP/1.1\r\nHo".to_owned()),
            _ => (Wants::Small, format!("GET /small HTTP/1.1\r\n{close}")),
        };
        socket.write_all(request.as_bytes()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let patience = if wants == Wants::Nothing || rng.one_in(5) { rng.below(200_000) } else { usize::MAX };
        Self { socket, head: Vec::new(), body: 0, wants, patience }
    }

    /// Reads some; true when it is over.
    fn step(&mut self, expected: &[u8], piece: &mut [u8], rng: &mut Rng) -> bool {
        if self.head.len() + self.body > self.patience || self.wants == Wants::Nothing && rng.one_in(50) {
            socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).unwrap();
            return true;
        }
        let most = rng.between(1, piece.len());
        let n = match self.socket.read(&mut piece[..most]) {
            Ok(0) => {
                self.judge();
                return true;
            }
            Ok(n) => n,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "{:?}", self.wants);
                return false;
            }
        };
        let mut came = &piece[..n];
        if !self.head.ends_with(b"\r\n\r\n") {
            let end = (0..n).find(|end| {
                self.head.push(came[*end]);
                self.head.ends_with(b"\r\n\r\n")
            });
            came = end.map_or(&[][..], |end| &came[end + 1..]);
        }
        if self.wants == Wants::Large {
            assert!(came == &expected[self.body..self.body + came.len()], "octet {}", self.body);
        }
        self.body += came.len();
        false
    }

    /// The answer has ended.
    fn judge(&self) {
        let status: &[u8] = match self.wants {
            Wants::Small | Wants::Large => b"HTTP/1.1 200 ",
            Wants::Missing => b"HTTP/1.1 404 ",
            Wants::Refusal => b"HTTP/1.1 400 ",
            Wants::Nothing => panic!("ended by the server"),
        };
        assert!(self.head.starts_with(status), "{}", self.head.escape_ascii());
        let length = std::str::from_utf8(&self.head).unwrap().lines();
        let length = length.filter_map(|line| line.strip_prefix("Content-Length: ")).next().unwrap();
        assert_eq!(length.parse(), Ok(self.body), "{:?}", self.wants);
    }
}

#[test]
fn a_long_mixed_load_leaves_memory_and_descriptors_flat() {
    let seconds = match std::env::var("WOULDBLOCK_SOAK") {
        Ok(text) => text.parse().expect("WOULDBLOCK_SOAK is a number of seconds"),
        Err(_) => SECONDS,
    };
    let flood = Flood::new(&["-q"]);
    let expected = pattern(LARGE);
    let mut piece = vec![0; MIB];
    let mut rng = Rng::new(seconds);
    let mut visits: Vec<_> = (0..CLIENTS).map(|_| Visit::new(&flood, &mut rng)).collect();
    let start = Instant::now();
    let mut warm = None;
    let mut served = 0_u64;
    while start.elapsed() < Duration::from_secs(seconds) {
        for visit in &mut visits {
            if visit.step(&expected, &mut piece, &mut rng) {
                *visit = Visit::new(&flood, &mut rng);
                served += 1;
            }
        }
        if warm.is_none() && start.elapsed() > Duration::from_secs(seconds) / 10 {
            warm = Some(flood.memory());
        }
    }
    let (warm, hot) = (warm.unwrap(), flood.memory());
    println!("{served} visits in {seconds} s; {} KiB at first, {} KiB at last", warm / 1024, hot / 1024);
    assert!(served > 0);
    assert!(hot < warm + 4 * MIB, "{} KiB and then {} KiB", warm / 1024, hot / 1024);
    drop(visits);
    flood.wait_for_descriptors(|now| now < CLIENTS);
    let (status, _, report) = flood.stop();
    assert_eq!(status, Some(0), "{report}");
}
