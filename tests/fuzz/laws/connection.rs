//! Any octets, cut anywhere: the connection never panics, always ends or waits, and how the input is cut never
//! changes the output. The first octet is how the input is cut, the second how the output is taken, the third
//! how the clock moves; the rest is what comes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wouldblock::http::{
    CloseReason, Connection, HeaderStorage, HttpDate, Limits, Payload, ResponseHead, Spare, Status, Wants,
};

/// Steps after which a connection that neither reads nor ends is caught in a circle.
const STEPS: usize = 1_000_000;

fn converse(input: &[u8], cut: usize, take: usize, tick: Duration) -> (Vec<u8>, Option<CloseReason>) {
    let limits = Limits { head_bytes: 2048, target_bytes: 512, body_bytes: 4096, ..Limits::default() };
    let mut now = Instant::now();
    let mut conn = Connection::new(Arc::new(limits), now);
    let mut spare = Spare::default();
    let date = HttpDate::from_unix(784_111_777);
    let mut rest = input;
    let mut output = Vec::new();
    for _ in 0..STEPS {
        now += tick;
        conn.handle_timeout(now);
        loop {
            let mut storage = HeaderStorage::new();
            let Some(next) = conn.next_request(&mut storage, &mut spare, now) else { break };
            let (status, body) = match next {
                Ok(request) => (Status::OK, format!("{} {}", request.method.as_str(), request.raw_target)),
                Err(error) => (error.status(), error.explain().to_owned()),
            };
            let head = ResponseHead { status, fields: b"X: y\r\n" };
            conn.respond(&head, Payload::Inline(body.as_bytes()), &date, &mut spare, now);
        }
        match conn.wants() {
            Wants::Read => {
                let space = conn.recv_space(&mut spare);
                assert!(!space.is_empty());
                let n = space.len().min(cut).min(rest.len());
                space[..n].copy_from_slice(&rest[..n]);
                rest = &rest[n..];
                conn.received(n, now); // nothing left: the end of file
            }
            Wants::Write => {
                let head = conn.transmit().head;
                let n = head.len().min(take);
                assert!(n > 0);
                output.extend_from_slice(&head[..n]);
                conn.transmitted(n, now);
            }
            Wants::Shutdown => conn.shut_down(now),
            Wants::Close => return (output, Some(conn.close_reason())),
            Wants::Answer => {}
        }
        conn.release(&mut spare);
    }
    panic!("no end after {STEPS} steps");
}

pub(crate) fn hold(input: &[u8]) {
    let [cut, take, tick, input @ ..] = input else { return };
    let (cut, take) = (usize::from(*cut).max(1), usize::from(*take).max(1));
    let whole = converse(input, usize::MAX, usize::MAX, Duration::ZERO);
    assert_eq!(whole, converse(input, cut, take, Duration::ZERO));
    converse(input, cut, take, Duration::from_millis(u64::from(*tick) * 50));
}
