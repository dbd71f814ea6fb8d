//! Whose turn it is, and how much of one: sweeps, groups, slices, the door.

use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wouldblock::access_log::AccessLog;
use wouldblock::config::{Config, Sweep};
use wouldblock::http::{Limits, Phase};
use wouldblock::idle::Resting;
use wouldblock::net::{Client, HOT_FOR, QUIET_SLICE_IDLE, TURN_BYTES, Transport, Worker, question_every};
use wouldblock::service::{Content, Peer};

use crate::common::stepper::{GET, Stepper, both, sweeping};
use crate::common::{One, answers, crowd, pattern};

#[test]
fn removing_one_never_skips_its_neighbour() {
    for sweep in [Sweep::Full, Sweep::Hot] {
        for quiet in [false, true] {
            let mut step = Stepper::new(&sweeping(sweep));
            let mut sockets: Vec<_> = (0..20).map(|_| step.connect()).collect();
            step.sweep_until_clients(20);
            if quiet {
                step.pass(HOT_FOR);
                step.sweep();
                step.sweep();
            }
            // Every second one leaves; every other one speaks. One sweep must do for all.
            let mut staying = Vec::new();
            for (at, mut socket) in sockets.drain(..).enumerate() {
                if at % 2 == 1 {
                    socket.write_all(GET.as_bytes()).unwrap();
                    staying.push(socket);
                }
            }
            const { assert!(QUIET_SLICE_IDLE >= 20) };
            step.sweep();
            assert_eq!(step.stats().requests(), 10, "{sweep} {quiet}");
            assert_eq!(step.server().roster().len(), 10, "{sweep} {quiet}");
        }
    }
}

/// Several are read before the first of them is answered. Who leaves with his answer trades places with somebody, and
/// everybody still has one turn, wherever he stands.
#[test]
fn everybody_has_one_turn_in_a_sweep_whoever_leaves_with_his_answer() {
    let _crowd = crowd();
    const LAST: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for count in [1, 2, 15, 16, 17, 31, 40, 100] {
        for pattern in 0..64 {
            let mut step = Stepper::new(&sweeping(Sweep::Full));
            let mut sockets: Vec<_> = (0..count).map(|_| step.connect()).collect();
            step.sweep_until_clients(count);
            for socket in &mut sockets {
                socket.write_all(GET.as_bytes()).unwrap();
            }
            step.sweep(); // now it expects several to have something to say
            let (mut requests, mut leaving) = (0, 0);
            for (at, socket) in sockets.iter_mut().enumerate() {
                let say = [LAST, LAST, GET, ""][(pattern >> (at % 3 * 2)) % 4];
                requests += u64::from(!say.is_empty());
                leaving += usize::from(say == LAST);
                socket.write_all(say.as_bytes()).unwrap();
            }
            let before = *step.stats();
            step.sweep();
            let after = *step.stats();
            let told = format!("{count} clients, pattern {pattern}");
            assert_eq!(after.requests() - before.requests(), requests, "{told}");
            assert_eq!(after.reads - before.reads, count as u64, "{told}");
            let open =
                step.server().roster().iter().filter(|client| client.connection().phase() == Phase::Idle);
            assert_eq!(open.count(), count - leaving, "{told}");
        }
    }
}

/// How many reads there had been when it was answered.
fn reads(step: &mut Stepper, socket: &mut TcpStream) -> u64 {
    String::from_utf8(step.next_answer(socket).body).unwrap().parse().unwrap()
}

#[test]
fn clients_are_read_together_only_after_several_had_something_to_say() {
    const READS: &[u8] = b"GET /reads HTTP/1.1\r\nHost: x\r\n\r\n";
    const LAST: &[u8] = b"GET /reads HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    both(|mut step| {
        let mut sockets: Vec<_> = (0..10).map(|_| step.connect()).collect();
        let mut leaves = step.connect();
        step.sweep_until_clients(11);
        step.sweep();
        let before = step.stats().reads;
        for _ in 0..2 {
            for socket in &mut sockets {
                socket.write_all(READS).unwrap();
            }
            step.sweep();
        }
        // One speaks alone; it is read among the others, and leaves with its answer.
        leaves.write_all(LAST).unwrap();
        step.sweep();
        for socket in &mut sockets {
            socket.write_all(READS).unwrap();
        }
        step.sweep();
        assert_eq!(reads(&mut step, &mut leaves) - before, 33);
        for (at, socket) in (1..).zip(&mut sockets) {
            let told = [(); 3].map(|()| reads(&mut step, socket) - before);
            assert_eq!(told, [at, 22, 33 + at]);
        }
    });
}

#[test]
fn a_crowd_at_the_door_is_let_in_within_a_few_sweeps() {
    let _crowd = crowd();
    both(|mut step| {
        let sockets: Vec<_> = (0..500).map(|_| step.connect()).collect();
        let sweeps = step.sweep_until(|server| server.roster().len() == 500);
        assert!(sweeps <= 10, "500 newcomers, at most 64 a sweep: {sweeps} sweeps");
        drop(sockets);
        step.sweep_until_clients(0);
        assert_eq!(step.stats().clients_peak, 500);
    });
}

#[test]
fn the_house_is_never_fuller_than_its_limit() {
    let mut step = Stepper::new(&Config { max_connections: 3, ..Config::default() });
    let mut sockets: Vec<_> = (0..5).map(|_| step.connect()).collect();
    for socket in &mut sockets {
        socket.write_all(GET.as_bytes()).unwrap();
    }
    for _ in 0..100 {
        step.sweep();
        assert!(step.server().roster().len() <= 3);
    }
    assert_eq!(step.stats().requests(), 3);
    // Somebody leaves: the next in the queue is let in and served.
    drop(sockets.drain(..2));
    for socket in &mut sockets {
        assert_eq!(step.next_answer(socket).status, 200);
    }
}

#[test]
fn two_thousand_silent_clients_do_not_keep_one_from_being_served() {
    let _crowd = crowd();
    both(|mut step| {
        let silent: Vec<_> = (0..2000).map(|_| step.connect()).collect();
        step.sweep_until_clients(2000);
        let mut socket = step.connect();
        for _ in 0..20 {
            assert_eq!(step.ask(&mut socket, GET).status, 200);
        }
        assert_eq!(step.stats().clients_now, 2001);
        assert!(silent.iter().all(|socket| socket.peer_addr().is_ok()));
    });
}

#[test]
fn hot_sweeps_try_the_active_every_time_and_ask_the_quiet_within_a_bounded_number_of_sweeps() {
    let _crowd = crowd();
    let mut step = Stepper::new(&sweeping(Sweep::Hot));
    let mut quiet: Vec<_> = (0..300).map(|_| step.connect()).collect();
    step.sweep_until_clients(300);
    step.pass(HOT_FOR);
    step.sweep();
    assert_eq!(step.server().roster().hot(), 0, "all have cooled down");

    // One busy client, which has work in every sweep.
    let mut busy = step.connect();
    busy.write_all(GET.as_bytes()).unwrap();
    step.sweep_until(|server| server.stats().requests() == 1);
    assert_eq!(step.server().roster().hot(), 1);
    let before = *step.stats();
    busy.write_all(GET.as_bytes()).unwrap();
    step.sweep();
    let after = *step.stats();
    assert_eq!(after.reads - before.reads, 1, "only the busy one is tried");
    assert_eq!(after.waits - before.waits, 1, "a slice of the quiet is asked, with one call");

    // Each of the quiet speaks in turn, while the busy one keeps the loop busy: the wait is bounded.
    let bound = question_every(300).as_micros() * 600 / 100 + 2; // a sweep takes 100 µs
    let mut piece = [0; 1024];
    for socket in quiet.iter_mut().step_by(37) {
        socket.write_all(GET.as_bytes()).unwrap();
        let mut sweeps = 0;
        while socket.read(&mut piece).is_err() {
            busy.write_all(GET.as_bytes()).unwrap();
            step.sweep();
            let _ = busy.read(&mut piece);
            sweeps += 1;
            assert!(sweeps <= bound, "more than {bound} sweeps");
        }
    }
}

#[test]
fn whoever_woke_a_parked_loop_is_served_in_the_next_sweep() {
    let _crowd = crowd();
    let mut step = Stepper::new(&sweeping(Sweep::Hot));
    let mut sockets: Vec<_> = (0..1000).map(|_| step.connect()).collect();
    step.sweep_until_clients(1000);
    step.pass(HOT_FOR);
    step.sweep();
    assert_eq!(step.server().roster().hot(), 0);
    for speaker in [3, 500, 999] {
        sockets[speaker].write_all(GET.as_bytes()).unwrap();
        // What poll(2) would report: the door is silent, one client is ready.
        let peer = Peer::Ip(sockets[speaker].local_addr().unwrap());
        let mut ready = vec![false];
        ready.extend(step.server().roster().iter().map(|client| *client.peer() == peer));
        assert_eq!(ready.iter().filter(|ready| **ready).count(), 1);
        step.server_mut().woken(&ready);
        let before = step.stats().requests();
        step.sweep();
        assert_eq!(step.stats().requests() - before, 1);
        step.pass(HOT_FOR);
        step.sweep();
    }
}

#[test]
fn full_sweeps_try_everyone_every_time() {
    let _crowd = crowd();
    let mut step = Stepper::new(&sweeping(Sweep::Full));
    let _quiet: Vec<_> = (0..100).map(|_| step.connect()).collect();
    step.sweep_until_clients(100);
    for _ in 0..200 {
        let before = step.stats().reads;
        step.sweep();
        assert_eq!(step.stats().reads - before, 100);
    }
    assert_eq!(step.server().roster().hot(), 100);
}

#[test]
fn an_accept_that_would_block_is_not_tried_again_at_once() {
    let mut step = Stepper::new(&Config::default());
    step.sweep();
    let before = step.stats().accepts;
    for _ in 0..40 {
        step.pass(Duration::from_micros(10));
        step.sweep_at_once();
    }
    let tried = step.stats().accepts - before;
    assert!((7..=9).contains(&tried), "400 µs, one attempt each 50 µs: {tried}");
}

/// A peer that has asked once, takes everything and says nothing more.
struct Greedy(&'static [u8], Vec<u8>);

impl Read for Greedy {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buf) {
            Ok(0) => Err(std::io::ErrorKind::WouldBlock.into()),
            read => read,
        }
    }
}

impl Write for Greedy {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.1.write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> std::io::Result<usize> {
        self.1.write_vectored(bufs)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Transport for Greedy {
    fn shut_down_write(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn send_file(
        &mut self,
        head: &[u8],
        file: &File,
        offset: u64,
        len: usize,
    ) -> Option<std::io::Result<usize>> {
        let mut body = vec![0; len];
        file.read_exact_at(&mut body, offset).unwrap();
        self.1.extend([head, &body].concat());
        Some(Ok(head.len() + len))
    }
}

#[test]
fn a_turn_sends_its_share_of_an_answer_head_and_body_together() {
    const LEN: usize = TURN_BYTES * 5 / 2;
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&pattern(LEN), 0).unwrap();
    let file = Arc::new(file);
    let contents = [Content::File(file.clone(), 0..LEN as u64), Content::from_bytes(pattern(LEN))];
    for content in contents {
        let now = Instant::now();
        let service = Box::new(One(content));
        let mut worker = Worker::new(service, Limits::default(), AccessLog::off());
        let mut client = Client::new(Greedy(GET.as_bytes(), Vec::new()), Peer::Unix, &mut worker, now);
        for turns in 1..=2 {
            client.turn(&mut worker, now).unwrap();
            assert_eq!(worker.stats.bytes_out, (turns * TURN_BYTES) as u64);
        }
        client.turn(&mut worker, now).unwrap();
        let sent = &client.stream().1;
        assert_eq!(worker.stats.bytes_out, sent.len() as u64);
        assert!(answers(sent, &[])[0].body == pattern(LEN));
    }
}
