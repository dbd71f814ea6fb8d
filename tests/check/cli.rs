//! `wouldblock check` as a program: exit codes, outputs, languages, and no trace left behind.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::Signal;

use super::mini::Mini;

fn check(flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wouldblock"))
        .arg("check")
        .args(flags)
        .env("LANG", "C")
        .env_remove("LC_ALL")
        .env_remove("LC_MESSAGES")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn count(root: &Path) -> usize {
    std::fs::read_dir(root).unwrap().count()
}

#[test]
fn the_exit_code_is_0_for_green_1_for_a_red_must_and_0_for_a_red_should() {
    let root = tempfile::tempdir().unwrap();
    for (broken, code) in [("", 0), ("framing.date", 1), ("keepalive.close-echoed", 0)] {
        let server = Mini::start(root.path(), broken);
        let folder = root.path().to_str().unwrap();
        let out = check(&[&server.url(), "--root", folder, "--only", "framing,keepalive"]);
        assert_eq!(out.status.code(), Some(code), "{broken}: {}", text(&out.stdout));
        assert_eq!(text(&out.stdout).contains("✗"), !broken.is_empty());
    }
}

#[test]
fn a_server_that_is_not_there_is_one_line_and_exit_2() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let out = check(&[&format!("http://127.0.0.1:{port}/")]);
    assert_eq!(out.status.code(), Some(2));
    let said = text(&out.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("is the server running"), "{said}");
}

#[test]
fn strangers_unknown_rules_and_other_schemes_are_refused_with_exit_2() {
    for (flags, word) in [
        (&["http://192.0.2.1/"][..], "--i-own-this-server"),
        (&["https://127.0.0.1/"], "plain HTTP"),
        (&["http://127.0.0.1:1/", "--only", "nonsense"], "nonsense"),
        (&["--explain", "nonsense"], "--list"),
        (&[], "<URL>"),
    ] {
        let out = check(flags);
        assert_eq!(out.status.code(), Some(2), "{flags:?}");
        assert!(text(&out.stderr).contains(word), "{flags:?}: {}", text(&out.stderr));
    }
}

#[test]
fn a_server_that_never_answers_is_red_and_does_not_hold_the_checker() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let out = check(&[&url, "--json"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(out.stderr.is_empty(), "{}", text(&out.stderr));
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let fails: Vec<_> =
        report["rules"].as_array().unwrap().iter().filter(|r| r["outcome"] == "fail").collect();
    assert_eq!(fails.len(), 1);
    assert_eq!(fails[0]["id"], "framing.answers");
}

#[test]
fn one_reason_for_all_that_is_undecided_is_said_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let rules = wouldblock::check::all_rules().filter(|r| r.group() == "framing").count();
    let out = text(&check(&[&url, "--only", "framing", "--lang", "en"]).stdout);
    let said: Vec<_> = out.lines().filter(|l| l.contains("undecided: ")).collect();
    assert_eq!(said.len(), 1, "{out}");
    assert!(said[0].starts_with(&format!("? {}  ", rules - 1)), "{out}");
}

#[test]
fn the_report_speaks_both_languages_and_says_what_was_sent_came_and_expected() {
    let root = tempfile::tempdir().unwrap();
    let server = Mini::start(root.path(), "method.unknown");
    let run = |lang| text(&check(&[&server.url(), "--only", "method", "--lang", lang]).stdout);
    let (zh, en) = (run("zh"), run("en"));
    for word in
        ["发了  BREW /", "来了  HTTP/1.1 200", "期望  不认识的方法得到 501", "先改这几处", "没有 --root"]
    {
        assert!(zh.contains(word), "{word} is not in\n{zh}");
    }
    for word in [
        "sent  BREW /",
        "came  HTTP/1.1 200",
        "expected  An unknown method",
        "Fix these first",
        "without --root",
    ] {
        assert!(en.contains(word), "{word} is not in\n{en}");
    }
    assert!(!zh.contains('\u{1b}'), "colour where there is no terminal");
}

#[test]
fn a_rule_is_explained_and_the_list_is_complete() {
    let out = check(&["--explain", "split.halves", "--lang", "zh"]);
    assert!(text(&out.stdout).contains("一次 recv 不等于一个请求"), "{}", text(&out.stdout));
    let list = text(&check(&["--list"]).stdout);
    for rule in wouldblock::check::all_rules() {
        assert!(list.contains(rule.id), "{}", rule.id);
    }
}

#[test]
fn json_counts_every_rule_and_junit_is_written_beside_it() {
    let root = tempfile::tempdir().unwrap();
    let files = tempfile::tempdir().unwrap();
    let junit = files.path().join("report.xml");
    let server = Mini::start(root.path(), "framing.date");
    let out = check(&[
        &server.url(),
        "--root",
        root.path().to_str().unwrap(),
        "--only",
        "framing",
        "--skip",
        "framing.crlf",
        "--json",
        "--junit",
        junit.to_str().unwrap(),
    ]);
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let of_framing = wouldblock::check::all_rules().filter(|r| r.group() == "framing").count();
    assert_eq!(report["rules"].as_array().unwrap().len(), of_framing - 1);
    assert_eq!(
        (report["passed"].as_bool(), report["fix_first"][0].as_str()),
        (Some(false), Some("framing.date"))
    );
    let xml = std::fs::read_to_string(junit).unwrap();
    assert!(xml.contains("<testcase classname=\"framing\" name=\"framing.date\""), "{xml}");
    assert_eq!(xml.matches("<failure").count(), 1, "{xml}");
    assert_eq!(xml.matches("<testcase").count(), of_framing - 1);
}

#[test]
fn the_laid_files_are_gone_after_a_run_and_after_every_signal_that_ends_it() {
    let root = tempfile::tempdir().unwrap();
    let server = Mini::start(root.path(), "");
    let out = check(&[&server.url(), "--root", root.path().to_str().unwrap(), "--only", "length.octets"]);
    assert_eq!((out.status.code(), count(root.path())), (Some(0), 0));
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        ended_by(signal, root.path());
    }
}

/// A server that falls silent once the files are asked for: the checker is in the middle of its run.
fn ended_by(signal: Signal, root: &Path) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut checker = Command::new(env!("CARGO_BIN_EXE_wouldblock"))
        .args(["check", &url, "--root", root.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
        if line.contains("wouldblock-check-") {
            assert_eq!(count(root), 1);
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(checker.id() as i32), signal).unwrap();
            break;
        }
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
    }
    drop(listener);
    assert_eq!(checker.wait().unwrap().code(), Some(2), "{signal}");
    assert_eq!(count(root), 0, "{signal}: the laid files are still there");
}

#[test]
fn a_server_that_does_not_serve_the_folder_is_told_so_and_not_blamed_for_the_files() {
    let (served, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Mini::start(served.path(), "");
    let out = check(&[&server.url(), "--root", other.path().to_str().unwrap(), "--only", "length,range"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stdout));
    assert!(text(&out.stdout).contains("are not served"), "{}", text(&out.stdout));
}

#[test]
fn a_run_that_judges_nothing_is_not_green() {
    let root = tempfile::tempdir().unwrap();
    let server = Mini::start(root.path(), "");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}/", silent.local_addr().unwrap());
    for (flags, word) in [
        (&[&silent[..], "--skip", "framing"][..], "nothing could be judged"),
        (&[&server.url(), "--only", "length.octets"], "nothing could be judged"),
        (&[&server.url(), "--only", "split", "--skip", "split"], "leave no rule"),
    ] {
        let out = check(flags);
        assert_eq!(out.status.code(), Some(2), "{flags:?}: {}", text(&out.stdout));
        let said = text(&out.stderr);
        assert!(said.contains(word) && said.lines().count() == 1, "{flags:?}: {said}");
        assert!(!text(&out.stdout).contains("in order"), "{flags:?}: {}", text(&out.stdout));
    }
    let out = check(&[&server.url(), "--only", "length.octets", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(report["passed"].as_bool(), Some(false));
}

#[test]
fn a_junit_file_that_cannot_be_written_is_told_before_the_measuring_and_costs_no_report() {
    // Nobody listens: were the file tried last, the address would be what is wrong.
    let out = check(&["http://127.0.0.1:1/", "--junit", "/nowhere/at/all.xml"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("/nowhere/at/all.xml"), "{}", text(&out.stderr));
    let root = tempfile::tempdir().unwrap();
    let server = Mini::start(root.path(), "");
    if Path::new("/dev/full").exists() {
        let out = check(&[&server.url(), "--only", "framing.date", "--junit", "/dev/full"]);
        assert_eq!(out.status.code(), Some(2));
        assert!(text(&out.stdout).contains("100/100"), "{}", text(&out.stdout));
        assert!(text(&out.stderr).contains("/dev/full"), "{}", text(&out.stderr));
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error_and_a_reader_that_left_is_none() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let run = |out: Stdio| {
        let child = Command::new(env!("CARGO_BIN_EXE_wouldblock"))
            .args(["check", "--list", "--lang", "en"])
            .stdout(out)
            .stderr(Stdio::piped())
            .spawn();
        child.unwrap().wait_with_output().unwrap()
    };
    let full = run(std::fs::File::options().write(true).open("/dev/full").unwrap().into());
    assert_eq!(full.status.code(), Some(2));
    assert!(text(&full.stderr).contains("standard output"), "{}", text(&full.stderr));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let left = run(writer.into());
    assert_eq!((left.status.code(), text(&left.stderr).as_str()), (Some(0), ""));
}
