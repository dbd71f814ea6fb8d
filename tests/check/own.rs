//! Our own server under its own checker.

use std::time::Duration;

use wouldblock::check::{self, Options, Outcome, Report, Severity};

use crate::cli::Running;

fn judged(flags: &[&str]) -> Report {
    let root = tempfile::tempdir().unwrap();
    let server = Running::start(root.path(), flags);
    let mut options = Options::new(&server.url("/"));
    options.root = Some(root.path().to_owned());
    // Whether silent peers are closed in the end is asked once, below, with limits that need no patience.
    options.watch = Duration::from_millis(300);
    check::run(&options, &|_, _, _| {}).unwrap()
}

fn assert_no_red(report: &Report, tolerated: Severity) {
    let red: Vec<_> = report
        .red()
        .filter(|j| j.rule.severity < tolerated)
        .map(|j| format!("{}: {:?}\nsent {}\ncame {}", j.rule.id, j.outcome, j.sent, j.came))
        .collect();
    assert!(red.is_empty(), "{}", red.join("\n\n"));
    let green = report.rules.iter().filter(|j| j.outcome == Outcome::Pass).count();
    assert!(green > 200, "only {green} rules could be decided");
}

#[test]
fn our_server_breaks_no_must_and_no_should() {
    assert_no_red(&judged(&["--model", "nonblocking"]), Severity::Good);
}

#[test]
fn the_blocking_model_breaks_no_must_and_no_should_either() {
    assert_no_red(&judged(&["--model", "blocking"]), Severity::Good);
}

#[test]
fn our_server_closes_silent_slow_and_idle_peers_in_the_end() {
    let root = tempfile::tempdir().unwrap();
    let server = Running::start(root.path(), &["--header-timeout", "1s", "--idle-timeout", "1s"]);
    let mut options = Options::new(&server.url("/"));
    options.only = vec!["slow".to_owned()];
    options.watch = Duration::from_secs(8);
    options.idle_limit = options.watch;
    let report = check::run(&options, &|_, _, _| {}).unwrap();
    let closed: Vec<_> = report.rules.iter().filter(|j| j.rule.id.ends_with("-is-closed")).collect();
    assert_eq!(closed.len(), 4);
    for j in closed {
        assert_eq!(j.outcome, Outcome::Pass, "{}", j.rule.id);
    }
}
