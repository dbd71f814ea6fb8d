//! What follows from the measured points: the rows of the table, the cost of a sweep as a straight line, predictions
//! held against measurements. Only arithmetic; every figure comes from `results`.

use super::fit::{Line, crossing};
use super::lang::Lang;
use super::matrix::{Cell, Kind, Server};
use super::results::{Point, Results};

/// A figure this close to the null test's is the client's and not the server's.
const NEAR: f64 = 1.1;

/// One row of the table.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// The cell.
    pub cell: Cell,
    /// Answers a second in the closed loop.
    pub max_rate: Option<f64>,
    /// The same figure is the client's limit: within 10 % of the null test.
    pub rate_at_floor: bool,
    /// p50, p99, p99.9 in µs at the common rate, and whether so few answers lie beyond that chance decides.
    pub latency: [Option<(f64, bool)>; 3],
    /// The median is within 10 % of the null test's.
    pub latency_at_floor: bool,
    /// Not everything that was due at the common rate was answered.
    pub overloaded: bool,
    /// Share of a core with no request.
    pub idle_cpu: Option<f64>,
    /// Share of a core at the common rate.
    pub load_cpu: Option<f64>,
    /// Processor time per answer at the common rate, µs.
    pub cpu_us: Option<f64>,
    /// Processor time per answer in the closed loop, µs.
    pub cpu_us_max: Option<f64>,
    /// System calls per answer at the common rate, by the server's own counters.
    pub calls: Option<f64>,
    /// Share of accept, read and write attempts that would have blocked, at the common rate.
    pub would_block: Option<f64>,
    /// Share of sweeps that found something to do, at the common rate.
    pub useful: Option<f64>,
    /// Resident memory, KiB.
    pub memory_kib: Option<f64>,
    /// At least one of the figures comes from a run that was not quiet.
    pub noisy: bool,
    /// Why figures are missing.
    pub trouble: Option<super::results::Trouble>,
}

/// The table, one row for each cell, the null test first.
pub fn rows(results: &Results) -> Vec<Row> {
    let rate = Kind::Rate(results.options.rate);
    let echo = |kind| results.point(&Server::Echo, 0, kind);
    let floor_rate = echo(Kind::Max).and_then(Point::rate);
    let floor_p50 = echo(rate).and_then(|point| point.planned.as_ref()?.at(0.5));
    let row = |cell: &Cell| {
        let point = |kind| results.point(&cell.server, cell.silent, kind);
        let (max, idle, load) = (point(Kind::Max), point(Kind::Idle), point(rate));
        let curve = load.and_then(|load| load.planned.as_ref());
        let quantile = |q| curve.and_then(|curve| Some((curve.at(q)?, curve.is_thin(q))));
        let max_rate = max.and_then(Point::rate);
        let is_floor = cell.server == Server::Echo;
        let all = [idle, load, max];
        let counted = |value: fn(&super::results::Counted) -> f64| load.and_then(|load| load.counted(value));
        Row {
            cell: cell.clone(),
            max_rate,
            rate_at_floor: !is_floor
                && max_rate.zip(floor_rate).is_some_and(|(rate, floor)| rate * NEAR >= floor),
            latency: [quantile(0.5), quantile(0.99), quantile(0.999)],
            latency_at_floor: !is_floor
                && quantile(0.5).zip(floor_p50).is_some_and(|((p50, _), floor)| p50 <= floor * NEAR),
            overloaded: load.is_some_and(Point::is_overloaded),
            idle_cpu: idle.and_then(Point::cpu_share),
            load_cpu: load.and_then(Point::cpu_share),
            cpu_us: load.and_then(Point::cpu_us_per_answer),
            cpu_us_max: max.and_then(Point::cpu_us_per_answer),
            calls: counted(|c| c.calls / c.answers),
            would_block: counted(|c| c.would_blocks / c.attempts),
            useful: counted(|c| (c.sweeps - c.idle_sweeps) / c.sweeps),
            memory_kib: max
                .and_then(|max| max.median(|run| run.memory_kib.map_or(f64::NAN, |kib| kib as f64))),
            noisy: all.iter().flatten().any(|point| point.noisy),
            trouble: all.iter().flatten().find_map(|point| point.trouble.clone()),
        }
    };
    results.cells().into_iter().map(row).collect()
}

/// Idle sweeps of one kind over growing N.
#[derive(Clone, PartialEq, Debug)]
pub struct Sweeps {
    /// `full` or `hot`.
    pub sweep: String,
    /// By rising N.
    pub points: Vec<SweepPoint>,
    /// Length of a sweep in µs over N.
    pub line: Option<Line>,
}

/// An idle server that spins, with N silent connections.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SweepPoint {
    /// N.
    pub silent: usize,
    /// Sweeps a second.
    pub sweeps: f64,
    /// Attempts a second that would have blocked.
    pub failing: f64,
}

impl SweepPoint {
    /// Length of one sweep.
    pub fn sweep_us(&self) -> f64 {
        1e6 / self.sweeps
    }
}

/// What was measured of idle, spinning sweeps: `full` first, then `hot`.
pub fn sweeps(results: &Results) -> Vec<Sweeps> {
    let of = |sweep: &str| {
        let mut points: Vec<SweepPoint> = results
            .points
            .iter()
            .filter(|point| {
                point.what.kind == Kind::Idle && point.what.cell.server.is_sweeping("spin", sweep)
            })
            .filter_map(|point| {
                Some(SweepPoint {
                    silent: point.what.cell.silent,
                    sweeps: point.counted(|c| c.sweeps / c.seconds).filter(|sweeps| *sweeps > 0.0)?,
                    failing: point.counted(|c| c.would_blocks / c.seconds)?,
                })
            })
            .collect();
        points.sort_by_key(|point| point.silent);
        let line = Line::through(&points.iter().map(|p| (p.silent as f64, p.sweep_us())).collect::<Vec<_>>());
        Sweeps { sweep: sweep.to_owned(), points, line: line.filter(|_| sweep == "full") }
    };
    ["full", "hot"].into_iter().map(of).filter(|sweeps| !sweeps.points.is_empty()).collect()
}

/// A prediction of the model, and what was measured.
#[derive(Clone, PartialEq, Debug)]
pub struct Prediction {
    /// Of what.
    pub of: Predicted,
    /// N.
    pub silent: usize,
    /// By the model, from figures other than the one it is held against.
    pub predicted: f64,
    /// As measured.
    pub measured: f64,
}

/// What the model can predict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Predicted {
    /// Length of an idle sweep in µs, from the line through all smaller N.
    Sweep,
    /// Median latency in µs: as without silent connections, plus half a sweep.
    Median,
    /// Answers a second of the closed loop: as without silent connections, and each answer pays N·r/k.
    MaxRate,
}

impl Predicted {
    /// For a person, with its unit.
    pub const fn text(self, lang: Lang) -> &'static str {
        match self {
            Self::Sweep => {
                lang.pick("idle sweep, µs (line through smaller N)", "空转一轮，µs（用更小的 N 拟合）")
            }
            Self::Median => lang
                .pick("p50 at the common rate, µs: p50(0) + N·r/2", "同一速率下的 p50，µs：p50(0) + N·r/2"),
            Self::MaxRate => {
                lang.pick("req/s at most: 1 / (1/X(0) + N·r/k)", "每秒最多应答数：1 / (1/X(0) + N·r/k)")
            }
        }
    }
}

/// Holds the model against the measurements of `spin full`.
pub fn predictions(results: &Results) -> Vec<Prediction> {
    let Some(full) = sweeps(results).into_iter().find(|sweeps| sweeps.sweep == "full") else {
        return Vec::new();
    };
    let Some(line) = full.line else { return Vec::new() };
    let mut all = Vec::new();
    if let Some((last, rest)) = full.points.split_last()
        && rest.len() >= 3
        && let Some(line) =
            Line::through(&rest.iter().map(|p| (p.silent as f64, p.sweep_us())).collect::<Vec<_>>())
    {
        let predicted = line.at(last.silent as f64);
        all.push(Prediction {
            of: Predicted::Sweep,
            silent: last.silent,
            predicted,
            measured: last.sweep_us(),
        });
    }
    let rows = rows(results);
    let spin = |row: &&Row| row.cell.server.is_sweeping("spin", "full");
    let Some(alone) = rows.iter().filter(spin).find(|row| row.cell.silent == 0) else { return all };
    for row in rows.iter().filter(spin).filter(|row| row.cell.silent > 0) {
        let tax_us = row.cell.silent as f64 * line.r;
        let silent = row.cell.silent;
        if let ([Some((alone, _)), ..], [Some((measured, _)), ..]) = (alone.latency, row.latency)
            && !row.overloaded
        {
            all.push(Prediction { of: Predicted::Median, silent, predicted: alone + tax_us / 2.0, measured });
        }
        if let (Some(alone), Some(measured)) = (alone.max_rate, row.max_rate) {
            let predicted = 1e6 / (1e6 / alone + tax_us / results.options.active as f64);
            all.push(Prediction { of: Predicted::MaxRate, silent, predicted, measured });
        }
    }
    all
}

/// Processor time per answer against the rate, of one server without silent connections.
#[derive(Clone, PartialEq, Debug)]
pub struct LoadCurve {
    /// Which.
    pub server: Server,
    /// By rising rate: answers a second and µs per answer.
    pub points: Vec<(f64, f64)>,
}

/// One curve for each server that was measured at several rates. Rates that a server could not keep up with are left out.
pub fn load_curves(results: &Results) -> Vec<LoadCurve> {
    let mut curves: Vec<LoadCurve> = Vec::new();
    for point in
        results.points.iter().filter(|p| p.what.cell.silent == 0 && matches!(p.what.kind, Kind::Rate(_)))
    {
        let (Kind::Rate(rate), Some(cpu)) = (point.what.kind, point.cpu_us_per_answer()) else { continue };
        if point.is_overloaded() || point.what.cell.server == Server::Echo {
            continue;
        }
        match curves.iter_mut().find(|curve| curve.server == point.what.cell.server) {
            Some(curve) => curve.points.push((rate, cpu)),
            None => {
                curves.push(LoadCurve { server: point.what.cell.server.clone(), points: vec![(rate, cpu)] })
            }
        }
    }
    for curve in &mut curves {
        curve.points.sort_by(|one, two| one.0.total_cmp(&two.0));
    }
    curves.retain(|curve| curve.points.len() > 1);
    curves
}

/// Where spinning begins to use less processor time per answer than a server that blocks: its name, and the crossing
/// (answers a second, µs) if there is one.
pub fn crossings(results: &Results) -> Vec<(String, Option<(f64, f64)>)> {
    let curves = load_curves(results);
    let Some(spin) = curves.iter().find(|curve| curve.server.is_sweeping("spin", "full")) else {
        return Vec::new();
    };
    let blocking =
        curves.iter().filter(|curve| curve.server.is_model("epoll") || curve.server.is_model("poll"));
    blocking.map(|curve| (curve.server.name(), crossing(&spin.points, &curve.points))).collect()
}

/// Sleeps of an idle server: its row's name, N, µs asked for and µs slept, per sleep.
pub fn sleeps(results: &Results) -> Vec<(String, usize, f64, f64)> {
    let idle = results.points.iter().filter(|point| point.what.kind == Kind::Idle);
    idle.filter_map(|point| {
        let per_sleep = |value: fn(&super::results::Counted) -> f64| {
            point.counted(|c| value(c) / c.sleeps * 1e6).filter(|us| us.is_finite() && *us > 0.0)
        };
        let cell = &point.what.cell;
        Some((cell.server.name(), cell.silent, per_sleep(|c| c.asked_s)?, per_sleep(|c| c.slept_s)?))
    })
    .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::compare::Options;
    use crate::compare::machine::Machine;
    use crate::compare::matrix::plan;
    use crate::compare::results::{Counted, Curve, SCHEMA, Sample};
    use crate::stats::Stats;

    /// Results of a machine that obeys the cost model exactly: a = 1 µs, r = 0.25 µs, one answer costs 8 µs; epoll costs
    /// 10 µs whatever N is, poll 10 µs + N · 0.02 µs.
    pub(in crate::compare) fn model(options: Options) -> Results {
        let points = plan(&options).into_iter().map(|what| {
            let n = what.cell.silent as f64;
            let spins = what.cell.server.name().starts_with("spin") || what.cell.server == Server::Echo;
            let sweep_us =
                1.0 + if what.cell.server.name().ends_with("hot") { n.min(64.0) } else { n } * 0.25;
            let per_answer_us = match what.cell.server.name().as_str() {
                "epoll" => 10.0,
                "poll" => 10.0 + n * 0.02,
                "echo" => 5.0,
                _ => 8.0 + n * 0.25 / options.active as f64,
            };
            let seconds = 1.0;
            let (answered, wall_s) = match what.kind {
                Kind::Rate(rate) => (rate as u64, 1.0),
                Kind::Max => ((1e6 / per_answer_us) as u64, 1.0),
                Kind::Idle => (0, 1.0),
            };
            let sweeps = (seconds * 1e6 / sweep_us) as u64;
            let sleeps = if spins { 0 } else { (seconds * 1000.0) as u64 };
            let cpu = if spins { 1.0 } else { (answered as f64 * per_answer_us * 1e-6).max(0.001) };
            let mut stats = Stats {
                sweeps,
                idle_sweeps: sweeps.saturating_sub(answered),
                accepts: sweeps,
                accept_would_blocks: sweeps,
                reads: sweeps * what.cell.silent as u64 + answered,
                read_would_blocks: sweeps * what.cell.silent as u64,
                writes: answered,
                sleeps,
                sleep_asked_ns: sleeps * 1_000_000,
                slept_ns: sleeps * 1_060_000,
                ..Stats::default()
            };
            stats.answers[1] = answered + 1;
            let own = matches!(what.cell.server, Server::Own { .. });
            let sample = Sample {
                wall_s,
                answered,
                due: answered,
                cpu_s: cpu,
                cpu_share: cpu,
                memory_kib: Some(4096),
                counted: own.then(|| Counted::of(&stats, seconds)),
                life: own.then_some(stats),
                calibration_us: 2000.0,
                p50_p99_us: matches!(what.kind, Kind::Rate(_)).then_some([20.0, 90.0]),
                ..Sample::default()
            };
            let base = if spins { 15.0 + n * 0.125 } else { 40.0 };
            let curve = Curve {
                count: 6000,
                mean_us: base,
                quantiles: vec![
                    (0.0, base / 2.0),
                    (0.5, base),
                    (0.9, base * 1.5),
                    (0.99, base * 3.0),
                    (0.999, base * 9.0),
                ],
            };
            let latency = matches!(what.kind, Kind::Rate(_)).then_some(curve);
            Point { runs: vec![sample], planned: latency.clone(), sent: latency, ..Point::new(what) }
        });
        let points = points.collect();
        let machine = Machine { cpu: "a <model> & \"its\" CPU".into(), cores: 2, ..Machine::default() };
        let began = "Sat, 31 Jan 2026 12:00:00 GMT".to_owned();
        Results {
            schema: SCHEMA,
            began,
            took_s: 1.0,
            options,
            machine,
            rounds: 1,
            interrupted: false,
            points,
        }
    }

    #[test]
    fn the_cost_of_a_sweep_is_found_in_the_counters() {
        let results = model(Options::full());
        let all = sweeps(&results);
        let line = all[0].line.unwrap();
        assert!((line.a - 1.0).abs() < 0.01 && (line.r - 0.25).abs() < 0.001 && line.r2 > 0.999, "{line:?}");
        let failing: Vec<f64> = all[0].points.iter().map(|point| point.failing).collect();
        assert!(failing.iter().all(|f| (1e6..4.1e6).contains(f)), "flat in N: {failing:?}");
    }

    #[test]
    fn a_machine_that_obeys_the_model_is_predicted() {
        let results = model(Options::full());
        let all = predictions(&results);
        for of in [Predicted::Sweep, Predicted::Median, Predicted::MaxRate] {
            assert!(all.iter().any(|p| p.of == of), "{of:?}");
        }
        for p in all {
            assert!((p.predicted / p.measured - 1.0).abs() < 0.02, "{p:?}");
        }
    }

    #[test]
    fn the_table_marks_what_the_client_limits() {
        let results = model(Options::quick());
        let rows = rows(&results);
        let row = |name: &str| {
            rows.iter().find(|row| row.cell.server.name() == name && row.cell.silent == 0).unwrap()
        };
        assert!(row("spin full").latency_at_floor);
        assert!(!row("epoll").latency_at_floor);
        assert!(!row("echo").rate_at_floor && !row("echo").latency_at_floor);
        assert!(!row("spin full").rate_at_floor);
        assert!(row("epoll").latency[2].unwrap().1, "6 answers beyond p99.9 are too few");
        assert!(row("spin full").useful.unwrap() < 0.01);
        assert!(row("spin full").would_block.unwrap() > 0.99);
    }

    #[test]
    fn achieved_sleeps_are_told_beside_the_asked_ones() {
        let all = sleeps(&model(Options::quick()));
        let (.., asked, slept) = all.iter().find(|sleep| sleep.0 == "sleep:1ms full").unwrap();
        assert!((asked - 1000.0).abs() < 1.0 && (slept - 1060.0).abs() < 1.0);
        assert!(!all.iter().any(|sleep| sleep.0 == "spin full"));
    }
}
