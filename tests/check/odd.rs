//! Servers that are odd and right, or wrong where nothing is asked: what a rule says of them shows whether it asks
//! for more than the RFCs do. Each is one closure from request to answer; one request a connection.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, SystemTime};

use wouldblock::check::{self, Options};

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
