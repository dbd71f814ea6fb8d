//! A server as a child process: started on its core, found by the URL it prints, stopped in order, its counters read.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::guard::{Guard, PREFIX};
use super::machine;
use super::matrix::Server;
use super::procfs;
use crate::stats::Stats;

/// How long a server may take to listen, and to end when asked to.
const START: Duration = Duration::from_secs(5);
const STOP: Duration = Duration::from_secs(5);

/// The file that is asked for.
pub const FILE: &str = "answer.txt";
/// Its size: about what a small page or an API's answer has.
pub const FILE_BYTES: usize = 1024;

/// A folder with the one file that all servers serve, and room for what they write.
pub struct Site {
    folder: tempfile::TempDir,
    guard: Option<Guard>,
    /// What the file holds.
    pub body: Vec<u8>,
}

impl Site {
    /// Makes it; it is gone when dropped.
    pub fn new() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir()?;
        let body = vec![b'x'; FILE_BYTES];
        fs::create_dir(folder.path().join("root"))?;
        fs::write(folder.path().join("root").join(FILE), &body)?;
        // A server may have put down its privileges (nginx does); it must still be able to read.
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        Ok(Self { folder, guard: None, body })
    }

    /// The same, with a [`Guard`] that removes it and ends what serves it should this process not come to it.
    pub fn guarded() -> io::Result<Self> {
        let site = Self::new()?;
        Ok(Self { guard: Some(Guard::start(site.folder.path())?), ..site })
    }

    /// Puts a child where the guard ends it and the terminal's signals do not reach it.
    pub fn tie<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.process_group(self.guard.as_ref().map_or(0, Guard::group))
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn report(&self) -> PathBuf {
        self.folder.path().join("report.json")
    }
}

/// What our own server writes at exit.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Report {
    /// Its counters over its whole life.
    pub stats: Stats,
    /// Seconds that it served.
    pub uptime_s: f64,
}

/// A running server. Dropping it kills it.
pub struct Serving {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    report: Option<PathBuf>,
}

impl Serving {
    /// Starts a server, on its own core if there is one, and waits until it listens.
    pub fn start(server: &Server, site: &Site, pinned: Option<(usize, usize)>) -> Result<Self, String> {
        let report = matches!(server, Server::Own { .. }).then(|| site.report());
        if let Some(report) = &report {
            let _ = fs::remove_file(report);
        }
        let free = |error: io::Error| format!("no free port: {error}");
        // Somebody else could take the port between this and the start; then the start fails and is tried again.
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr()).map_err(free)?.port();
        let (mut command, prints_url) = command(server, site, port).map_err(|error| error.to_string())?;
        let log = fs::File::create(site.log()).map_err(|error| format!("cannot write a log: {error}"))?;
        let errors = log.try_clone().map_err(|error| format!("cannot write a log: {error}"))?;
        site.tie(command.stdin(Stdio::null()).stdout(log).stderr(errors));
        // A child inherits the core of the thread that starts it: so every thread and process of the server is
        // on its core from its first instruction.
        if let Some((core, _)) = pinned {
            machine::pin(core).map_err(|error| format!("cannot pin to core {core}: {error}"))?;
        }
        let child = command.spawn();
        if let Some((_, core)) = pinned {
            machine::pin(core).map_err(|error| format!("cannot pin to core {core}: {error}"))?;
        }
        let child =
            child.map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))?;
        let mut serving = Self { child, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), report };
        serving.wait_until_it_listens(&site.log(), prints_url)?;
        Ok(serving)
    }

    fn wait_until_it_listens(&mut self, log: &Path, prints_url: bool) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let said = fs::read_to_string(log).unwrap_or_default();
            if prints_url {
                if let Some(address) = url_in(&said) {
                    self.address = address;
                    return Ok(());
                }
            } else if TcpStream::connect(self.address).is_ok() {
                return Ok(());
            }
            let last_words = || said.lines().last().unwrap_or("it said nothing").to_owned();
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("it ended at once ({status}): {}", last_words()));
            }
            if start.elapsed() > START {
                return Err(format!("not listening after {} s: {}", START.as_secs(), last_words()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The process that was started.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end (SIGTERM), waits, and reads its counters; kills it if it does not.
    pub fn stop(mut self) -> Result<Option<Report>, String> {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let start = Instant::now();
        while start.elapsed() < STOP {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_micros(500)),
                Ok(Some(_)) => return self.report.take().map(|path| read_report(&path)).transpose(),
                Err(error) => return Err(format!("cannot wait for it: {error}")),
            }
        }
        Err(format!("still running {} s after SIGTERM", STOP.as_secs()))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            for pid in procfs::tree(self.child.id()) {
                let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
            }
            let _ = self.child.wait();
        }
    }
}

fn read_report(path: &Path) -> Result<Report, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("it left no report: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("its report cannot be read: {error}"))
}

/// The command that starts a server, and whether it prints its URL (otherwise it was told the port).
fn command(server: &Server, site: &Site, port: u16) -> io::Result<(Command, bool)> {
    Ok(match server {
        Server::Echo => {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["compare", "echo", &site.body.len().to_string()]);
            (command, true)
        }
        Server::Own { model, idle, sweep } => {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg(site.root()).args(["--bind", "127.0.0.1", "--port", "0", "-q", "--model", model]);
            command.arg("--report-json").arg(site.report()).arg("--counters");
            for (flag, value) in [("--idle", idle), ("--sweep", sweep)] {
                if let Some(value) = value {
                    command.args([flag, value]);
                }
            }
            (command, true)
        }
        Server::External { command: line, .. } => {
            let filled = line
                .replace("{port}", &port.to_string())
                .replace("{root}", &site.root().display().to_string());
            let mut command = Command::new("sh");
            // exec: the process that is started, measured and stopped is the server and not a shell around it.
            command.arg("-c").arg(format!("exec {filled}"));
            (command, false)
        }
    })
}

/// The address in the first `http://ADDRESS:PORT/` of a text.
fn url_in(text: &str) -> Option<SocketAddr> {
    let (_, rest) = text.split_once("http://")?;
    rest.split_once('/')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_found_in_what_a_server_says() {
        assert_eq!(url_in("serving html at http://127.0.0.1:7890/ …"), Some(([127, 0, 0, 1], 7890).into()));
        assert_eq!(url_in("http://127.0.0.1:78"), None, "half a line is not an address yet");
        assert_eq!(url_in("nothing"), None);
    }

    #[test]
    fn an_external_command_gets_its_port_and_folder() {
        let site = Site::new().unwrap();
        let server = Server::External { name: "x".into(), command: "serve -p {port} '{root}'".into() };
        let (command, prints_url) = command(&server, &site, 4321).unwrap();
        let line = command.get_args().last().unwrap().to_str().unwrap().to_owned();
        assert_eq!(line, format!("exec serve -p 4321 '{}'", site.root().display()));
        assert!(!prints_url);
    }

    #[test]
    fn a_command_that_fails_is_quoted() {
        let site = Site::new().unwrap();
        let server = Server::External { name: "x".into(), command: "ls /nonexistent-{port}".into() };
        let error = Serving::start(&server, &site, None).err().unwrap();
        assert!(error.contains("ended at once") && error.contains("nonexistent"), "{error}");
    }
}
