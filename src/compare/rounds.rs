//! All runs: rounds in random order, repeats, and what is thrown away.

use std::time::{Duration, Instant};

use super::Options;
use super::cell;
use super::lang::Lang;
use super::machine::Machine;
use super::matrix::{Kind, Measurement, plan};
use super::results::{Pair, Point, Results, SCHEMA, Sample, Trouble};
use super::serving::Site;

/// Descriptors that a server and the client need besides the silent connections.
const SPARE_DESCRIPTORS: u64 = 200;

/// A calibration loop this much slower than the fastest of all says that the core was not the same core.
const SLOW: f64 = 1.15;

/// Tries of one run in one round before its noise is put up with.
const TRIES: usize = 3;

/// Told what is being measured; says whether to go on.
pub trait Watch {
    /// Before each run: how many seconds are done and how many there are, and what comes now. False ends it.
    fn next(&mut self, done: f64, total: f64, what: &Measurement) -> bool;
    /// Whether somebody wants it to end.
    fn is_stopped(&self) -> bool;
}

/// What one run takes, seconds, without knowing the server: its phases and about as much as it takes to start one.
pub fn estimate(what: &Measurement, options: &Options) -> f64 {
    let start = 0.06 + what.cell.silent as f64 * 60e-6;
    start
        + match what.kind {
            Kind::Idle => options.seconds,
            Kind::Rate(_) | Kind::Max => options.seconds + cell::warm_up(options.seconds).as_secs_f64(),
        }
}

/// Measures everything. `None` if it was interrupted before one round was complete.
pub fn measure(options: &Options, watch: &mut dyn Watch) -> std::io::Result<Option<Results>> {
    let machine = Machine::read();
    let site = Site::guarded()?;
    if let Some((_, client)) = machine.pinned {
        super::machine::pin(client)?;
    }
    let began = httpdate::fmt_http_date(std::time::SystemTime::now());
    let start = Instant::now();
    let mut random = fastrand::Rng::new();
    let mut slots: Vec<Slot> = plan(options).into_iter().map(Slot::new).collect();
    for slot in &mut slots {
        let needed = slot.point.what.cell.silent as u64 + SPARE_DESCRIPTORS;
        if needed > machine.file_limit {
            slot.point.trouble = Some(Trouble::Descriptors { limit: machine.file_limit });
        }
    }
    let mut order: Vec<usize> = (0..slots.len()).collect();
    let mut fastest_us = f64::INFINITY;
    let mut rounds = 0;
    let mut longest_round = 0.0f64;
    'rounds: while rounds < options.rounds {
        let round_start = Instant::now();
        let late =
            options.budget_s.is_some_and(|budget| start.elapsed().as_secs_f64() + longest_round > budget);
        if rounds > 0 && late {
            break;
        }
        random.shuffle(&mut order);
        let round_s: f64 =
            slots.iter().filter(|s| s.goes_on()).map(|s| estimate(&s.point.what, options)).sum();
        let mut done = 0.0;
        for index in &order {
            let Some(slot) = slots.get_mut(*index).filter(|slot| slot.goes_on()) else { continue };
            let elapsed = start.elapsed().as_secs_f64();
            let rounds_after_this = options.rounds.saturating_sub(rounds + 1) as f64;
            let rest = round_s - done;
            // Rounds that would end too late are not begun.
            let budget = options.budget_s.map_or(f64::INFINITY, |budget| (budget - elapsed).max(rest));
            let left = (rest + round_s * rounds_after_this).min(budget);
            if !watch.next(elapsed, elapsed + left, &slot.point.what) {
                break 'rounds;
            }
            done += estimate(&slot.point.what, options);
            // A disturbed run is repeated at once, unless that would take the time of those still to come.
            let may_repeat = || {
                let rest = round_s - done;
                let in_time =
                    options.budget_s.is_none_or(|budget| start.elapsed().as_secs_f64() + rest < budget);
                in_time && !watch.is_stopped()
            };
            let measured = slot.measure(options, &machine, &site, &mut random, &mut fastest_us, &may_repeat);
            if let Err(trouble) = measured {
                // Whoever ends us may have ended the server as well, which is then not to blame.
                if watch.is_stopped() {
                    break 'rounds;
                }
                slot.fail(trouble);
            }
        }
        rounds += 1;
        longest_round = longest_round.max(round_start.elapsed().as_secs_f64());
    }
    if rounds == 0 {
        return Ok(None);
    }
    Ok(Some(Results {
        schema: SCHEMA,
        began,
        took_s: start.elapsed().as_secs_f64(),
        options: options.clone(),
        machine,
        rounds,
        interrupted: watch.is_stopped() && rounds < options.rounds,
        points: slots.into_iter().map(Slot::finish).collect(),
    }))
}

/// A point being measured.
struct Slot {
    point: Point,
    merged: Option<Pair>,
    /// The least noisy of the runs that were thrown away, for the case that there is no better one.
    spare: Option<(Sample, Option<Pair>)>,
    troubles: usize,
}

impl Slot {
    fn new(what: Measurement) -> Self {
        Self { point: Point::new(what), merged: None, spare: None, troubles: 0 }
    }

    /// A run that failed twice is not tried a third time.
    fn goes_on(&self) -> bool {
        self.troubles < 2 && !matches!(self.point.trouble, Some(Trouble::Descriptors { .. }))
    }

    fn measure(
        &mut self,
        options: &Options,
        machine: &Machine,
        site: &Site,
        random: &mut fastrand::Rng,
        fastest_us: &mut f64,
        may_repeat: &dyn Fn() -> bool,
    ) -> Result<(), Trouble> {
        for _ in 0..TRIES {
            let (sample, pair) = cell::run(&self.point.what, options, machine, site, random)?;
            *fastest_us = fastest_us.min(sample.calibration_us);
            let noisy = sample.noise.worst() > options.noise_limit;
            let slow = sample.calibration_us > *fastest_us * SLOW;
            if !noisy && !slow {
                self.keep(sample, pair);
                return Ok(());
            }
            self.point.thrown_noisy += usize::from(noisy);
            self.point.thrown_slow += usize::from(slow && !noisy);
            if self.spare.as_ref().is_none_or(|(spare, _)| sample.noise.worst() < spare.noise.worst()) {
                self.spare = Some((sample, pair));
            }
            if !may_repeat() {
                break;
            }
        }
        Ok(())
    }

    fn fail(&mut self, trouble: Trouble) {
        let Measurement { cell, .. } = &self.point.what;
        log::warn!("{}, N = {}: {}", cell.server.name(), cell.silent, trouble.text(Lang::En));
        self.point.trouble = Some(trouble);
        self.troubles += 1;
    }

    fn keep(&mut self, sample: Sample, pair: Option<Pair>) {
        self.point.runs.push(sample);
        match (&mut self.merged, pair) {
            (Some((planned, sent)), Some((more_planned, more_sent))) => {
                // All have the same shape, so that adding cannot fail.
                let _ = planned.add(more_planned);
                let _ = sent.add(more_sent);
            }
            (merged @ None, pair) => *merged = pair,
            (Some(_), None) => {}
        }
    }

    fn finish(mut self) -> Point {
        if self.point.runs.is_empty()
            && let Some((sample, pair)) = self.spare.take()
        {
            self.point.noisy = true;
            self.keep(sample, pair);
        }
        if let Some(pair) = &self.merged {
            self.point.set_latencies(pair);
        }
        self.point
    }
}

/// The length of everything, for a line printed before it starts.
pub fn estimate_all(options: &Options) -> Duration {
    let round: f64 = plan(options).iter().map(|what| estimate(what, options)).sum();
    let all = round * options.rounds as f64;
    Duration::from_secs_f64(options.budget_s.map_or(all, |budget| all.min(budget.max(round))))
}
