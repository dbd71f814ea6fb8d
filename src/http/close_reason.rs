//! Why connections end: the names that counters, logs and metrics have for it.

use super::request_error::RequestError;

/// Why a connection ended. Counted once each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// The peer closed and was owed nothing.
    PeerClosed,
    /// The last answer was sent: `Connection: close`, or HTTP/1.0.
    Answered,
    /// A request could not be understood; it was answered with a 4xx or 5xx.
    BadRequest(RequestError),
    /// A request did not arrive in time; it was answered with 408.
    RequestTimeout,
    /// Nothing came for [`Limits::idle_timeout`](super::Limits::idle_timeout).
    IdleTimeout,
    /// The peer took the answer more slowly than [`Limits::min_rate`](super::Limits::min_rate).
    WriteStalled,
    /// A file became shorter while it was sent.
    BodyTruncated,
    /// The server stops.
    Stopping,
    /// The peer reset the connection, or vanished.
    Reset,
    /// Any other error of the socket.
    Transport(std::io::ErrorKind),
    /// The TLS handshake failed.
    Handshake,
    /// It was idle, and somebody was at the door of a full house.
    MadeRoom,
    /// The model could not serve it.
    Refused,
}

impl CloseReason {
    /// Names in the order of [`CloseReason::index`].
    pub const NAMES: [&'static str; 13] = [
        "peer closed",
        "answered",
        "bad request",
        "request timeout",
        "idle timeout",
        "write stalled",
        "body truncated",
        "stopping",
        "reset",
        "transport error",
        "handshake failed",
        "made room",
        "refused",
    ];

    /// Its place in the counters.
    pub const fn index(self) -> usize {
        match self {
            Self::PeerClosed => 0,
            Self::Answered => 1,
            Self::BadRequest(_) => 2,
            Self::RequestTimeout => 3,
            Self::IdleTimeout => 4,
            Self::WriteStalled => 5,
            Self::BodyTruncated => 6,
            Self::Stopping => 7,
            Self::Reset => 8,
            Self::Transport(_) => 9,
            Self::Handshake => 10,
            Self::MadeRoom => 11,
            Self::Refused => 12,
        }
    }
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(Self::NAMES.get(self.index()).copied().unwrap_or("unknown"))?;
        match self {
            Self::BadRequest(error) => write!(f, ": {error}"),
            Self::Transport(kind) => write!(f, ": {kind}"),
            _ => Ok(()),
        }
    }
}

impl From<std::io::Error> for CloseReason {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Self::Reset,
            kind => Self::Transport(kind),
        }
    }
}
