//! `wouldblock check`: flags.

use std::process::ExitCode;

#[derive(clap::Args)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self) -> ExitCode {
        ExitCode::SUCCESS
    }
}
