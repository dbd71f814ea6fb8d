//! What a monitoring system asks, and who may ask.

use super::{MODELS, Started, ask_as, folder};
use crate::common::Answer;
use prometheus_parse::{Scrape, Value};

/// As a browser or a scraper on this machine names the server.
fn local(server: &Started, path: &str) -> Answer {
    asked_as(server, path, "127.0.0.1", "")
}

/// `get` says `Host: x`, which is no name of this machine.
fn asked_as(server: &Started, path: &str, host: &str, fields: &str) -> Answer {
    ask_as(&mut server.connect(), host, path, fields)
}

fn scrape(server: &Started) -> Scrape {
    let answer = local(server, "/_loop/metrics");
    assert_eq!(answer.field("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(answer.field("Cache-Control"), Some("no-store"));
    let text = String::from_utf8(answer.body).unwrap();
    Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap()
}

fn value(scrape: &Scrape, name: &str, label: Option<(&str, &str)>) -> f64 {
    let found = scrape.samples.iter().find(|sample| {
        sample.metric == name && label.is_none_or(|(key, value)| sample.labels.get(key) == Some(value))
    });
    match found.unwrap_or_else(|| panic!("no {name} {label:?}")).value {
        Value::Counter(value) | Value::Gauge(value) => value,
        ref other => panic!("{name} {label:?} is neither counter nor gauge: {other:?}"),
    }
}

#[test]
fn every_model_says_that_it_is_well_and_those_with_one_set_of_counters_say_what_they_counted() {
    let folder = folder();
    for flags in MODELS {
        let server = Started::new(folder.path(), &[&["-q", "-p", "0"], flags].concat());
        let health = local(&server, "/_loop/health");
        assert_eq!((health.status, &health.body[..]), (200, &b"{\"status\":\"pass\"}\n"[..]), "{flags:?}");
        if flags.iter().any(|flag| ["process", "thread"].contains(flag)) {
            assert_eq!(local(&server, "/_loop/metrics").status, 404, "{flags:?}");
            continue;
        }
        let before = scrape(&server);
        assert_eq!(server.get("/other.html", "").status, 200);
        assert_eq!(server.get("/nothing", "").status, 404);
        let after = scrape(&server);
        let grew = |name, label| value(&after, name, label) - value(&before, name, label);
        // The scrape itself is answered after it was written.
        assert_eq!(grew("wouldblock_answers_total", Some(("class", "2xx"))), 2.0, "{flags:?}");
        assert_eq!(grew("wouldblock_answers_total", Some(("class", "4xx"))), 1.0, "{flags:?}");
        assert_eq!(grew("wouldblock_connections_total", None), 3.0, "{flags:?}");
        assert!(grew("wouldblock_uptime_seconds", None) > 0.0);
        let names: Vec<_> = after.samples.iter().map(|sample| &sample.metric).collect();
        assert!(names.iter().all(|name| after.docs.contains_key(*name)), "each has its HELP line");
    }
}

#[test]
fn only_this_machine_may_ask_unless_live_says_otherwise() {
    let folder = folder();
    let loopback = Started::new(folder.path(), &["-q", "-p", "0"]);
    for path in ["/_loop/metrics", "/_loop/health"] {
        assert_eq!(asked_as(&loopback, path, "localhost:80", "").status, 200);
        assert_eq!(asked_as(&loopback, path, "evil.example", "").status, 404, "a name of another machine");
        assert_eq!(asked_as(&loopback, path, "localhost", "X-Forwarded-For: 192.0.2.1\r\n").status, 404);
    }
    let shared = Started::new(folder.path(), &["-q", "-p", "0", "-b", "0.0.0.0"]);
    assert_eq!(local(&shared, "/_loop/metrics").status, 404, "not asked for");
    let live = Started::new(folder.path(), &["-q", "-p", "0", "-b", "0.0.0.0", "--live"]);
    for path in ["/_loop/metrics", "/_loop/health"] {
        assert_eq!(asked_as(&live, path, "server.example", "").status, 200);
    }
    assert_eq!(asked_as(&live, "/_loop/stats.json", "server.example", "").status, 404, "names the clients");
    assert_eq!(local(&live, "/_loop/stats.json").status, 200);
}

/// A page in the folder neither sees the clients nor acts, unless `--live` allows it.
#[test]
fn without_live_a_page_sees_no_clients() {
    let folder = folder();
    let server = Started::new(folder.path(), &["-q", "-p", "0"]);
    for path in ["/_loop/", "/_loop/stats.json", "/_loop/download"] {
        assert_eq!(local(&server, path).status, 404, "{path}");
    }
}
