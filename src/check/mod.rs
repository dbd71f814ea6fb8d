//! The black-box checker: judges any HTTP/1.1 server from outside, rule by rule, over TCP alone.
//!
//! What lives here: the rules ([`all_rules`]), a client of its own, the files that are laid for it, the run and its
//! report. What must not: anything of this crate's server or parser; an independent reading judges better.

mod answer;
mod fixture;
mod probe;
mod report;
mod rule;
mod rules;
mod run;
mod survey;
mod target;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use report::{explain, json, junit, list, text};
pub use rule::{Finding, Kind, Lang, Needs, Rule, Severity, Text};
pub use rules::{GROUPS, Group, all as all_rules};
pub use run::run;

/// Starts the server again: see [`Options::revive`].
pub type Revive = Box<dyn Fn() -> Option<SocketAddr> + Send + Sync>;

/// What to check and how.
pub struct Options {
    /// `http://host[:port][/path]`.
    pub url: String,
    /// The folder that the server serves at the URL's folder; files are laid into it and removed.
    pub root: Option<PathBuf>,
    /// Ids or groups to run; all if empty.
    pub only: Vec<String>,
    /// Ids or groups to leave out.
    pub skip: Vec<String>,
    /// Whether addresses other than loopback are allowed.
    pub own: bool,
    /// How many gentle rules run at once; 0 = eight, or one if the server serves one client at a time.
    pub jobs: usize,
    /// How long a healthy server may take for any step.
    pub patience: Duration,
    /// How long to watch connections that ought to be closed in the end.
    pub watch: Duration,
    /// From which time on "still open" counts as never.
    pub idle_limit: Duration,
    /// Upper bound of the whole run; what is not decided by then stays undecided.
    pub time: Duration,
    /// Octets of the largest laid file.
    pub big: usize,
    /// Set from outside (Ctrl-C) to end the run early; the files are removed all the same.
    pub stop: Arc<AtomicBool>,
    /// Starts the server again after it ended or hung, and says where it listens now: not every server can have
    /// its old port at once (TIME_WAIT). `None` if it cannot be started.
    pub revive: Option<Revive>,
}

impl Options {
    /// The defaults for a URL.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            root: None,
            only: Vec::new(),
            skip: Vec::new(),
            own: false,
            jobs: 0,
            patience: Duration::from_secs(2),
            watch: Duration::from_secs(10),
            idle_limit: Duration::from_secs(90),
            time: Duration::from_secs(180),
            // More than the kernel takes at once on loopback (about 4 MB), so that partial sends do happen.
            big: 12 * 1024 * 1024,
            stop: Arc::new(AtomicBool::new(false)),
            revive: None,
        }
    }
}

/// What became of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Green.
    Pass,
    /// Red: the server did this.
    Fail(Finding),
    /// It could not be known; counts neither way.
    Undecided(Finding),
    /// It was not run, or has no object here.
    Skipped(Finding),
}

/// One rule with its outcome and what went over the last connection.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The rule.
    pub rule: &'static Rule,
    /// Its outcome.
    pub outcome: Outcome,
    /// The octets sent, shortened and escaped.
    pub sent: String,
    /// The octets that came, shortened and escaped.
    pub came: String,
    /// How long it took.
    pub time: Duration,
}

/// The result of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// The address.
    pub url: String,
    /// What the server calls itself.
    pub server: String,
    /// Every rule, in order.
    pub rules: Vec<Judged>,
    /// Whether the server was there after every rule, whichever were chosen.
    pub survived: bool,
    /// What a reader must know about the run as a whole.
    pub notes: Vec<Finding>,
    /// How long it took.
    pub time: Duration,
}

impl Report {
    /// The red rules.
    pub fn red(&self) -> impl Iterator<Item = &Judged> {
        self.rules.iter().filter(|j| matches!(j.outcome, Outcome::Fail(_)))
    }

    /// Whether any rule is green or red. A run without verdicts says nothing about the server, good or bad.
    pub fn decided(&self) -> bool {
        self.rules.iter().any(|j| matches!(j.outcome, Outcome::Pass | Outcome::Fail(_)))
    }

    /// Whether something was judged, no `must` is red and the server lived through it.
    pub fn passed(&self) -> bool {
        self.decided() && self.survived && self.red().all(|j| j.rule.severity != Severity::Must)
    }

    /// 0 to 100 over the decided rules; a `must` weighs four, a `should` two, a `good` one.
    pub fn score(&self) -> u32 {
        let weight = |j: &&Judged| match j.rule.severity {
            Severity::Must => 4,
            Severity::Should => 2,
            Severity::Good => 1,
        };
        let green: u32 = self.rules.iter().filter(|j| j.outcome == Outcome::Pass).map(|j| weight(&j)).sum();
        let red: u32 = self.red().map(|j| weight(&j)).sum();
        (green * 100).checked_div(green + red).unwrap_or(0)
    }

    /// The three red rules to begin with: the gravest, no two of one group.
    pub fn first_to_fix(&self) -> Vec<&Judged> {
        let mut red: Vec<&Judged> = self.red().collect();
        red.sort_by_key(|j| j.rule.severity);
        let mut chosen: Vec<&Judged> = Vec::new();
        for j in &red {
            if chosen.len() < 3 && chosen.iter().all(|c| c.rule.group() != j.rule.group()) {
                chosen.push(j);
            }
        }
        chosen
    }
}

/// Why there was no run: what was tried, why it failed, what to do, in one line per language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CannotRun(Finding);

impl CannotRun {
    fn new(zh: String, en: String) -> Self {
        Self(Finding { zh, en })
    }

    /// The line in one language.
    pub fn in_lang(&self, lang: Lang) -> &str {
        self.0.in_lang(lang)
    }
}

impl std::fmt::Display for CannotRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.en)
    }
}

impl std::error::Error for CannotRun {}
