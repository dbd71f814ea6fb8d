//! Every flag changes what it says it changes.

use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use super::{BINARY, Started, folder, run, text};

const QUIET: [&str; 3] = ["-q", "-p", "0"];

/// Starts with these flags besides the usual.
#[track_caller]
fn with(root: &tempfile::TempDir, flags: &[&str]) -> Started {
    Started::new(root.path(), &[&QUIET, flags].concat())
}

/// Flags, what is asked for, further fields, the status, and what must be in the answer (`!`: must not).
type Row = (&'static [&'static str], &'static str, &'static str, u16, &'static [&'static str]);

const ROWS: &[Row] = &[
    (&[], "/", "", 200, &["index", "!Access-Control-Allow-Origin", "!Cache-Control"]),
    (&["--index", "other.html"], "/", "", 200, &["other"]),
    (&["--index", "none.html", "--index", "other.html"], "/", "", 200, &["other"]),
    (&[], "/some/route", "", 404, &[]),
    (&["--spa"], "/some/route", "", 200, &["index"]),
    (&[], "/list/", "", 200, &["inside.txt"]),
    (&["--no-listing"], "/list/", "", 404, &["!inside.txt"]),
    (&[], "/.secret", "", 404, &[]),
    (&["--hidden"], "/.secret", "", 200, &["secret"]),
    (&[], "/out", "", 404, &[]),
    (&["--follow-symlinks"], "/out", "", 200, &["outside"]),
    (&[], "/long.txt", "Accept-Encoding: gzip\r\n", 200, &["Content-Encoding: gzip", "stands for gzip"]),
    (
        &["--no-precompressed", "--compress", "off"],
        "/long.txt",
        "Accept-Encoding: gzip\r\n",
        200,
        &["!Content-Encoding", "many words"],
    ),
    (&[], "/text.txt", "Accept-Encoding: gzip\r\n", 200, &["Content-Encoding: gzip"]),
    (&["--compress", "off"], "/text.txt", "Accept-Encoding: gzip\r\n", 200, &["!Content-Encoding"]),
    (&["--header", "X-One: 1", "--header", "X-Two: 2"], "/", "", 200, &["X-One: 1", "X-Two: 2"]),
    (&["--cors"], "/", "", 200, &["Access-Control-Allow-Origin: *"]),
    (&["--cors=https://a.example"], "/", "", 200, &["Access-Control-Allow-Origin: https://a.example"]),
    (&["--cache-control", "max-age=60"], "/", "", 200, &["Cache-Control: max-age=60"]),
    (&["--mime", "strange=text/x-strange"], "/a.strange", "", 200, &["Content-Type: text/x-strange"]),
    (&["--auth", "me:word"], "/", "", 401, &["WWW-Authenticate: Basic"]),
    // me:word
    (&["--auth", "me:word"], "/", "Authorization: Basic bWU6d29yZA==\r\n", 200, &["index"]),
    (&["--auth", "me:other"], "/", "Authorization: Basic bWU6d29yZA==\r\n", 401, &[]),
    (&["--cache-memory", "0"], "/", "", 200, &["index"]),
    (&["--cache-files", "1", "--cache-handles", "1", "--cache-file-size", "1k"], "/", "", 200, &["index"]),
    (
        &["--max-target-size", "100"],
        "/123456789012345678901234567890123456789012345678901234567890\
        1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678",
        "",
        414,
        &[],
    ),
    (
        &["--max-header-size", "100"],
        "/",
        "A: 1234567890123456789012345678901234567890123456789012345\r\n",
        431,
        &[],
    ),
    (&["--max-headers", "2"], "/", "A: 1\r\n", 431, &[]),
    (&["--max-headers", "3"], "/", "A: 1\r\n", 200, &[]),
    (&["--max-body-size", "3"], "/", "Content-Length: 4\r\n", 413, &[]),
];

#[test]
fn every_flag_about_content_and_sizes_changes_what_it_says() {
    let folder = folder();
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), "outside").unwrap();
    symlink(outside.path(), folder.path().join("out")).unwrap();
    for (flags, path, fields, status, contents) in ROWS {
        let server = with(&folder, flags);
        let answer = server.get(path, fields);
        assert_eq!(answer.status, *status, "{flags:?} {path}");
        let all = format!("{}\r\n{}", answer.head, text(&answer.body));
        for expected in *contents {
            match expected.strip_prefix('!') {
                Some(absent) => assert!(!all.contains(absent), "{flags:?} {path}: {all}"),
                None => assert!(all.contains(expected), "{flags:?} {path}: no {expected} in {all}"),
            }
        }
    }
}

#[test]
fn every_flag_can_be_set_in_the_environment() {
    let folder = folder();
    let start = |variables: &[(&str, &str)]| {
        let mut command = Command::new(BINARY);
        command.arg(folder.path()).env("WOULDBLOCK_PORT", "0").env("WOULDBLOCK_QUIET", "1");
        command.envs(variables.iter().copied());
        Started::spawn(command)
    };
    assert_eq!(start(&[("WOULDBLOCK_NO_LISTING", "true")]).get("/list/", "").status, 404);
    assert_eq!(start(&[("WOULDBLOCK_NO_LISTING", "0")]).get("/list/", "").status, 200);
    assert_eq!(start(&[("WOULDBLOCK_AUTH", "me:word")]).get("/", "").status, 401);
    assert_eq!(start(&[("WOULDBLOCK_INDEX", "none.html;other.html")]).get("/", "").body, b"other");
    assert_eq!(start(&[("WOULDBLOCK_BIND", "127.0.0.1;127.0.0.2")]).ports().len(), 2);
    let server = start(&[("WOULDBLOCK_IDLE", "park"), ("WOULDBLOCK_SWEEP", "full")]);
    assert!(server.banner.contains("sweep full, idle park"), "{}", server.banner);
    let mut command = Command::new(BINARY);
    command.env("WOULDBLOCK_DIR", folder.path()).args(["-q", "-p", "0"]);
    assert_eq!(Started::spawn(command).get("/other.html", "").body, b"other");
    // The command line says the last word.
    let mut command = Command::new(BINARY);
    command.arg(folder.path()).args(["-q", "-p", "0", "--idle", "yield"]).env("WOULDBLOCK_IDLE", "park");
    assert!(Started::spawn(command).banner.contains("idle yield"));
    // What is not understood is told like a flag.
    let output = Command::new(BINARY).env("WOULDBLOCK_IDLE_TIMEOUT", "soon").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--idle-timeout"), "{}", text(&output.stderr));
    // Other commands do not mind.
    let output = Command::new(BINARY).args(["check", "--help"]).env("WOULDBLOCK_PORT", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn every_flag_has_its_variable_and_the_help_says_so() {
    // The variables are made in one place for all flags; this looks that none was left out of the help's groups.
    let help = text(&run(&["--help"]).stdout);
    assert!(help.contains("WOULDBLOCK_IDLE_TIMEOUT"), "{help}");
    for group in ["Listening:", "Content:", "Limits:", "Logs:", "The loop:", "Installing:"] {
        assert!(help.contains(group), "{group}");
    }
    let options = help.split("Options:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    assert!(options.lines().count() <= 2, "only help and version stand outside the groups: {options}");
}

#[test]
fn bad_values_are_one_line_and_exit_2() {
    let folder = folder();
    for args in [
        &["--header", "no colon"][..],
        &["--header", "A: b\r\nC: d"],
        &["--header", "Content-Length: 1"],
        &["--cache-control", "a\nb"],
        &["--cors=a\r\nb"],
        &["--mime", "strange"],
        &["--mime", "strange=x y"],
        &["--index", "../index.html"],
        &["--auth", "nocolon"],
        &["--auth", "me:$2y$05$short"],
        &["--compress", "maybe"],
        &["--cache-memory", "lots"],
        &["--cache-file-size", "1G"],
        &["--header-timeout", "10"],
        &["--idle-timeout", "0s"],
        &["--write-timeout", "-1s"],
        &["--grace", "2d"],
        &["--min-rate", "fast"],
        &["--max-connections", "0"],
        &["--max-headers", "0"],
        &["--max-headers", "129"],
        &["--max-header-size", "0"],
        &["--bind", "unix:"],
        &["--bind", "unix:/tmp/x,mode=888"],
        &["--bind", "example.org"],
        &["--tls-cert", "cert.pem"],
        &["--tls-key", "key.pem"],
        &["--log-format", "xml"],
        &["--quiet", "--log-file", "x"],
        &["--qr"],
        &["--print-completions", "cmd.exe"],
        &["--print-manpage", "--spa"],
    ] {
        let output = run(&[&[folder.path().to_str().unwrap()], args].concat());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
        assert!(stderr.starts_with("wouldblock: ") && !stderr.contains("short"), "{args:?}: {stderr}");
    }
}

#[test]
fn flags_that_would_do_nothing_beside_each_other_are_refused() {
    let folder = folder();
    let root = folder.path().to_str().unwrap();
    for args in [&["--chapter", "--spa"][..], &["--chapter", root], &[root, "-q", "--log-format", "clf"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains("cannot be used with"), "{}", text(&output.stderr));
    }
}

#[test]
fn a_flag_beside_a_variable_that_contradicts_it_decides() {
    let folder = folder();
    let log = folder.path().join("log");
    let start = |variables: &[(&str, &str)], args: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(["-p", "0"]).args(args).envs(variables.iter().copied());
        Started::spawn(command)
    };
    let (root, file) = (folder.path().to_str().unwrap(), log.to_str().unwrap());
    // A switch that is off contradicts nothing.
    for quiet in ["0", "1"] {
        let server = start(&[("WOULDBLOCK_QUIET", quiet)], &[root, "--log-file", file]);
        assert_eq!(server.get("/", "").status, 200);
        server.stop();
        assert!(!std::fs::read(&log).unwrap().is_empty(), "WOULDBLOCK_QUIET={quiet}");
        std::fs::remove_file(&log).unwrap();
    }
    let quiet = start(&[("WOULDBLOCK_LOG_FORMAT", "json"), ("WOULDBLOCK_LOG_FILE", file)], &[root, "-q"]);
    assert_eq!(quiet.get("/", "").status, 200);
    quiet.stop();
    assert!(!log.exists());
    for chapter in ["0", "1"] {
        let server = start(&[("WOULDBLOCK_CHAPTER", chapter)], &[root, "-q"]);
        assert_eq!(server.get("/other.html", "").body, b"other", "WOULDBLOCK_CHAPTER={chapter}");
    }
    let chapter = start(&[("WOULDBLOCK_DIR", root), ("WOULDBLOCK_SPA", "1")], &["-q", "--chapter"]);
    assert_eq!(chapter.get("/other.html", "").status, 404);
    for args in [&["--print-manpage"][..], &["--print-completions", "bash"]] {
        let output = Command::new(BINARY).args(args).env("WOULDBLOCK_PORT", "8080").output().unwrap();
        assert!(output.status.success() && !output.stdout.is_empty(), "{}", text(&output.stderr));
    }
    // Two variables are as good as each other.
    let both = [("WOULDBLOCK_QUIET", "1"), ("WOULDBLOCK_LOG_FILE", file)];
    let output = Command::new(BINARY).arg(root).envs(both).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}

#[test]
fn the_counters_are_behind_the_password_whatever_the_method() {
    let folder = folder();
    let server = with(&folder, &["--counters", "--auth", "me:word"]);
    for method in ["GET", "HEAD", "OPTIONS", "POST"] {
        let mut socket = server.connect();
        let request = format!("{method} /_counters HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        assert!(!text(&answer).contains("sweeps"), "{method}: {}", text(&answer));
    }
    assert!(text(&server.get("/_counters", "Authorization: Basic bWU6d29yZA==\r\n").body).contains("sweeps"));
}

#[test]
fn what_cannot_be_had_is_one_line_and_exit_1() {
    let folder = folder();
    let here = |name: &str| folder.path().join(name).display().to_string();
    for (args, named) in [
        (vec!["--auth-file".to_owned(), here("none")], "none"),
        (vec!["--log-file".to_owned(), here("none/log")], "none/log"),
        (vec!["--tls-cert".into(), here("none.pem"), "--tls-key".into(), here("key.pem")], "none.pem"),
        (vec!["--bind".into(), format!("unix:{}", here("none/socket"))], "none/socket"),
        (vec!["--bind".into(), format!("unix:{}", here("index.html"))], "index.html"),
        (vec!["--bind".into(), "192.0.2.1".into()], "192.0.2.1"),
        (vec!["--user".into(), "no-such-user".into()], "no-such-user"),
    ] {
        let mut all = vec![folder.path().to_str().unwrap(), "-p", "0"];
        all.extend(args.iter().map(String::as_str));
        let output = run(&all);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.lines().count() == 1 && stderr.contains(named), "{args:?}: {stderr}");
    }
    assert!(folder.path().join("index.html").exists());
}

#[test]
fn an_auth_file_lets_in_those_who_are_in_it() {
    let folder = folder();
    let mut accounts = tempfile::NamedTempFile::new().unwrap();
    accounts.write_all(b"# who may\nme:word\n").unwrap();
    std::fs::set_permissions(accounts.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let server = with(&folder, &["--auth-file", accounts.path().to_str().unwrap()]);
    assert_eq!(server.get("/", "").status, 401);
    assert_eq!(server.get("/", "Authorization: Basic bWU6d29yZA==\r\n").status, 200);
}

#[test]
fn the_timeouts_hold() {
    let folder = folder();
    // What is said, what the server says before it closes, and the flag that is short.
    for (flag, say, status) in [
        ("--idle-timeout", "", 0),
        ("--header-timeout", "GET / HTTP/1.1\r\nHo", 408),
        ("--header-timeout", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab", 408),
    ] {
        for idle in ["backoff", "park"] {
            let server = with(&folder, &[flag, "300ms", "--idle", idle]);
            let mut socket = server.connect();
            socket.write_all(say.as_bytes()).unwrap();
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).unwrap();
            let expected = if status == 0 { String::new() } else { format!("HTTP/1.1 {status} ") };
            assert!(
                text(&answer).starts_with(&expected) && answer.is_empty() == (status == 0),
                "{flag} {say}"
            );
        }
    }
}

#[test]
fn a_reader_that_takes_nothing_is_let_go_after_the_write_timeout() {
    let folder = folder();
    std::fs::write(folder.path().join("huge.bin"), vec![0; 20_000_000]).unwrap();
    for idle in ["backoff", "park"] {
        let mut server = with(&folder, &["-v", "--write-timeout", "300ms", "--idle", idle]);
        let mut socket = server.connect();
        socket.write_all(b"GET /huge.bin HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        server.wait_for_line("write stalled");
    }
}

#[test]
fn the_grace_ends() {
    let folder = folder();
    std::fs::write(folder.path().join("huge.bin"), vec![0; 20_000_000]).unwrap();
    let server = with(&folder, &["--grace", "100ms", "--idle", "park"]);
    let mut socket = server.connect();
    socket.write_all(b"GET /huge.bin HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    socket.read_exact(&mut [0; 1]).unwrap();
    let (status, _, report) = server.stop();
    assert_eq!(status, Some(0));
    assert!(report.contains("stopping"), "{report}");
}

#[test]
fn no_more_clients_than_allowed_and_the_idle_one_makes_room() {
    let folder = folder();
    let mut server = with(&folder, &["-v", "--max-connections", "2", "--idle", "park"]);
    let sockets: Vec<_> = (0..2).map(|_| server.connect()).collect();
    // The house is full of idle ones; after a second the first of them has to go.
    assert_eq!(server.get("/", "").status, 200);
    server.wait_for_line("made room");
    drop(sockets);
    let (_, _, report) = server.stop();
    assert!(report.contains("3 in all, 2 at most at once"), "{report}");
}

#[test]
fn more_clients_than_descriptors_are_not_promised() {
    let folder = folder();
    let said = |flags: &[&str]| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\" -q -p 0", super::BINARY]);
        command.arg(folder.path()).args(flags);
        let server = Started::spawn(command);
        let banner = server.banner.clone();
        assert_eq!(server.stop().0, Some(0));
        banner.lines().find(|line| line.contains("clients at once")).map(ToOwned::to_owned)
    };
    let line = said(&["--max-connections", "1000"]).expect("a warning");
    assert!(line.contains("WARN") && line.contains("the limit is 64 descriptors"), "{line}");
    assert!(said(&["-v"]).expect("said to whoever asks").contains("INFO"));
    assert_eq!(said(&[]), None, "nobody asked for more");
    assert_eq!(said(&["--max-connections", "8"]), None);
    assert_eq!(said(&["--max-connections", "1000", "--model", "process"]), None);
}

#[test]
fn completions_and_the_manual_are_whole() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = run(&["--print-completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        let script = text(&output.stdout);
        for word in ["max-connections", "tls-cert", "check", "compare"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
    let bash = run(&["--print-completions", "bash"]).stdout;
    let mut check = Command::new("bash").arg("-n").stdin(std::process::Stdio::piped()).spawn().unwrap();
    check.stdin.take().unwrap().write_all(&bash).unwrap();
    assert!(check.wait().unwrap().success(), "bash cannot read its completions");

    let manual = text(&run(&["--print-manpage"]).stdout);
    assert!(manual.contains(".TH wouldblock 1"), "{manual}");
    for word in ["max\\-connections", "EXAMPLES", "WOULDBLOCK_IDLE_TIMEOUT", ".SH LIMITS"] {
        assert!(manual.to_uppercase().contains(&word.to_uppercase()), "no {word} in the manual");
    }
    if super::installed("man") {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), manual).unwrap();
        let output = Command::new("man").args(["--warnings", "-l"]).arg(file.path()).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    }
}

#[test]
fn a_browser_is_opened_with_the_address_and_its_absence_is_only_a_warning() {
    let folder = folder();
    let bin = tempfile::tempdir().unwrap();
    let (program, noted) = (bin.path().join("xdg-open"), bin.path().join("noted"));
    std::fs::write(&program, format!("#!/bin/sh\necho \"$1\" > {0}.new; mv {0}.new {0}\n", noted.display()))
        .unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let start = |path: String| {
        let mut command = Command::new(BINARY);
        command.arg(folder.path()).args(["-q", "-p", "0", "--open"]).env("PATH", path);
        Started::spawn(command)
    };
    let server = start(format!("{}:/usr/bin:/bin", bin.path().display()));
    let noted = std::iter::repeat_with(|| std::fs::read_to_string(&noted)).take(2000).find_map(|read| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        read.ok()
    });
    assert_eq!(noted.unwrap().trim(), format!("http://127.0.0.1:{}/", server.port()));

    let mut server = start("/nowhere".to_owned());
    server.wait_for_line("cannot open a browser");
    assert_eq!(server.get("/", "").status, 200);
}

#[test]
fn the_network_address_is_told_and_drawn() {
    let folder = folder();
    // Only where this machine has a way out of itself is there an address to tell.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let output = run(&[folder.path().to_str().unwrap(), "-p", "0", "--qr"]);
    assert_eq!(output.status.code(), Some(2), "a loopback address is no use to a telephone");
    if socket.connect("192.0.2.1:9").is_err() {
        return;
    }
    let ip = socket.local_addr().unwrap().ip();
    let server = with(&folder, &["-b", "0.0.0.0", "--qr"]);
    let port = server.port();
    let (_, _, stderr) = server.stop();
    assert!(stderr.contains(&format!("http://{ip}:{port}/")), "{stderr}");
    let rows = stderr.lines().filter(|line| line.contains('█') || line.contains('▀')).count();
    assert!(rows >= 12, "a QR code has at least 21 modules a side: {stderr}");
}
