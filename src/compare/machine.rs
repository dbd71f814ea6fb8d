//! The machine: what it is, whether it was quiet, and what has to be asked of it before measuring.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// The machine line: all that a figure depends on and that can be read.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's own name, and whether a hypervisor is below.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Whether the processor reports a hypervisor.
    pub virtual_machine: bool,
    /// `uname -sr`.
    pub kernel: String,
    /// Nanoseconds by which the kernel may delay a sleep: inherited by the servers, which may change it for themselves.
    pub timer_slack_ns: u64,
    /// Whether the frequency can be read (`/sys/…/cpufreq`): if not, nothing can be said about it.
    pub frequency_scaling: Option<String>,
    /// `net.core.somaxconn`.
    pub somaxconn: String,
    /// The limit of open files after raising it.
    pub file_limit: u64,
    /// The core of the server and that of the client; `None` with one core.
    pub pinned: Option<(usize, usize)>,
    /// This program's version, and the commit of the checkout that it was built in.
    pub version: String,
    /// Built without optimisation: no figure of such a build is worth quoting.
    pub debug_build: bool,
}

impl Machine {
    /// Reads it. Raises the limit of open files on the way.
    pub fn read() -> Self {
        let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let info = line("/proc/cpuinfo");
        let info_field = |name: &str| {
            info.lines().find_map(|line| Some(line.strip_prefix(name)?.split_once(':')?.1.trim().to_owned()))
        };
        let cores = cores();
        Self {
            cpu: info_field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: cores.len(),
            virtual_machine: info_field("flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            kernel: format!("{} {}", line("/proc/sys/kernel/ostype"), line("/proc/sys/kernel/osrelease")),
            timer_slack_ns: line("/proc/self/timerslack_ns").parse().unwrap_or(0),
            frequency_scaling: fs::read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
                .ok()
                .map(|governor| governor.trim().to_owned()),
            somaxconn: line("/proc/sys/net/core/somaxconn"),
            file_limit: raise_file_limit(),
            // The first core usually takes the interrupts: it gets the client, the server the last one.
            pinned: match (cores.first(), cores.last()) {
                (Some(&client), Some(&server)) if client != server => Some((server, client)),
                _ => None,
            },
            version: version(),
            debug_build: cfg!(debug_assertions),
        }
    }
}

/// Version and, if the binary lies in a checkout of this crate, its commit.
fn version() -> String {
    let version = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    let git = |arguments: &[&str]| {
        let directory = std::env::current_exe().ok()?.parent()?.to_owned();
        let output =
            std::process::Command::new("git").arg("-C").arg(directory).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--show-toplevel"])
        .and_then(|top| fs::read_to_string(format!("{top}/Cargo.toml")).ok())
        .filter(|manifest| manifest.contains(concat!("name = \"", env!("CARGO_PKG_NAME"), "\"")))
        .and_then(|_| git(&["describe", "--always", "--dirty", "--abbrev=10"]));
    match commit {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    }
}

/// Raises the soft limit of open files to the hard one, and the hard one as far as this process may; returns it.
pub fn raise_file_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 0 };
    // More than this is never needed here; a higher hard limit stays as it is.
    const ENOUGH: u64 = 65_536;
    if hard < ENOUGH && setrlimit(Resource::RLIMIT_NOFILE, ENOUGH, ENOUGH).is_ok() {
        return ENOUGH;
    }
    let wanted = hard.min(ENOUGH).max(soft);
    if setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() { wanted } else { soft }
}

/// The cores that this process may run on.
fn cores() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return vec![0] };
    (0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect()
}

/// Pins the calling thread, and every process that it starts from now on, to one core.
pub fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Readings whose difference tells how quiet the machine was.
#[derive(Clone, Copy, Debug)]
pub struct Quiet {
    at: Instant,
    steal_s: f64,
    client_waited_s: f64,
    server_waited_s: Option<f64>,
}

/// How much strangers took, as shares of the time that passed.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Noise {
    /// Of one core, by the hypervisor (`steal` in `/proc/stat`; grain 10 ms).
    pub steal: f64,
    /// Time the client was runnable and not running.
    pub client_waited: f64,
    /// The same for a server of one thread.
    pub server_waited: Option<f64>,
}

impl Noise {
    /// The largest of the three: the one a limit is held against.
    pub fn worst(&self) -> f64 {
        self.steal.max(self.client_waited).max(self.server_waited.unwrap_or(0.0))
    }
}

impl Quiet {
    /// Reads now. `server` is the server's process if it has one thread and a core that it should have had alone.
    pub fn read(server: Option<u32>) -> Self {
        Self {
            at: Instant::now(),
            steal_s: steal_seconds().unwrap_or(0.0),
            client_waited_s: super::procfs::waited_seconds("thread-self").unwrap_or(0.0),
            server_waited_s: server.and_then(|pid| super::procfs::waited_seconds(&pid.to_string())),
        }
    }

    /// What was taken between the two readings.
    pub fn until(&self, later: &Self) -> Noise {
        let span = (later.at - self.at).max(Duration::from_millis(1)).as_secs_f64();
        let share = |before: f64, after: f64| (after - before).max(0.0) / span;
        Noise {
            steal: share(self.steal_s, later.steal_s),
            client_waited: share(self.client_waited_s, later.client_waited_s),
            server_waited: self
                .server_waited_s
                .zip(later.server_waited_s)
                .map(|(before, after)| share(before, after)),
        }
    }
}

/// Time stolen from all cores so far: the eighth number of the first line of `/proc/stat`, in 1/100 s.
fn steal_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    Some(stat.lines().next()?.split_ascii_whitespace().nth(8)?.parse::<u64>().ok()? as f64 / 100.0)
}

/// A fixed piece of work that needs nothing but the core: how long it takes shows a frequency that changed or a core
/// that is shared where no counter says so. About 2 ms.
pub fn calibrate() -> Duration {
    let start = Instant::now();
    let mut x: u64 = 0x9E37_79B9_7F4A_7C15;
    for _ in 0..1_000_000 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    std::hint::black_box(x);
    start.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_line_has_what_it_promises() {
        let machine = Machine::read();
        assert!(machine.cores >= 1);
        assert!(machine.kernel.starts_with("Linux "));
        assert!(machine.version.starts_with("wouldblock "));
        assert_eq!(machine.pinned.is_some(), machine.cores > 1);
        assert!(machine.file_limit >= 256);
    }

    #[test]
    fn noise_is_a_share_of_the_time_that_passed() {
        let at = Instant::now();
        let before = Quiet { at, steal_s: 1.0, client_waited_s: 0.5, server_waited_s: None };
        let later = Quiet {
            at: at + Duration::from_secs(2),
            steal_s: 1.02,
            client_waited_s: 0.7,
            server_waited_s: Some(3.0),
        };
        let noise = before.until(&later);
        assert!((noise.steal - 0.01).abs() < 1e-9);
        assert!((noise.client_waited - 0.1).abs() < 1e-9);
        assert_eq!(noise.server_waited, None, "half a reading is none");
        assert!((noise.worst() - 0.1).abs() < 1e-9);
    }
}
