//! What one model does differently: what it cannot do, it says, and does something orderly instead.

use nix::sys::signal::{SIGINT, SIGKILL, SIGTERM, kill, killpg};
use nix::unistd::Pid;

use super::*;

#[test]
fn blocking_serves_nobody_else_while_a_client_is_silent_and_says_so() {
    let house = House::open(Model::Blocking, &["-q"]);
    let silent = house.connect();
    let mut quick = house.connect();
    quick.write_all(closing("/1k.txt").as_bytes()).unwrap();
    quick.set_read_timeout(Some(Duration::from_millis(2500))).unwrap();
    assert!(quick.read(&mut [0; 1]).is_err(), "a blocking server served two at once");
    drop(silent);
    quick.set_read_timeout(Some(IN_VAIN)).unwrap();
    let mut output = Vec::new();
    quick.read_to_end(&mut output).unwrap();
    assert!(answers(&output, &["GET"])[0].body == pattern(1024));
    let (_, _, stderr) = house.close();
    assert_eq!(stderr.matches("others wait at the door").count(), 1, "{stderr}");
}

#[test]
fn select_turns_away_in_good_order_whom_it_has_no_bit_for() {
    let _crowd = crowd();
    let house = House::open(Model::Select, &["-q"]);
    let sockets: Vec<_> = (0..1000).map(|_| house.connect()).collect();
    assert_eq!(house.get("/1k.txt").status, 200);
    let mut beyond: Vec<_> = (0..100).map(|_| house.connect()).collect();
    let mut refused = 0;
    for socket in &mut beyond {
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut output = Vec::new();
        // Silence: has a bit. An answer and its end, no reset: has none.
        match socket.read_to_end(&mut output) {
            Ok(_) => {
                let answer = answers(&output, &["GET"]).remove(0);
                assert_eq!((answer.status, answer.field("connection")), (503, Some("close")));
                refused += 1;
            }
            Err(error) => assert!(
                matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
                "{error}"
            ),
        }
    }
    assert!((60..100).contains(&refused), "{refused} refused");
    drop((sockets, beyond));
    eventually("there is room again", || {
        let mut socket = house.connect();
        let _ = socket.write_all(closing("/1k.txt").as_bytes());
        let mut output = Vec::new();
        let _ = socket.read_to_end(&mut output);
        output.starts_with(b"HTTP/1.1 200")
    });
    let (stats, _, stderr) = house.close();
    assert!(stats.clients_refused >= refused);
    assert_eq!(stats.clients_now, 0);
    assert_eq!(stderr.matches("select(2) has no bit for descriptor 1024").count(), 1, "{stderr}");
}

/// A process model with a process group of its own, as a shell makes one for what a person starts.
fn foreground() -> House {
    use std::os::unix::process::CommandExt;
    House::open_with(Model::Process, &["-q"], |command| {
        command.process_group(0);
    })
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap())
}

#[test]
fn every_client_of_process_has_a_child_of_its_own() {
    let house = House::open(Model::Process, &["-q"]);
    let server = house.server.pid();
    let mut sockets: Vec<_> = (0..5).map(|_| house.connect()).collect();
    for socket in &mut sockets {
        socket.write_all(keeping("/").as_bytes()).unwrap();
        read_answer(socket);
    }
    assert_eq!(children(server).len(), 5);
    drop(sockets);
    eventually("children leave with their clients, and are reaped", || children(server).is_empty());
    let (stats, _, _) = house.close();
    assert_eq!((stats.requests(), stats.reads), (5, 10), "what children count comes home");
}

#[test]
fn a_client_of_process_sees_the_end_at_once() {
    // The course's parent keeps its copy of the socket: the client waits for the next one to come.
    let house = House::open(Model::Process, &["-q"]);
    let mut socket = house.connect();
    socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    socket.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    socket.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn an_interrupt_from_the_terminal_lets_children_finish() {
    let house = foreground();
    let mut socket = house.connect();
    socket.write_all(keeping("/20m.bin").as_bytes()).unwrap();
    let mut output = vec![0; 1000];
    socket.read_exact(&mut output).unwrap();
    // Parent and child get it; then the parent tells the child again.
    killpg(pid(house.server.pid()), SIGINT).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    socket.read_to_end(&mut output).unwrap();
    assert!(answers(&output, &["GET"])[0].body == large().0);
    let (status, _, stderr) = house.server.wait();
    assert_eq!(status, Some(0), "{stderr}");
    assert_eq!(counters(house.folder.path()).requests(), 1);
}

#[test]
fn a_second_signal_ends_the_parent_and_with_it_every_child() {
    let house = foreground();
    let server = house.server.pid();
    let mut sockets: Vec<_> = (0..3).map(|_| house.connect()).collect();
    for socket in &mut sockets {
        socket.write_all(keeping("/20m.bin").as_bytes()).unwrap();
        socket.read_exact(&mut [0; 1000]).unwrap();
    }
    let children = children(server);
    assert_eq!(children.len(), 3);
    house.server.signal(SIGTERM);
    std::thread::sleep(Duration::from_millis(100));
    house.server.signal(SIGTERM);
    let (status, _, _) = house.server.wait();
    assert_eq!(status, Some(130));
    for (child, _) in children {
        eventually("a child dies with its parent", || {
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat"));
            stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
        });
    }
}

#[test]
fn a_killed_child_costs_one_client_and_no_more() {
    let house = House::open(Model::Process, &["-q"]);
    let mut socket = house.connect();
    socket.write_all(keeping("/").as_bytes()).unwrap();
    read_answer(&mut socket);
    let (child, _) = children(house.server.pid())[0];
    kill(pid(child), SIGKILL).unwrap();
    assert_eq!(socket.read(&mut [0; 10]).unwrap_or(0), 0, "its client sees the end");
    eventually("reaped", || children(house.server.pid()).is_empty());
    assert_eq!(house.get("/1k.txt").status, 200);
    let (stats, _, stderr) = house.close();
    assert_eq!((stats.clients_total, stats.clients_now), (2, 0));
    assert!(stderr.contains("ended without a word"), "{stderr}");
}
