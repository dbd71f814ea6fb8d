//! The loop, looked at: what the chapter's pages show of the running server, and the few things they may change.
//!
//! What lives here: the [`Board`] on which the loop writes now and then and from which answers are made, the
//! [`Live`] service that answers below `/_loop/`, the silent connections a reader may open, and the [`Monitor`], which
//! needs no board.
//! What must not: the loop itself. It holds an [`Observer`], asks it one question per sweep ([`Observer::is_due`])
//! and otherwise does not know that it is being watched.
//!
//! Looking changes what is seen, so it is bounded and said: the loop writes at most ten times a second and only
//! while somebody looks, and requests to look are also counted on their own.

mod board;
mod guard;
mod monitor;
mod render;
mod serve;
mod silent;

pub use board::{Board, Call, Cell, CellState, Controls, Observer, Sample, Settings, Step, SweepRecord};
pub use monitor::Monitor;
pub use serve::Live;
