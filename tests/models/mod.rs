//! One list of scenarios for every I/O model, against the real binary: `models::scenarios::
//! a_slow_reader_gets_all_of_20_mb::epoll` and so on. What a model cannot do is tested as what it does
//! instead.

mod accounts; // what the report, the log and /proc say afterwards
mod library; // the same `serve` inside the test: limits that have no flag, a service that would block
mod peculiar; // what one model does differently: blocking holds up, select turns away, process forks
mod scenarios; // what all do alike

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wouldblock::config::Model;
use wouldblock::stats::Stats;

use crate::cli::Running;
use crate::common::{Answer, answers, crowd, limit_descriptors, pattern};

/// No scenario takes this long; who waits so long waits in vain.
const IN_VAIN: Duration = Duration::from_secs(20);

/// Makes a test of each scenario for each model: a module of the scenario's name with a test of the model's.
macro_rules! for_models {
    ($models:tt [$($scenario:ident),* $(,)?]) => {
        $(for_models!(@one $scenario $models);)*
    };
    (@one $scenario:ident [$($model:ident = $variant:ident),* $(,)?]) => {
        mod $scenario {
            $(#[test] fn $model() { super::$scenario(wouldblock::config::Model::$variant); })*
        }
    };
}
use for_models;

/// A folder, and a server of it.
struct House {
    folder: TempDir,
    server: Running,
}

impl House {
    fn open(model: Model, flags: &[&str]) -> Self {
        Self::open_with(model, flags, |_| {})
    }

    fn open_with(model: Model, flags: &[&str], adapt: impl FnOnce(&mut Command)) -> Self {
        let folder = folder();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wouldblock"));
        command.arg(folder.path().join("site")).args(["-p", "0", "--model", model.name()]).args(flags);
        command.arg("--report-json").arg(folder.path().join("report.json"));
        adapt(&mut command);
        Self { server: Running::spawn(command), folder }
    }

    fn connect(&self) -> TcpStream {
        self.server.connect()
    }

    /// One request on a connection of its own.
    fn get(&self, path: &str) -> Answer {
        let mut socket = self.connect();
        socket.write_all(closing(path).as_bytes()).unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        answers(&answer, &["GET"]).remove(0)
    }

    /// Stops it and returns its counters, its standard output and standard error.
    fn close(self) -> (Stats, String, String) {
        let (status, stdout, stderr) = self.server.stop();
        assert_eq!(status, Some(0), "{stderr}");
        (counters(self.folder.path()), stdout, stderr)
    }
}

fn counters(folder: &Path) -> Stats {
    let report = std::fs::read(folder.join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    serde_json::from_value(report["stats"].clone()).unwrap()
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let site = folder.path().join("site");
    std::fs::create_dir_all(site.join("sub")).unwrap();
    std::fs::write(site.join("index.html"), "<!doctype html><title>x</title>hello").unwrap();
    std::fs::write(site.join("sub/index.html"), "below").unwrap();
    std::fs::write(site.join("1k.txt"), pattern(1024)).unwrap();
    std::fs::write(site.join("200k.bin"), pattern(200_000)).unwrap();
    std::fs::hard_link(&large().1, site.join("20m.bin")).unwrap();
    folder
}

/// 20 MB that are made once for all tests: the octets, and a file of them.
fn large() -> &'static (Vec<u8>, PathBuf) {
    static LARGE: OnceLock<(Vec<u8>, PathBuf)> = OnceLock::new();
    LARGE.get_or_init(|| {
        let octets = pattern(20_000_000);
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("20m.bin");
        // Under a name of its own first: another run of the tests may be using the file.
        let new = path.with_extension(std::process::id().to_string());
        std::fs::write(&new, &octets).unwrap();
        std::fs::rename(new, &path).unwrap();
        (octets, path)
    })
}

fn keeping(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

fn closing(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

/// Reads one answer with a body from a connection that stays open.
fn read_answer(socket: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut piece = [0; 64 * 1024];
    loop {
        let n = socket.read(&mut piece).unwrap();
        assert!(n > 0, "closed after {:?}", bytes.escape_ascii().to_string());
        bytes.extend_from_slice(&piece[..n]);
        let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
        let length = text.split_once("content-length: ").expect("a length").1;
        let length: usize = length.lines().next().unwrap().trim().parse().unwrap();
        if bytes.len() >= head + 4 + length {
            return answers(&bytes, &["GET"]).remove(0);
        }
    }
}

/// Waits until this holds; fails if it does not for very long.
#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < IN_VAIN, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

fn threads(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

/// The children of a process, each with its state (`Z`: a zombie).
fn children(pid: u32) -> Vec<(u32, char)> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(child) = entry.file_name().to_string_lossy().parse() else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // "123 (name) S 45 …"; the name may hold anything.
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let mut fields = rest.split(' ');
        let state = fields.next().and_then(|state| state.chars().next()).unwrap_or('?');
        if fields.next().and_then(|parent| parent.parse().ok()) == Some(pid) {
            children.push((child, state));
        }
    }
    children
}
