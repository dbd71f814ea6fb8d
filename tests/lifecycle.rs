//! The loop, stepped in the test's own thread, its clock moved by hand.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use wouldblock::config::{Config, Sweep};
use wouldblock::http::{CloseReason, Limits, Phase};
use wouldblock::service::Content;

use crate::common::stepper::{GET, Stepper, both, sweeping};
use crate::common::{One, answers, pattern};

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
