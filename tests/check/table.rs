//! For every rule: green on the good server, red on the server that breaks it, and nothing else red in its
//! group or in how answers are written, except what is stated in [`BESIDES`].

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wouldblock::check::{self, Kind, Options, Outcome, Report, Rule};

use super::mini::Mini;

/// What else cannot but go red when a rule is broken.
const BESIDES: &[(&str, &[&str])] = &[
    // No answer, no anything: the others are undecided.
    ("close.survives", &["close.connect-and-leave"]),
    ("close.connect-and-leave", &["close.survives"]),
    ("close.connect-and-reset", &["close.survives"]),
    ("close.reset-in-request", &["close.survives"]),
    ("close.reset-in-answer", &["close.survives"]),
    // The same crowd, only larger.
    ("many.burst", &["many.two-hundred"]),
    ("many.idle-hundred", &["many.two-hundred"]),
];

fn options(url: &str, root: &std::path::Path) -> Options {
    let mut options = Options::new(url);
    options.root = Some(root.to_owned());
    options.big = 6 * 1024 * 1024;
    options.watch = Duration::from_secs(5);
    options.idle_limit = options.watch;
    options
}

fn red(report: &Report) -> BTreeSet<&'static str> {
    report.red().map(|j| j.rule.id).collect()
}

#[test]
fn a_good_server_is_green_in_every_rule() {
    let root = tempfile::tempdir().unwrap();
    let server = Mini::start(root.path(), "");
    let mut options = options(&server.url(), root.path());
    options.patience = Duration::from_secs(8);
    let report = check::run(&options, &|_, _, _| {}).unwrap();
    for j in &report.rules {
        assert_eq!(j.outcome, Outcome::Pass, "{}\nsent {}\ncame {}", j.rule.id, j.sent, j.came);
    }
    assert_eq!((report.score(), report.passed()), (100, true));
    assert_eq!(report.rules.len(), check::all_rules().count());
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0, "the laid files are still there");
}

/// The groups of a rule and of how answers are written, on a server that breaks the rule.
fn with_one_broken(rule: &Rule, patience: Duration) -> Report {
    let root = tempfile::tempdir().unwrap();
    let server = Mini::start(root.path(), rule.id);
    let mut options = options(&server.url(), root.path());
    options.patience = patience;
    options.only = vec!["framing".to_owned(), rule.group().to_owned()];
    if rule.kind != Kind::Slow {
        // Seconds of watching that this switch does not touch.
        let slow = check::all_rules().filter(|r| r.kind == Kind::Slow);
        options.skip = slow.map(|r| r.id.to_owned()).collect();
    }
    check::run(&options, &|_, _, _| {}).unwrap()
}

/// Breaks the rules of some groups one after another, several servers side by side.
fn each_breaks_alone(groups: &[&str]) {
    let rules: Vec<_> = check::all_rules().filter(|r| groups.contains(&r.group())).collect();
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        // Most of their time is waiting for the other.
        for _ in 0..12 {
            scope.spawn(|| {
                while let Some(rule) = rules.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut expected = BTreeSet::from([rule.id]);
                    expected.extend(
                        BESIDES
                            .iter()
                            .filter(|(id, _)| *id == rule.id)
                            .flat_map(|(_, more)| more.iter().copied()),
                    );
                    let mut report = with_one_broken(rule, Duration::from_millis(700));
                    if red(&report) != expected {
                        // On a busy machine slowness may pass for silence: what is red with patience counts.
                        report = with_one_broken(rule, Duration::from_secs(8));
                    }
                    if red(&report) != expected {
                        let found: Vec<_> = report.red().map(|j| (j.rule.id, &j.outcome)).collect();
                        wrong.lock().unwrap().push(format!("breaking {}: {found:?}", rule.id));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

macro_rules! groups {
    ($($test:ident: $($group:literal),+;)+) => {
        $(
            #[test]
            fn $test() {
                each_breaks_alone(&[$($group),+]);
            }
        )+

        #[test]
        fn every_rule_has_its_failing_example() {
            let tested = [$($($group),+),+];
            for rule in check::all_rules() {
                assert!(tested.contains(&rule.group()), "{} is never broken", rule.id);
            }
            for (id, more) in BESIDES {
                for id in more.iter().chain([id]) {
                    assert!(check::all_rules().any(|r| r.id == *id), "{id} is no rule");
                }
            }
        }
    };
}

groups! {
    each_framing_or_keepalive_rule_goes_red_alone: "framing", "keepalive";
    each_splitting_or_length_rule_goes_red_alone: "split", "length";
    each_type_or_method_rule_goes_red_alone: "type", "method";
    each_condition_or_range_rule_goes_red_alone: "cond", "range";
    each_path_rule_goes_red_alone: "path";
    each_malformed_or_smuggling_rule_goes_red_alone: "malformed", "smuggling";
    each_slow_or_closing_rule_goes_red_alone: "slow", "close";
    each_crowd_or_limit_rule_goes_red_alone: "many", "limits";
}
