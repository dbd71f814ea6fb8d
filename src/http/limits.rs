//! What a client is held to. Every number has a reason and a flag.

use std::time::Duration;

/// The limits of one connection. All of them bound what a client can make the server keep or wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest request target in octets; beyond it the answer is 414. RFC 9112 §3 recommends at least 8000
    /// octets for the whole request line.
    pub target_bytes: usize,
    /// Longest header section (request line included) in octets; beyond it the answer is 431. 16 KiB is what
    /// Node.js allows and twice what nginx gives a single line; browsers with many cookies stay below it.
    pub head_bytes: usize,
    /// Most header fields in a request; beyond it the answer is 431. Browsers send about 20.
    pub header_count: usize,
    /// Most octets of a request body that are read past to find the next request; beyond it the answer is 413.
    /// A file server has no use for bodies; 1 MiB is nginx's `client_max_body_size`.
    pub body_bytes: u64,
    /// From the first octet of a request to its blank line, and for the TLS handshake. Fixed: a client that
    /// dribbles cannot extend it. Slow lines send a head within a few seconds.
    pub header_timeout: Duration,
    /// From the last answer (or the connecting) to the first octet of the next request.
    pub idle_timeout: Duration,
    /// For [`Limits::min_rate`] × this long of an answer to be taken by the peer, or the rest of it.
    pub write_timeout: Duration,
    /// Octets a second that a reader must take, averaged over [`Limits::write_timeout`], so that one octet a
    /// minute does not hold a place. 256 B/s is slower than any modem.
    pub min_rate: u64,
    /// How long to read and discard after the last answer, so that a reset cannot destroy it (RFC 9112 §9.6).
    pub linger_timeout: Duration,
    /// Most octets read and discarded in that time.
    pub linger_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            target_bytes: 8 * 1024,
            head_bytes: 16 * 1024,
            header_count: 100,
            body_bytes: 1024 * 1024,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            min_rate: 256,
            linger_timeout: Duration::from_secs(2),
            linger_bytes: 256 * 1024,
        }
    }
}
