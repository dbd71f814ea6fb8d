//! THE PROTOCOL: HTTP/1.1 as a state machine. Bytes and time in, bytes out.
//!
//! What lives here: message syntax and framing (RFC 9112), the life of one connection
//! ([`Connection`]), the limits a client is held to ([`Limits`]).
//! What must not: sockets, files, threads, clocks. Time is always an argument, so a test can move it.
//!
//! Read `connection.rs` first; the drawing of the phases stands at its top.

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

mod buffer;
mod chunked;
mod close_reason;
mod connection;
mod headers;
mod limits;
mod request;
mod request_error;
mod response;

pub use buffer::{READ_SIZE, Spare};
pub use close_reason::CloseReason;
pub use connection::{Connection, INLINE_MAX, Payload, Phase, Transmit, Wants};
pub use headers::{HEADERS_MAX, HeaderStorage, Headers, list_members, tag_members};
pub use limits::Limits;
pub use request::{Method, Request, Target, Version};
pub use request_error::RequestError;
pub use response::{HttpDate, ResponseHead, Status};
