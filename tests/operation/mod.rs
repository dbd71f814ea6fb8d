//! Operation: what an operator sets, and what then holds. The real binary, real sockets, real clients.

mod deadlines; // stalls judged by what the peer took; a full house makes room
mod flags; // every flag changes what it says; bad values; the environment; completions, manual, browser, QR code
mod listening; // several addresses, Unix sockets, sockets handed over, shared ports, another user
mod logs; // formats, files, SIGHUP, floods
mod monitoring; // metrics for a real parser, health; who may ask
mod packaging; // the systemd units and the container recipe
mod tls; // HTTPS with rustls, curl and openssl; certificates exchanged; broken handshakes

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{Answer, answers};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_wouldblock");

/// Every I/O model, and for ours the two ways to rest.
const MODELS: [&[&str]; 10] = [
    &["--idle", "backoff"],
    &["--idle", "park"],
    &["--model", "blocking"],
    &["--model", "process"],
    &["--model", "thread"],
    &["--model", "coroutine"],
    &["--model", "select"],
    &["--model", "poll"],
    &["--model", "epoll"],
    &["--model", "epoll-et"],
];

/// A folder with a page, a script, a text, a hidden file and a folder without an index.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("index.html"), "<!doctype html><title>x</title>index").unwrap();
    std::fs::write(at("other.html"), "other").unwrap();
    std::fs::write(at("a.strange"), "strange").unwrap();
    std::fs::write(at(".secret"), "secret").unwrap();
    std::fs::write(at("long.txt"), "many words ".repeat(2000)).unwrap();
    std::fs::write(at("long.txt.gz"), "stands for gzip").unwrap();
    std::fs::write(at("text.txt"), "many words ".repeat(2000)).unwrap();
    std::fs::create_dir(at("list")).unwrap();
    std::fs::write(at("list/inside.txt"), "inside").unwrap();
    std::fs::write(at("large.bin"), crate::common::pattern(3_000_000)).unwrap();
    folder
}

/// A running server; killed when dropped.
struct Started {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// What it said before it served.
    banner: String,
}

impl Started {
    /// Starts the binary with these arguments and waits until it serves.
    #[track_caller]
    fn new(root: &Path, flags: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        command.arg(root).args(flags);
        Self::spawn(command)
    }

    #[track_caller]
    fn spawn(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut banner = String::new();
        while !banner.lines().any(|line| line.starts_with("sweep ") || line.starts_with("model ")) {
            assert!(stderr.read_line(&mut banner).unwrap() > 0, "ended instead of serving: {banner}");
        }
        Self { child, stderr, banner }
    }

    /// The ports in the order in which they were announced.
    fn ports(&self) -> Vec<u16> {
        let urls = self.banner.lines().filter_map(|line| line.strip_prefix("serving ")?.split_once("://"));
        urls.map(|(_, rest)| rest.trim_end_matches('/').rsplit_once(':').unwrap().1.parse().unwrap())
            .collect()
    }

    fn port(&self) -> u16 {
        self.ports()[0]
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(("127.0.0.1", self.port())).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    }

    /// One GET with these further fields, each ended by CRLF, on a connection of its own.
    fn get(&self, path: &str, fields: &str) -> Answer {
        ask(&mut self.connect(), path, fields)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Reads standard error until a line has this in it.
    #[track_caller]
    fn wait_for_line(&mut self, what: &str) -> String {
        let mut said = String::new();
        loop {
            let mut line = String::new();
            assert!(self.stderr.read_line(&mut line).unwrap() > 0, "no {what:?} in {said}");
            if line.contains(what) {
                return line;
            }
            said += &line;
        }
    }

    /// Asks it to stop: exit status, standard output, and the rest of standard error.
    fn stop(mut self) -> (Option<i32>, String, String) {
        self.signal(Signal::SIGTERM);
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        self.stderr.read_to_string(&mut stderr).unwrap();
        (self.child.wait().unwrap().code(), stdout, stderr)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One GET over any stream, read to the end.
fn ask(stream: &mut (impl Read + Write), path: &str, fields: &str) -> Answer {
    ask_as(stream, "x", path, fields)
}

/// As [`ask`], of a server by this name.
fn ask_as(stream: &mut (impl Read + Write), host: &str, path: &str, fields: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    answers(&bytes, &["GET"]).remove(0)
}

/// Runs the binary to its end.
fn run(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether a program is installed; for those that not every machine has.
fn installed(program: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success()
}
