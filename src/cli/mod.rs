//! The command line: flags to [`crate::config::Config`] and calls of the library. clap stops here.

mod check;
mod compare;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The exit status for a command line that cannot be understood.
const USAGE: u8 = 2;

#[derive(Parser)]
#[command(
    name = "wouldblock",
    version,
    about = "Serves a folder over HTTP/1.1 from one thread with nonblocking sockets",
    args_conflicts_with_subcommands = true,
    after_help = EXAMPLES,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Args,
}

#[derive(Subcommand)]
enum Command {
    /// Judge any HTTP/1.1 server from outside, rule by rule
    Check(check::Args),
    /// Measure what each way of waiting costs on this machine
    Compare(Box<compare::Args>),
}

const EXAMPLES: &str = "\
Examples:
  wouldblock                        the chapter, on http://127.0.0.1:7890/
  wouldblock ~/site -p 8080         a folder, on another port
  wouldblock . -b 0.0.0.0           share it with the network
  wouldblock . --idle spin          the chapter's pure form: burns a core, answers soonest
  wouldblock . --model epoll        the same server, waiting otherwise";

/// Parses the command line and runs what it says. Returns the exit status: 0 when all went well, 1 when the work
/// failed, 2 when the command line was wrong.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            // clap explains itself in paragraphs; people want the line that says what is wrong.
            let text = error.to_string();
            let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            let mut line = lines.next().unwrap_or("error: bad usage").to_owned();
            if line.ends_with(':') || line.ends_with("provided") {
                for more in
                    lines.take_while(|line| !line.starts_with("Usage") && !line.starts_with("For more"))
                {
                    line = format!("{line} {more}");
                }
            }
            eprintln!("wouldblock: {}; see wouldblock --help", line.trim_start_matches("error: "));
            return ExitCode::from(USAGE);
        }
        Err(help) => {
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    match cli.command {
        Some(Command::Check(args)) => args.run(),
        Some(Command::Compare(args)) => args.run(),
        None => cli.serve.run(),
    }
}
