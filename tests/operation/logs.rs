//! What is written down, in which shape, and where.

use std::io::{Read, Write};

use nix::sys::signal::Signal;

use super::{MODELS, Started, folder, text};

#[test]
fn json_lines_are_json_whatever_the_client_sends() {
    let folder = folder();
    let server = Started::new(folder.path(), &["-p", "0", "--log-format", "json"]);
    server.get("/?a=%22\"", "Referer: http://x/\"\\\r\nUser-Agent: \u{4e2d}\u{1f600}\r\n");
    server.get("/large.bin", "");
    let mut socket = server.connect();
    socket
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: \xff\xe9\r\nConnection: close\r\n\r\n")
        .unwrap();
    socket.read_to_end(&mut Vec::new()).unwrap();
    let mut socket = server.connect();
    socket.write_all(b"NONSENSE\r\n\r\n").unwrap();
    socket.read_to_end(&mut Vec::new()).unwrap();
    let (_, stdout, _) = server.stop();
    let lines: Vec<serde_json::Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert_eq!(lines.len(), 4, "{stdout}");
    let page = &lines[0];
    for (name, value) in [
        ("peer", "127.0.0.1"),
        ("method", "GET"),
        ("version", "HTTP/1.1"),
        ("referer", "http://x/\"\\"),
        ("user_agent", "\u{4e2d}\u{1f600}"),
    ] {
        assert_eq!(page[name], value, "{name}");
    }
    assert_eq!((page["status"].as_u64(), page["bytes"].as_u64()), (Some(200), Some(36)));
    let time = page["time"].as_str().unwrap();
    assert!(humantime::parse_rfc3339(time).is_ok(), "{time}");
    assert_eq!(lines[1]["bytes"].as_u64(), Some(3_000_000), "an answer that is sent in pieces");
    assert_eq!(lines[2]["user_agent"], "\u{ff}\u{e9}", "what is not UTF-8 is read as ISO 8859-1");
    assert_eq!(lines[3]["status"].as_u64(), Some(400));
    assert!(lines[3]["method"].is_null() && lines[3]["target"].is_null());
    assert!(lines[1]["referer"].is_null());
}

#[test]
fn the_common_format_ends_with_the_bytes() {
    let folder = folder();
    let server = Started::new(folder.path(), &["-p", "0", "--log-format", "clf"]);
    server.get("/", "Referer: http://x/\r\n");
    server.get("/large.bin", "");
    let (_, stdout, _) = server.stop();
    let lines: Vec<_> = stdout.lines().collect();
    assert!(lines[0].ends_with("] \"GET / HTTP/1.1\" 200 36"), "{stdout}");
    assert!(lines[1].ends_with("] \"GET /large.bin HTTP/1.1\" 200 3000000"), "{stdout}");
}

#[test]
fn the_bytes_are_those_that_were_sent() {
    let folder = folder();
    let server = Started::new(folder.path(), &["-p", "0", "--log-format", "clf"]);
    let mut sent = Vec::new();
    for line in
        ["HEAD / HTTP/1.1", "HEAD  / HTTP/1.1", "HEAD /%zz HTTP/1.1", "GET  / HTTP/1.1", "GET / HTTP/1.1"]
    {
        let mut socket = server.connect();
        socket.write_all(format!("{line}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        sent.push(text(&answer).split_once("\r\n\r\n").unwrap().1.len());
    }
    assert!(sent[..3] == [0; 3] && sent[3] > 0 && sent[4] > 0, "{sent:?}");
    let (_, stdout, _) = server.stop();
    let logged: Vec<usize> =
        stdout.lines().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap_or(0)).collect();
    assert_eq!(logged, sent, "{stdout}");
}

#[test]
fn a_log_file_is_appended_to_and_opened_again_on_sighup() {
    let folder = folder();
    let place = tempfile::tempdir().unwrap();
    let (path, moved) = (place.path().join("log"), place.path().join("log.1"));
    std::fs::write(&path, "earlier\n").unwrap();
    for (round, model) in MODELS.into_iter().enumerate() {
        let server = Started::new(
            folder.path(),
            &[&["-p", "0", "--log-file", path.to_str().unwrap()], model].concat(),
        );
        server.get(&format!("/before-{round}"), "");
        std::fs::rename(&path, &moved).unwrap();
        server.signal(Signal::SIGHUP);
        let made = (0..2000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            path.exists()
        });
        assert!(made, "{model:?}: the file was opened again");
        server.get(&format!("/after-{round}"), "");
        let (status, stdout, _) = server.stop();
        assert_eq!((status, stdout.as_str()), (Some(0), ""));
        let (old, new) = (std::fs::read_to_string(&moved).unwrap(), std::fs::read_to_string(&path).unwrap());
        assert!(
            old.contains(&format!("/before-{round} ")) && !old.contains(&format!("/after-{round} ")),
            "{model:?}: {old}"
        );
        assert!(
            new.contains(&format!("/after-{round} ")) && !new.contains(&format!("/before-{round} ")),
            "{model:?}: {new}"
        );
        assert!(round > 0 || old.starts_with("earlier\n"));
    }
}

#[test]
fn bad_clients_do_not_flood_the_diagnostics() {
    let folder = folder();
    let server = Started::new(folder.path(), &["-q", "-v", "-p", "0"]);
    for _ in 0..300 {
        let mut socket = server.connect();
        socket.write_all(b"NONSENSE\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        assert!(text(&answer).starts_with("HTTP/1.1 400 "));
    }
    let start = std::time::Instant::now();
    let (_, _, stderr) = server.stop();
    let lines = stderr.lines().filter(|line| line.contains("client 127.0.0.1 left: bad request")).count();
    // Ten a second, and the seconds that this took.
    assert!(
        (10..=10 * (start.elapsed().as_secs() as usize + 20)).contains(&lines),
        "{lines} lines: {stderr}"
    );
    assert!(lines < 300, "some were left out");
}

#[test]
fn a_download_broken_off_is_logged_with_what_went() {
    let folder = folder();
    std::fs::write(folder.path().join("huge.bin"), vec![0; 30_000_000]).unwrap();
    for reset in [false, true] {
        let server = Started::new(folder.path(), &["-p", "0"]);
        let mut socket = server.connect();
        socket.write_all(b"GET /huge.bin HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        socket.read_exact(&mut [0; 100_000]).unwrap();
        if reset {
            socket2::SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        }
        drop(socket);
        // The server has noticed when it has nobody inside any more; it says so in its report.
        let (_, stdout, report) = server.stop();
        let line = stdout.lines().next().unwrap_or_else(|| panic!("no line; {report}"));
        let bytes: u64 = line.split(' ').nth(9).unwrap().parse().unwrap();
        assert!((100_000..30_000_000).contains(&bytes), "{line}");
    }
}

#[test]
fn lines_do_not_wait_for_a_rest_that_never_comes() {
    for idle in ["spin", "yield"] {
        let folder = folder();
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        let server =
            Started::new(folder.path(), &["-p", "0", "--idle", idle, "--log-file", path.to_str().unwrap()]);
        server.get("/other.html", "");
        let written = (0..4000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            std::fs::read_to_string(&path).unwrap().contains("/other.html ")
        });
        assert!(written, "{idle}: the line was written while the loop runs");
    }
}
