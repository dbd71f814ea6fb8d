//! Where the server listens, and as whom.

use std::io::Read;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use super::{BINARY, Started, ask, folder, installed, run, text};

#[test]
fn several_addresses_are_served_at_once() {
    let folder = folder();
    let path = folder.path().join("socket");
    let unix = format!("unix:{},mode=0600", path.display());
    let second = if crate::common::has_ipv6() { "[::1]" } else { "127.0.0.2" };
    for idle in ["backoff", "park"] {
        let server = Started::new(
            folder.path(),
            &["-q", "-p", "0", "--idle", idle, "-b", "127.0.0.1", "-b", second, "--bind", &unix],
        );
        let ports: Vec<_> = server
            .banner
            .lines()
            .filter_map(|line| line.split_once("http://")?.1.trim_end_matches('/').rsplit_once(':'))
            .map(|(_, port)| port.parse::<u16>().unwrap())
            .collect();
        let hosts = ["127.0.0.1", second.trim_matches(['[', ']'])];
        assert_eq!(ports.len(), hosts.len(), "{}", server.banner);
        for (host, port) in hosts.into_iter().zip(ports) {
            let mut socket = std::net::TcpStream::connect((host, port)).unwrap();
            assert_eq!(ask(&mut socket, "/", "").status, 200, "{host}");
        }
        assert!(server.banner.contains(&format!("unix:{}", path.display())), "{}", server.banner);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(ask(&mut UnixStream::connect(&path).unwrap(), "/", "").status, 200);
        // A large answer does not fit into the buffer of a Unix socket.
        let large = ask(&mut UnixStream::connect(&path).unwrap(), "/large.bin", "");
        assert!(large.body == crate::common::pattern(3_000_000));
        assert_eq!(server.stop().0, Some(0));
        assert!(!path.exists(), "the socket's file goes with the server");
    }
}

#[test]
fn both_families_may_be_named_for_one_port() {
    if !crate::common::has_ipv6() {
        return;
    }
    let folder = folder();
    for addresses in [["0.0.0.0", "::"], ["::", "0.0.0.0"], ["::", "127.0.0.1"]] {
        // A port that was free a moment ago; somebody else may have taken it meanwhile.
        let server = (0..20).find_map(|_| {
            let port = TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port().to_string();
            let [one, other] = addresses;
            let mut command = Command::new(BINARY);
            command.arg(folder.path()).args(["-q", "-p", &port, "-b", one, "-b", other]);
            let mut probe = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            let mut stderr = std::io::BufReader::new(probe.stderr.take().unwrap());
            let mut banner = String::new();
            while !banner.contains("\nsweep ") {
                if std::io::BufRead::read_line(&mut stderr, &mut banner).unwrap() == 0 {
                    probe.wait().unwrap();
                    return None;
                }
            }
            Some(Started { child: probe, stderr, banner })
        });
        let server = server.unwrap_or_else(|| panic!("{addresses:?} cannot be had together"));
        for host in ["127.0.0.1", "::1"] {
            let mut socket = std::net::TcpStream::connect((host, server.port())).unwrap();
            assert_eq!(ask(&mut socket, "/", "").status, 200, "{host} of {addresses:?}");
        }
    }
}

#[test]
fn a_unix_socket_left_behind_by_a_killed_server_is_no_obstacle() {
    let folder = folder();
    let path = folder.path().join("socket");
    let unix = format!("unix:{}", path.display());
    let mut server = Started::new(folder.path(), &["-q", "-b", &unix]);
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    assert!(path.exists());
    let server = Started::new(folder.path(), &["-q", "-b", &unix]);
    assert_eq!(ask(&mut UnixStream::connect(&path).unwrap(), "/", "").status, 200);
    let second = run(&[folder.path().to_str().unwrap(), "-b", &unix]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("another program listens there"), "{}", text(&second.stderr));
    drop(server);
}

#[test]
fn the_log_has_unix_for_the_peer_of_a_unix_socket() {
    let folder = folder();
    let path = folder.path().join("socket");
    let server = Started::new(folder.path(), &["-b", &format!("unix:{}", path.display())]);
    ask(&mut UnixStream::connect(&path).unwrap(), "/", "");
    let (_, stdout, _) = server.stop();
    assert!(stdout.starts_with("unix: - - ["), "{stdout}");
}

/// Starts the binary as systemd would: listening sockets from descriptor 3 on, and variables that say so.
fn activated(folder: &tempfile::TempDir, sockets: [OwnedFd; 2], flags: &[&str]) -> Started {
    let [first, second] = sockets;
    let mut command = Command::new("sh");
    let script = "exec 3<&0 4<&1 0</dev/null 1>&2; LISTEN_FDS=2 LISTEN_PID=$$ exec \"$0\" \"$@\"";
    command.args(["-c", script, BINARY]).arg(folder.path()).args(["-q"]).args(flags);
    command.stdin(Stdio::from(first)).stdout(Stdio::from(second)).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut banner = String::new();
    while !banner.contains("\nsweep ") {
        assert!(std::io::BufRead::read_line(&mut stderr, &mut banner).unwrap() > 0, "{banner}");
    }
    Started { child, stderr, banner }
}

#[test]
fn sockets_handed_over_are_served_and_the_usual_address_is_not_taken() {
    let folder = folder();
    let path = folder.path().join("handed");
    for flags in [&["--idle", "backoff"][..], &["--idle", "park"], &["-b", "127.0.0.1", "-p", "0"]] {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let unix = UnixListener::bind(&path).unwrap();
        let server = activated(&folder, [tcp.into(), unix.into()], flags);
        let own = usize::from(flags.contains(&"-b"));
        assert_eq!(server.banner.matches("serving ").count(), 2 + own, "{}", server.banner);
        assert!(server.banner.contains(&format!("http://{address}/")), "{}", server.banner);
        assert_eq!(ask(&mut std::net::TcpStream::connect(address).unwrap(), "/", "").status, 200);
        assert_eq!(ask(&mut UnixStream::connect(&path).unwrap(), "/", "").status, 200);
        server.signal(nix::sys::signal::SIGTERM);
        let mut server = server;
        let mut report = String::new();
        server.stderr.read_to_string(&mut report).unwrap();
        assert_eq!(server.child.wait().unwrap().code(), Some(0), "{report}");
        assert!(path.exists(), "the file belongs to whoever made it");
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn systemd_socket_activate_starts_it_at_the_first_client() {
    if !installed("systemd-socket-activate") {
        return; // the test above does the same without it
    }
    let folder = folder();
    let path = folder.path().join("activated");
    let mut activator = Command::new("systemd-socket-activate")
        .arg("-l")
        .arg(&path)
        .arg(BINARY)
        .arg(folder.path())
        .arg("-q")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut socket = (0..500)
        .find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            UnixStream::connect(&path).ok()
        })
        .expect("it listens within five seconds");
    assert_eq!(ask(&mut socket, "/", "").status, 200);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(activator.id() as i32), nix::sys::signal::SIGTERM)
        .unwrap();
    assert_eq!(activator.wait().unwrap().code(), Some(0), "it became the server, which ends well");
}

#[test]
fn what_is_handed_over_but_does_not_listen_is_refused() {
    let folder = folder();
    let script = "exec 3</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
    let output = Command::new("sh").args(["-c", script, BINARY]).arg(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("descriptor 3 of LISTEN_FDS"), "{}", text(&output.stderr));
}

#[test]
fn several_processes_share_one_port_if_all_say_so() {
    let folder = folder();
    let first = Started::new(folder.path(), &["-q", "-p", "0", "--reuse-port"]);
    let port = first.port().to_string();
    let second = Started::new(folder.path(), &["-q", "-p", &port, "--reuse-port"]);
    let third = run(&[folder.path().to_str().unwrap(), "-q", "-p", &port]);
    assert_eq!(third.status.code(), Some(1), "one that does not say so stays out");
    for _ in 0..64 {
        assert_eq!(first.get("/", "").status, 200);
    }
    let requests = |server: Started| {
        let (_, _, report) = server.stop();
        let line = report.lines().find_map(|line| line.strip_prefix("requests")).unwrap().trim().to_owned();
        line.split(' ').next().unwrap().parse::<u32>().unwrap()
    };
    let (one, other) = (requests(first), requests(second));
    assert_eq!(one + other, 64);
    assert!(one > 0 && other > 0, "the kernel dealt {one} and {other}");
}

#[test]
fn root_becomes_another_user_before_it_serves() {
    let folder = folder();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    if !nix::unistd::geteuid().is_root() {
        let name = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(0)).unwrap().unwrap().name;
        let output = run(&[folder.path().to_str().unwrap(), "-p", "0", "--user", &name]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("only root can"), "{}", text(&output.stderr));
        return;
    }
    let server = Started::new(folder.path(), &["-q", "-p", "0", "--user", "nobody"]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let field = |name: &str| -> Vec<u32> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(|id| id.parse().unwrap()).collect()
    };
    assert_eq!(field("Uid:"), [nobody.uid.as_raw(); 4]);
    assert_eq!(field("Gid:"), [nobody.gid.as_raw(); 4]);
    assert!(!field("Groups:").contains(&0), "{status}");
    assert_eq!(field("NoNewPrivs:"), [1]);
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    assert_eq!(server.get("/", "").status, 200);
}
