//! Who is given up, and who is not: the loop stepped by a moved clock.

use std::io::{Read, Write};
use std::time::Duration;

use wouldblock::config::{Config, Sweep};
use wouldblock::http::{CloseReason, Limits, Phase};

use crate::common::stepper::Stepper;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// The kernel takes hundreds of kilobytes at once, and says that it has room again when a part of them is gone: a loop
/// that waits to be told hears nothing for minutes, while a slow reader works them off. What counts is what the reader took.
#[test]
fn a_slow_reader_whom_the_kernel_keeps_much_for_is_not_stalled() {
    for (each_window, stalls) in [(50_000, false), (0, true)] {
        let mut step = Stepper::new(&Config::default());
        let mut socket = step.connect();
        socket2::SockRef::from(&socket).set_recv_buffer_size(16 * 1024).unwrap();
        socket.write_all(b"GET /size/30000000 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        step.sweep_until(|server| server.stats().write_would_blocks > 10);
        let taken = step.stats().bytes_out;
        assert!(taken >= 6 * 50_000, "the kernel took only {taken}");
        let mut piece = [0; 16 * 1024];
        for _ in 0..6 {
            // A window in which the reader works off what was taken long ago, and nobody tries to write.
            let mut read = 0;
            while read < each_window {
                if let Ok(n) = socket.read(&mut piece) {
                    read += n;
                }
            }
            step.pass(Duration::from_secs(31));
            step.sweep();
        }
        assert_eq!(step.stats().closed[CloseReason::WriteStalled.index()], u64::from(stalls));
        assert_eq!(step.server().roster().len(), usize::from(!stalls));
    }
}

#[test]
fn one_octet_a_window_is_a_stall() {
    let mut step = Stepper::new(&Config::default());
    let mut socket = step.connect();
    socket2::SockRef::from(&socket).set_recv_buffer_size(4 * 1024).unwrap();
    socket.write_all(b"GET /size/30000000 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    step.sweep_until(|server| server.stats().write_would_blocks > 10);
    for _ in 0..4 {
        let _ = socket.read(&mut [0; 1]);
        step.pass(Duration::from_secs(29));
        for _ in 0..20 {
            step.sweep();
        }
    }
    assert_eq!(step.stats().closed[CloseReason::WriteStalled.index()], 1);
}

fn full_house(sweep: Sweep) -> (Stepper, Vec<std::net::TcpStream>) {
    let mut step = Stepper::new(&Config { max_connections: 4, sweep, ..Config::default() });
    let mut inside = Vec::new();
    for _ in 0..4 {
        let mut socket = step.connect();
        assert_eq!(step.ask(&mut socket, std::str::from_utf8(GET).unwrap()).status, 200);
        inside.push(socket);
        step.pass(Duration::from_millis(200));
    }
    (step, inside)
}

#[test]
fn a_full_house_lets_the_longest_idle_go_when_somebody_is_at_the_door() {
    for sweep in [Sweep::Full, Sweep::Hot] {
        let (mut step, mut inside) = full_house(sweep);
        // The first one speaks again: now the second has been silent longest.
        step.ask(&mut inside[0], std::str::from_utf8(GET).unwrap());
        step.pass(Duration::from_secs(2));
        for _ in 0..100 {
            step.sweep();
        }
        assert_eq!(step.server().roster().len(), 4, "nobody is at the door: all may stay");

        let mut newcomer = step.connect();
        newcomer.write_all(GET).unwrap();
        for _ in 0..2000 {
            step.sweep();
            assert!(step.server().roster().len() <= 4);
        }
        assert_eq!(step.next_answer(&mut newcomer).status, 200);
        assert_eq!(step.stats().closed[CloseReason::MadeRoom.index()], 1, "one place was needed");
        assert_eq!(inside[1].read(&mut [0; 1]).unwrap(), 0, "it was the longest idle one's");
        for at in [0, 2, 3] {
            assert_eq!(step.ask(&mut inside[at], std::str::from_utf8(GET).unwrap()).status, 200);
        }
    }
}

#[test]
fn a_full_house_at_work_keeps_newcomers_waiting_and_then_serves_them() {
    let mut step = Stepper::new(&Config { max_connections: 2, ..Config::default() });
    // One amid a request, one amid an answer.
    let mut sockets = [step.connect(), step.connect()];
    sockets[0].write_all(b"GET / HTTP/1.1\r\n").unwrap();
    sockets[1].write_all(b"GET /size/30000000 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    step.sweep_until(|server| server.stats().write_would_blocks > 10 && server.roster().len() == 2);
    let mut newcomer = step.connect();
    newcomer.write_all(GET).unwrap();
    step.pass(Duration::from_secs(3));
    for _ in 0..3000 {
        step.sweep();
    }
    assert_eq!(step.server().roster().len(), 2);
    assert_eq!(step.stats().closed[CloseReason::MadeRoom.index()], 0);
    drop(sockets);
    assert_eq!(step.next_answer(&mut newcomer).status, 200);
}

#[test]
fn the_minimum_rate_is_a_rate() {
    // 100 octets a second over 10 seconds: 1,000 in each window, as the body of a request.
    let limits = Limits { header_timeout: Duration::from_secs(10), min_rate: 100, ..Limits::default() };
    for (octets, kept) in [(1000, true), (900, false)] {
        let mut step = Stepper::new(&Config { limits: limits.clone(), ..Config::default() });
        let mut socket = step.connect();
        socket.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n").unwrap();
        step.sweep_until(|server| server.stats().bytes_in > 0);
        let mut sent = step.stats().bytes_in;
        for _ in 0..3 {
            for _ in 0..9 {
                step.pass(Duration::from_secs(1));
                step.sweep(); // a loop that runs judges in time, not when more has come
            }
            if socket.write_all(&vec![b'x'; octets]).is_err() {
                break;
            }
            sent += octets as u64;
            for _ in 0..1000 {
                step.sweep();
                if step.stats().bytes_in == sent {
                    break;
                }
            }
        }
        let timeouts = step.stats().closed[CloseReason::RequestTimeout.index()];
        assert_eq!(step.stats().requests(), u64::from(!kept), "{octets}: 408 or nothing yet; {timeouts}");
    }
}

#[test]
fn the_minimum_rate_is_a_rate_in_windows_of_any_length() {
    // 1,000 octets a second: 1,900 in a window of 1.9 s, 900 in one of 0.9 s.
    for (window, octets, kept) in
        [(1900, 1900, true), (1900, 1800, false), (900, 900, true), (900, 800, false)]
    {
        let limits =
            Limits { header_timeout: Duration::from_millis(window), min_rate: 1000, ..Limits::default() };
        let mut step = Stepper::new(&Config { limits, ..Config::default() });
        let mut socket = step.connect();
        socket.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n").unwrap();
        step.sweep_until(|server| server.stats().bytes_in > 0);
        step.pass(Duration::from_millis(window / 2));
        let sent = step.stats().bytes_in + octets;
        socket.write_all(&vec![b'x'; octets as usize]).unwrap();
        step.sweep_until(|server| server.stats().bytes_in == sent);
        // Only who was quick enough in the first window has a second one.
        step.pass(Duration::from_millis(window / 2 + 50));
        step.sweep();
        step.sweep();
        assert_eq!(step.stats().requests(), u64::from(!kept), "{octets} octets in {window} ms");
    }
}

#[test]
fn a_body_has_its_own_time_however_late_its_head_was_complete() {
    let limits = Limits { header_timeout: Duration::from_secs(10), min_rate: 100, ..Limits::default() };
    for (each, kept) in [(1000, true), (300, false)] {
        let mut step = Stepper::new(&Config { limits: limits.clone(), ..Config::default() });
        let mut socket = step.connect();
        socket.write_all(b"POST / HTTP/1.1\r\nHost: x\r\n").unwrap();
        step.sweep_until(|server| server.stats().bytes_in > 0);
        step.pass(Duration::from_secs(9));
        socket.write_all(b"Content-Length: 100000\r\n\r\n").unwrap();
        let sent = step.stats().bytes_in + 26;
        step.sweep_until(|server| server.stats().bytes_in == sent);
        for _ in 0..3 {
            step.pass(Duration::from_secs(4));
            step.sweep();
            if socket.write_all(&vec![b'x'; each]).is_err() {
                break;
            }
            for _ in 0..1000 {
                step.sweep();
            }
        }
        assert_eq!(step.stats().requests(), u64::from(!kept), "{each} octets every four seconds");
    }
}

#[test]
fn empty_lines_between_requests_are_no_request_and_renew_nothing() {
    // Together with the request before, in one piece afterwards, and cut in two.
    for pieces in [&["\r\n"][..], &["", "\r\n"], &["", "\r", "\n\r", "\n"], &["\r", "\n"]] {
        let mut step = Stepper::new(&Config::default());
        let mut socket = step.connect();
        let mut sent = 0;
        for (at, piece) in pieces.iter().enumerate() {
            let text = [if at == 0 { GET } else { b"" }, piece.as_bytes()].concat();
            socket.write_all(&text).unwrap();
            sent += text.len() as u64;
            step.sweep_until(|server| server.stats().bytes_in == sent);
            step.pass(Duration::from_secs(12));
            step.sweep();
        }
        assert_eq!(step.stats().requests(), 1, "{pieces:?}: nobody asked anything");
        let phases: Vec<_> =
            step.server().roster().iter().map(|client| client.connection().phase()).collect();
        assert_eq!(phases, [Phase::Idle], "{pieces:?}");
        step.pass(Duration::from_secs(61 - 12 * pieces.len() as u64));
        step.sweep();
        assert_eq!(step.stats().closed[CloseReason::IdleTimeout.index()], 1, "{pieces:?}");
        assert_eq!(step.stats().requests(), 1, "{pieces:?}");
    }
}

#[test]
fn a_request_after_empty_lines_is_answered_however_they_came() {
    for pieces in [&["\r\n\r\n"][..], &["\r\n\r", "\n"], &["\r", "\n"], &["\r\n", "\r\n\r"]] {
        let mut step = Stepper::new(&Config::default());
        let mut socket = step.connect();
        let mut sent = 0;
        for piece in pieces {
            socket.write_all(piece.as_bytes()).unwrap();
            sent += piece.len() as u64;
            step.sweep_until(|server| server.stats().bytes_in == sent);
        }
        let rest: &[u8] = if pieces.concat().ends_with('\r') { b"\n" } else { b"" };
        socket.write_all(&[rest, GET].concat()).unwrap();
        assert_eq!(step.next_answer(&mut socket).status, 200, "{pieces:?}");
    }
}

/// What was asked before says nothing about a request that is too late.
#[test]
fn a_request_too_late_is_answered_with_a_body_only_if_it_cannot_be_a_head() {
    let head = "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n";
    for (first, late, body) in [
        (head, "GET / HTTP/1.1\r\nHos", true),
        (std::str::from_utf8(GET).unwrap(), "HEAD / HTTP/1.1\r\nHos", false),
        (std::str::from_utf8(GET).unwrap(), "HE", false),
        (std::str::from_utf8(GET).unwrap(), "HEX", true),
        (head, "G", true),
    ] {
        let mut step = Stepper::new(&Config::default());
        let mut socket = step.connect();
        socket.write_all(first.as_bytes()).unwrap();
        step.sweep_until(|server| server.stats().requests() == 1);
        socket.write_all(late.as_bytes()).unwrap();
        let sent = (first.len() + late.len()) as u64;
        step.sweep_until(|server| server.stats().bytes_in == sent);
        step.pass(Duration::from_secs(11));
        let bytes = step.read_to_end(&mut socket);
        let at = bytes.windows(13).position(|octets| octets == b"HTTP/1.1 408 ").expect("a 408");
        assert_eq!(!bytes.ends_with(b"\r\n\r\n"), body, "{late:?}: {}", bytes[at..].escape_ascii());
    }
}
