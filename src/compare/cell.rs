//! One run of one cell: start the server, fill it with silent connections, warm up, measure one thing, stop it.

use std::time::{Duration, Instant};

use super::Options;
use super::client::{Client, Failure, Target};
use super::counters;
use super::machine::{Machine, Quiet, calibrate};
use super::matrix::{Kind, Measurement};
use super::procfs;
use super::results::{Counted, Pair, Sample, Trouble};
use super::serving::{FILE, Serving, Site};
use super::silent::Holder;

/// After the last connection came: time for a server to see that they are silent.
const SETTLE: Duration = Duration::from_millis(20);

/// The warm-up before a measured phase of this length: a quarter of it, within reason.
pub fn warm_up(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds / 4.0).clamp(Duration::from_millis(30), Duration::from_millis(500))
}

/// Measures once.
///
/// The counters are read and the clocks are stopped in this order: counters, processor, phase, processor, counters. So the
/// answer that carries the counters is in the counters and not in the processor time.
pub fn run(
    what: &Measurement,
    options: &Options,
    machine: &Machine,
    site: &Site,
    random: &mut fastrand::Rng,
) -> Result<(Sample, Option<Pair>), Trouble> {
    let silent = what.cell.silent;
    let serving = Serving::start(&what.cell.server, site, machine.pinned).map_err(Trouble::Start)?;
    let mut holder = None;
    if silent > 0 {
        let started = Holder::start(serving.address, silent, site)
            .map_err(|error| Trouble::Start(error.to_string()))?;
        if started.held() < silent {
            return Err(Trouble::NotHeld { held: started.held() });
        }
        holder = Some(started);
    }

    let target = Target::get(serving.address, &format!("/{FILE}"), site.body.clone());
    let asks = matches!(what.kind, Kind::Rate(_) | Kind::Max);
    let active = if asks { what.cell.server.active(options.active) } else { 1 };
    let mut client = Client::connect(target, active)?;
    client.probe()?;
    let mut answers = client.answers();
    // A run without requests has no connections but the silent ones.
    let mut client = asks.then_some(client);
    std::thread::sleep(SETTLE);

    let span = Duration::from_secs_f64(options.seconds);
    if let Some(client) = &mut client {
        drive(client, what.kind, options, warm_up(options.seconds), random)?;
    }

    // Whose waiting can be laid at a stranger's door: a server of one thread on a core of its own.
    let alone = (machine.pinned.is_some() && what.cell.server.is_one_thread()).then(|| serving.pid());
    let calibration = calibrate();
    let pids = procfs::tree(serving.pid());
    let switched = procfs::switches(&pids);
    let counters =
        |address| counters::read(address).map_err(|error| Trouble::Connection(format!("counters: {error}")));
    let is_live = what.cell.server.has_live_counters();
    let before = if is_live { Some(counters(serving.address)?) } else { None };
    let (quiet, cpu, start) = (Quiet::read(alone), procfs::cpu_seconds(&pids), Instant::now());
    let phase = match (&mut client, what.kind) {
        (Some(client), kind) => drive(client, kind, options, span, random)?,
        (None, _) => {
            std::thread::sleep(span);
            Phase::default()
        }
    };
    let (wall, cpu) = (start.elapsed(), procfs::cpu_seconds(&pids) - cpu);
    let noise = quiet.until(&Quiet::read(alone));
    let after = if is_live { Some(counters(serving.address)?) } else { None };
    let calibration = calibration.max(calibrate());
    let switched_later = procfs::switches(&pids);
    let memory_kib = procfs::memory_kib(&pids);

    if let Some(holder) = &mut holder {
        let alive = holder.alive().map_err(|error| Trouble::Start(error.to_string()))?;
        if alive < silent {
            return Err(Trouble::NotHeld { held: alive });
        }
    }
    if let Some(client) = client {
        answers = client.answers();
    }
    answers += if is_live { 2 } else { 0 };
    let report = serving.stop().map_err(Trouble::Stop)?;
    if let Some(report) = &report
        && report.stats.requests() != answers
    {
        return Err(Trouble::Miscounted { server: report.stats.requests(), client: answers });
    }
    let sample = Sample {
        wall_s: phase.took.unwrap_or(wall).as_secs_f64(),
        answered: phase.answered,
        due: phase.due,
        cpu_s: cpu,
        cpu_share: cpu / wall.as_secs_f64(),
        memory_kib,
        voluntary_switches: switched_later.0.saturating_sub(switched.0),
        involuntary_switches: switched_later.1.saturating_sub(switched.1),
        counted: match (before, after, &report) {
            (Some((before, from)), Some((after, to)), _) => {
                Some(Counted::of(&after, 0.0).since(&Counted::of(&before, -(to - from).as_secs_f64())))
            }
            // Silent connections cost calls when they come and go, which are not the price of an answer.
            (_, _, Some(report)) if silent == 0 => Some(Counted::of(&report.stats, report.uptime_s)),
            _ => None,
        },
        life: report.map(|report| report.stats),
        noise,
        calibration_us: calibration.as_secs_f64() * 1e6,
        p50_p99_us: phase.latencies.as_ref().map(|(planned, _)| {
            [planned.value_at_quantile(0.5) as f64 / 1e3, planned.value_at_quantile(0.99) as f64 / 1e3]
        }),
    };
    Ok((sample, phase.latencies))
}

/// What a phase of load saw.
#[derive(Default)]
struct Phase {
    answered: u64,
    due: u64,
    took: Option<Duration>,
    latencies: Option<Pair>,
}

fn drive(
    client: &mut Client,
    kind: Kind,
    options: &Options,
    span: Duration,
    random: &mut fastrand::Rng,
) -> Result<Phase, Failure> {
    Ok(match kind {
        Kind::Idle => Phase::default(),
        Kind::Max => {
            let seen = client.closed_loop(span)?;
            Phase { answered: seen.answered, due: seen.answered, took: Some(seen.took), latencies: None }
        }
        Kind::Rate(rate) => {
            let plan = options.arrivals.plan(rate, span, random);
            // Long enough for a queue that a burst left behind; a server that is too slow for the rate is cut off here.
            let grace = span.max(Duration::from_millis(200));
            let seen = client.open_loop(&plan, span, grace)?;
            Phase {
                answered: seen.answered,
                due: seen.due,
                took: Some(seen.took),
                latencies: Some((seen.planned, seen.sent)),
            }
        }
    })
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoAnswer => Self::NoAnswer,
            Failure::WrongAnswer(why) => Self::Answer(why),
            Failure::Io(error) => Self::Connection(error.to_string()),
        }
    }
}
