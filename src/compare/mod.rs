//! `wouldblock compare`: what busy polling costs on this machine, measured and explained.
//!
//! | file | has |
//! | --- | --- |
//! | `matrix` | what is measured: servers, cells, kinds of run |
//! | `client`, `arrivals` | the load: open loop, closed loop, planned send times; every answer checked |
//! | `serving`, `silent`, `echo` | the child processes: a server, the holder of silent connections, the null test |
//! | `guard` | one more, which ends the others if this process is ended |
//! | `machine`, `procfs`, `counters` | what the system says of the machine and of a process, and a server of itself |
//! | `cell` | one run: start, fill, warm up, measure, stop |
//! | `rounds` | all runs: order, repeats, what is thrown away |
//! | `results`, `reading` | what was measured, as it stands in the JSON file; that file read again |
//! | `fit`, `findings` | what follows from it: the cost model, predictions, break-even points |
//! | `table`, `page`, `figures`, `plot`, `lang` | how it is told |
//!
//! Nothing here knows how a server works inside: our own is measured from outside like any other, and only its counters
//! are read besides.

pub mod arrivals;
pub mod cell;
pub mod client;
pub mod counters;
pub mod echo;
pub mod figures;
pub mod findings;
pub mod fit;
pub mod guard;
pub mod lang;
pub mod machine;
pub mod matrix;
pub mod numbers;
pub mod page;
pub mod plot;
pub mod procfs;
pub mod reading;
pub mod results;
pub mod rounds;
pub mod sentences;
pub mod serving;
pub mod silent;
pub mod table;

use arrivals::Arrivals;

/// What to measure and how long.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Options {
    /// I/O models of ours.
    pub models: Vec<String>,
    /// Idle strategies for the model that sweeps.
    pub idle: Vec<String>,
    /// Kinds of sweep for the model that sweeps; the first is the one measured where they do not differ.
    pub sweeps: Vec<String>,
    /// Numbers of silent connections (N).
    pub silent: Vec<usize>,
    /// Connections that ask (k).
    pub active: usize,
    /// Requests a second of the open loop (λ).
    pub rate: f64,
    /// How they are spread.
    pub arrivals: Arrivals,
    /// Length of each measured phase, seconds.
    pub seconds: f64,
    /// How often everything is measured; fewer if `budget_s` runs out first.
    pub rounds: usize,
    /// No further round is begun if it would end later than this many seconds after the start.
    pub budget_s: Option<f64>,
    /// Further N for the straight line through the idle sweep.
    pub series: Vec<usize>,
    /// Further rates for processor time against load.
    pub curve: Vec<f64>,
    /// Names and commands of other servers.
    pub externals: Vec<(String, String)>,
    /// A run is thrown away if strangers took more than this share of its time.
    pub noise_limit: f64,
}

impl Options {
    /// Under a minute: a first look, at few points.
    pub fn quick() -> Self {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            models: own(&["nonblocking", "poll", "epoll"]),
            idle: own(&["spin", "sleep:1ms", "backoff", "park"]),
            sweeps: own(&["full", "hot"]),
            silent: vec![0, 1000],
            active: 10,
            rate: 2000.0,
            arrivals: Arrivals::Poisson,
            seconds: 0.15,
            rounds: 3,
            budget_s: Some(52.0),
            series: vec![1, 10, 30, 100, 300, 1000, 3000],
            curve: vec![200.0, 10_000.0, 40_000.0],
            externals: Vec::new(),
            noise_limit: 0.05,
        }
    }

    /// Everything: all models and strategies, up to 10,000 silent connections.
    pub fn full() -> Self {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            models: own(&[
                "nonblocking",
                "blocking",
                "process",
                "thread",
                "coroutine",
                "select",
                "poll",
                "epoll",
                "epoll-et",
            ]),
            idle: own(&["spin", "yield", "sleep:1ms", "backoff", "park"]),
            silent: vec![0, 1000, 10_000],
            seconds: 1.0,
            rounds: 5,
            budget_s: None,
            series: vec![1, 3, 10, 30, 100, 300, 1000, 3000, 10_000],
            curve: vec![200.0, 500.0, 1000.0, 5000.0, 10_000.0, 20_000.0, 40_000.0, 80_000.0],
            noise_limit: 0.03,
            ..Self::quick()
        }
    }
}
