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
