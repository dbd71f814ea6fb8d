//! The loop, stepped in the test's own thread, its clock moved by hand.

use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wouldblock::access_log::AccessLog;
use wouldblock::config::{Config, Sweep};
use wouldblock::http::{CloseReason, Limits, Phase, Request, Status};
use wouldblock::idle::Resting;
use wouldblock::net::{Client, HOT_FOR, QUIET_SLICE_IDLE, TURN_BYTES, Transport, Worker, question_every};
use wouldblock::service::{Content, Context, Peer, Response, Service};

use crate::common::stepper::Stepper;
use crate::common::{answers, crowd, pattern};

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

fn sweeping(sweep: Sweep) -> Config {
    Config { sweep, ..Config::default() }
}

/// Runs a scenario with both ways to sweep: what a client sees must not depend on it.
fn both(scenario: impl Fn(Stepper)) {
    for sweep in [Sweep::Full, Sweep::Hot] {
        scenario(Stepper::new(&sweeping(sweep)));
    }
}

/// Resets the connection when dropped.
fn reset_on_close(socket: &TcpStream) {
    socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn one_connection_carries_many_requests() {
    both(|mut step| {
        let mut socket = step.connect();
        for at in 0..50 {
            let answer = step.ask(&mut socket, &format!("GET /{at} HTTP/1.1\r\nHost: x\r\n\r\n"));
            assert_eq!(answer.body, format!("GET /{at}").as_bytes());
        }
        assert_eq!(step.stats().clients_total, 1);
        assert_eq!(step.stats().requests(), 50);
        drop(socket);
        step.sweep_until_clients(0);
        assert_eq!(step.stats().closed[CloseReason::PeerClosed.index()], 1);
    });
}

#[test]
fn pipelined_requests_are_answered_in_order_with_one_read_and_one_write() {
    both(|mut step| {
        let mut socket = step.connect();
        let requests: String = (0..30).map(|at| format!("GET /{at} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
        step.sweep_until_clients(1);
        socket.write_all(requests.as_bytes()).unwrap();
        step.sweep_until(|server| server.stats().requests() == 30);
        let stats = *step.stats();
        assert_eq!((stats.reads - stats.read_would_blocks, stats.writes), (1, 1));
        socket.shutdown(Shutdown::Write).unwrap();
        let bytes = step.read_to_end(&mut socket);
        let bodies: Vec<_> = answers(&bytes, &[]).into_iter().map(|answer| answer.body).collect();
        let expected: Vec<_> = (0..30).map(|at| format!("GET /{at}").into_bytes()).collect();
        assert_eq!(bodies, expected);
    });
}

#[test]
fn a_request_that_comes_octet_by_octet_is_answered() {
    both(|mut step| {
        let mut socket = step.connect();
        for octet in GET.as_bytes() {
            socket.write_all(std::slice::from_ref(octet)).unwrap();
            step.sweep();
        }
        assert_eq!(step.next_answer(&mut socket).status, 200);
    });
}

#[test]
fn a_half_closed_client_still_gets_all_its_answers() {
    both(|mut step| {
        let mut socket = step.connect();
        socket
            .write_all(format!("{GET}GET /size/3000000 HTTP/1.1\r\nHost: x\r\n\r\n{GET}").as_bytes())
            .unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        let bytes = step.read_to_end(&mut socket);
        let answers = answers(&bytes, &[]);
        assert_eq!(answers.len(), 3);
        assert!(answers[1].body == pattern(3_000_000));
        step.sweep_until_clients(0);
        assert_eq!(step.stats().closed[CloseReason::PeerClosed.index()], 1);
    });
}

#[test]
fn a_client_that_resets_or_leaves_without_a_word_is_removed() {
    both(|mut step| {
        for say in ["", "GET / HT", GET] {
            for reset in [true, false] {
                let mut socket = step.connect();
                step.sweep_until_clients(1);
                socket.write_all(say.as_bytes()).unwrap();
                if reset {
                    reset_on_close(&socket);
                }
                drop(socket);
                step.sweep_until_clients(0);
            }
        }
        assert_eq!(step.stats().clients_total, 6);
        assert_eq!(step.stats().closed.iter().sum::<u64>(), 6);
        assert_eq!(step.stats().clients_now, 0);
    });
}

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

/// Answers with the number of reads so far.
struct CountsReads;

impl Service for CountsReads {
    fn respond(&mut self, _: &Request<'_>, context: &Context<'_>) -> Option<Response> {
        let content = Content::from_bytes(context.stats.reads.to_string().into_bytes());
        Some(Response { status: Status::OK, fields: Arc::from(*b""), content })
    }

    fn refuse(&mut self, status: Status, _: &str) -> Response {
        Response { status, fields: Arc::from(*b""), content: Content::Empty }
    }
}

#[test]
fn clients_are_read_together_only_after_several_had_something_to_say() {
    for sweep in [Sweep::Full, Sweep::Hot] {
        let mut step = Stepper::serving(&sweeping(sweep), Box::new(CountsReads));
        let mut sockets: Vec<_> = (0..10).map(|_| step.connect()).collect();
        step.sweep_until_clients(10);
        step.sweep();
        let before = step.stats().reads;
        for _ in 0..2 {
            for socket in &mut sockets {
                socket.write_all(GET.as_bytes()).unwrap();
            }
            step.sweep();
        }
        let told = sockets.iter_mut().map(|socket| {
            [step.next_answer(socket), step.next_answer(socket)]
                .map(|answer| String::from_utf8(answer.body).unwrap().parse::<u64>().unwrap() - before)
        });
        let expected: Vec<_> = (1..=10).map(|at| [at, 20]).collect();
        assert_eq!(told.collect::<Vec<_>>(), expected, "{sweep}");
    }
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

#[test]
fn the_deadlines_of_a_connection() {
    let limits = Limits {
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
        ..Limits::default()
    };
    let config = Config { limits, ..Config::default() };
    // What is said at first, how long it may take, and how it ends.
    let cases = [
        ("", 60, CloseReason::IdleTimeout, 0),
        ("GET / HTTP/1.1\r\nHos", 10, CloseReason::RequestTimeout, 408),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", 10, CloseReason::RequestTimeout, 408),
    ];
    for (say, seconds, reason, status) in cases {
        let mut step = Stepper::new(&config);
        let mut socket = step.connect();
        socket.write_all(say.as_bytes()).unwrap();
        step.sweep_until(|server| server.stats().bytes_in == say.len() as u64 && server.roster().len() == 1);
        step.pass(Duration::from_secs(seconds - 1));
        step.sweep();
        step.sweep();
        assert_eq!(step.server().roster().len(), 1, "{say:?} too early");
        step.pass(Duration::from_secs(1));
        let bytes = step.read_to_end(&mut socket);
        let statuses: Vec<_> = answers(&bytes, &[]).iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, if status == 0 { vec![] } else { vec![status] }, "{say:?}");
        drop(socket);
        step.sweep_until_clients(0);
        assert_eq!(step.stats().closed[reason.index()], 1, "{say:?} {:?}", step.stats().closed);
    }
}

#[test]
fn who_asked_while_the_loop_stood_still_is_answered_however_long_it_stood() {
    both(|mut step| {
        let mut idle = step.connect();
        let mut begun = step.connect();
        step.ask(&mut idle, GET);
        begun.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        let said = GET.len() as u64 + 16;
        step.sweep_until(|server| server.stats().bytes_in == said);
        // The process is stopped, or its machine; both speak in time, and nobody listens.
        idle.write_all(GET.as_bytes()).unwrap();
        begun.write_all(b"Host: x\r\n\r\n").unwrap();
        step.pass(Duration::from_secs(1000));
        assert_eq!(step.next_answer(&mut idle).status, 200);
        assert_eq!(step.next_answer(&mut begun).status, 200);
    });
}

#[test]
fn a_dribbling_client_cannot_extend_its_header_deadline() {
    let mut step = Stepper::new(&Config::default());
    let mut socket = step.connect();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
    for _ in 0..9 {
        step.sweep_until(|_| true);
        socket.write_all(b"A: b\r\n").unwrap();
        step.pass(Duration::from_secs(1));
        step.sweep();
    }
    assert_eq!(step.stats().requests(), 0);
    step.pass(Duration::from_secs(2));
    let bytes = step.read_to_end(&mut socket);
    assert!(bytes.starts_with(b"HTTP/1.1 408 "), "{}", bytes.escape_ascii());
}

#[test]
fn a_reader_that_takes_nothing_is_given_up_and_one_that_takes_enough_is_not() {
    for takes in [false, true] {
        let mut step = Stepper::new(&Config::default());
        let mut socket = step.connect();
        socket.write_all(b"GET /size/30000000 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        step.sweep_until(|server| server.stats().write_would_blocks > 3);
        let mut piece = vec![0; 4_000_000];
        for _ in 0..4 {
            step.pass(Duration::from_secs(25));
            if takes {
                let n = socket.read(&mut piece).unwrap();
                assert!(n > 0);
            }
            for _ in 0..50 {
                step.sweep();
            }
        }
        assert_eq!(step.server().roster().len(), usize::from(takes));
        assert_eq!(step.stats().closed[CloseReason::WriteStalled.index()], u64::from(!takes));
    }
}

/// Serves one file at every path.
struct One(Content);

impl Service for One {
    fn respond(&mut self, request: &Request<'_>, _: &Context<'_>) -> Option<Response> {
        let content = match request.raw_target {
            "/quick" => Content::from_bytes(*b"quick"),
            _ => self.0.clone(),
        };
        Some(Response { status: Status::OK, fields: Arc::from(*b""), content })
    }

    fn refuse(&mut self, status: Status, _: &str) -> Response {
        Response { status, fields: Arc::from(*b""), content: Content::Empty }
    }
}

/// A sparse file with the pattern in its last megabyte.
fn large_file(len: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(len).unwrap();
    file.write_all_at(&pattern(1 << 20), len - (1 << 20)).unwrap();
    file
}

#[test]
fn a_slow_reader_of_a_large_file_does_not_hold_up_a_quick_client() {
    const LEN: u64 = 100 << 20;
    for sweep in [Sweep::Full, Sweep::Hot] {
        let mut step = Stepper::serving(
            &sweeping(sweep),
            Box::new(One(Content::File(Arc::new(large_file(LEN)), 0..LEN))),
        );
        let mut slow = step.connect();
        slow.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        step.sweep_until(|server| server.stats().write_would_blocks > 0);
        let mut quick = step.connect();
        let mut bytes = Vec::new();
        let mut piece = vec![0; 1 << 20];
        while bytes.len() < LEN as usize {
            let answer = step.ask(&mut quick, "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_eq!(answer.body, b"quick");
            if let Ok(n) = slow.read(&mut piece) {
                assert!(n > 0, "cut short after {}", bytes.len());
                bytes.extend_from_slice(&piece[..n]);
            }
        }
        slow.shutdown(Shutdown::Write).unwrap();
        bytes.extend(step.read_to_end(&mut slow));
        let body = &answers(&bytes, &[])[0].body;
        assert_eq!(body.len() as u64, LEN);
        assert!(body[body.len() - (1 << 20)..] == pattern(1 << 20)[..]);
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_ends_the_connection_with_a_reason() {
    const LEN: u64 = 40 << 20;
    let file = large_file(LEN);
    let mut step = Stepper::serving(
        &Config::default(),
        Box::new(One(Content::File(Arc::new(file.try_clone().unwrap()), 0..LEN))),
    );
    let mut socket = step.connect();
    socket.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    step.sweep_until(|server| server.stats().write_would_blocks > 0);
    file.set_len(1000).unwrap();
    let bytes = step.read_to_end(&mut socket);
    assert!((bytes.len() as u64) < LEN);
    assert_eq!(step.stats().closed[CloseReason::BodyTruncated.index()], 1);
}

#[test]
fn memory_does_not_grow_with_the_size_of_what_is_sent_or_with_silence() {
    let mut step = Stepper::new(&Config::default());
    let mut socket = step.connect();
    step.ask(&mut socket, GET);
    let phase =
        |step: &Stepper| step.server().roster().iter().map(|client| client.connection().phase()).next();
    assert_eq!(phase(&step), Some(Phase::Idle));
    // The sizes that 10,000 silent connections multiply.
    assert!(size_of::<wouldblock::net::Client>() <= 512, "{}", size_of::<wouldblock::net::Client>());
}

#[test]
fn an_answer_that_would_block_is_asked_for_again_and_nobody_waits_for_it() {
    both(|mut step| {
        let mut slow = step.connect();
        slow.write_all(format!("GET /later/5000 HTTP/1.1\r\nHost: x\r\n\r\n{GET}").as_bytes()).unwrap();
        step.sweep_until(|server| server.stats().bytes_in > 0);
        let mut quick = step.connect();
        assert_eq!(step.ask(&mut quick, "GET /missing HTTP/1.1\r\nHost: x\r\n\r\n").status, 404);
        assert_eq!(step.stats().requests(), 1);
        assert_eq!(step.next_answer(&mut slow).body, b"GET /later/5000");
        assert_eq!(step.next_answer(&mut slow).body, b"GET /");
    });
}

#[test]
fn an_error_answer_survives_the_request_octets_that_follow_it() {
    both(|mut step| {
        let mut socket = step.connect();
        // More than the server reads at once is still on its way when it refuses and closes.
        let mut request = b"GET / HTTP/1.1\r\n\r\n".to_vec();
        request.resize(200_000, b'x');
        socket.set_nonblocking(false).unwrap();
        socket.write_all(&request).unwrap();
        socket.set_nonblocking(true).unwrap();
        let bytes = step.read_to_end(&mut socket);
        assert!(
            bytes.starts_with(b"HTTP/1.1 400 "),
            "a reset destroyed the answer: {}",
            bytes.escape_ascii()
        );
        drop(socket);
        step.sweep_until_clients(0);
    });
}

#[test]
fn after_the_signal_answers_in_flight_are_finished_and_nobody_is_let_in() {
    both(|mut step| {
        let mut loading = step.connect();
        loading.write_all(b"GET /size/20000000 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let idle = step.connect();
        step.sweep_until(|server| server.stats().write_would_blocks > 0 && server.roster().len() == 2);
        step.stop();
        let refused = TcpStream::connect(step.address()).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        let bytes = step.read_to_end(&mut loading);
        assert!(answers(&bytes, &[])[0].body == pattern(20_000_000));
        drop(loading);
        step.sweep_until_clients(0);
        assert_eq!(step.stats().closed[CloseReason::Stopping.index()], 2);
        drop(idle);
    });
}

#[test]
fn counters_add_up() {
    both(|mut step| {
        let mut sockets: Vec<_> = (0..10).map(|_| step.connect()).collect();
        for socket in &mut sockets {
            for target in ["/", "/missing", "/size/100000"] {
                step.ask(socket, &format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
            }
        }
        let stats = *step.stats();
        assert_eq!(stats.answers, [0, 20, 0, 10, 0]);
        assert_eq!(stats.requests(), 30);
        assert!(stats.reads >= stats.read_would_blocks + 30);
        assert!(stats.bytes_out > 10 * 100_000);
        drop(sockets);
        step.sweep_until_clients(0);
        let stats = *step.stats();
        assert_eq!(stats.closed.iter().sum::<u64>(), stats.clients_total);
        assert_eq!((stats.clients_now, stats.clients_peak), (0, 10));
        assert!(stats.idle_sweeps < stats.sweeps);
    });
}

/// `tcpi_segs_in` of tcp(7): how many segments a socket has received. The 36th number of `struct tcp_info`.
#[cfg(target_os = "linux")]
fn segments_received(socket: &TcpStream) -> u32 {
    type TcpInfoStart = [u32; 36];
    #[derive(Clone, Copy, Debug)]
    struct TcpInfo;
    nix::getsockopt_impl!(
        TcpInfo,
        libc::IPPROTO_TCP,
        libc::TCP_INFO,
        TcpInfoStart,
        nix::sys::socket::sockopt::GetStruct<TcpInfoStart>
    );
    nix::sys::socket::getsockopt(socket, TcpInfo).unwrap()[35]
}

#[test]
#[cfg(target_os = "linux")]
fn the_last_answer_and_the_end_leave_in_one_packet() {
    for (request, segments) in [
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 1),
        ("GET / HTTP/1.0\r\n\r\n", 1),
        ("GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 1),
        // A body that comes from elsewhere is sent at once; the end follows.
        ("GET /size/20000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 2),
        // What is unread would turn a close into a reset: the end first, then the rest is read.
        ("nonsense\r\n\r\n", 2),
    ] {
        both(|mut step| {
            let mut socket = step.connect();
            step.sweep_until_clients(1);
            socket.write_all(request.as_bytes()).unwrap();
            let before = segments_received(&socket);
            let told = request.escape_debug();
            assert!(step.read_to_end(&mut socket).starts_with(b"HTTP/1.1 "), "{told}");
            assert_eq!(segments_received(&socket) - before, segments, "{told}");
        });
    }
}

/// Drops a file's pages from memory; whether the system did so.
#[cfg(target_os = "linux")]
fn make_cold(file: &File) -> bool {
    use rustix::fs::{Advice, fadvise};
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    file.sync_all().unwrap();
    fadvise(file, 0, None, Advice::DontNeed).unwrap();
    let mut octet = [0];
    let look = preadv2(file, &mut [std::io::IoSliceMut::new(&mut octet)], 0, ReadWriteFlags::NOWAIT);
    look == Err(Errno::AGAIN)
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

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_is_not_in_memory_is_waited_for_like_a_socket() {
    const LEN: usize = 8 << 20;
    for sweep in [Sweep::Full, Sweep::Hot] {
        // In the build's folder: a temporary folder may be in memory itself, where nothing is ever cold.
        let file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        file.write_all_at(&pattern(LEN), 0).unwrap();
        let file = Arc::new(file);
        let mut step =
            Stepper::serving(&sweeping(sweep), Box::new(One(Content::File(file.clone(), 0..LEN as u64))));
        let is_cold = make_cold(&file);
        let mut socket = step.connect();
        let answer = step.ask(&mut socket, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(answer.body == pattern(LEN));
        assert_eq!(step.stats().disk_would_blocks > 0, is_cold, "{sweep}");
        if make_cold(&file) {
            // The head does not wait for the disk, not even if the connection ends after this answer.
            let mut last = step.connect();
            step.sweep_until(|server| server.roster().len() == 2);
            last.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
            let before = step.stats().disk_would_blocks;
            step.sweep_until(|server| server.stats().disk_would_blocks > before);
            assert!(last.read(&mut [0; 1000]).unwrap() > 0, "{sweep}");
            step.read_to_end(&mut last);
        }
        // Now it is in memory, and nobody waits for the disk.
        let before = step.stats().disk_would_blocks;
        let answer = step.ask(&mut socket, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(answer.body == pattern(LEN));
        assert_eq!(step.stats().disk_would_blocks, before, "{sweep}");
    }
}
