//! What answers a request: the seam between the protocol and the content.
//!
//! A [`Service`] is given a parsed request and returns a [`Response`]: a status, rendered header fields and a
//! [`Content`]. It knows nothing of sockets, framing or connections; those know nothing of files.

// No octet from the network, and no file, may end the server.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::string_slice,
        clippy::get_unwrap
    )
)]

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::http::{Request, Status};
use crate::stats::Stats;

/// What a service may want to know besides the request.
pub struct Context<'a> {
    /// The sweep's clock reading.
    pub now: Instant,
    /// Wall-clock seconds since the Unix epoch, as rendered into Date.
    pub unix_time: u64,
    /// The loop's counters.
    pub stats: &'a Stats,
    /// Who asks: an IP address as text, or `unix:`.
    pub peer: &'a Peer,
    /// The number of the read that brought this request. Requests that came with one read were all here before
    /// the first of them was looked at, so what was found fresh for one is fresh for all of them.
    pub batch: u64,
}

/// The other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// An IP socket; IPv4-mapped IPv6 addresses are given as IPv4.
    Ip(std::net::SocketAddr),
    /// A Unix socket.
    Unix,
}

impl Peer {
    /// Whether the peer is on this machine: a loopback address or a Unix socket.
    pub const fn is_local(&self) -> bool {
        match self {
            Self::Ip(address) => address.ip().is_loopback(),
            Self::Unix => true,
        }
    }
}

impl std::fmt::Display for Peer {
    /// The address without its port, as access logs have it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{}", address.ip()),
            Self::Unix => f.write_str("unix:"),
        }
    }
}

/// Answers requests. One service is asked by one thread at a time; it must not wait.
pub trait Service {
    /// Answers a request; never blocks for longer than one bounded read from the disk.
    ///
    /// `None` means that the answer would block: the same request is asked again at the client's next turn.
    fn respond(&mut self, request: &Request<'_>, context: &Context<'_>) -> Option<Response>;

    /// The body and fields of an answer that the protocol itself must give (400, 408, 414 …); `why` is one
    /// sentence for the person who sent the request.
    fn refuse(&mut self, status: Status, why: &str) -> Response;
}

impl<S: Service + ?Sized> Service for Box<S> {
    fn respond(&mut self, request: &Request<'_>, context: &Context<'_>) -> Option<Response> {
        (**self).respond(request, context)
    }

    fn refuse(&mut self, status: Status, why: &str) -> Response {
        (**self).refuse(status, why)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: Status,
    /// Complete field lines, each ended by CRLF, without Date, Content-Length and Connection, which the
    /// connection adds. Shared, so that a file's head is rendered once and not per request.
    pub fields: Arc<[u8]>,
    /// What follows the head. For HEAD: what would follow; only its length is used.
    pub content: Content,
}

/// The body of an answer: a length, and a way to get at its octets later.
#[derive(Clone, Debug)]
pub enum Content {
    /// No octets.
    Empty,
    /// A piece of something in memory.
    Bytes(Arc<[u8]>, Range<usize>),
    /// A piece of an open file, read (or sent with sendfile(2)) when the socket takes it. The file may shrink
    /// meanwhile; then the connection ends early, with a reason.
    File(Arc<File>, Range<u64>),
    /// Several pieces one after the other (multipart/byteranges). Never contains `Parts`.
    Parts(Arc<[Self]>),
}

impl Content {
    /// All of a text or byte string.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let all = 0..bytes.len();
        Self::Bytes(bytes, all)
    }

    /// Its length in octets.
    pub fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(_, range) => range.len() as u64,
            Self::File(_, range) => range.end.saturating_sub(range.start),
            Self::Parts(parts) => parts.iter().map(Self::len).sum(),
        }
    }

    /// Whether it has no octets.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
