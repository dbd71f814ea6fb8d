//! A static HTTP/1.1 server: one thread, one `Vec` of nonblocking sockets, one loop.
//!
//! The map; read `server/nonblocking.rs` next.
//!
//! ```text
//!  main ──► cli ──► config
//!   │
//!   └────► server ──► net ──► service, site ──► http
//!             └─────► idle, signals, stats
//! ```
//!
//! - [`server`]: the servers, one I/O model per file. The heart is [`server::Server::sweep`].
//! - [`net`]: the sockets: a client's turn, the listener, whose turn it is.
//! - [`site`]: the content: the only files that touch the disk.
//! - [`http`]: the protocol: bytes and time in, bytes out; no socket, no file, no clock.
//! - [`service`]: the seam between the two.
//! - [`idle`]: what the loop does after a fruitless sweep.
//! - [`stats`]: what it counts. [`access_log`]: what it writes down. [`signals`]: what it is told.
//! - [`privileges`]: what the process may do.
//! - [`report`]: what it says at the end.
//! - [`live`]: the loop, looked at: what pages show of it. [`chapter`]: those pages, carried in the binary.
//! - [`check`]: the black-box checker for any server. [`compare`]: what each way of waiting costs here.
//!
//! # What is defended, what is not
//!
//! The adversary is anybody who can connect. He may send any octets, cut anywhere, at any pace, over as many
//! connections as he likes, and take his answers or not. Against him:
//!
//! - *Nothing from outside the root comes out*: paths are opened beneath it, links that lead out are refused, and dot
//!   names do not exist ([`site`]).
//! - *No request is read in two ways*: whatever two recipients could cut differently is refused ([`http`]; RFC 9112
//!   §11.2).
//! - *Nobody makes the process end or grow*: what could panic is a compile error where his octets come by; heads,
//!   bodies, connections and times have limits ([`http::Limits`], [`config::Config`]); a silent connection has no
//!   buffers; what is unsent of a file is not kept.
//! - *Nobody makes the others wait*: a turn is bounded; so are the sweeps until a turn ([`net::Roster`]); a file that
//!   is not in memory is waited for like a socket; without free descriptors those inside are served.
//! - *Nobody writes into the log* what could be taken for another line or for a terminal's commands ([`access_log`]).
//!
//! How that is known: `tests/sim` (whole servers over a simulated network), `tests/flood.rs` (floods of the real
//! binary), `tests/soak.rs` and `tests/fuzz`.
//!
//! Not defended: a flood that fills the line or the kernel's queues before anything is accepted; many addresses that
//! each keep to the limits, for there is no limit for each address; whoever can write below the root, or replace the
//! root itself; other users of the machine; what a file tells the browser to do; the timing of password checks over
//! a network. Opening a cold file and reading a small one still wait for the disk; so does every read where the
//! file system cannot say that it would. In front of the open Internet, the kernel's limits (nftables) or a proxy
//! belong before it.

pub mod access_log;
pub mod chapter;
pub mod check;
pub mod cli;
pub mod compare;
pub mod config;
pub mod http;
pub mod idle;
pub mod live;
pub mod net;
pub mod privileges;
pub mod report;
pub mod server;
pub mod service;
pub mod signals;
pub mod site;
pub mod stats;
