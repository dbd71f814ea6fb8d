//! The course's servers, rewritten with their bugs, under the checker: which rules go red is written down for each.
//!
//! `expected/NAME.txt` holds the red rules of `NAME.py`, one id a line. `~` before an id says that chance decides:
//! how much the kernel takes at once, or whether two clients arrive in the same moment; the reason stands behind it.
//! After a change of a rule or a listing `WOULDBLOCK_BLESS_COURSE=1 cargo test course` writes the lines without `~` anew; read
//! the difference before committing it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use wouldblock::check::{self, Judged, Options, Outcome};

/// The listings, one a chapter.
const CHAPTERS: [&str; 8] = [
    "fixed_page",
    "requested_page",
    "process",
    "thread",
    "coroutine",
    "nonblocking",
    "long_connection",
    "epoll",
];

/// Groups of rules that take about as long; each part has a server of its own.
const PARTS: [&[&str]; 3] = [
    &["framing", "keepalive", "split", "length", "type", "method"],
    &["cond", "range", "path", "malformed", "smuggling"],
    &["slow", "close", "many", "limits"],
];

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/course")
}

/// The interpreter itself: what stands on PATH may be a script that looks for it, and it is started some hundred
/// times.
static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
    let asked = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let said = asked.expect("python3 is needed: the course's servers are written in it").stdout;
    PathBuf::from(String::from_utf8(said).unwrap().trim())
});

/// A server of the course, started again whenever the checker asks for it.
struct Chapter {
    name: &'static str,
    /// Working folder: the servers serve `./html` below it.
    dir: tempfile::TempDir,
    child: Mutex<Child>,
}

impl Chapter {
    fn start(name: &'static str) -> (Self, SocketAddr) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("html")).unwrap();
        std::fs::write(dir.path().join("html/index.html"), "<p>index</p>\n").unwrap();
        let (child, addr) = Self::spawn(name, dir.path());
        (Self { name, dir, child: Mutex::new(child) }, addr)
    }

    fn spawn(name: &str, dir: &Path) -> (Child, SocketAddr) {
        let mut child = Command::new(&*PYTHON)
            .args(["-I", "-S"])
            .arg(here().join(format!("{name}.py")))
            // Any port: the listing without SO_REUSEADDR could not have its old one for a minute.
            .arg("0")
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
        let port = line.trim().parse().unwrap_or_else(|_| panic!("{name} did not start: {line:?}"));
        // What the listing prints goes on being read, so that it never waits for us.
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        (child, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// Ends what is left of the server and starts another.
    fn again(&self) -> SocketAddr {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
        let (next, addr) = Self::spawn(self.name, self.dir.path());
        *child = next;
        addr
    }
}

impl Drop for Chapter {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// How these rules judge a server of their own.
fn judged(name: &'static str, only: &[&str], patience: Duration) -> Vec<Judged> {
    let (chapter, addr) = Chapter::start(name);
    let chapter = Arc::new(chapter);
    let mut options = Options::new(&format!("http://{addr}/"));
    options.root = Some(chapter.dir.path().join("html"));
    options.only = only.iter().map(|id| (*id).to_owned()).collect();
    // One at a time: what a server does must not depend on what else is asked of it at that moment.
    options.jobs = 1;
    options.patience = patience;
    // None of them has any notion of time: whoever is not closed at once is never closed.
    options.watch = patience;
    options.idle_limit = options.watch;
    options.time = Duration::from_secs(600);
    let revived = Arc::clone(&chapter);
    options.revive = Some(Box::new(move || Some(revived.again())));
    check::run(&options, &|_, _, _| {}).unwrap().rules
}

fn red(rules: &[Judged]) -> BTreeSet<&'static str> {
    rules.iter().filter(|j| matches!(j.outcome, Outcome::Fail(_))).map(|j| j.rule.id).collect()
}

fn write_anew() -> bool {
    std::env::var_os("WOULDBLOCK_BLESS_COURSE").is_some()
}

/// What `expected/NAME.txt` says.
struct Expected {
    red: BTreeSet<String>,
    /// The lines that begin with `~`: id, and why chance decides.
    either: BTreeMap<String, String>,
}

impl Expected {
    fn read(name: &str) -> Self {
        let text = std::fs::read_to_string(here().join(format!("expected/{name}.txt"))).unwrap();
        let (either, red): (Vec<&str>, Vec<&str>) = text.lines().partition(|l| l.starts_with('~'));
        let either = either.iter().map(|l| l[1..].trim().split_once(' ').expect("~ id reason"));
        Self {
            red: red.into_iter().map(str::to_owned).collect(),
            either: either.map(|(id, why)| (id.to_owned(), why.trim().to_owned())).collect(),
        }
    }

    fn agrees(&self, judged: &Judged) -> bool {
        let id = judged.rule.id;
        let red = matches!(judged.outcome, Outcome::Fail(_));
        self.either.contains_key(id) || self.red.contains(id) == red
    }
}

/// Most of the time is waiting for answers that never come; so the waits are short, the servers run side by side,
/// and a rule that is not as written down is asked again, alone and with patience: only that counts. On a busy
/// machine the first look may take slowness for silence, the second does not.
fn judged_twice(name: &'static str) -> Vec<Judged> {
    let patience = Duration::from_millis(if write_anew() { 1000 } else { 300 });
    let mut rules: Vec<Judged> = std::thread::scope(|scope| {
        let parts = PARTS.map(|groups| scope.spawn(move || judged(name, groups, patience)));
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    assert_eq!(rules.len(), check::all_rules().count(), "a group is in no part or in two");
    if write_anew() {
        return rules;
    }
    let expected = Expected::read(name);
    for j in &mut rules {
        if !expected.agrees(j) {
            *j = judged(name, &[j.rule.id], Duration::from_secs(4)).remove(0);
        }
    }
    rules
}

/// All chapters, judged side by side.
static JUDGED: LazyLock<BTreeMap<&str, Vec<Judged>>> = LazyLock::new(|| {
    std::thread::scope(|scope| {
        CHAPTERS
            .map(|name| (name, scope.spawn(move || judged_twice(name))))
            .map(|(name, run)| (name, run.join().unwrap()))
            .into()
    })
});

/// Exactly the rules that are written down go red, and among them those that prove the errata of the listing:
/// rule, and what is wrong.
fn assert_red(name: &'static str, proofs: &[(&str, &str)]) {
    let rules = &JUDGED[name];
    let red = red(rules);
    let mut expected = Expected::read(name);
    if write_anew() {
        let mut lines: String = expected.either.iter().map(|(id, why)| format!("~ {id} {why}\n")).collect();
        for id in red.iter().filter(|id| !expected.either.contains_key(**id)) {
            lines += &format!("{id}\n");
        }
        std::fs::write(here().join(format!("expected/{name}.txt")), lines).unwrap();
        expected = Expected::read(name);
    }
    let wrong: Vec<String> = rules
        .iter()
        .filter(|j| !expected.agrees(j))
        .map(|j| format!("{}: {:?}\nsent {}\ncame {}", j.rule.id, j.outcome, j.sent, j.came))
        .collect();
    assert!(wrong.is_empty(), "{name}: not as written down: {}", wrong.join("\n\n"));
    assert!(expected.red.iter().all(|id| red.contains(id.as_str())), "{name}: no such rule any more");
    for (id, what) in proofs {
        assert!(expected.red.contains(*id), "{id} must be certain to prove: {what}");
        assert!(red.contains(id), "{id} should prove: {what}");
    }
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
            ("split.halves", "one recv is taken for one request"),
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
            ("slow.pause-then-read", "sendall on a nonblocking socket raises half-way"),
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
