//! Servers that are odd and right, or wrong where nothing is asked: what a rule says of them shows whether it asks
//! for more than the RFCs do. Each is one closure from request to answer; one request a connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use wouldblock::check::{self, Options, Outcome, Report};

/// A running server; ends when dropped.
struct Odd {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Odd {
    /// `answer` is told the request's head and gives the octets of the answer.
    fn start(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let odd = Self { addr: listener.local_addr().unwrap(), stop: Arc::default() };
        let (stop, answer) = (Arc::clone(&odd.stop), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(SeqCst) {
                    break;
                }
                let (Ok(stream), answer) = (stream, Arc::clone(&answer)) else { continue };
                std::thread::spawn(move || serve(stream, &*answer));
            }
        });
        odd
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        let _ = TcpStream::connect(self.addr);
    }
}

/// One request, one answer, and an orderly end.
fn serve(mut stream: TcpStream, answer: &dyn Fn(&str) -> Vec<u8>) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let (mut head, mut chunk) = (Vec::new(), [0; 16384]);
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut chunk) {
            Ok(n) if n > 0 => head.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => return,
        }
    }
    let _ = stream.write_all(&answer(&String::from_utf8_lossy(&head)));
    let _ = stream.shutdown(Shutdown::Write);
    while stream.read(&mut chunk).is_ok_and(|n| n > 0) {}
}

/// An answer with Date and the length; without its body if the request was a HEAD.
fn reply(request: &str, status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let (date, length) = (httpdate::fmt_http_date(SystemTime::now()), body.len());
    let head = format!(
        "HTTP/1.1 {status}\r\nDate: {date}\r\n{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    [head.as_bytes(), if request.starts_with("HEAD ") { b"" } else { body }].concat()
}

/// One page for every path; other methods and requests without their one Host are refused.
fn one_page(request: &str) -> Vec<u8> {
    let hosts = request.lines().filter(|l| l.starts_with("Host:")).count();
    let line: Vec<&str> = request.lines().next().unwrap_or_default().split(' ').collect();
    match line[..] {
        [_, _, "HTTP/1.1"] if hosts != 1 => reply(request, "400 Bad Request", "", b"400\n"),
        ["GET" | "HEAD", _, "HTTP/1.1" | "HTTP/1.0"] => {
            reply(request, "200 OK", "Content-Type: text/html\r\n", b"<p>hello</p>\n")
        }
        [_, _, "HTTP/1.1"] => reply(request, "501 Not Implemented", "", b"501\n"),
        _ => reply(request, "400 Bad Request", "", b"400\n"),
    }
}

fn options(url: &str, only: &[&str]) -> Options {
    let mut options = Options::new(url);
    options.only = only.iter().map(|id| (*id).to_owned()).collect();
    options.watch = Duration::from_millis(300);
    options
}

fn judged(url: &str, only: &[&str]) -> Report {
    check::run(&options(url, only), &|_, _, _| {}).unwrap()
}

/// What became of each of these rules, in the order of the rules.
fn outcomes(url: &str, only: &[&str]) -> Vec<(&'static str, Outcome)> {
    judged(url, only).rules.into_iter().map(|j| (j.rule.id, j.outcome)).collect()
}

fn all_pass(url: &str, only: &[&str]) {
    for (id, outcome) in outcomes(url, only) {
        assert_eq!(outcome, Outcome::Pass, "{id}");
    }
}

#[test]
fn a_server_that_died_has_not_passed_though_only_a_rule_of_little_weight_was_asked() {
    // Ends when a request ends before its blank line; until then it serves one client after another.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut head, mut chunk) = (stream.unwrap(), Vec::new(), [0; 4096]);
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read(&mut chunk) {
                    Ok(n) if n > 0 => head.extend_from_slice(&chunk[..n]),
                    _ => return,
                }
            }
            let _ = stream.write_all(&one_page(&String::from_utf8_lossy(&head)));
        }
    });
    let mut options = options(&url, &["close.half-a-request"]);
    options.jobs = 1;
    let report = check::run(&options, &|_, _, _| {}).unwrap();
    assert!(report.red().all(|j| j.rule.severity == check::Severity::Good), "{:?}", report.rules);
    assert!(!report.passed(), "{:?}", report.rules);
}

/// Rules that read no more than a head.
const BY_HEAD: [&str; 6] = [
    "limits.long-method",
    "limits.target-8000",
    "malformed.no-host",
    "malformed.two-hosts",
    "malformed.http-response",
    "close.error-survives-upload",
];

/// A 103 before this answer, as RFC 9110 §15.2 allows at any time.
fn with_hints(answer: Vec<u8>) -> Vec<u8> {
    [b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n".to_vec(), answer].concat()
}

#[test]
fn an_interim_response_is_not_taken_for_the_answer() {
    let server = Odd::start(|request| with_hints(one_page(request)));
    all_pass(&server.url("/"), &BY_HEAD);
    all_pass(&server.url("/"), &["method.connect", "method.expect-continue"]);
    let proxy = Odd::start(|request| {
        let tunnel = request.starts_with("CONNECT");
        with_hints(if tunnel { reply(request, "200 OK", "", b"") } else { one_page(request) })
    });
    let report = judged(&proxy.url("/"), &["method.connect"]);
    assert_eq!(report.red().count(), 1, "{:?}", report.rules);
}

/// The file in `root` that a request names, if there is one.
fn file(root: &Path, request: &str) -> Option<Vec<u8>> {
    let path = request.split(' ').nth(1)?.trim_start_matches('/');
    std::fs::read(root.join(path)).ok()
}

#[test]
fn a_listing_is_judged_as_what_it_says_it_is() {
    for (kind, red) in [("text/plain", 0), ("application/json", 0), ("text/html; charset=utf-8", 1)] {
        let root = tempfile::tempdir().unwrap();
        let served = root.path().to_owned();
        let server = Odd::start(move |request| match file(&served, request) {
            Some(body) => reply(request, "200 OK", "", &body),
            None => reply(request, "200 OK", &format!("Content-Type: {kind}\r\n"), b"[\"<b>bold.txt\"]"),
        });
        let mut options = options(&server.url("/"), &["path.listing"]);
        options.root = Some(root.path().to_owned());
        let report = check::run(&options, &|_, _, _| {}).unwrap();
        assert_eq!((report.score(), report.red().count()), (100 * u32::from(red == 0), red), "{kind}");
    }
}

#[test]
fn a_page_that_is_a_503_may_leave_date_out_and_is_no_fault_of_the_request() {
    let server =
        Odd::start(|_| b"HTTP/1.1 503 Away\r\nContent-Length: 5\r\nConnection: close\r\n\r\naway\n".to_vec());
    let rules = outcomes(&server.url("/"), &["framing.date", "malformed.10-without-host"]);
    assert!(matches!(rules[0].1, Outcome::Skipped(_)), "{rules:?}");
    assert_eq!(rules[1].1, Outcome::Pass);
}

#[test]
fn head_is_compared_only_in_what_stays_the_same_from_get_to_get() {
    let page = |head_type: &'static str| {
        let count = AtomicUsize::new(0);
        Odd::start(move |request| {
            let n = count.fetch_add(1, SeqCst);
            let kind = if request.starts_with("HEAD ") { head_type } else { "text/html" };
            let fields = format!("Content-Type: {kind}\r\nETag: \"{n}\"\r\n");
            reply(request, "200 OK", &fields, "x".repeat(100 + n).as_bytes())
        })
    };
    all_pass(&page("text/html").url("/"), &["method.head-same-fields"]);
    let report = judged(&page("text/plain").url("/"), &["method.head-same-fields"]);
    assert_eq!(report.red().count(), 1, "{:?}", report.rules);
}

#[test]
fn a_path_of_any_length_can_be_the_page() {
    let server = Odd::start(one_page);
    for length in [1990, 8100] {
        let url = server.url(&format!("/{}", "p".repeat(length)));
        for (id, outcome) in outcomes(&url, &["limits.target-8000", "limits.query-2000"]) {
            let ours = matches!(&outcome, Outcome::Undecided(why) if why.en.contains("checker"));
            assert!(!ours && !matches!(outcome, Outcome::Fail(_)), "{id}: {outcome:?}");
        }
    }
}

#[test]
fn a_head_longer_than_the_checker_reads_is_called_that() {
    let server = Odd::start(|request| {
        reply(request, "200 OK", &format!("X-Big: {}\r\n", "z".repeat(600_000)), b"hello\n")
    });
    for (id, outcome) in outcomes(&server.url("/"), &["framing.status-line", "smuggling.unicode-line-ends"]) {
        let said = matches!(&outcome, Outcome::Undecided(why) if why.en.contains("octets"));
        assert!(said, "{id}: {outcome:?}");
    }
}

#[test]
fn what_the_server_says_does_not_reach_the_terminal_raw() {
    let server = Odd::start(|request| {
        let fields = "Server: \x1b[31mred\u{9b}\r\nContent-Type: text\x1b]0;title\x07\r\nDate: \x1b[2J\r\n";
        reply(request, "200 OK", fields, b"hello\n").to_vec()
    });
    let report = judged(&server.url("/"), &["framing", "type"]);
    assert!(report.red().count() > 0);
    for lang in [check::Lang::Zh, check::Lang::En] {
        let said = check::text(&report, lang, false, true);
        assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{said:?}");
    }
}

#[test]
fn a_server_that_takes_its_time_sets_the_pace() {
    let server = Odd::start(|request| {
        std::thread::sleep(Duration::from_millis(400));
        one_page(request)
    });
    let mut options = options(&server.url("/"), &["framing.date", "malformed.no-host"]);
    options.patience = Duration::from_millis(100);
    let report = check::run(&options, &|_, _, _| {}).unwrap();
    for j in report.rules {
        assert_eq!(j.outcome, Outcome::Pass, "{}", j.rule.id);
    }
}

#[test]
fn laid_files_that_cannot_be_removed_are_named() {
    let root = tempfile::tempdir().unwrap();
    let served = root.path().to_owned();
    let server = Odd::start(move |request| {
        let name = request.split('/').find(|part| part.starts_with("wouldblock-check-"));
        if let Some(name) = name.filter(|name| served.join(name).is_dir()) {
            // A file in the folder's place.
            std::fs::rename(served.join(name), served.join("elsewhere")).unwrap();
            std::fs::write(served.join(name), b"").unwrap();
        }
        one_page(request)
    });
    let mut options = options(&server.url("/"), &["framing.date"]);
    options.root = Some(root.path().to_owned());
    let report = check::run(&options, &|_, _, _| {}).unwrap();
    assert!(report.notes.iter().any(|n| n.en.contains("by hand")), "{:?}", report.notes);
}

#[test]
fn a_server_that_compresses_unasked_is_asked_for_the_plain_text() {
    let root = tempfile::tempdir().unwrap();
    let served = root.path().to_owned();
    let server = Odd::start(move |request| match file(&served, request) {
        Some(body) if request.matches("Accept-Encoding: identity").count() == 1 => {
            reply(request, "200 OK", "", &body)
        }
        Some(_) => reply(request, "200 OK", "Content-Encoding: gzip\r\n", b"\x1f\x8b..."),
        None => reply(request, "404 Not Found", "", b"404\n"),
    });
    let mut options =
        options(&server.url("/"), &["length.octets", "length.no-coding-unasked", "path.missing"]);
    options.root = Some(root.path().to_owned());
    let report = check::run(&options, &|_, _, _| {}).unwrap();
    for j in &report.rules {
        assert_eq!(j.outcome, Outcome::Pass, "{}", j.rule.id);
    }
    assert!(report.notes.is_empty(), "{:?}", report.notes);
}

#[test]
fn who_interrupts_is_not_told_that_the_files_are_not_served() {
    let root = tempfile::tempdir().unwrap();
    let mut options = options("", &["length.octets"]);
    let stop = Arc::clone(&options.stop);
    let server = Odd::start(move |request| {
        if request.contains("wouldblock-check-") {
            stop.store(true, SeqCst);
        }
        reply(request, "404 Not Found", "", b"404\n")
    });
    options.url = server.url("/");
    options.root = Some(root.path().to_owned());
    let report = check::run(&options, &|_, _, _| {}).unwrap();
    let said: Vec<&str> = report.notes.iter().map(|n| n.en.as_str()).collect();
    assert!(said.len() == 1 && said[0].starts_with("interrupted"), "{said:?}");
}

#[test]
fn the_query_of_the_address_is_part_of_the_page() {
    let server = Odd::start(|request| match request.contains(" /p?x=1") {
        true => one_page(request),
        false => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
    });
    all_pass(&server.url("/p?x=1#y"), &["framing.date", "limits.target-8000", "split.halves"]);
}
