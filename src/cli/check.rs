//! `wouldblock check`: flags, the progress bar, Ctrl-C and the exit code.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::say;
use crate::check::{self, Lang, Options, Report};
use crate::signals::is_ignored;

/// No must is red / some must is red or the server did not survive / there was no run, or no verdict in it.
const OK: u8 = 0;
const RED: u8 = 1;
const NO_RUN: u8 = 2;

#[derive(Clone, Copy, ValueEnum)]
enum Language {
    Zh,
    En,
}

#[derive(clap::Args)]
#[command(
    after_help = "Exit status: 0 no must is red, 1 some must is red or the server died, 2 it could not run or judge."
)]
pub(super) struct Args {
    /// The server: http://HOST, with :PORT and /PATH if need be
    #[arg(required_unless_present_any = ["list", "explain"])]
    url: Option<String>,
    /// The folder that the server serves there: files are laid into a subfolder and removed afterwards
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Only these rules or groups (repeat, or separate by commas; `split.*` works as well)
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    only: Vec<String>,
    /// Not these rules or groups
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    skip: Vec<String>,
    /// Explain one rule and how to repair what it finds
    #[arg(long, value_name = "ID")]
    explain: Option<String>,
    /// List all rules
    #[arg(long)]
    list: bool,
    /// Write the report as JSON to standard output
    #[arg(long)]
    json: bool,
    /// Write the report as JUnit XML to a file as well
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Language of the report [default: by LC_ALL, LC_MESSAGES or LANG]
    #[arg(long, value_enum)]
    lang: Option<Language>,
    /// List green and skipped rules, too
    #[arg(short, long)]
    verbose: bool,
    /// Allow a server that is not on this machine: the check is hostile on purpose
    #[arg(long)]
    i_own_this_server: bool,
    /// How long to watch connections that ought to be closed in the end, in seconds; from 90 on "still open" is red
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: u64,
    /// Rules that run at once; 0 = by what the server can do
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=64))]
    jobs: u16,
}

impl Args {
    pub(super) fn run(self) -> ExitCode {
        let lang = self.lang.map_or_else(language, |l| match l {
            Language::Zh => Lang::Zh,
            Language::En => Lang::En,
        });
        ExitCode::from(self.decide(lang))
    }

    fn decide(self, lang: Lang) -> u8 {
        if self.list {
            return print(&check::list(lang), OK);
        }
        if let Some(id) = &self.explain {
            return match check::all_rules().find(|r| r.id == id) {
                Some(rule) => print(&check::explain(rule, lang), OK),
                None => complain(match lang {
                    Lang::Zh => format!("没有叫「{id}」的规则；全部规则见 --list"),
                    Lang::En => format!("there is no rule \"{id}\"; see --list"),
                }),
            };
        }
        // Opened before minutes are spent on a report that could not be kept.
        let junit = match self.junit.as_deref().map(|path| Junit::create(path, lang)).transpose() {
            Ok(junit) => junit,
            Err(why) => return complain(why),
        };
        let mut options = Options::new(self.url.as_deref().unwrap_or_default());
        options.root = self.root;
        options.only = self.only;
        options.skip = self.skip;
        options.own = self.i_own_this_server;
        options.jobs = self.jobs.into();
        options.watch = Duration::from_secs(self.watch);
        options.time = options.time.max(options.watch * 6);
        for signal in [SIGINT, SIGTERM, SIGQUIT, SIGHUP] {
            if signal == SIGHUP && is_ignored(signal) {
                continue;
            }
            // The first asks the run to end, so that the files are removed; the second ends the program.
            let _ = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&options.stop));
            let _ = signal_hook::flag::register(signal, Arc::clone(&options.stop));
        }
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        let progress = |done: usize, total: usize, id: &str| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            bar.set_message(id.to_owned());
        };
        let result = check::run(&options, &progress);
        bar.finish_and_clear();
        let report = match result {
            Ok(report) => report,
            Err(why) => return complain(why.in_lang(lang).to_owned()),
        };
        let kept = junit.map_or(Ok(()), |junit| junit.write(&report, lang));
        let out = if self.json {
            check::json(&report, lang)
        } else {
            let no_colour = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
            let colour = std::io::stdout().is_terminal() && !no_colour;
            check::text(&report, lang, colour, self.verbose)
        };
        if let Err(why) = kept {
            print(&out, NO_RUN);
            return complain(why);
        }
        if options.stop.load(std::sync::atomic::Ordering::Relaxed) {
            return print(&out, NO_RUN);
        }
        if report.survived && !report.decided() {
            print(&out, NO_RUN);
            return complain(match lang {
                Lang::Zh => "什么也没能判定：选中的规则全都跳过了，或没有定论".to_owned(),
                Lang::En => {
                    "nothing could be judged: every chosen rule was left out or stays undecided".to_owned()
                }
            });
        }
        print(&out, if report.passed() { OK } else { RED })
    }
}

/// The file of `--junit`.
struct Junit<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> Junit<'a> {
    fn create(path: &'a Path, lang: Lang) -> Result<Self, String> {
        File::create(path).map(|file| Self { path, file }).map_err(|e| cannot_write(path, &e, lang))
    }

    fn write(mut self, report: &Report, lang: Lang) -> Result<(), String> {
        let text = check::junit(report, lang);
        self.file.write_all(text.as_bytes()).map_err(|e| cannot_write(self.path, &e, lang))
    }
}

fn cannot_write(path: &Path, e: &io::Error, lang: Lang) -> String {
    match lang {
        Lang::Zh => format!("写不了 {}：{e}；请换一个可写的位置", path.display()),
        Lang::En => format!("cannot write {}: {e}; choose a writable place", path.display()),
    }
}

/// By the locale, as other tools do.
fn language() -> Lang {
    let locale = ["LC_ALL", "LC_MESSAGES", "LANG"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|v| !v.is_empty())
        .unwrap_or_default();
    if locale.to_ascii_lowercase().starts_with("zh") { Lang::Zh } else { Lang::En }
}

/// To standard output; the exit status is this one, if that went well.
fn print(text: &str, code: u8) -> u8 {
    match say(text) {
        Ok(()) => code,
        Err(e) => complain(format!("cannot write to standard output: {e}")),
    }
}

fn complain(text: String) -> u8 {
    super::complain(&format!("wouldblock check: {text}"));
    NO_RUN
}
