//! The real binary: flags, start-up, signals, exit codes, report, and real clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_wouldblock");

/// A running server; killed when dropped.
pub(crate) struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
    pub(crate) banner: String,
    pub(crate) port: u16,
}

impl Running {
    /// Starts the binary on a port of the system's choosing.
    #[track_caller]
    pub(crate) fn start(root: &Path, flags: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        command.arg(root).args(["-p", "0"]).args(flags);
        Self::spawn(command)
    }

    #[track_caller]
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut banner = String::new();
        let port = loop {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "ended instead of serving: {banner}");
            banner += &line;
            if let Some((_, url)) = line.split_once("http://") {
                let (_, port) = url.trim_end().trim_end_matches('/').rsplit_once(':').unwrap();
                break port.parse().unwrap();
            }
        };
        Self { child, stderr, banner, port }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end: exit status, standard output, and what of standard error came after the address.
    pub(crate) fn wait(mut self) -> (Option<i32>, String, String) {
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let mut stderr = String::new();
        self.stderr.read_to_string(&mut stderr).unwrap();
        let status = self.child.wait().unwrap();
        (status.code(), stdout, stderr)
    }

    /// Asks it to stop and waits.
    pub(crate) fn stop(self) -> (Option<i32>, String, String) {
        self.signal(nix::sys::signal::SIGTERM);
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "<!doctype html><title>x</title>hello").unwrap();
    std::fs::write(folder.path().join("中文.txt"), "你好").unwrap();
    std::fs::write(folder.path().join("large.bin"), crate::common::pattern(5_000_000)).unwrap();
    folder
}

fn curl(args: &[&str]) -> Output {
    let output = Command::new("curl").args(["-sS", "--max-time", "20"]).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    output
}

#[test]
fn help_and_version_go_to_standard_output() {
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = text(&help.stdout);
    for word in
        ["Usage:", "Examples:", "--idle", "--sweep", "--port", "--bind", "--quiet", "--verbose", "--model"]
    {
        assert!(help.contains(word), "{word} is missing from --help");
    }
    for model in wouldblock::config::Model::ALL {
        let line = help.lines().find(|line| line.trim_start().starts_with(&format!("{model} ")));
        let line = line.unwrap_or_else(|| panic!("{model} has no line in --help"));
        let words: Vec<_> = model.explain().split(' ').take(4).collect();
        assert!(line.contains(&words.join(" ")), "{line}");
    }
    let version = run(&["--version"]);
    assert_eq!(text(&version.stdout).trim(), concat!("wouldblock ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_bad_command_line_is_one_line_and_exit_2() {
    for args in [
        &["--nonsense"][..],
        &["-p", "99999"],
        &["-p", "x"],
        &["-b", "nowhere"],
        &["--idle", "sleep"],
        &["--idle", "sleep:1"],
        &["--sweep", "half"],
        &["--model", "magic"],
        &["one", "two"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let stderr = text(&output.stderr);
        assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
        assert!(stderr.starts_with("wouldblock: ") && stderr.contains("--help"), "{args:?}: {stderr}");
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn a_bad_command_line_leads_to_the_help_that_knows_its_flags() {
    for (args, said) in [
        (&["check", "--lang", "fr"][..], "[possible values: zh, en]; see wouldblock check --help"),
        (&["compare", "--lang", "fr"], "en or zh; see wouldblock compare --help"),
        (&["check", "--nonsense"], "see wouldblock check --help"),
        (&["--lang", "fr"], "see wouldblock --help"),
    ] {
        let output = run(args);
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{args:?}: {stderr}");
        assert!(stderr.trim_end().ends_with(said), "{args:?}: {stderr}");
    }
}

#[test]
fn a_help_that_cannot_be_written_is_one_line_and_exit_1() {
    for args in ["--help", "--print-manpage"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = Command::new(BINARY).arg(args).stdout(full).output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{args}: {stderr}");
        let (nobody, pipe) = std::io::pipe().unwrap();
        drop(nobody);
        let output = Command::new(BINARY).arg(args).stdout(pipe).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{args}");
    }
}

#[test]
fn a_missing_folder_or_a_file_in_its_place_is_one_line_and_exit_1() {
    let folder = folder();
    let file = folder.path().join("index.html");
    for root in ["/does/not/exist", file.to_str().unwrap()] {
        let output = run(&[root, "-p", "0"]);
        assert_eq!(output.status.code(), Some(1), "{root}");
        let stderr = text(&output.stderr);
        assert!(stderr.lines().count() == 1 && stderr.contains(root), "{stderr}");
    }
}

#[test]
fn a_port_in_use_is_one_line_with_the_address_and_the_reason_and_exit_1() {
    let folder = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(&[folder.path().to_str().unwrap(), "-p", &port]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(&format!("127.0.0.1:{port}")) && stderr.contains("in use"), "{stderr}");
}

#[test]
fn it_says_where_what_and_how() {
    let folder = folder();
    let server = Running::start(folder.path(), &["-q", "--idle", "park", "--sweep", "full"]);
    assert!(server.banner.contains(&folder.path().canonicalize().unwrap().display().to_string()));
    assert!(server.banner.contains(&server.url("/")), "{}", server.banner);
    let (status, stdout, stderr) = server.stop();
    assert_eq!((status, stdout.as_str()), (Some(0), ""));
    assert!(stderr.contains("sweep full, idle park"), "{stderr}");
}

#[test]
fn either_signal_ends_it_with_a_report_and_exit_0_whatever_it_does_when_idle() {
    let folder = folder();
    for idle in ["spin", "yield", "sleep:1ms", "sleep:20s", "backoff", "park"] {
        for signal in [nix::sys::signal::SIGINT, nix::sys::signal::SIGTERM] {
            let server = Running::start(folder.path(), &["-q", "--idle", idle]);
            if idle == "sleep:20s" {
                std::thread::sleep(Duration::from_millis(300)); // let it fall asleep
            } else {
                assert_eq!(curl(&[&server.url("/")]).stdout, b"<!doctype html><title>x</title>hello");
            }
            let start = Instant::now();
            server.signal(signal);
            let (status, _, stderr) = server.wait();
            assert_eq!(status, Some(0), "{idle} {signal}: {stderr}");
            assert!(start.elapsed() < Duration::from_secs(10), "{idle} {signal} slept through it");
            for word in ["uptime", "requests", "bytes", "clients", "sweeps", "would have blocked", "cpu"] {
                assert!(stderr.contains(word), "{idle}: no {word} in the report: {stderr}");
            }
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_reported_is_its_own_and_not_that_of_who_started_it_nor_of_his_children() {
    let folder = folder();
    let mut command = Command::new("python3");
    // As `cargo run` does: its compilers have ended when it becomes the server.
    let become_it = "import os, subprocess, sys; large = b'x' * (64 << 20)
subprocess.run([sys.executable, '-c', \"import time; large = b'x' * (64 << 20)\\nwhile time.process_time() < 2: pass\"])
os.execv(sys.argv[1], sys.argv[1:])";
    command
        .args(["-c", become_it, env!("CARGO_BIN_EXE_wouldblock")])
        .arg(folder.path())
        .args(["-p", "0", "-q"]);
    let (_, _, report) = Running::spawn(command).stop();
    let line = report.lines().find_map(|line| line.strip_prefix("memory     ")).unwrap();
    let kib: usize = line.split(' ').next().unwrap().parse().unwrap();
    assert!((1_000..48 * 1024).contains(&kib), "{line}");
    let line = report.lines().find_map(|line| line.strip_prefix("cpu        ")).unwrap();
    let seconds: f64 = line.split(' ').next().unwrap().parse().unwrap();
    assert!(seconds < 2.0, "{line}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let folder = folder();
    let server = Running::start(folder.path(), &["-q"]);
    let mut socket = server.connect();
    socket.write_all(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut first = [0; 1];
    socket.read_exact(&mut first).unwrap();
    server.signal(nix::sys::signal::SIGINT);
    std::thread::sleep(Duration::from_millis(300));
    server.signal(nix::sys::signal::SIGINT);
    assert_eq!(server.wait().0, Some(130));
}

#[test]
fn the_signal_lets_a_download_finish() {
    let folder = folder();
    for idle in ["backoff", "park"] {
        let server = Running::start(folder.path(), &["-q", "--idle", idle]);
        let mut socket = server.connect();
        socket.write_all(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut bytes = vec![0; 1];
        socket.read_exact(&mut bytes).unwrap();
        server.signal(nix::sys::signal::SIGTERM);
        socket.read_to_end(&mut bytes).unwrap();
        assert!(crate::common::answers(&bytes, &[])[0].body == crate::common::pattern(5_000_000));
        drop(socket);
        assert_eq!(server.wait().0, Some(0));
    }
}

#[test]
fn each_answer_is_a_line_in_the_combined_format_and_controls_cannot_forge_one() {
    let folder = folder();
    let server = Running::start(folder.path(), &[]);
    curl(&["-A", "agent \"quoted\"", "-e", "http://from/", &server.url("/?q=1")]);
    curl(&["-I", &server.url("/index.html")]);
    curl(&[&server.url("/large.bin"), "-o", "/dev/null"]);
    let mut socket = server.connect();
    socket
        .write_all(
            b"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: \xe2\x80\xae\x1b[2J\r\nConnection: close\r\n\r\n",
        )
        .unwrap();
    socket.read_to_end(&mut Vec::new()).unwrap();
    let mut socket = server.connect();
    socket
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: \xe2\x80\xae\r\nConnection: close\r\n\r\n")
        .unwrap();
    socket.read_to_end(&mut Vec::new()).unwrap();
    let (_, stdout, _) = server.stop();
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{stdout}");
    assert!(lines[0].starts_with("127.0.0.1 - - ["), "{}", lines[0]);
    assert!(
        lines[0].ends_with(" +0000] \"GET /?q=1 HTTP/1.1\" 200 36 \"http://from/\" \"agent \\\"quoted\\\"\""),
        "{}",
        lines[0]
    );
    assert!(lines[1].contains("\"HEAD /index.html HTTP/1.1\" 200 - "), "{}", lines[1]);
    assert!(lines[2].contains("\"GET /large.bin HTTP/1.1\" 200 5000000 "), "{}", lines[2]);
    assert!(lines[3].contains("\"-\" 400 "), "{}", lines[3]);
    assert!(lines[4].ends_with("\"\\xe2\\x80\\xae\""), "{}", lines[4]);
}

#[test]
fn a_log_that_nobody_reads_does_not_stop_the_server() {
    let folder = folder();
    // Standard output is a pipe, and this test does not read it until the end.
    let server = Running::start(folder.path(), &[]);
    let mut socket = server.connect();
    let request = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(2000));
    let mut sink = vec![0; 1 << 16];
    for _ in 0..40 {
        socket.write_all(request.repeat(25).as_bytes()).unwrap();
        let mut answered = 0;
        while answered < 25 {
            let n = socket.read(&mut sink).unwrap();
            assert!(n > 0);
            answered += sink[..n].windows(9).filter(|nine| nine == b"HTTP/1.1 ").count();
        }
    }
    drop(socket);
    let (status, stdout, stderr) = server.stop();
    assert_eq!(status, Some(0));
    assert!(stdout.lines().all(|line| line.contains(" 404 ")), "whole lines only");
    let dropped: usize = stderr
        .lines()
        .find_map(|line| line.strip_prefix("log "))
        .map_or(0, |line| line.trim().split(' ').next().unwrap().parse().unwrap());
    assert_eq!(stdout.lines().count() + dropped, 1000, "{stderr}");
}

#[test]
fn without_descriptors_it_waits_says_so_once_and_serves_on() {
    let folder = folder();
    let server = Running::start(folder.path(), &["-q", "--idle", "park"]);
    crate::common::limit_descriptors(server.pid(), 32);
    // A file that is older than two ticks of the clock stays in memory.
    std::thread::sleep(Duration::from_millis(50));
    curl(&[&server.url("/")]);
    let mut sockets: Vec<_> = (0..60).map(|_| server.connect()).collect();
    for socket in &mut sockets {
        socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    // Those for whom there are descriptors are served; the first who is not tells that the house is full.
    let mut piece = [0; 4096];
    let inside = sockets
        .iter()
        .take_while(|socket| {
            socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            (&mut &**socket).read(&mut piece).is_ok_and(|n| n > 0)
        })
        .count();
    assert!((10..50).contains(&inside), "{inside} of 60 inside with 32 descriptors");
    // What is in memory is sent from there, though once a second it cannot be resolved again.
    sockets[0].set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for _ in 0..150 {
        sockets[0].write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let n = (&sockets[0]).read(&mut piece).unwrap();
        assert!(piece[..n].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&piece[..n]));
        std::thread::sleep(Duration::from_millis(10));
    }
    // They leave: the queue moves on, and every single one is served.
    for mut socket in sockets.split_off(inside) {
        sockets.clear();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(socket.read(&mut piece).unwrap() > 0);
    }
    let (status, _, stderr) = server.stop();
    assert_eq!(status, Some(0));
    assert_eq!(stderr.matches("accepting pauses").count(), 1, "{stderr}");
}

#[test]
fn ipv6_and_dual_stack() {
    let folder = folder();
    for (bind, hosts) in
        [("::1", &["[::1]"][..]), ("::", &["[::1]", "127.0.0.1"]), ("0.0.0.0", &["127.0.0.1"])]
    {
        if !crate::common::has_ipv6() && bind == "::" {
            continue; // depends on how IPv6 was taken away
        }
        if !crate::common::has_ipv6() && bind == "::1" {
            let output = run(&[folder.path().to_str().unwrap(), "-b", bind, "-p", "0"]);
            assert_eq!(output.status.code(), Some(1));
            assert_eq!(
                text(&output.stderr).lines().count(),
                1,
                "one line says why: {}",
                text(&output.stderr)
            );
            continue;
        }
        let server = Running::start(folder.path(), &["-b", bind, "-q"]);
        for host in hosts {
            let answer = curl(&["-g", &format!("http://{host}:{}/", server.port)]);
            assert_eq!(text(&answer.stdout), "<!doctype html><title>x</title>hello", "{bind} {host}");
        }
    }
}

#[test]
fn curl_in_every_manner() {
    let folder = folder();
    let server = Running::start(folder.path(), &["-q"]);
    let large = crate::common::pattern(5_000_000);
    assert!(curl(&[&server.url("/large.bin")]).stdout == large);
    assert!(curl(&["--http1.0", &server.url("/large.bin")]).stdout == large);
    assert_eq!(text(&curl(&[&server.url("/%E4%B8%AD%E6%96%87.txt")]).stdout), "你好");
    let twice = curl(&[&server.url("/"), &server.url("/%E4%B8%AD%E6%96%87.txt"), "-w", "%{num_connects} "]);
    assert_eq!(
        text(&twice.stdout),
        "<!doctype html><title>x</title>hello1 你好0 ",
        "one connection for both"
    );
    let posted = curl(&["-d", "name=value", "-o", "/dev/null", "-w", "%{http_code}", &server.url("/")]);
    assert_eq!(text(&posted.stdout), "405");
    let expecting = Command::new("curl")
        .args(["-sS", "--max-time", "20", "-H", "Expect: 100-continue", "-X", "PUT", "-o", "/dev/null"])
        .args(["--data-binary", &"x".repeat(10_000), "-w", "%{http_code}", &server.url("/")])
        .output()
        .unwrap();
    assert_eq!(text(&expecting.stdout), "405");
    assert_eq!(
        text(&curl(&["-I", &server.url("/missing"), "-w", "%{http_code}", "-o", "/dev/null"]).stdout),
        "404"
    );
}

#[test]
fn apache_bench_with_keep_alive_loses_nothing() {
    let folder = folder();
    let server = Running::start(folder.path(), &["-q"]);
    for keep in [&["-k"][..], &[]] {
        let output = Command::new("ab")
            .args(keep)
            .args(["-q", "-n", "2000", "-c", "20", &server.url("/")])
            .output()
            .unwrap();
        let stdout = text(&output.stdout);
        assert!(output.status.success(), "{}", text(&output.stderr));
        for line in ["Complete requests:      2000", "Failed requests:        0"] {
            assert!(stdout.contains(line), "{stdout}");
        }
        let kept = stdout.contains("Keep-Alive requests:    2000");
        assert_eq!(kept, !keep.is_empty(), "{stdout}");
    }
}

#[test]
fn a_tree_of_thousands_of_files_comes_whole_over_kept_connections() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for branch in 0..40 {
        let place = folder.path().join(format!("branch {branch}/leaf"));
        std::fs::create_dir_all(&place).unwrap();
        for at in 0..60 {
            let size = (at * 37 + branch * 1013) % 5000 + if at % 20 == 0 { 100_000 } else { 0 };
            let body = crate::common::pattern(size);
            std::fs::write(place.join(format!("{at}.dat")), &body).unwrap();
            files.push((format!("/branch%20{branch}/leaf/{at}.dat"), body));
        }
    }
    let server = Running::start(folder.path(), &["-q"]);
    std::thread::scope(|scope| {
        for share in files.chunks(files.len() / 4) {
            let mut socket = server.connect();
            scope.spawn(move || {
                for batch in share.chunks(16) {
                    let requests: String = batch
                        .iter()
                        .map(|(path, _)| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
                        .collect();
                    socket.write_all(requests.as_bytes()).unwrap();
                    for (path, body) in batch {
                        let mut head = Vec::new();
                        while !head.ends_with(b"\r\n\r\n") {
                            let mut octet = [0];
                            socket.read_exact(&mut octet).unwrap();
                            head.push(octet[0]);
                        }
                        let head = String::from_utf8(head).unwrap();
                        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
                        assert!(
                            head.contains(&format!("Content-Length: {}\r\n", body.len())),
                            "{path}: {head}"
                        );
                        let mut received = vec![0; body.len()];
                        socket.read_exact(&mut received).unwrap();
                        assert!(received == *body, "{path} differs");
                    }
                }
            });
        }
    });
    let (_, _, report) = server.stop();
    assert!(report.contains("requests   2400 "), "{report}");
    assert!(report.contains("clients    4 in all"), "{report}");
}
