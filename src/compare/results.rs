//! What was measured, as it stands in the JSON file: every run that was kept, and how many were not. What follows from
//! it is computed in `findings`, so that a page can be made again from a file, in either language.

use serde::{Deserialize, Serialize};

use super::Options;
use super::client::Latencies;
use super::fit::median;
use super::lang::Lang;
use super::machine::{Machine, Noise};
use super::matrix::{Cell, Kind, Measurement, Server};
use crate::stats::Stats;

/// The latencies of a run: from the planned send time, and from the actual one.
pub type Pair = (Latencies, Latencies);

/// The version of the file's shape; raised when a reader of the old one would go wrong.
pub const SCHEMA: u32 = 1;

/// Everything that one call of `compare` measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Results {
    /// See [`SCHEMA`].
    pub schema: u32,
    /// When it began: UTC, as in `2026-01-31T12:00:00Z`.
    pub began: String,
    /// How long it took.
    pub took_s: f64,
    /// What was asked for.
    pub options: Options,
    /// Where.
    pub machine: Machine,
    /// Rounds that were completed.
    pub rounds: usize,
    /// Whether somebody ended it before all were.
    #[serde(default)]
    pub interrupted: bool,
    /// The points, in the order of the plan.
    pub points: Vec<Point>,
}

/// One measurement with all its runs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Point {
    /// What was measured.
    pub what: Measurement,
    /// The runs that were kept.
    pub runs: Vec<Sample>,
    /// How many were thrown away because strangers took too much of their time.
    pub thrown_noisy: usize,
    /// How many were thrown away because the calibration loop ran slowly beside them.
    pub thrown_slow: usize,
    /// No run was quiet: the only one kept is the least noisy of those that were not.
    pub noisy: bool,
    /// Why there are no runs, or fewer.
    pub trouble: Option<Trouble>,
    /// All latencies of the kept runs together, from the planned send times.
    pub planned: Option<Curve>,
    /// The same from the actual send times.
    pub sent: Option<Curve>,
}

/// One run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Length of the measured phase.
    pub wall_s: f64,
    /// Answers in it.
    pub answered: u64,
    /// Requests that were due in it.
    pub due: u64,
    /// Processor time of the server in it.
    pub cpu_s: f64,
    /// That ÷ the time that passed while it was measured; 1 is one core.
    pub cpu_share: f64,
    /// Resident memory at the end.
    pub memory_kib: Option<u64>,
    /// Times the server went to sleep in the phase (first threads).
    pub voluntary_switches: u64,
    /// Times it was put aside in the phase (first threads).
    pub involuntary_switches: u64,
    /// What the server counted: in the phase where its counters can be read meanwhile, else over its whole life if nobody was
    /// silent.
    pub counted: Option<Counted>,
    /// Its counters over its whole life. Its answers are as many as the client's, or the run is not here.
    pub life: Option<Stats>,
    /// What strangers took.
    pub noise: Noise,
    /// The slower of two calibration loops, before and after.
    pub calibration_us: f64,
    /// Median and 99th percentile of this run alone, for the spread between runs.
    pub p50_p99_us: Option<[f64; 2]>,
}

/// Why a run gave no figures.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// The server or a helper could not be started.
    Start(String),
    /// It could not be stopped in order.
    Stop(String),
    /// It did not keep all silent connections.
    NotHeld {
        /// How many it had.
        held: usize,
    },
    /// It answered nobody.
    NoAnswer,
    /// It answered wrongly.
    Answer(String),
    /// A connection broke, or was refused.
    Connection(String),
    /// It counted other answers than the client.
    Miscounted {
        /// By its counters.
        server: u64,
        /// By the client.
        client: u64,
    },
    /// Not tried: more descriptors are needed than this process may have.
    Descriptors {
        /// The limit.
        limit: u64,
    },
}

impl Trouble {
    /// For a person.
    pub fn text(&self, lang: Lang) -> String {
        match (self, lang) {
            (Self::Start(why), Lang::En) => format!("did not start: {why}"),
            (Self::Start(why), Lang::Zh) => format!("没能启动：{why}"),
            (Self::Stop(why), Lang::En) => format!("did not stop: {why}"),
            (Self::Stop(why), Lang::Zh) => format!("没能正常停止：{why}"),
            (Self::NotHeld { held }, Lang::En) => format!("kept only {held} silent connections"),
            (Self::NotHeld { held }, Lang::Zh) => format!("只保住了 {held} 个沉默连接"),
            (Self::NoAnswer, Lang::En) => "answers nobody: stuck".to_owned(),
            (Self::NoAnswer, Lang::Zh) => "谁也不答：堵住了".to_owned(),
            (Self::Answer(why), Lang::En) => format!("answered wrongly: {why}"),
            (Self::Answer(why), Lang::Zh) => format!("答错了：{why}"),
            (Self::Connection(why), Lang::En) => format!("the connection broke: {why}"),
            (Self::Connection(why), Lang::Zh) => format!("连接断了：{why}"),
            (Self::Miscounted { server, client }, Lang::En) => {
                format!("counted {server} answers, the client {client}")
            }
            (Self::Miscounted { server, client }, Lang::Zh) => {
                format!("自己数出 {server} 个应答，客户端数出 {client} 个")
            }
            (Self::Descriptors { limit }, Lang::En) => format!("not tried: only {limit} open files allowed"),
            (Self::Descriptors { limit }, Lang::Zh) => format!("没有试：最多只能打开 {limit} 个文件"),
        }
    }
}

/// A distribution of latencies, small enough for a file and fine enough for a curve.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Curve {
    /// How many latencies it is made of.
    pub count: u64,
    /// Mean, µs.
    pub mean_us: f64,
    /// Rising pairs: share of the answers (0 to 1), and the µs within which they came.
    pub quantiles: Vec<(f64, f64)>,
}

impl Curve {
    /// Quantiles at equal distances of log 1/(1 − p), as far as at least one answer lies beyond.
    pub fn of(latencies: &Latencies) -> Option<Self> {
        let count = latencies.len();
        let quantile = |p: f64| (p, latencies.value_at_quantile(p) as f64 / 1e3);
        let steps = (0..)
            .map(|i| 1.0 - 10f64.powf(-f64::from(i) / 10.0))
            .take_while(|p| (1.0 - p) * count as f64 >= 1.0);
        let mut quantiles: Vec<_> = steps.chain([0.5, 0.99, 0.999]).map(quantile).collect();
        quantiles.sort_by(|one, two| one.0.total_cmp(&two.0));
        quantiles.dedup_by(|one, two| (one.0 - two.0).abs() < 1e-9);
        (count > 0).then(|| Self { count, mean_us: latencies.mean() / 1e3, quantiles })
    }

    /// The µs within which this share of the answers came, for 0.5, 0.99 and 0.999.
    pub fn at(&self, quantile: f64) -> Option<f64> {
        self.quantiles.iter().find(|(p, _)| (p - quantile).abs() < 1e-9).map(|(_, us)| *us)
    }

    /// Whether so few answers lie beyond a quantile that chance decides it: fewer than ten.
    pub fn is_thin(&self, quantile: f64) -> bool {
        self.count as f64 * (1.0 - quantile) < 10.0
    }
}

impl Point {
    /// Nothing measured yet.
    pub fn new(what: Measurement) -> Self {
        Self {
            what,
            runs: Vec::new(),
            thrown_noisy: 0,
            thrown_slow: 0,
            noisy: false,
            trouble: None,
            planned: None,
            sent: None,
        }
    }

    /// Puts the merged latencies in.
    pub fn set_latencies(&mut self, pair: &Pair) {
        self.planned = Curve::of(&pair.0);
        self.sent = Curve::of(&pair.1);
    }

    /// The median over the runs.
    pub fn median(&self, value: impl Fn(&Sample) -> f64) -> Option<f64> {
        median(self.runs.iter().map(value))
    }

    /// The smallest and the largest over the runs.
    pub fn range(&self, value: impl Fn(&Sample) -> Option<f64>) -> Option<(f64, f64)> {
        self.runs.iter().filter_map(value).fold(None, |range, value| {
            let (low, high) = range.unwrap_or((value, value));
            Some((low.min(value), high.max(value)))
        })
    }

    /// Whether the server could not keep up: some of what was due was not answered.
    pub fn is_overloaded(&self) -> bool {
        let sum = |value: fn(&Sample) -> u64| self.runs.iter().map(value).sum::<u64>() as f64;
        sum(|run| run.answered) < 0.995 * sum(|run| run.due)
    }

    /// Answers a second.
    pub fn rate(&self) -> Option<f64> {
        self.median(|run| run.answered as f64 / run.wall_s)
    }

    /// Processor time as a share of one core.
    pub fn cpu_share(&self) -> Option<f64> {
        self.median(|run| run.cpu_share)
    }

    /// Processor time per answer, µs.
    pub fn cpu_us_per_answer(&self) -> Option<f64> {
        self.median(|run| run.cpu_s / run.answered as f64 * 1e6)
    }
}

impl Results {
    /// The point of a cell and kind.
    pub fn point(&self, server: &Server, silent: usize, kind: Kind) -> Option<&Point> {
        self.points.iter().find(|point| {
            point.what.kind == kind && point.what.cell.silent == silent && point.what.cell.server == *server
        })
    }

    /// The cells of the table, in order: those measured idle and under load, and the null test.
    pub fn cells(&self) -> Vec<&Cell> {
        let of = |kind| {
            self.points.iter().filter(move |point| point.what.kind == kind).map(|point| &point.what.cell)
        };
        of(Kind::Max).collect()
    }

    /// How many runs were kept and thrown away: (kept, noisy, slow).
    pub fn thrown(&self) -> (usize, usize, usize) {
        self.points.iter().fold((0, 0, 0), |sum, point| {
            (sum.0 + point.runs.len(), sum.1 + point.thrown_noisy, sum.2 + point.thrown_slow)
        })
    }
}

impl Point {
    /// The median over the runs of something that the server counted.
    pub fn counted(&self, value: impl Fn(&Counted) -> f64) -> Option<f64> {
        median(self.runs.iter().filter_map(|run| run.counted.as_ref()).map(value))
    }
}

/// The counters that the report uses, over some time.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Counted {
    /// Seconds in which it was counted.
    pub seconds: f64,
    /// Answers.
    pub answers: f64,
    /// Sweeps.
    pub sweeps: f64,
    /// Sweeps that found nothing to do.
    pub idle_sweeps: f64,
    /// accept, read and write.
    pub attempts: f64,
    /// Those that would have blocked.
    pub would_blocks: f64,
    /// All system calls that the server counts: attempts, waits, epoll_ctl, sleeps and yields.
    pub calls: f64,
    /// Sleeps of the idle strategy.
    pub sleeps: f64,
    /// Seconds asked for in them.
    pub asked_s: f64,
    /// Seconds slept in them.
    pub slept_s: f64,
}

impl Counted {
    /// What was counted in this many seconds.
    pub fn of(stats: &Stats, seconds: f64) -> Self {
        let calls = stats.attempts() + stats.waits + stats.watches + stats.sleeps + stats.yields;
        Self {
            seconds,
            answers: stats.requests() as f64,
            sweeps: stats.sweeps as f64,
            idle_sweeps: stats.idle_sweeps as f64,
            attempts: stats.attempts() as f64,
            would_blocks: stats.would_blocks() as f64,
            calls: calls as f64,
            sleeps: stats.sleeps as f64,
            asked_s: stats.sleep_asked_ns as f64 * 1e-9,
            slept_s: stats.slept_ns as f64 * 1e-9,
        }
    }

    /// What was counted since an earlier reading.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            seconds: self.seconds - earlier.seconds,
            answers: self.answers - earlier.answers,
            sweeps: self.sweeps - earlier.sweeps,
            idle_sweeps: self.idle_sweeps - earlier.idle_sweeps,
            attempts: self.attempts - earlier.attempts,
            would_blocks: self.would_blocks - earlier.would_blocks,
            calls: self.calls - earlier.calls,
            sleeps: self.sleeps - earlier.sleeps,
            asked_s: self.asked_s - earlier.asked_s,
            slept_s: self.slept_s - earlier.slept_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::client::latencies;

    fn what(kind: Kind) -> Measurement {
        let server = Server::Own {
            model: "nonblocking".into(),
            idle: Some("spin".into()),
            sweep: Some("full".into()),
        };
        Measurement { cell: Cell { server, silent: 0 }, kind }
    }

    fn results(points: Vec<Point>) -> Results {
        Results {
            schema: SCHEMA,
            began: String::new(),
            took_s: 1.0,
            options: Options::quick(),
            machine: Machine::default(),
            rounds: 1,
            interrupted: false,
            points,
        }
    }

    #[test]
    fn what_was_counted_before_is_taken_off() {
        let stats = |sweeps, answers| {
            let mut stats =
                Stats { sweeps, idle_sweeps: sweeps / 2, accepts: 10 * sweeps, ..Stats::default() };
            stats.answered(200);
            stats.answers[1] *= answers;
            stats
        };
        let counted = Counted::of(&stats(1_000_100, 5), 0.0).since(&Counted::of(&stats(1_000_000, 3), -0.1));
        assert_eq!((counted.sweeps, counted.idle_sweeps, counted.attempts), (100.0, 50.0, 1000.0));
        assert_eq!((counted.answers, counted.seconds), (2.0, 0.1));
        let runs = [counted, Counted { sweeps: 300.0, ..counted }, Counted { sweeps: 200.0, ..counted }];
        let runs = runs.map(|counted| Sample { counted: Some(counted), ..Sample::default() });
        let point = Point { runs: runs.to_vec(), ..Point::new(what(Kind::Idle)) };
        assert_eq!(point.counted(|c| c.sweeps / c.seconds), Some(2000.0));
    }

    #[test]
    fn a_curve_has_the_quantiles_of_the_table_and_knows_which_are_thin() {
        let mut all = latencies();
        for us in 1..=2000 {
            all.record(us * 1000).unwrap();
        }
        let curve = Curve::of(&all).unwrap();
        let near = |q, us: f64| (curve.at(q).unwrap() - us).abs() < us * 0.002;
        assert!(near(0.5, 1000.0) && near(0.99, 1980.0) && near(0.999, 1998.0), "{curve:?}");
        assert!(curve.quantiles.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
        assert!(!curve.is_thin(0.99));
        assert!(curve.is_thin(0.999), "two answers lie beyond");
        assert_eq!(Curve::of(&latencies()), None);
    }

    #[test]
    fn results_come_back_from_their_file() {
        let trouble = Some(Trouble::NotHeld { held: 3 });
        let written = results(vec![Point { trouble, ..Point::new(what(Kind::Rate(2000.0))) }]);
        let json = serde_json::to_string(&written).unwrap();
        assert_eq!(serde_json::from_str::<Results>(&json).unwrap(), written);
    }

    #[test]
    fn a_server_that_leaves_requests_unanswered_is_overloaded() {
        let sample = |answered| Sample { answered, due: 1000, ..Sample::default() };
        let point = |answered| Point { runs: vec![sample(answered)], ..Point::new(what(Kind::Rate(1.0))) };
        assert!(point(900).is_overloaded());
        assert!(!point(1000).is_overloaded());
    }
}
