//! The command line: flags to [`crate::config::Config`] and calls of the library. clap stops here.

mod check;
mod compare;
mod flags;
mod serve;
mod share;
mod values;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::builder::{BoolishValueParser, Resettable};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, Id, Parser, Subcommand};

use crate::config::Model;

/// The exit status for a command line that cannot be understood.
const USAGE: u8 = 2;

#[derive(Parser)]
#[command(
    name = "wouldblock",
    version,
    about = "Serves a folder over HTTP/1.1 from one thread with nonblocking sockets",
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Args,

    /// Write what SHELL needs to complete these flags, and end
    #[arg(long, value_name = "SHELL", exclusive = true, help_heading = "Installing")]
    print_completions: Option<clap_complete::Shell>,

    /// Write the manual page in roff, and end
    #[arg(long, exclusive = true, help_heading = "Installing")]
    print_manpage: bool,
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
  wouldblock . --model epoll        the same server, waiting otherwise

DIR and each flag can be set in the environment too: --idle-timeout as WOULDBLOCK_IDLE_TIMEOUT, switches as 1 or 0, several \
addresses, index names or media types with semicolons between them. Between a flag and a variable the flag decides.
SIGHUP reads certificates again and opens the log file again; SIGINT and SIGTERM let answers on their way finish.";

/// The prefix of every variable that stands for a flag.
const PREFIX: &str = "WOULDBLOCK_";

/// The command line as it is declared, and for each flag of the server a variable of the same name.
fn command() -> clap::Command {
    Cli::command().after_help(format!("{}\n{EXAMPLES}", models())).mut_args(|arg| {
        let installs =
            matches!(arg.get_id().as_str(), "print_completions" | "print_manpage" | "help" | "version");
        let name = match arg.get_long() {
            _ if installs => return arg,
            Some(long) => long,
            None => "DIR",
        };
        let name = format!("{PREFIX}{}", name.to_ascii_uppercase().replace('-', "_"));
        let arg = arg.env(name).hide_env(true);
        match arg.get_action() {
            ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
            _ => arg,
        }
    })
}

/// The I/O models, a line each.
fn models() -> String {
    let lines = Model::ALL.map(|model| format!("  {:<12} {}\n", model.name(), model.explain()));
    format!("Models:\n{}", lines.concat())
}

/// The command line as it is parsed: of what contradicts each other, [`settle`] knows more. To clap, whatever the
/// environment says is as explicit as a flag, even a switch that is off. The `overruled` have no variable.
fn parser(overruled: &[Id]) -> clap::Command {
    command().mut_args(|arg| {
        let arg = if overruled.contains(arg.get_id()) { arg.env(Resettable::Reset) } else { arg };
        arg.exclusive(false).conflicts_with(Resettable::Reset)
    })
}

/// What this argument's value comes from, unless that is a default or a switch that is off.
fn source(matches: &ArgMatches, arg: &Arg) -> Option<ValueSource> {
    let id = arg.get_id().as_str();
    let is_off = matches!(arg.get_action(), ArgAction::SetTrue) && !matches.get_flag(id);
    matches.value_source(id).filter(|source| *source != ValueSource::DefaultValue && !is_off)
}

/// Refuses flags that would do nothing beside each other. Between a flag and a variable the flag decides: returns the
/// arguments whose variables do not count.
fn settle(matches: &ArgMatches) -> Result<Vec<Id>, clap::Error> {
    let mut declared = command();
    declared.build(); // or it cannot name its arguments
    let mut overruled = Vec::new();
    for arg in declared.get_arguments() {
        let Some(own) = source(matches, arg) else { continue };
        let others = match arg.is_exclusive_set() {
            true => declared.get_arguments().filter(|other| other.get_id() != arg.get_id()).collect(),
            false => declared.get_arg_conflicts_with(arg),
        };
        for other in others {
            match source(matches, other) {
                Some(same) if same == own => {
                    let why = format!("the argument '{arg}' cannot be used with '{other}'");
                    return Err(clap::Error::raw(ErrorKind::ArgumentConflict, why));
                }
                Some(ValueSource::EnvVariable) => overruled.push(other.get_id().clone()),
                Some(_) => overruled.push(arg.get_id().clone()),
                None => {}
            }
        }
    }
    Ok(overruled)
}

fn parse() -> Result<Cli, clap::Error> {
    let mut matches = parser(&[]).try_get_matches()?;
    let overruled = settle(&matches)?;
    if !overruled.is_empty() {
        matches = parser(&overruled).try_get_matches()?;
    }
    Cli::from_arg_matches(&matches)
}

/// What is wrong, in one line. clap explains itself in paragraphs.
fn usage(error: &clap::Error) -> String {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut line = lines.next().unwrap_or("error: bad usage").to_owned();
    let goes_on = line.ends_with(':') || line.ends_with("provided");
    for more in lines.take_while(|line| !line.starts_with("Usage") && !line.starts_with("For more")) {
        if goes_on || more.starts_with("[possible values") {
            line = format!("{line} {more}");
        }
    }
    // A subcommand comes first or not at all.
    let program = match std::env::args().nth(1) {
        Some(name) if Cli::command().find_subcommand(&name).is_some() => format!("wouldblock {name}"),
        _ => "wouldblock".to_owned(),
    };
    format!("wouldblock: {}; see {program} --help", line.trim_start_matches("error: "))
}

/// Writes to standard output. Who closes the pipe has read enough (`| head`).
fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    enough(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

fn enough(written: io::Result<()>) -> io::Result<()> {
    written.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}

/// A line on standard error, if that is still there: a terminal can be closed.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Diagnostics on standard error: warnings, and more with each `-v`.
fn install_logger(verbose: u8) {
    let level = match verbose {
        0 => log::LevelFilter::Warn,
        1 => log::LevelFilter::Info,
        2 => log::LevelFilter::Debug,
        _ => log::LevelFilter::Trace,
    };
    if let Err(error) = simple_logger::SimpleLogger::new().with_level(level).init() {
        complain(&format!("wouldblock: no diagnostics: {error}"));
    }
}

/// What installers ask for, to standard output.
fn print(cli: &Cli) -> Option<io::Result<()>> {
    let mut text = Vec::new();
    let made = match cli.print_completions {
        Some(shell) => {
            clap_complete::generate(shell, &mut command(), "wouldblock", &mut text);
            Ok(())
        }
        None if cli.print_manpage => clap_mangen::Man::new(command()).render(&mut text),
        None => return None,
    };
    Some(made.and_then(|()| say(&String::from_utf8_lossy(&text))))
}

/// The exit status after writing to standard output.
fn printed(written: io::Result<()>) -> ExitCode {
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("wouldblock: cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Parses the command line and runs what it says. Returns the exit status: 0 when all went well, 1 when the work
/// failed, 2 when the command line was wrong.
pub fn run() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            complain(&usage(&error));
            return ExitCode::from(USAGE);
        }
        Err(help) => return printed(enough(help.print().and_then(|()| io::stdout().flush()))),
    };
    if let Some(written) = print(&cli) {
        return printed(written);
    }
    match cli.command {
        Some(Command::Check(args)) => args.run(),
        Some(Command::Compare(args)) => args.run(),
        None => cli.serve.run(),
    }
}
