//! The binary: all it does is in [`wouldblock::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    wouldblock::cli::run()
}
