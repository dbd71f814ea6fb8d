//! The command line: flags to [`crate::config::Config`] and calls of the library. clap stops here.

mod check;
mod compare;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "wouldblock", version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Judge any HTTP/1.1 server from outside, rule by rule
    Check(check::Args),
    /// Measure what each way of waiting costs on this machine
    Compare(compare::Args),
}

/// Parses the command line and runs what it says.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Check(args)) => args.run(),
        Some(Command::Compare(args)) => args.run(),
        None => ExitCode::SUCCESS,
    }
}
