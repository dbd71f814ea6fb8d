//! The loop, looked at through its own sockets: what a page sees, what it may change, and who may not.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use wouldblock::config::{Config, Sweep};
use wouldblock::idle::{IdleStrategy, Resting};

use crate::common::Answer;
use crate::common::stepper::Stepper;

fn ask(step: &mut Stepper, socket: &mut TcpStream, line: &str, fields: &str) -> Answer {
    let host = step.address();
    step.ask(socket, &format!("{line} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"))
}

fn stats(step: &mut Stepper, socket: &mut TcpStream, query: &str) -> Value {
    // What the loop writes is at most a tenth of a second old while somebody looks, a quarter otherwise.
    step.pass(Duration::from_millis(300));
    let answer = ask(step, socket, &format!("GET /_loop/stats.json{query}"), "");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("Cache-Control"), Some("no-store"));
    serde_json::from_slice(&answer.body).unwrap()
}

fn act(step: &mut Stepper, socket: &mut TcpStream, action: &str) {
    let origin = format!("Origin: http://{}\r\nSec-Fetch-Site: same-origin\r\n", step.address());
    let answer = ask(step, socket, &format!("POST /_loop/{action}"), &origin);
    assert_eq!(answer.status, 200, "{action}");
    step.pass(Duration::from_millis(300));
    step.sweep();
}

#[test]
fn a_page_sees_the_counters_and_its_own_connection() {
    let mut step = Stepper::live(&Config::default());
    let mut page = step.connect();
    let _silent = step.connect();
    stats(&mut step, &mut page, "");
    let seen = stats(&mut step, &mut page, "?history");
    assert_eq!(seen["schema"], 1);
    assert_eq!(seen["page"]["requests"], 2);
    assert_eq!(seen["stats"]["clients_now"], 2);
    assert!(seen["stats"]["sweeps"].as_u64() >= seen["history"]["rows"][0][1].as_u64());
    let port = page.local_addr().unwrap().port();
    assert_eq!(seen["page"]["port"], port);
    let rows = seen["clients"]["rows"].as_array().unwrap();
    let ports: Vec<_> = rows.iter().map(|row| row[1].as_u64().unwrap()).collect();
    assert_eq!(ports.len(), 2);
    assert!(ports.contains(&u64::from(port)));
}

#[test]
fn counters_only_grow() {
    let mut step = Stepper::live(&Config::default());
    let mut page = step.connect();
    let first = stats(&mut step, &mut page, "");
    let later = stats(&mut step, &mut page, "");
    for (name, value) in first["stats"].as_object().unwrap() {
        if let (Some(before), Some(after)) = (value.as_u64(), later["stats"][name].as_u64()) {
            assert!(after >= before, "{name}");
        }
    }
    assert!(later["at_ms"].as_u64() > first["at_ms"].as_u64());
}

#[test]
fn what_a_page_changes_is_what_the_loop_does() {
    let mut step = Stepper::live(&Config { sweep: Sweep::Full, ..Config::default() });
    let mut page = step.connect();
    act(&mut step, &mut page, "sweep?kind=hot");
    assert_eq!(step.server().roster().sweep(), Sweep::Hot);
    act(&mut step, &mut page, "idle?strategy=sleep:5ms");
    assert_eq!(step.server_mut().new_strategy(), Some(IdleStrategy::Sleep(Duration::from_millis(5))));
    act(&mut step, &mut page, "read?limit=1");
    let before = *step.stats();
    let seen = stats(&mut step, &mut page, "");
    assert_eq!(seen["settings"]["read_limit"], 1);
    assert_eq!(seen["settings"]["idle"], "sleep:5ms");
    let after = *step.stats();
    let octets = after.bytes_in - before.bytes_in;
    let reads = after.reads - after.read_would_blocks - (before.reads - before.read_would_blocks);
    assert_eq!(reads, octets, "one octet at a time");
}

#[test]
fn silent_connections_are_real_clients_and_leave_when_told() {
    let mut step = Stepper::live(&Config::default());
    let mut page = step.connect();
    act(&mut step, &mut page, "silent?n=100");
    for _ in 0..3 {
        step.pass(Duration::from_millis(300));
        step.sweep();
    }
    step.sweep_until_clients(101);
    stats(&mut step, &mut page, "");
    let seen = stats(&mut step, &mut page, "");
    assert_eq!(seen["silent"]["open"], 100);
    let ours = seen["clients"]["rows"].as_array().unwrap().iter().filter(|row| row[9] == 1).count();
    assert_eq!(ours, 100);
    act(&mut step, &mut page, "silent?n=0");
    step.pass(Duration::from_millis(300));
    step.sweep_until_clients(1);
}

#[test]
fn a_recorded_sweep_names_every_step() {
    let mut step = Stepper::live(&Config { sweep: Sweep::Full, ..Config::default() });
    let mut page = step.connect();
    let _silent = [step.connect(), step.connect()];
    stats(&mut step, &mut page, "");
    act(&mut step, &mut page, "record");
    let seen = stats(&mut step, &mut page, "?record");
    let rows = seen["record"]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4, "the door and three clients");
    assert_eq!(rows[0][0], "accept");
    assert!(rows.iter().all(|row| row[5] == 1), "nobody had anything: {rows:?}");
    assert!(rows.windows(2).all(|pair| pair[0][3] == pair[1][2]), "each step begins where the last ended");
}

#[test]
fn other_machines_other_names_and_other_pages_find_nothing() {
    let mut step = Stepper::live(&Config::default());
    let mut socket = step.connect();
    // The service behind it echoes the request: what it sees was not answered by the board.
    let answer = step.ask(&mut socket, "GET /_loop/stats.json HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_eq!(answer.body, b"GET /_loop/stats.json");
    let answer = ask(&mut step, &mut socket, "GET /_loop/stats.json", "X-Forwarded-For: 192.0.2.1\r\n");
    assert_eq!(answer.body, b"GET /_loop/stats.json");
    for fields in ["", "Origin: http://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        let answer = ask(&mut step, &mut socket, "POST /_loop/sweep?kind=full", fields);
        assert_eq!(answer.status, 403, "{fields}");
    }
    step.pass(Duration::from_millis(300));
    step.sweep();
    assert_eq!(step.server().roster().sweep(), Sweep::Hot);
}

#[test]
fn the_snapshot_needs_no_script() {
    let mut step = Stepper::live(&Config::default());
    let mut socket = step.connect();
    let answer = ask(&mut step, &mut socket, "GET /_loop", "");
    assert_eq!((answer.status, answer.field("Location")), (308, Some("/_loop/")));
    let answer = ask(&mut step, &mut socket, "GET /_loop/", "");
    let text = String::from_utf8(answer.body).unwrap();
    assert!(!text.contains("<script"));
    assert!(text.contains("<td>"));
}
