//! A server as a child process: started on a core of its own, found by the URL it prints, its processor time read.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// The path that is asked for.
pub(crate) const PATH: &str = "/1k.txt";

/// The length of what stands there.
pub(crate) const LENGTH: usize = 1024;

/// How long a server may take to end when asked to.
const PATIENCE: Duration = Duration::from_secs(3);

/// A folder with one file of 1 KiB.
pub(crate) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("1k.txt"), vec![b'x'; LENGTH]).expect("a file in it");
    folder
}

/// A running server. Dropping it stops it.
pub(crate) struct Serving {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Kept open: a server whose standard error is closed could not speak.
    _said: BufReader<ChildStderr>,
}

impl Serving {
    /// Our binary with these flags. An error is what it said instead of serving.
    pub(crate) fn ours(root: &Path, flags: &[&str]) -> Result<Self, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wouldblock"));
        command.arg(root).args(["--port", "0", "--quiet"]).args(flags);
        Self::start(command)
    }

    /// This program with these arguments.
    pub(crate) fn this(arguments: &[&str]) -> Result<Self, String> {
        let mut command = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
        command.args(arguments);
        Self::start(command)
    }

    fn start(mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // A child inherits the core of the thread that starts it.
        if let Some((servers, _)) = super::cores() {
            super::pin(servers);
        }
        let child = command.spawn();
        if let Some((_, clients)) = super::cores() {
            super::pin(clients);
        }
        let mut child = child.map_err(|error| error.to_string())?;
        let mut said = BufReader::new(child.stderr.take().ok_or("no pipe")?);
        let mut text = String::new();
        loop {
            let from = text.len();
            match said.read_line(&mut text) {
                Ok(n) if n > 0 => {}
                _ => {
                    let _ = child.wait();
                    return Err(text.lines().last().unwrap_or("it ended without a word").to_owned());
                }
            }
            if let Some(address) = url(&text[from..]) {
                return Ok(Self { child, address, _said: said });
            }
        }
    }

    /// Nanoseconds of processor time so far, of it and its children (fork per client has some). By the process clock:
    /// /proc/PID/stat counts in ticks of 10 ms.
    pub(crate) fn processor_time(&self) -> u64 {
        let mut all = vec![self.child.id()];
        let mut next = 0;
        while let Some(pid) = all.get(next) {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            next += 1;
        }
        all.into_iter().filter_map(clock).sum()
    }
}

fn clock(pid: u32) -> Option<u64> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid.cast_signed())).ok()?;
    let time = clock_gettime(clock).ok()?;
    Some(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// The address in `http://ADDRESS/`.
fn url(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://")?;
    rest.split_once('/')?.0.parse().ok()
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if start.elapsed() > PATIENCE {
                println!("the server did not end when asked to; killed");
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
