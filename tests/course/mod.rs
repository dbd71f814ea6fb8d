//! The course's servers, rewritten with their bugs, under the checker: which rules go red is written down for each.
//!
//! `expected/NAME.txt` holds the red rules of `NAME.py`, one id a line. After a change of a rule or a listing
//! `COURSE_WRITE=1 cargo test course` writes them anew; read the difference before committing it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wouldblock::check::{self, Options, Outcome, Report};

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/course")
}

/// A server of the course, started again whenever the checker asks for it.
struct Chapter {
    name: &'static str,
    /// Working folder: the servers serve `./html` below it.
    dir: tempfile::TempDir,
    port: u16,
    child: Mutex<Child>,
}

impl Chapter {
    fn start(name: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("html")).unwrap();
        std::fs::write(dir.path().join("html/index.html"), "<p>index</p>\n").unwrap();
        let (child, port) = Self::spawn(name, dir.path(), 0).expect("python3 runs the listing");
        Self { name, dir, port, child: Mutex::new(child) }
    }

    fn spawn(name: &str, dir: &Path, port: u16) -> Option<(Child, u16)> {
        let mut child = Command::new("python3")
            .arg(here().join(format!("{name}.py")))
            .arg(port.to_string())
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Tracebacks are the lesson, but not here.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let Ok(port) = line.trim().parse() else {
            child.wait().unwrap();
            return None;
        };
        // What the listing prints goes on being read, so that it never waits for us.
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        Some((child, port))
    }

    /// Ends what is left of the server and starts it at the same port.
    fn again(&self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
        // The listing without SO_REUSEADDR has to wait until TIME_WAIT is over: up to a minute on Linux.
        for _ in 0..700 {
            if let Some((next, _)) = Self::spawn(self.name, self.dir.path(), self.port) {
                *child = next;
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Chapter {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn judged(name: &'static str) -> Report {
    let chapter = Arc::new(Chapter::start(name));
    let mut options = Options::new(&format!("http://127.0.0.1:{}/", chapter.port));
    options.root = Some(chapter.dir.path().join("html"));
    // One at a time: what a server does must not depend on what else is asked of it at that moment.
    options.jobs = 1;
    options.patience = Duration::from_millis(1500);
    options.time = Duration::from_secs(600);
    // None of these servers ever closes anybody; watching it takes time and shows nothing else.
    options.skip =
        check::all_rules().filter(|r| r.kind == check::Kind::Slow).map(|r| r.id.to_owned()).collect();
    let revived = Arc::clone(&chapter);
    options.revive = Some(Box::new(move || revived.again()));
    check::run(&options, &|_, _, _| {}).unwrap()
}

/// The errata that each listing proves: rule, and what is wrong in the listing.
fn assert_red(name: &'static str, proofs: &[(&str, &str)]) {
    let report = judged(name);
    let red: BTreeSet<&str> = report.red().map(|j| j.rule.id).collect();
    let file = here().join(format!("expected/{name}.txt"));
    if std::env::var_os("COURSE_WRITE").is_some() {
        let lines: String = red.iter().map(|id| format!("{id}\n")).collect();
        std::fs::write(&file, lines).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap();
    let expected: BTreeSet<&str> = expected.lines().collect();
    let said = |id: &&&str| {
        let judged = report.rules.iter().find(|j| j.rule.id == **id);
        format!("{id}: {:?}", judged.map(|j| &j.outcome))
    };
    let more: Vec<String> = red.difference(&expected).collect::<Vec<_>>().iter().map(said).collect();
    let less: Vec<String> = expected.difference(&red).collect::<Vec<_>>().iter().map(said).collect();
    assert!(more.is_empty() && less.is_empty(), "{name}: red unexpectedly {more:#?}, not red {less:#?}");
    for (id, what) in proofs {
        assert!(red.contains(id), "{id} should prove: {what}");
    }
    let lost: Vec<_> = report
        .rules
        .iter()
        .filter(|j| matches!(&j.outcome, Outcome::Undecided(why) if why.en.contains("gone")))
        .map(|j| j.rule.id)
        .collect();
    assert!(lost.is_empty(), "{name} was not started again: {lost:?}");
}

#[test]
fn the_fixed_page_dies_of_silence_resets_large_requests_and_misspells_its_status_line() {
    assert_red(
        "fixed_page",
        &[
            ("framing.status-line", "HTTP:/1.1"),
            ("framing.date", "no Date"),
            ("keepalive.close-announced", "closes without saying so"),
            ("path.missing", "one page for every path"),
            ("close.connect-and-leave", "splitlines()[0] of nothing"),
            ("close.no-reset", "recv(1024) leaves the rest unread, close() resets"),
            ("close.survives", "an exception ends the only process"),
            ("slow.silent-neighbour", "one client at a time"),
        ],
    );
}

#[test]
fn the_requested_page_dies_of_a_missing_file_and_serves_files_from_outside() {
    assert_red(
        "requested_page",
        &[
            ("framing.404-ends", "a str is sent, TypeError"),
            ("path.dotdot", "a prefix protects nothing"),
            ("path.query", "the query stays in the name"),
            ("path.chinese", "nothing is decoded"),
            ("close.survives", "an exception ends the only process"),
        ],
    );
}

#[test]
fn the_process_server_keeps_its_copy_of_the_connection_open() {
    assert_red(
        "process",
        &[
            ("framing.200-ends", "the parent never closes its copy: the end comes with the next client"),
            ("keepalive.close-obeyed", "the same"),
            ("split.halves", "one recv is taken for one request"),
        ],
    );
}

#[test]
fn the_thread_server_leaves_clients_waiting_and_calls_everything_a_page() {
    assert_red(
        "thread",
        &[
            ("type.css", "everything is text/html"),
            ("split.two-in-one", "one recv, one answer"),
            ("method.head-no-body", "the method is never read"),
            ("malformed.no-host", "Host is never read"),
        ],
    );
}

#[test]
fn the_coroutine_server_reads_files_in_the_only_thread() {
    assert_red(
        "coroutine",
        &[
            ("path.pipe", "open() blocks every coroutine"),
            ("keepalive.close-announced", "closes without saying so"),
            ("split.utf8-across-1024", "decodes before framing"),
        ],
    );
}

#[test]
fn the_nonblocking_server_counts_characters_loses_requests_and_dies_of_a_slow_reader() {
    assert_red(
        "nonblocking",
        &[
            ("length.octets-of-errors", "Content-Length counts characters"),
            ("slow.pause-then-read", "the return value of send() is ignored"),
            ("slow.pipeline-unread", "a full buffer raises where nobody catches"),
            ("split.utf8-across-1024", "except: pass swallows the request"),
            ("split.two-in-one", "one recv, one answer"),
            ("keepalive.close-obeyed", "Connection is never read"),
            ("keepalive.body-is-not-a-request", "a body is never read past"),
            ("smuggling.unicode-line-ends", "nothing is framed at all"),
            ("close.survives", "BlockingIOError ends the server"),
        ],
    );
}

#[test]
fn the_long_connection_server_never_ends_its_404() {
    assert_red(
        "long_connection",
        &[
            ("framing.404-ends", "no length on a connection that stays open"),
            ("keepalive.10-closes", "the version is never read"),
            ("length.large", "sendall on a nonblocking socket raises half-way"),
        ],
    );
}

#[test]
#[cfg(target_os = "linux")]
fn the_edge_triggered_server_accepts_once_and_reads_once_per_event() {
    assert_red(
        "epoll",
        &[
            ("limits.query-2000", "one recv(1024) per edge"),
            ("slow.no-reader-neighbour", "blocking sockets: one client that does not read stops all"),
            ("length.octets-of-errors", "Content-Length counts characters"),
        ],
    );
}
