//! What is shown of a run: to people, to programs, to build servers. Decides nothing.

mod machine;
mod people;

pub use machine::{json, junit};
pub use people::{explain, list, text};
