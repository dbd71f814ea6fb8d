//! The counters of a running server, for the one who measures it: our own server, started with `--counters`, answers
//! one more path with what its loop has counted so far. Counters written at exit would have the start and the end in
//! them, in which a loop that spins makes millions of sweeps over nobody.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use super::client::PATIENCE;
use crate::http::{Method, Request, Status, Target};
use crate::service::{Content, Context, Response, Service};
use crate::stats::Stats;

/// The path; a file of this name cannot be served meanwhile.
const PATH: &str = "/_counters";

/// Another service, and the counters of the thread that asks it.
pub struct WithCounters(pub Box<dyn Service + Send>);

impl Service for WithCounters {
    fn respond(&mut self, request: &Request<'_>, context: &Context<'_>) -> Option<Response> {
        // Other methods are for whoever answers them without a password: OPTIONS.
        if !matches!(request.method, Method::Get | Method::Head)
            || !matches!(request.target, Target::Origin { path: PATH, .. })
        {
            return self.0.respond(request, context);
        }
        let json = serde_json::to_vec(context.stats).unwrap_or_default();
        Some(Response {
            status: Status::OK,
            fields: Arc::from(*b"Content-Type: application/json\r\nCache-Control: no-store\r\n"),
            content: Content::from_bytes(json),
        })
    }

    fn refuse(&mut self, status: Status, why: &str) -> Response {
        self.0.refuse(status, why)
    }
}

/// The counters of a server, and when they were read. On a connection of its own, so that the server is left with the
/// clients that it had.
pub fn read(address: SocketAddr) -> io::Result<(Stats, Instant)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(
        format!("GET {PATH} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let at = Instant::now();
    let body = memchr::memmem::find(&answer, b"\r\n\r\n")
        .and_then(|head| answer.get(head + 4..))
        .unwrap_or_default();
    Ok((serde_json::from_slice(body)?, at))
}
