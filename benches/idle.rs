//! What waiting costs and what it buys: processor time per second in which nothing happens, and how long the first
//! request after such a pause waits for its answer. Every idle strategy of our loop, and every model that sleeps in
//! the kernel.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::measurement::{Measurement, ValueFormatter};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};

use common::asking::Asking;
use common::samples::{Samples, show};
use common::serving::{self, Serving};
use common::silent::Silent;
use wouldblock::config::Model;

const SILENT: [usize; 2] = [0, 1000];

/// One iteration of idleness. Long against every sleep of every strategy.
const STRETCH: Duration = Duration::from_millis(20);

/// How long a server is left alone before it is asked: `backoff` needs about 3 ms to come to its longest sleep, and
/// what was active is hot for 10. The pauses differ, so that no sleep can keep step with them.
const PAUSE: Duration = Duration::from_millis(12);

fn main() {
    if common::was_holder() {
        return;
    }
    let folder = serving::folder();
    let mut figures = Figures::default();

    let mut criterion = common::criterion().sample_size(10).with_measurement(ProcessorTime);
    burning(&mut criterion, folder.path(), &mut figures);
    criterion.final_summary();

    let mut criterion = common::criterion().sample_size(10);
    waking(&mut criterion, folder.path(), &mut figures);
    criterion.final_summary();

    if !common::is_trial() {
        figures.print();
    }
}

/// All servers that are compared: a name and its flags.
fn servers() -> Vec<(String, Vec<String>)> {
    let own = |flags: &[&str]| flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>();
    let mut servers = Vec::new();
    for idle in ["spin", "yield", "sleep:1ms", "backoff", "park"] {
        for sweep in ["hot", "full"] {
            servers.push((format!("{idle} {sweep}"), own(&["--idle", idle, "--sweep", sweep])));
        }
    }
    for model in Model::ALL.into_iter().filter(|model| *model != Model::Nonblocking) {
        servers.push((model.name().to_owned(), own(&["--model", model.name()])));
    }
    servers
}

/// A server in which so many are silent, warm: it has answered somebody. `None` if it cannot be had, which is said.
fn start(root: &Path, name: &str, flags: &[String], silent: usize) -> Option<(Asking, Silent, Serving)> {
    if name == Model::Blocking.name() && silent > 0 {
        println!("left out: blocking beside {silent} silent connections; the first of them would hold it up");
        return None;
    }
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let begin = || {
        let server = Serving::ours(root, &flags)?;
        let mut holder = Silent::start(server.address, silent);
        let held = holder.held();
        if held < silent {
            return Err(format!("only {held} silent connections could be made"));
        }
        let asking = Asking::connect(server.address, 1).map_err(|error| error.to_string())?;
        Ok((asking, holder, server))
    };
    begin().map_err(|why| println!("left out: {name} beside {silent} silent connections: {why}")).ok()
}

/// Processor time of an idle server.
fn burning(criterion: &mut Criterion<ProcessorTime>, root: &Path, figures: &mut Figures) {
    let mut group = criterion.benchmark_group("idle processor time");
    group.sampling_mode(SamplingMode::Flat);
    for silent in SILENT.into_iter().filter(|silent| common::has_room_for(*silent)) {
        for (name, flags) in servers() {
            let Some((_asking, _holder, server)) = start(root, &name, &flags, silent) else { continue };
            std::thread::sleep(2 * PAUSE); // whoever came is no longer hot
            let stretch = || {
                let before = server.processor_time();
                std::thread::sleep(STRETCH);
                server.processor_time().saturating_sub(before)
            };
            // Whoever sleeps in the kernel uses none at all, and of nothing there are no statistics.
            let burnt: u64 = (0..10).map(|_| stretch()).sum();
            figures.burnt.insert((name.clone(), silent), burnt as f64 / (10.0 * STRETCH.as_nanos() as f64));
            if burnt == 0 {
                println!(
                    "{name} beside {silent} silent connections: no processor time at all in {:?}; no statistics",
                    10 * STRETCH
                );
                continue;
            }
            group.bench_function(BenchmarkId::new(name, silent), |b| {
                // One nanosecond, the grain of the clock, keeps a sample without any out of criterion's logarithms.
                b.iter_custom(|stretches| (0..stretches).map(|_| stretch()).sum::<u64>().max(1));
            });
        }
    }
    group.finish();
}

/// The first answer after a pause: the round trip and the waking.
fn waking(criterion: &mut Criterion, root: &Path, figures: &mut Figures) {
    let mut group = criterion.benchmark_group("first answer after a pause");
    group.sampling_mode(SamplingMode::Flat);
    for silent in SILENT.into_iter().filter(|silent| common::has_room_for(*silent)) {
        for (name, flags) in servers() {
            let Some((mut asking, _holder, _server)) = start(root, &name, &flags, silent) else { continue };
            let mut count = 0u64;
            group.bench_function(BenchmarkId::new(&name, silent), |b| {
                b.iter_custom(|pauses| {
                    (0..pauses)
                        .map(|_| {
                            count += 1;
                            pause(PAUSE + Duration::from_micros(count * 619 % 1000));
                            let time = asking.ask(1);
                            figures.woken.keep(&name, silent, time, 1);
                            time
                        })
                        .sum()
                });
            });
        }
    }
    group.finish();
}

/// Sleeps for most of it and spins for the rest, so that the asker itself is awake when it asks.
fn pause(time: Duration) {
    let end = Instant::now() + time;
    std::thread::sleep(time.saturating_sub(Duration::from_millis(1)));
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

#[derive(Default)]
struct Figures {
    /// Share of a core, by name and number of silent connections.
    burnt: BTreeMap<(String, usize), f64>,
    woken: Samples,
}

impl Figures {
    fn print(&self) {
        println!(
            "\nWhat waiting costs (share of a core while nothing happens) and buys (first answer after that):\n"
        );
        println!("| server | silent | core | first answer, median |\n| --- | --- | --- | --- |");
        for silent in SILENT {
            for (name, _) in servers() {
                let burnt = self.burnt.get(&(name.clone(), silent));
                let woken = self.woken.median(&name, silent);
                if burnt.is_none() && woken.is_none() {
                    continue;
                }
                let burnt = burnt.map_or_else(|| "–".to_owned(), |share| format!("{:.2} %", share * 100.0));
                println!("| {name} | {silent} | {burnt} | {} |", woken.map_or_else(|| "–".to_owned(), show));
            }
        }
        println!();
    }
}

/// Nanoseconds of a server's processor time per [`STRETCH`], told as a share of a core. Only with `iter_custom`: what
/// is measured is another process.
struct ProcessorTime;

impl Measurement for ProcessorTime {
    type Intermediate = ();
    type Value = u64;

    fn start(&self) {}

    fn end(&self, (): ()) -> u64 {
        unreachable!("the processor time of a server is read by iter_custom")
    }

    fn add(&self, one: &u64, other: &u64) -> u64 {
        one + other
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for ProcessorTime {
    fn scale_values(&self, _: f64, values: &mut [f64]) -> &'static str {
        for value in values {
            *value *= 100.0 / STRETCH.as_nanos() as f64;
        }
        "% of a core"
    }

    fn scale_throughputs(&self, typical: f64, _: &Throughput, values: &mut [f64]) -> &'static str {
        self.scale_values(typical, values)
    }

    fn scale_for_machines(&self, values: &mut [f64]) -> &'static str {
        self.scale_values(0.0, values)
    }
}
