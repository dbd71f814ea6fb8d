//! The report at the end: what a lab book wants to know of a run, for people and as JSON.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use crate::config::Model;
use crate::http::CloseReason;
use crate::idle::DisplayDuration;
use crate::stats::Stats;

/// A run that is over.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// The I/O model that ran.
    #[serde(serialize_with = "as_text")]
    pub model: Model,
    /// What was counted.
    pub stats: Stats,
    /// Wall-clock seconds.
    pub uptime_s: f64,
    /// Seconds of CPU in the program itself, children included.
    pub cpu_user_s: f64,
    /// Seconds of CPU in the kernel on its behalf, children included.
    pub cpu_system_s: f64,
    /// The most memory resident at once, in KiB.
    pub max_rss_kib: i64,
}

fn as_text<S: serde::Serializer>(model: &Model, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(model)
}

impl Report {
    /// Asks the kernel what the run has cost since `before`.
    pub fn new(model: Model, stats: Stats, uptime: Duration, before: &Usage) -> Self {
        let now = Usage::now();
        // The most of any child is told, not whose: no more than before is nobody's of ours.
        let child = Some(now.child_rss_kib).filter(|most| *most > before.child_rss_kib);
        Self {
            model,
            stats,
            uptime_s: uptime.as_secs_f64(),
            cpu_user_s: now.user_s - before.user_s,
            cpu_system_s: now.system_s - before.system_s,
            max_rss_kib: peak_rss_kib().unwrap_or(now.rss_kib).max(child.unwrap_or(0)),
        }
    }
}

/// What this process and its children have used so far (getrusage(2)). Under `cargo run` that is cargo and its
/// compilers at first: they became this program, or were waited for by what did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    user_s: f64,
    system_s: f64,
    rss_kib: i64,
    child_rss_kib: i64,
}

impl Usage {
    /// Up to now.
    pub fn now() -> Self {
        use nix::sys::resource::{UsageWho, getrusage};
        let mut sum = Self::default();
        for (who, children) in [(UsageWho::RUSAGE_SELF, false), (UsageWho::RUSAGE_CHILDREN, true)] {
            let Ok(usage) = getrusage(who) else { continue };
            let seconds = |time: nix::sys::time::TimeVal| {
                time.tv_sec() as f64 + f64::from(time.tv_usec() as i32) * 1e-6
            };
            sum.user_s += seconds(usage.user_time());
            sum.system_s += seconds(usage.system_time());
            let rss = if children { &mut sum.child_rss_kib } else { &mut sum.rss_kib };
            *rss = usage.max_rss();
        }
        sum
    }
}

/// The most that this program had in memory. On Linux getrusage(2) says at least what the process had before it
/// became this program, under `cargo run` cargo's 60 MiB; proc(5) forgets that.
fn peak_rss_kib() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let stats = &self.stats;
        let seconds = self.uptime_s.max(1e-9);
        let [_, ok, moved, wrong, failed] = stats.answers;
        writeln!(f, "model      {}", self.model)?;
        writeln!(f, "uptime     {:.1} s", self.uptime_s)?;
        writeln!(
            f,
            "requests   {} ({:.0}/s): {ok} of 2xx, {moved} of 3xx, {wrong} of 4xx, {failed} of 5xx",
            stats.requests(),
            stats.requests() as f64 / seconds
        )?;
        writeln!(f, "bytes      {} in, {} out", Bytes(stats.bytes_in), Bytes(stats.bytes_out))?;
        write!(f, "clients    {} in all, {} at most at once", stats.clients_total, stats.clients_peak)?;
        let mut separator = "; ";
        for (name, count) in CloseReason::NAMES.iter().zip(stats.closed).filter(|(_, count)| *count > 0) {
            write!(f, "{separator}{count} {name}")?;
            separator = ", ";
        }
        writeln!(f)?;
        if stats.sweeps > 0 {
            writeln!(
                f,
                "sweeps     {} ({:.0}/s), {} idle",
                stats.sweeps,
                stats.sweeps as f64 / seconds,
                Share(stats.idle_sweeps, stats.sweeps)
            )?;
        }
        writeln!(
            f,
            "attempts   {} accept, {} read, {} write; {} would have blocked",
            stats.accepts,
            stats.reads,
            stats.writes,
            Share(stats.would_blocks(), stats.attempts())
        )?;
        if stats.disk_would_blocks > 0 {
            writeln!(f, "disk       {} turns waited for pages of a file", stats.disk_would_blocks)?;
        }
        if stats.waits > 0 {
            writeln!(
                f,
                "waits      {} calls, {} descriptors ready, {} changes of interest",
                stats.waits, stats.wakeups, stats.watches
            )?;
        }
        if let Some(asked) = stats.sleep_asked_ns.checked_div(stats.sleeps) {
            // Parking sleeps too, but asks for no time.
            writeln!(
                f,
                "sleeps     {}, {} in all; {} asked for on average",
                stats.sleeps,
                DisplayDuration(Duration::from_millis(stats.slept().as_millis() as u64)),
                DisplayDuration(Duration::from_micros(asked / 1000))
            )?;
        }
        if stats.accept_pauses > 0 {
            writeln!(f, "pauses     {} times no descriptor was free for a newcomer", stats.accept_pauses)?;
        }
        if stats.log_lines_dropped > 0 {
            writeln!(f, "log        {} lines dropped, nobody took them", stats.log_lines_dropped)?;
        }
        let cpu = self.cpu_user_s + self.cpu_system_s;
        write!(
            f,
            "cpu        {:.2} s user, {:.2} s system ({:.1} % of a core)",
            self.cpu_user_s,
            self.cpu_system_s,
            100.0 * cpu / seconds
        )?;
        if stats.requests() > 0 {
            write!(f, ", {:.1} µs a request", 1e6 * cpu / stats.requests() as f64)?;
        }
        write!(f, "\nmemory     {} KiB resident at most", self.max_rss_kib)
    }
}

/// A share in percent.
struct Share(u64, u64);

impl Display for Share {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.1 == 0 {
            return f.write_str("0 %");
        }
        write!(f, "{:.1} %", 100.0 * self.0 as f64 / self.1 as f64)
    }
}

/// A number of octets in a unit that people can read.
pub struct Bytes(pub u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut amount = self.0 as f64;
        for unit in ["B", "KiB", "MiB", "GiB"] {
            if amount < 1024.0 {
                return if unit == "B" { write!(f, "{amount} B") } else { write!(f, "{amount:.1} {unit}") };
            }
            amount /= 1024.0;
        }
        write!(f, "{amount:.1} TiB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_in_which_nothing_happened_divides_by_nothing() {
        let report = Report::new(Model::Nonblocking, Stats::default(), Duration::ZERO, &Usage::default());
        let text = report.to_string();
        assert!(text.contains("requests   0 (0/s)"), "{text}");
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }

    #[test]
    fn bytes_are_written_in_readable_units() {
        assert_eq!(Bytes(0).to_string(), "0 B");
        assert_eq!(Bytes(1023).to_string(), "1023 B");
        assert_eq!(Bytes(1536).to_string(), "1.5 KiB");
        assert_eq!(Bytes(u64::MAX).to_string(), "16777216.0 TiB");
    }
}
