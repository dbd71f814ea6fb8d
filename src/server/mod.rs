//! THE SERVERS: one I/O model per file, all with the same `serve`.
//!
//! What lives here: how a server finds out which client has data. Everything else (the protocol, the content, a
//! client's turn, limits, counters, log) is shared and lies below, so that two of these files laid side by side
//! show the difference between two models and nothing else.

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

mod blocking;
mod coroutine;
#[cfg(target_os = "linux")]
mod epoll;
#[cfg(target_os = "linux")]
mod epoll_et;
mod house;
mod nonblocking;
mod poll;
mod process;
mod select;
mod thread;

use std::io;

pub use nonblocking::Server;

use crate::config::{Config, Model};
use crate::net::{Listener, Worker};
use crate::signals::Signals;
use crate::stats::Stats;

/// Serves until told to stop; returns what was counted.
///
/// # Errors
/// The model cannot run on this system at all. What happens to single clients is counted, not returned.
pub fn serve(listener: Listener, worker: Worker, config: &Config, signals: &Signals) -> io::Result<Stats> {
    let serve = match config.model {
        Model::Nonblocking => nonblocking::serve,
        Model::Blocking => blocking::serve,
        Model::Process => process::serve,
        Model::Thread => thread::serve,
        Model::Coroutine => coroutine::serve,
        Model::Select => select::serve,
        Model::Poll => poll::serve,
        #[cfg(target_os = "linux")]
        Model::Epoll => epoll::serve,
        #[cfg(target_os = "linux")]
        Model::EpollEt => epoll_et::serve,
        #[cfg(not(target_os = "linux"))]
        Model::Epoll | Model::EpollEt => {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "epoll(7) is Linux's alone; try --model poll",
            ));
        }
    };
    serve(listener, worker, config, signals)
}
