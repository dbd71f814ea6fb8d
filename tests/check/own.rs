//! Our own server under its own checker.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wouldblock::check::{self, Judged, Options, Outcome, Severity};
use wouldblock::config::Model;

use crate::cli::Running;

/// What a fresh server of this model makes of these rules, or of all.
fn judged(model: Model, only: &[&str], patience: Duration) -> Vec<Judged> {
    let root = tempfile::tempdir().unwrap();
    let server = Running::start(root.path(), &["--model", model.name(), "--quiet"]);
    let mut options = Options::new(&server.url("/"));
    options.root = Some(root.path().to_owned());
    options.only = only.iter().map(|id| (*id).to_owned()).collect();
    options.patience = patience;
    // Whether silent peers are closed in the end is asked once, below, with limits that need no patience.
    options.watch = Duration::from_millis(300);
    check::run(&options, &|_, _, _| {}).unwrap().rules
}

fn is_red(j: &Judged) -> bool {
    matches!(j.outcome, Outcome::Fail(_))
}

/// What a model cannot have: it serves one client at a time.
fn is_allowed(model: Model, j: &Judged) -> bool {
    model == Model::Blocking && j.rule.severity == Severity::Good
}

#[test]
fn our_server_is_green_in_every_model_and_one_client_at_a_time_costs_only_what_no_standard_asks_for() {
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                while let Some(&model) = Model::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !cfg!(target_os = "linux") && matches!(model, Model::Epoll | Model::EpollEt) {
                        continue;
                    }
                    let mut rules = judged(model, &[], Duration::from_millis(700));
                    for j in rules.iter_mut().filter(|j| is_red(j) && !is_allowed(model, j)) {
                        // On a busy machine this may be slowness: only what is red with patience is red.
                        *j = judged(model, &[j.rule.id], Duration::from_secs(8)).remove(0);
                    }
                    let green = rules.iter().filter(|j| j.outcome == Outcome::Pass).count();
                    let mut wrong = wrong.lock().unwrap();
                    for j in rules.iter().filter(|j| is_red(j) && !is_allowed(model, j)) {
                        let (id, outcome) = (j.rule.id, &j.outcome);
                        wrong.push(format!("{model}: {id}: {outcome:?}\nsent {}\ncame {}", j.sent, j.came));
                    }
                    if green < 220 {
                        wrong.push(format!("{model}: only {green} rules could be decided"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
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
