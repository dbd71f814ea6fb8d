//! `wouldblock compare` from outside, on a matrix so small that it says nothing about speed: what is asserted is the
//! structure of what it tells.

use std::collections::HashSet;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use wouldblock::compare::matrix::{Kind, Server};
use wouldblock::compare::procfs;
use wouldblock::compare::results::{Results, Trouble};

/// Runs `compare` on a few cells. On a busy machine no run is quiet: a limit of 100 % keeps them all.
fn compare(folder: &Path, arguments: &[&str]) -> (Output, Option<Results>) {
    let json = folder.join("results.json");
    let output = Command::new(env!("CARGO_BIN_EXE_wouldblock"))
        .args(["compare", "--seconds", "0.05", "--rounds", "1", "--noise", "100", "--lang", "en", "--json"])
        .arg(&json)
        .args(arguments)
        .output()
        .unwrap();
    let results = std::fs::read_to_string(json).ok().map(|json| serde_json::from_str(&json).unwrap());
    (output, results)
}

#[test]
fn a_tiny_matrix_is_measured_counted_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let arguments = ["--models", "nonblocking", "--idle", "spin", "--sweep", "full", "--silent", "0,3"];
    let (output, results) =
        compare(folder.path(), &[&arguments[..], &["--html", page.to_str().unwrap()]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));

    let results = results.unwrap();
    for point in &results.points {
        assert_eq!(point.trouble, None, "{:?}", point.what);
        assert_eq!(point.runs.len(), 1, "{:?}", point.what);
        let run = &point.runs[0];
        let is_ours = matches!(point.what.cell.server, Server::Own { .. });
        assert_eq!(run.life.is_some(), is_ours);
        assert_eq!(run.counted.is_some(), is_ours);
        if let (Some(life), Some(counted)) = (run.life, run.counted) {
            // In the phase, and not before: its answers, what was still in flight at its end, the first reading itself.
            let in_flight = results.options.active as f64;
            let more = counted.answers - run.answered as f64;
            assert!((1.0..=1.0 + in_flight).contains(&more), "{:?}: {more} more", point.what);
            assert!(life.clients_peak > point.what.cell.silent as u64, "the silent were there");
            assert_eq!(life.answers[1], life.requests(), "every answer was a 200");
        }
        let asks = matches!(point.what.kind, Kind::Rate(_) | Kind::Max);
        assert_eq!(run.answered > 0, asks, "{:?}", point.what);
        assert_eq!(point.planned.is_some(), matches!(point.what.kind, Kind::Rate(_)));
    }
    let spin =
        Server::Own { model: "nonblocking".into(), idle: Some("spin".into()), sweep: Some("full".into()) };
    let idle = results.point(&spin, 3, Kind::Idle).unwrap();
    assert!(idle.runs[0].counted.unwrap().would_blocks > 0.0, "who spins reads in vain");

    assert!(text.contains("echo (null test)") && text.contains("spin full"), "{text}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.ends_with("</html>\n"));
}

#[test]
fn results_are_told_again_from_their_file_in_the_other_language() {
    let folder = tempfile::tempdir().unwrap();
    let (_, results) = compare(
        folder.path(),
        &["--models", "nonblocking", "--idle", "park", "--sweep", "hot", "--silent", "0"],
    );
    let page = folder.path().join("page.html");
    let output = Command::new(env!("CARGO_BIN_EXE_wouldblock"))
        .args(["compare", "--lang", "zh", "--html", page.to_str().unwrap(), "--from"])
        .arg(folder.path().join("results.json"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("echo（空测）") && text.contains("park hot"), "{text}");
    assert!(std::fs::read_to_string(page).unwrap().contains("<html lang=\"zh-Hans\""));
    assert!(results.unwrap().points.iter().all(|point| point.trouble.is_none()));
}

#[test]
fn another_server_stands_in_the_same_table_and_one_that_fails_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let good =
        format!("twin={} {{root}} -q --bind 127.0.0.1 --port {{port}}", env!("CARGO_BIN_EXE_wouldblock"));
    let (output, results) = compare(
        folder.path(),
        &["--models", "blocking", "--silent", "0", "--external", &good, "--external", "broken=false {port}"],
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let results = results.unwrap();
    let of = |name: &str| {
        results.points.iter().filter(move |point| point.what.cell.server.name() == name).collect::<Vec<_>>()
    };
    assert!(of("twin").iter().all(|point| point.trouble.is_none() && point.runs.len() == 1));
    assert!(of("broken").iter().all(|point| matches!(point.trouble, Some(Trouble::Start(_)))));
    assert!(text.contains("broken, N = 0: did not start: it ended at once"), "{text}");
    let warned = String::from_utf8(output.stderr).unwrap();
    assert!(
        warned.contains("WARN") && warned.contains("it ended at once"),
        "at once, not at the end: {warned}"
    );
}

#[test]
fn a_file_that_holds_no_results_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.json");
    std::fs::write(&file, "{}").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_wouldblock"))
        .args(["compare", "--from"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("was not written by `compare --json`"));
}

/// Starts a measurement in a process group of its own, as a shell does, with its folder in this one.
fn start(folder: &Path, program: &mut Command, arguments: &[&str]) -> Child {
    program
        .args(["compare", "--models", "blocking", "--silent", "0", "--noise", "100", "--lang", "en"])
        .args(arguments)
        .env("TMPDIR", folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap()
}

fn ours() -> Command {
    Command::new(env!("CARGO_BIN_EXE_wouldblock"))
}

/// Looks again and again until it is there.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..6000 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{what} did not come");
}

/// What a process was started with; nothing for one that is gone or is only waited for.
fn line_of(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

fn is_server(pid: &u32) -> bool {
    line_of(*pid).contains("--counters")
}

#[test]
fn however_it_ends_it_leaves_neither_a_process_nor_its_folder() {
    for signals in
        [&[Signal::SIGHUP][..], &[Signal::SIGINT; 2], &[Signal::SIGQUIT, Signal::SIGTERM], &[Signal::SIGKILL]]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut child = start(folder.path(), &mut ours(), &["--seconds", "1"]);
        let family = wait_for("a server", || {
            let family = procfs::tree(child.id());
            family.iter().any(is_server).then_some(family)
        });
        for signal in signals {
            // A terminal that is closed tells the whole group.
            let to = if *signal == Signal::SIGHUP { killpg } else { kill };
            to(Pid::from_raw(child.id().cast_signed()), *signal).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        child.wait().unwrap();
        wait_for(&format!("the end of all after {signals:?}"), || {
            let left = family.iter().filter(|pid| line_of(**pid).contains("wouldblock")).count();
            let folders = std::fs::read_dir(folder.path()).unwrap().count();
            (left + folders == 0).then_some(())
        });
    }
}

#[test]
fn an_interrupted_measurement_tells_what_was_complete_and_blames_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("results.json");
    let arguments = ["--seconds", "0.02", "--rounds", "1000", "--json", json.to_str().unwrap()];
    let child = start(folder.path(), &mut ours(), &arguments);
    // A round has five runs, each of which is tried three times at most.
    let mut seen = HashSet::new();
    wait_for("the second round", || {
        seen.extend(procfs::tree(child.id()).into_iter().filter(|pid| *pid != child.id()));
        let second = seen.len() > 20 && procfs::tree(child.id()).iter().any(is_server);
        second.then_some(())
    });
    // Ctrl-C in a terminal goes to the whole group.
    killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("INTERRUPTED: ") && text.contains("of 1000 rounds"), "{text}");
    let results: Results = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert!(results.interrupted && results.rounds > 0);
    assert!(results.points.iter().all(|point| point.trouble.is_none()), "{text}");
}

#[test]
fn a_measurement_that_was_told_to_ignore_the_terminal_s_end_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_wouldblock")]);
    let child = start(folder.path(), &mut nohup, &["--seconds", "0.1", "--rounds", "1"]);
    wait_for("a server", || procfs::tree(child.id()).iter().any(is_server).then_some(()));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGHUP).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !text.contains("INTERRUPTED"), "{text}");
}

#[test]
fn outputs_are_tried_before_anything_is_measured_and_what_is_there_stays() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("good"), "earlier results").unwrap();
    for bad in [["--json", &at("none/x")], ["--html", &at("")], ["--plots", &at("good")]] {
        for good in ["good", "new"] {
            let good = if bad[0] == "--json" { ["--html", &at(good)] } else { ["--json", &at(good)] };
            let output = ours().arg("compare").args(good).args(bad).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{bad:?}: {stderr}");
            assert!(stderr.lines().count() == 1 && stderr.contains("cannot "), "{bad:?}: {stderr}");
        }
    }
    assert_eq!(std::fs::read_to_string(at("good")).unwrap(), "earlier results");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing new");
}

#[test]
fn what_cannot_be_written_is_one_line_and_takes_nothing_else_with_it() {
    let folder = tempfile::tempdir().unwrap();
    compare(folder.path(), &["--models", "blocking", "--silent", "0"]);
    let again = || {
        let mut command = ours();
        command.args(["compare", "--lang", "en", "--from"]).arg(folder.path().join("results.json"));
        command
    };
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let page = folder.path().join("page.html");
    let (nobody, pipe) = std::io::pipe().unwrap();
    drop(nobody);
    for (output, code, lines) in [
        (again().args(["--html", "/dev/full"]).output().unwrap(), 1, 1),
        (again().arg("--html").arg(&page).stdout(full()).output().unwrap(), 1, 1),
        (again().stdout(pipe).output().unwrap(), 0, 0),
        (again().stdout(full()).stderr(full()).output().unwrap(), 1, 0),
    ] {
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(code), lines), "{stderr}");
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(told.contains("echo (null test)"), stderr.contains("cannot write /dev/full"), "{told}");
    }
    assert!(std::fs::read_to_string(page).unwrap().ends_with("</html>\n"));
}
