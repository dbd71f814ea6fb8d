//! `wouldblock compare`: flags.

mod outputs;
mod progress;

use std::fmt::Display;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use self::outputs::Outputs;
use self::progress::Progress;
use super::{complain, install_logger};
use crate::compare::arrivals::Arrivals;
use crate::compare::lang::Lang;
use crate::compare::results::Results;
use crate::compare::rounds;
use crate::compare::{Options, echo, guard, reading, silent};
use crate::config::{Model, Sweep};
use crate::idle::IdleStrategy;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  wouldblock compare                                  a first look, under a minute
  wouldblock compare --models nonblocking,epoll --idle spin,park --silent 0,1000 --seconds 1
  wouldblock compare --full --json results.json --html results.html
  wouldblock compare --external 'nginx=nginx -p /tmp -c /path/with/{port}.conf'
  wouldblock compare --external 'python=python3 -m http.server {port} -d {root}'
  wouldblock compare --from results.json --lang zh --html results.zh.html

Every cell is a child process of this program on 127.0.0.1, on a core of its own if there are two.
Loopback says nothing about a network. Close what else is running: disturbed runs are thrown away.")]
pub(super) struct Args {
    /// A few cells, in under a minute (the default)
    #[arg(long)]
    quick: bool,

    /// All models and idle strategies, up to 10,000 silent connections: about half an hour
    #[arg(long, conflicts_with = "quick")]
    full: bool,

    /// I/O models to measure
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = named::<Model>)]
    models: Option<Vec<String>>,

    /// Idle strategies of the nonblocking model, as `--idle` of the server takes them
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = named::<IdleStrategy>)]
    idle: Option<Vec<String>>,

    /// Kinds of sweep of the nonblocking model
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = named::<Sweep>)]
    sweep: Option<Vec<String>>,

    /// Numbers of silent connections, held open all the while
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = clap::value_parser!(u32).range(..=60_000))]
    silent: Option<Vec<u32>>,

    /// Connections that ask
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    active: Option<u32>,

    /// Requests a second when latency is measured
    #[arg(long, value_name = "R", value_parser = positive)]
    rate: Option<f64>,

    /// How these requests are spread over time
    #[arg(long, value_name = "HOW", value_parser = arrivals)]
    arrivals: Option<Arrivals>,

    /// Length of each measured phase
    #[arg(long, value_name = "S", value_parser = positive)]
    seconds: Option<f64>,

    /// How often everything is measured
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,

    /// Share of a run, in percent, that others may take before it is thrown away
    #[arg(long, value_name = "PERCENT", value_parser = positive)]
    noise: Option<f64>,

    /// Another server to put into the table: NAME=COMMAND, with {port} and {root} filled in; may be given again.
    /// It must stay in the foreground and listen on 127.0.0.1
    #[arg(long, value_name = "NAME=COMMAND", value_parser = external)]
    external: Vec<(String, String)>,

    #[command(flatten)]
    outputs: Outputs,

    /// Measure nothing: tell again what a file written by --json holds
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "full", "models", "idle", "sweep", "silent", "active",
        "rate", "arrivals", "seconds", "rounds", "noise", "external", "json"])]
    from: Option<PathBuf>,

    /// Language of the report: en or zh (default: as the locale says)
    #[arg(long, value_name = "LANG", value_parser = lang)]
    lang: Option<Lang>,

    #[command(subcommand)]
    helper: Option<Helper>,
}

/// The other processes of a measurement: this program starts itself with these.
#[derive(clap::Subcommand)]
enum Helper {
    /// Hold silent connections until the end of input
    #[command(hide = true)]
    Hold { address: SocketAddr, count: usize },
    /// Serve the same bytes to everyone
    #[command(hide = true)]
    Echo { body_bytes: usize },
    /// End the others at the end of input
    #[command(hide = true)]
    Guard { folder: PathBuf },
}

impl Args {
    pub(super) fn run(self) -> ExitCode {
        let outcome = match &self.helper {
            Some(Helper::Hold { address, count }) => silent::hold(*address, *count)
                .map_err(|error| format!("cannot hold silent connections: {error}")),
            Some(Helper::Echo { body_bytes }) => {
                echo::run(*body_bytes).map_err(|error| format!("the null test's server failed: {error}"))
            }
            Some(Helper::Guard { folder }) => {
                guard::watch(folder).map_err(|error| format!("cannot guard: {error}"))
            }
            None => {
                install_logger(0);
                self.compare()
            }
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                complain(&format!("wouldblock compare: {why}"));
                ExitCode::FAILURE
            }
        }
    }

    fn compare(&self) -> Result<(), String> {
        let lang = self.lang.unwrap_or_else(|| Lang::from_locale(|name| std::env::var(name).ok()));
        let results = match &self.from {
            Some(file) => read(file)?,
            None => self.measure(lang)?,
        };
        self.outputs.tell(&results, lang)?;
        // What a file tells again was interrupted at another time.
        if results.interrupted && self.from.is_none() {
            return Err("interrupted: not all rounds were completed".to_owned());
        }
        Ok(())
    }

    fn measure(&self, lang: Lang) -> Result<Results, String> {
        self.outputs.try_out()?;
        let options = self.options();
        let length = rounds::estimate_all(&options).as_secs();
        let shown = match length {
            ..120 => format!("{length} s"),
            _ => format!("{} min", length.div_ceil(60)),
        };
        complain(&format!("{}{shown}", lang.pick("Measuring; this takes about ", "开始测量，大约需要 ")));
        let mut progress = Progress::new(lang).map_err(|error| format!("cannot catch signals: {error}"))?;
        let results =
            rounds::measure(&options, &mut progress).map_err(|error| format!("cannot measure: {error}"))?;
        progress.finish();
        results.ok_or_else(|| "interrupted before the first round was complete: nothing to tell".to_owned())
    }

    fn options(&self) -> Options {
        let mut options = if self.full { Options::full() } else { Options::quick() };
        let widened =
            [self.models.is_some(), self.idle.is_some(), self.silent.is_some(), self.sweep.is_some()];
        if self.seconds.is_some() || self.rounds.is_some() || widened.contains(&true) {
            // Who says what to measure has said how long it may take.
            options.budget_s = None;
        }
        if let Some(models) = &self.models {
            options.models.clone_from(models);
        }
        if let Some(idle) = &self.idle {
            options.idle.clone_from(idle);
        }
        if let Some(sweep) = &self.sweep {
            options.sweeps.clone_from(sweep);
        }
        if let Some(silent) = &self.silent {
            options.silent = silent.iter().map(|n| *n as usize).collect();
            let most = options.silent.iter().max().copied().unwrap_or(0);
            options.series.retain(|n| *n <= most);
        }
        options.active = self.active.map_or(options.active, |active| active as usize);
        options.rate = self.rate.unwrap_or(options.rate);
        options.arrivals = self.arrivals.unwrap_or(options.arrivals);
        options.seconds = self.seconds.unwrap_or(options.seconds);
        options.rounds = self.rounds.map_or(options.rounds, |rounds| rounds as usize);
        options.noise_limit = self.noise.map_or(options.noise_limit, |percent| percent / 100.0);
        options.externals.clone_from(&self.external);
        options
    }
}

fn read(file: &Path) -> Result<Results, String> {
    let text =
        fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    reading::read(&text).map_err(|why| {
        format!("{} was not written by `compare --json` of this version: {why}", file.display())
    })
}

/// A value of the server's own configuration, by the name that the server's flag has for it.
fn named<T: FromStr<Err = String> + Display>(text: &str) -> Result<String, String> {
    text.parse::<T>().map(|value| value.to_string())
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("a number above 0 is needed".to_owned()),
    }
}

fn arrivals(text: &str) -> Result<Arrivals, String> {
    match text {
        "poisson" => Ok(Arrivals::Poisson),
        "periodic" => Ok(Arrivals::Periodic),
        _ => Err("poisson or periodic".to_owned()),
    }
}

fn lang(text: &str) -> Result<Lang, String> {
    match text {
        "en" => Ok(Lang::En),
        "zh" => Ok(Lang::Zh),
        _ => Err("en or zh".to_owned()),
    }
}

fn external(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, command)) if !name.is_empty() && command.contains("{port}") => {
            Ok((name.to_owned(), command.to_owned()))
        }
        _ => Err("NAME=COMMAND is needed, with {port} in the command".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn options(line: &str) -> Options {
        Line::try_parse_from(std::iter::once("compare").chain(line.split_whitespace()))
            .unwrap()
            .args
            .options()
    }

    #[test]
    fn without_flags_it_is_the_quick_one() {
        assert_eq!(options(""), Options::quick());
        assert_eq!(options("--quick"), Options::quick());
        assert_eq!(options("--full"), Options::full());
    }

    #[test]
    fn every_flag_changes_what_it_names() {
        let all = options(
            "--models poll,nonblocking --idle spin,sleep:5ms --sweep hot --silent 7,100 --active 3 --rate 50.5 \
             --arrivals periodic --seconds 2 --rounds 4 --noise 10 --external x=serve:{port}",
        );
        assert_eq!(all.models, ["poll", "nonblocking"]);
        assert_eq!(all.idle, ["spin", "sleep:5ms"]);
        assert_eq!(all.sweeps, ["hot"]);
        assert_eq!(all.silent, [7, 100]);
        assert_eq!(all.series, [1, 10, 30, 100], "no N beyond what was asked for");
        assert_eq!((all.active, all.rate, all.seconds, all.rounds), (3, 50.5, 2.0, 4));
        assert_eq!(all.arrivals, Arrivals::Periodic);
        assert!((all.noise_limit - 0.1).abs() < 1e-9);
        assert_eq!(all.externals, [("x".to_owned(), "serve:{port}".to_owned())]);
        assert_eq!(all.budget_s, None);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in
            ["--rate 0", "--seconds nan", "--models pool", "--external nginx", "--lang fr", "--quick --full"]
        {
            assert!(
                Line::try_parse_from(std::iter::once("compare").chain(line.split_whitespace())).is_err(),
                "{line}"
            );
        }
    }
}
