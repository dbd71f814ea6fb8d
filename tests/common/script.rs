//! A connection driven without a socket, by a script of reads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wouldblock::http::{
    CloseReason, Connection, HeaderStorage, HttpDate, INLINE_MAX, Limits, Payload, ResponseHead, Spare, Wants,
};
use wouldblock::service::{Content, Context, Peer, Service};
use wouldblock::stats::Stats;

use super::Echo;

/// What came out, and how it ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    pub(crate) output: Vec<u8>,
    /// `None`: the connection is still open and wants to read.
    pub(crate) closed: Option<CloseReason>,
}

/// Feeds the pieces one read each, then, if `eof`, the end; takes the output in writes of at most `write` octets.
pub(crate) fn converse(pieces: &[&[u8]], eof: bool, write: usize, limits: &Limits) -> Outcome {
    let now = Instant::now();
    let date = HttpDate::from_unix(784_111_777);
    let mut conn = Connection::new(Arc::new(limits.clone()), now);
    let mut spare = Spare::default();
    let mut service = Echo::default();
    let mut output = Vec::new();
    let mut body = Vec::new();
    let mut pieces = pieces.iter();
    let mut current: &[u8] = b"";
    loop {
        // Exactly what a driver does: answers first, then what the connection wants.
        loop {
            let mut storage = HeaderStorage::new();
            let Some(next) = conn.next_request(&mut storage, &mut spare, now) else { break };
            let response = match &next {
                Ok(request) => {
                    let context = Context {
                        now,
                        unix_time: date.seconds(),
                        stats: &Stats::default(),
                        peer: &Peer::Unix,
                        batch: 0,
                    };
                    match service.respond(request, &context) {
                        Some(response) => response,
                        None => continue,
                    }
                }
                Err(error) => service.refuse(error.status(), error.explain()),
            };
            let head = ResponseHead { status: response.status, fields: &response.fields };
            let Content::Bytes(bytes, _) = response.content else { panic!("Echo keeps all in memory") };
            let payload = if bytes.len() as u64 <= INLINE_MAX {
                Payload::Inline(&bytes)
            } else {
                Payload::External(bytes.len() as u64)
            };
            if conn.respond(&head, payload, &date, &mut spare, now) {
                body = bytes.to_vec();
            }
        }
        match conn.wants() {
            Wants::Read => {
                if current.is_empty() {
                    match pieces.next() {
                        Some(piece) => current = piece,
                        None if eof => {
                            conn.received(0, now);
                            continue;
                        }
                        None => return Outcome { output, closed: None },
                    }
                    if current.is_empty() {
                        continue;
                    }
                }
                let space = conn.recv_space(&mut spare);
                assert!(!space.is_empty(), "a read of nothing would look like the end of file");
                let n = space.len().min(current.len());
                space[..n].copy_from_slice(&current[..n]);
                current = &current[n..];
                conn.received(n, now);
            }
            Wants::Write => {
                let transmit = conn.transmit();
                let mut out = transmit.head.to_vec();
                out.extend_from_slice(
                    body.get(transmit.body.start as usize..transmit.body.end as usize).unwrap_or_default(),
                );
                let n = out.len().min(write);
                assert!(n > 0, "a connection that wants to write must have something to write");
                output.extend_from_slice(&out[..n]);
                conn.transmitted(n, now);
            }
            Wants::Answer => {}
            Wants::Shutdown => conn.shut_down(now),
            Wants::Close => return Outcome { output, closed: Some(conn.close_reason()) },
        }
        conn.release(&mut spare);
        conn.handle_timeout(now + Duration::ZERO);
    }
}
