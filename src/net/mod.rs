//! THE SOCKETS: one socket and one connection put together; the listener; the roster of clients.
//!
//! What lives here: everything the I/O models share below their waiting. What must not: the waiting itself; that
//! is what the files of `server/` differ in.

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

mod body;
mod client;
mod disk;
mod door;
mod listener;
mod pace;
mod roster;
mod stream;
mod tls;
mod worker;

use std::io::{self, ErrorKind};

pub use client::{Client, Tally};
pub use door::{Accepted, Address, BindError, BindOptions};
pub use listener::{Accept, Listener};
pub use pace::{BUSY_FOR, Pace, QUIET_SLICE_IDLE, question_every};
pub use roster::{HOT_FOR, Roster};
pub use stream::{Interest, Stream, Transport, poll_flags};
pub use tls::{Tls, TlsError, TlsStream};
pub use worker::{ReadLimit, Worker};

/// Most octets of an answer, head and body, that one turn sends, so that one download does not hold up the others: at
/// the 10 GB/s of a loopback, 512 KiB are 50 µs. The head counts, because then each turn ends where the buffer of a
/// reader does who reads by powers of two, and leaves no crumbs for a read of its own (a tenth more downloads of 10 MiB).
pub const TURN_BYTES: usize = 512 * 1024;

/// One nonblocking call: `Some` if it got somewhere, `None` if it would have blocked.
///
/// Interrupted is the same as "would have blocked": whoever asks again next sweep has retried. (Blocking sockets
/// with a timeout report the timeout as would-block too, so the blocking models share this line.)
///
/// # Errors
/// Every other error is the end of the connection.
pub fn attempt<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}
