//! The real binary, flooded over loopback: crowds of the silent and the slow, storms of resets, no descriptors, no
//! disk for the log, stopped and continued, told to end. A probe is served throughout; afterwards descriptors and
//! memory are back where they were.
//!
//! Nothing here is timed: a server that keeps the probe waiting fails by the socket's own timeout.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, RwLockReadGuard};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::Signal;

use crate::cli::Running;
use crate::common::{crowd, pattern};

pub(crate) const LARGE: usize = 6_000_000;
pub(crate) const MIB: usize = 1 << 20;

/// What stays of a crowd that has left: the allocator's habits, and room in the `Vec` of clients.
const LEFTOVERS: usize = 24 * MIB;

/// How long to wait for what the kernel promises but not when.
const PATIENCE: Duration = Duration::from_secs(200);

pub(crate) struct Flood {
    server: Running,
    _folder: tempfile::TempDir,
    /// One flood at a time: each takes thousands of descriptors.
    _turn: MutexGuard<'static, ()>,
    _crowd: RwLockReadGuard<'static, ()>,
}

impl Flood {
    pub(crate) fn new(flags: &[&str]) -> Self {
        Self::within("exec \"$0\" \"$@\"", flags)
    }

    /// The server started by a line of shell, which sets limits or turns the log elsewhere.
    fn within(shell: &str, flags: &[&str]) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let crowd = crowd();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("small"), "small").unwrap();
        std::fs::write(folder.path().join("large"), pattern(LARGE)).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", shell, env!("CARGO_BIN_EXE_wouldblock")]);
        command.arg(folder.path()).args(["-p", "0"]).args(flags);
        let flood = Self { server: Running::spawn(command), _folder: folder, _turn: turn, _crowd: crowd };
        // Its cache keeps the large file open: that belongs to how it is before the flood.
        let mut socket = flood.connect();
        socket.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        assert!(is_whole_large(&answer, &pattern(LARGE)));
        flood.probe();
        flood
    }

    pub(crate) fn connect(&self) -> TcpStream {
        self.server.connect()
    }

    /// A client as it should be: connects, asks, gets its answer.
    #[track_caller]
    fn probe(&self) {
        let mut socket = self.connect();
        for _ in 0..3 {
            ask(&mut socket);
        }
    }

    pub(crate) fn stop(self) -> (Option<i32>, String, String) {
        self.server.stop()
    }

    /// Descriptors that the server holds.
    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.server.pid())).unwrap().count()
    }

    /// Octets of memory that the server has.
    pub(crate) fn memory(&self) -> usize {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.server.pid())).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    /// Waits until the server holds `wanted` descriptors; the probe is served meanwhile.
    #[track_caller]
    pub(crate) fn wait_for_descriptors(&self, wanted: impl Fn(usize) -> bool) {
        let start = Instant::now();
        while !wanted(self.descriptors()) {
            assert!(start.elapsed() < PATIENCE, "still {} descriptors", self.descriptors());
            self.probe();
        }
    }

    /// The flood is over: everything is as it was.
    #[track_caller]
    fn assert_as_before(&self, descriptors: usize, memory: usize) {
        self.wait_for_descriptors(|now| now <= descriptors);
        let now = self.memory();
        assert!(now < memory + LEFTOVERS, "{} MiB, before {} MiB", now / MIB, memory / MIB);
    }
}

/// Asks for the small file on an open connection.
#[track_caller]
fn ask(socket: &mut TcpStream) {
    socket.write_all(b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    while !answer.ends_with(b"\r\n\r\nsmall") {
        let n = socket.read(&mut piece).unwrap();
        assert!(n > 0, "the end instead of an answer: {}", answer.escape_ascii());
        answer.extend_from_slice(&piece[..n]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
}

/// As many of `wanted` as this system's limit allows.
fn as_allowed(wanted: usize) -> usize {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    wanted.min(soft as usize / 2)
}

/// Resets the connection instead of closing it.
fn reset(socket: TcpStream) {
    socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    drop(socket);
}

/// Reads a whole answer to `GET /large`, and compares every octet.
fn is_whole_large(answer: &[u8], expected: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    answer.starts_with(b"HTTP/1.1 200 ") && answer[end + 4..] == *expected
}

#[test]
fn ten_thousand_silent_connections_keep_nobody_waiting_and_cost_little() {
    for sweep in ["full", "hot"] {
        let flood = Flood::new(&["-q", "--sweep", sweep]);
        let (descriptors, memory) = (flood.descriptors(), flood.memory());
        let count = as_allowed(10_000);
        let crowd: Vec<_> = (0..count).map(|_| flood.connect()).collect();
        // Some that were counted before may have been of probes whose end the server had not seen yet.
        flood.wait_for_descriptors(|now| now + 10 >= descriptors + count);
        for _ in 0..50 {
            flood.probe();
        }
        let each = flood.memory().saturating_sub(memory) / count;
        assert!(each < 1500, "{each} octets for each silent connection");
        drop(crowd);
        flood.assert_as_before(descriptors, memory);
    }
}

#[test]
fn slow_and_endless_heads_are_bounded_in_memory_and_refused_when_too_long() {
    let flood = Flood::new(&["-q"]);
    let (descriptors, memory) = (flood.descriptors(), flood.memory());
    let count = as_allowed(2000);
    let mut crowd: Vec<_> = (0..count).map(|_| flood.connect()).collect();
    // Slowloris: each says a little, again and again, and never the blank line.
    for socket in &mut crowd {
        socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
    }
    for _ in 0..5 {
        for socket in &mut crowd {
            socket.write_all(b"X-a: b\r\n").unwrap();
        }
        flood.probe();
    }
    // Nearly as much as is allowed from each: what a head can make the server keep.
    let most = [b"X-Long: ".to_vec(), vec![b'x'; 15_000]].concat();
    for socket in &mut crowd {
        socket.write_all(&most).unwrap();
    }
    flood.probe();
    let each = flood.memory().saturating_sub(memory) / count;
    assert!(each < 40 * 1024, "{each} octets for each; a head may have 16 KiB, its buffer 32 KiB");
    // Endless: one octet too many each, and all are told so.
    for socket in &mut crowd {
        socket.write_all(&[b'x'; 2000]).unwrap();
    }
    for socket in &mut crowd {
        let mut status = [0; 12];
        socket.read_exact(&mut status).unwrap();
        assert_eq!(status, *b"HTTP/1.1 431");
    }
    flood.probe();
    drop(crowd);
    flood.wait_for_descriptors(|now| now <= descriptors);
}

#[test]
fn readers_who_do_not_read_cost_no_memory_here() {
    let flood = Flood::new(&["-q"]);
    flood.connect().write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    flood.probe();
    let (descriptors, memory) = (flood.descriptors(), flood.memory());
    let mut crowd: Vec<_> = (0..as_allowed(400)).map(|_| flood.connect()).collect();
    for socket in &mut crowd {
        socket.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    for _ in 0..20 {
        flood.probe();
    }
    let grown = flood.memory().saturating_sub(memory);
    assert!(grown < 8 * MIB, "{} MiB for 400 unread downloads", grown / MIB);
    // One of them reads after all, and gets all of it.
    let mut late = crowd.pop().unwrap();
    late.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    late.read_to_end(&mut answer).unwrap();
    assert!(is_whole_large(&answer, &pattern(LARGE)));
    crowd.into_iter().for_each(reset);
    flood.assert_as_before(descriptors, memory);
}

#[test]
fn a_storm_of_resets_leaves_nothing_behind() {
    let flood = Flood::new(&["-q"]);
    let (descriptors, memory) = (flood.descriptors(), flood.memory());
    let says: [&[u8]; 4] =
        [b"", b"GET / HT", b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n", b"nonsense\r\n\r\n and more"];
    for round in 0..50 {
        for at in 0..100 {
            let mut socket = flood.connect();
            socket.write_all(says[at % says.len()]).unwrap();
            reset(socket);
        }
        if round % 5 == 0 {
            flood.probe();
        }
    }
    flood.assert_as_before(descriptors, memory);
}

#[test]
fn without_free_descriptors_those_inside_are_served_and_newcomers_are_later() {
    let flood = Flood::new(&["-q"]);
    // Behind its back: at the start it would have kept some for itself.
    crate::common::limit_descriptors(flood.server.pid(), 64);
    let before = flood.descriptors();
    let mut inside: Vec<_> = (0..30).map(|_| flood.connect()).collect();
    inside.iter_mut().for_each(ask);
    // Three times as many as there are descriptors.
    let mut crowd: Vec<_> = (0..160).map(|_| flood.connect()).collect();
    for _ in 0..20 {
        inside.iter_mut().for_each(ask);
    }
    for socket in &mut crowd {
        socket.write_all(b"GET /small HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    }
    for socket in &mut crowd {
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("\r\n\r\nsmall"), "{answer:?}");
    }
    inside.iter_mut().for_each(ask);
    drop((inside, crowd));
    flood.wait_for_descriptors(|now| now <= before);
    let (status, _, report) = flood.stop();
    assert_eq!(status, Some(0));
    assert!(report.contains("no descriptor was free"), "{report}");
}

#[test]
fn a_full_disk_for_the_log_stops_the_log_and_not_the_server() {
    let flood = Flood::within("exec \"$0\" \"$@\" > /dev/full", &[]);
    for _ in 0..50 {
        flood.probe();
    }
    let (status, _, report) = flood.stop();
    assert_eq!(status, Some(0), "{report}");
    assert!(report.contains("154 lines dropped"), "3 of each of 51 probes, and the large file: {report}");
    assert!(report.contains("access log cannot be written"), "{report}");
}

#[test]
fn who_asked_while_the_process_was_stopped_is_answered_when_it_continues() {
    let flood = Flood::new(&["-q"]);
    let mut old: Vec<_> = (0..100).map(|_| flood.connect()).collect();
    old.iter_mut().for_each(ask);
    flood.server.signal(Signal::SIGSTOP);
    let new: Vec<_> = (0..100).map(|_| flood.connect()).collect();
    old.extend(new);
    for socket in &mut old {
        socket.write_all(b"GET /small HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    }
    old[0].set_nonblocking(true).unwrap();
    assert_eq!(old[0].read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock, "it is stopped");
    old[0].set_nonblocking(false).unwrap();
    flood.server.signal(Signal::SIGCONT);
    for socket in &mut old {
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("\r\n\r\nsmall"), "{answer:?}");
    }
}

#[test]
fn no_download_is_cut_short_by_the_signal_to_stop() {
    let flood = Flood::new(&["-q"]);
    let expected = pattern(LARGE);
    // A socket, and how much of the body it has given.
    let mut downloads: Vec<_> = (0..as_allowed(300)).map(|_| (flood.connect(), 0)).collect();
    for (socket, _) in &mut downloads {
        socket.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut octet = [0];
            socket.read_exact(&mut octet).unwrap();
            head.extend(octet);
        }
        assert!(head.starts_with(b"HTTP/1.1 200 "));
        socket.set_nonblocking(true).unwrap();
    }
    flood.server.signal(Signal::SIGTERM);
    let mut piece = vec![0; MIB];
    // The chapter's loop, from the other side.
    while !downloads.is_empty() {
        downloads.retain_mut(|(socket, at)| match socket.read(&mut piece) {
            Ok(0) => {
                assert_eq!(*at, LARGE, "cut short");
                false
            }
            Ok(n) => {
                assert!(piece[..n] == expected[*at..*at + n]);
                *at += n;
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                true
            }
        });
    }
    let (status, _, report) = flood.server.wait();
    assert_eq!(status, Some(0), "{report}");
}
