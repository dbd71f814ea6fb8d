//! What all models do alike.

use std::net::Shutdown;

use wouldblock::http::CloseReason;

use super::*;

for_models! {
    [nonblocking = Nonblocking, blocking = Blocking, process = Process, thread = Thread, coroutine = Coroutine,
     select = Select, poll = Poll, epoll = Epoll, epoll_et = EpollEt]
    [
        every_model_gives_the_same_answers_octet_by_octet,
        a_connection_carries_many_requests,
        pipelined_requests_are_answered_in_order,
        a_request_may_come_octet_by_octet,
        two_hundred_clients_at_once_are_all_served,
        a_slow_reader_gets_all_of_20_mb,
        a_half_closed_client_gets_its_answer,
        resets_leave_the_server_standing_and_at_rest,
        a_stop_lets_the_answer_in_flight_finish,
        a_silent_connection_does_not_delay_the_stop,
        a_request_that_came_before_the_stop_is_answered,
        a_stop_turns_newcomers_away_while_an_answer_is_in_flight,
        an_answer_cut_off_by_the_end_of_the_grace_is_logged,
        the_log_is_opened_again_while_a_client_fills_the_house,
    ]
}

for_models! {
    [nonblocking = Nonblocking, process = Process, thread = Thread, coroutine = Coroutine,
     select = Select, poll = Poll, epoll = Epoll, epoll_et = EpollEt]
    [
        a_silent_client_does_not_hold_up_a_quick_one,
        a_download_does_not_hold_up_a_quick_one,
    ]
}

for_models! {
    [poll = Poll, epoll = Epoll, epoll_et = EpollEt, thread = Thread, coroutine = Coroutine, nonblocking = Nonblocking]
    [eleven_hundred_open_connections_are_no_obstacle]
}

/// Each is sent on a connection of its own, whose end is awaited.
const CONVERSATIONS: &[(&str, &[&str], &[u16])] = &[
    ("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", &["GET"], &[200]),
    ("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", &["HEAD"], &[200]),
    ("GET / HTTP/1.0\r\n\r\n", &["GET"], &[200]),
    ("GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", &["GET"], &[404]),
    ("GET /sub HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", &["GET"], &[301]),
    ("GET /200k.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", &["GET"], &[200]),
    ("DELETE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", &["DELETE"], &[405]),
    ("BREW / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", &["BREW"], &[501]),
    ("GET / HTTP/1.1\r\n\r\n", &["GET"], &[400]),
    ("GET /\r\n\r\n", &["GET"], &[400]),
    ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", &["GET"], &[400]),
    ("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", &["GET"], &[501]),
    (
        "GET / HTTP/1.1\r\nHost: x\r\n\r\nHEAD /1k.txt HTTP/1.1\r\nHost: x\r\n\r\n\
         GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &["GET", "HEAD", "GET"],
        &[200, 200, 404],
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        &["POST", "GET"],
        &[405, 200],
    ),
];

fn transcript(house: &House, request: &str) -> Vec<u8> {
    let mut socket = house.connect();
    socket.write_all(request.as_bytes()).unwrap();
    let mut output = Vec::new();
    socket.read_to_end(&mut output).unwrap();
    output
}

/// The same text with every Date the same.
fn without_dates(output: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for line in output.split_inclusive(|octet| *octet == b'\n') {
        text.extend_from_slice(if line.starts_with(b"Date: ") { b"Date: now\r\n" } else { line });
    }
    text
}

fn every_model_gives_the_same_answers_octet_by_octet(model: Model) {
    let house = House::open(model, &["-q"]);
    let site = house.folder.path().join("site");
    let mut heart = Command::new(env!("CARGO_BIN_EXE_wouldblock"));
    heart.arg(site).args(["-p", "0", "-q"]);
    let heart = House { server: Running::spawn(heart), folder: tempfile::tempdir().unwrap() };
    // A large file that has just been written has no ETag yet.
    crate::site::settle();
    for (request, methods, statuses) in CONVERSATIONS {
        let output = transcript(&house, request);
        let answers = answers(&output, methods);
        let given: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(given, *statuses, "{request:?}");
        let expected = without_dates(&transcript(&heart, request));
        assert!(without_dates(&output) == expected, "{request:?} is answered otherwise than by the heart");
    }
}

fn a_connection_carries_many_requests(model: Model) {
    let house = House::open(model, &["-q"]);
    let mut socket = house.connect();
    for path in ["/", "/1k.txt", "/200k.bin", "/nothing", "/1k.txt"].repeat(5) {
        socket.write_all(keeping(path).as_bytes()).unwrap();
        let answer = read_answer(&mut socket);
        match path {
            "/1k.txt" => assert!(answer.body == pattern(1024)),
            "/200k.bin" => assert!(answer.body == pattern(200_000)),
            "/" => assert!(answer.body.ends_with(b"hello")),
            _ => assert_eq!(answer.status, 404),
        }
    }
    drop(socket);
    let (stats, _, _) = house.close();
    assert_eq!((stats.requests(), stats.clients_total, stats.clients_now), (25, 1, 0));
}

fn pipelined_requests_are_answered_in_order(model: Model) {
    let house = House::open(model, &["-q"]);
    let mut requests = String::new();
    for n in 0..100 {
        requests += &keeping(if n % 3 == 0 { "/1k.txt" } else { "/200k.bin" });
    }
    requests += &closing("/");
    let mut socket = house.connect();
    let mut writer = socket.try_clone().unwrap();
    let writer = std::thread::spawn(move || writer.write_all(requests.as_bytes()).unwrap());
    let mut output = Vec::new();
    socket.read_to_end(&mut output).unwrap();
    writer.join().unwrap();
    let answers = answers(&output, &[]);
    assert_eq!(answers.len(), 101);
    for (n, answer) in answers.iter().enumerate().take(100) {
        assert_eq!(answer.body.len(), if n % 3 == 0 { 1024 } else { 200_000 }, "answer {n}");
    }
}

fn a_request_may_come_octet_by_octet(model: Model) {
    let house = House::open(model, &["-q"]);
    let mut socket = house.connect();
    socket.set_nodelay(true).unwrap();
    for octet in closing("/1k.txt").as_bytes() {
        socket.write_all(&[*octet]).unwrap();
    }
    let mut output = Vec::new();
    socket.read_to_end(&mut output).unwrap();
    assert!(answers(&output, &["GET"])[0].body == pattern(1024));
}

fn two_hundred_clients_at_once_are_all_served(model: Model) {
    let _crowd = crowd();
    let house = House::open(model, &["-q"]);
    let mut sockets: Vec<_> = (0..200).map(|_| house.connect()).collect();
    // One at a time can only mean one connection at a time.
    let rounds = if model == Model::Blocking { 0 } else { 3 };
    for _ in 0..rounds {
        for socket in &mut sockets {
            socket.write_all(keeping("/1k.txt").as_bytes()).unwrap();
        }
        for socket in &mut sockets {
            assert!(read_answer(socket).body == pattern(1024));
        }
    }
    for socket in &mut sockets {
        socket.write_all(closing("/1k.txt").as_bytes()).unwrap();
    }
    for socket in &mut sockets {
        let mut output = Vec::new();
        socket.read_to_end(&mut output).unwrap();
        assert!(answers(&output, &["GET"])[0].body == pattern(1024));
    }
    let (stats, _, _) = house.close();
    assert_eq!((stats.clients_total, stats.clients_now), (200, 0));
    assert_eq!(stats.clients_peak, if model == Model::Blocking { 1 } else { 200 });
    assert_eq!(stats.answers, [0, 200 * (rounds + 1), 0, 0, 0]);
    assert_eq!(stats.closed.iter().sum::<u64>(), 200);
}

fn a_slow_reader_gets_all_of_20_mb(model: Model) {
    let house = House::open(model, &["-q"]);
    let socket = slow_socket(&house);
    let body = read_slowly(socket, &closing("/20m.bin"));
    assert!(body == large().0, "{} octets, or others than were asked for", body.len());
    let (stats, _, _) = house.close();
    assert!(stats.bytes_out >= 20_000_000);
    assert_eq!(stats.clients_now, 0);
}

/// A client with little room, so that the server's writes are taken in part.
fn slow_socket(house: &House) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let address: std::net::SocketAddr = ([127, 0, 0, 1], house.server.port).into();
    socket.connect(&address.into()).unwrap();
    socket.set_read_timeout(Some(IN_VAIN)).unwrap();
    socket.into()
}

fn read_slowly(mut socket: TcpStream, request: &str) -> Vec<u8> {
    socket.write_all(request.as_bytes()).unwrap();
    let mut output = Vec::new();
    let mut piece = vec![0; 256 * 1024];
    loop {
        let n = socket.read(&mut piece).unwrap();
        if n == 0 {
            break;
        }
        output.extend_from_slice(&piece[..n]);
        if output.len() < 4_000_000 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    answers(&output, &["GET"]).remove(0).body
}

fn a_half_closed_client_gets_its_answer(model: Model) {
    let house = House::open(model, &["-q"]);
    for path in ["/1k.txt", "/20m.bin"] {
        let mut socket = house.connect();
        socket.write_all(keeping(path).as_bytes()).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        let mut output = Vec::new();
        socket.read_to_end(&mut output).unwrap();
        let body = &answers(&output, &["GET"])[0].body;
        assert!(if path == "/1k.txt" { *body == pattern(1024) } else { *body == large().0 });
    }
}

fn resets_leave_the_server_standing_and_at_rest(model: Model) {
    let house = House::open(model, &["-q"]);
    for n in 0..30 {
        let mut socket = house.connect();
        match n % 3 {
            0 => {}
            1 => socket.write_all(b"GET / HTTP/1.1\r\nHo").unwrap(),
            _ => {
                socket.write_all(keeping("/20m.bin").as_bytes()).unwrap();
                let _ = socket.read(&mut [0; 1000]).unwrap();
            }
        }
        // Nothing said, half said, not listened to; then the wire is cut.
        socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    }
    assert_eq!(house.get("/").status, 200);
    std::thread::sleep(Duration::from_millis(300));
    let (stats, _, stderr) = house.close();
    assert_eq!((stats.clients_total, stats.clients_now), (31, 0), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    // A server that compares events with IN is woken without end by IN|ERR|HUP.
    assert!(stats.waits < 2000, "{} waits", stats.waits);
}

fn a_stop_lets_the_answer_in_flight_finish(model: Model) {
    let house = House::open(model, &["-q"]);
    let mut socket = slow_socket(&house);
    socket.write_all(keeping("/20m.bin").as_bytes()).unwrap();
    let mut output = vec![0; 1000];
    socket.read_exact(&mut output).unwrap();
    house.server.signal(nix::sys::signal::SIGTERM);
    std::thread::sleep(Duration::from_millis(100));
    socket.read_to_end(&mut output).unwrap();
    assert!(answers(&output, &["GET"])[0].body == large().0);
    let (status, _, stderr) = house.server.wait();
    assert_eq!(status, Some(0), "{stderr}");
    assert!(stderr.contains(&format!("model      {model}\n")), "no report: {stderr}");
    let stats = counters(house.folder.path());
    assert_eq!((stats.clients_now, stats.requests()), (0, 1));
}

fn a_silent_connection_does_not_delay_the_stop(model: Model) {
    let house = House::open(model, &["-q"]);
    let mut silent = house.connect();
    let mut spoken = house.connect();
    spoken.write_all(keeping("/").as_bytes()).unwrap();
    if model != Model::Blocking {
        read_answer(&mut spoken);
    }
    let start = Instant::now();
    let pid = house.server.pid();
    let children = children(pid);
    let (stats, _, _) = house.close();
    // The grace is 10 s; nobody is owed anything, so none of it is needed.
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(silent.read(&mut [0; 10]).unwrap_or(0), 0);
    assert_eq!(stats.clients_now, 0);
    for (child, _) in children {
        assert!(!Path::new(&format!("/proc/{child}")).exists(), "child {child} outlived the server");
    }
}

fn a_request_that_came_before_the_stop_is_answered(model: Model) {
    use nix::sys::signal::Signal::{SIGCONT, SIGSTOP, SIGTERM};
    let house = House::open(model, &["-q"]);
    let mut socket = house.connect();
    socket.write_all(keeping("/1k.txt").as_bytes()).unwrap();
    assert_eq!(read_answer(&mut socket).status, 200);
    // While the server stands still a request comes, and then the signal: it finds both.
    house.server.signal(SIGSTOP);
    socket.write_all(keeping("/1k.txt").as_bytes()).unwrap();
    house.server.signal(SIGTERM);
    house.server.signal(SIGCONT);
    let mut output = Vec::new();
    socket.read_to_end(&mut output).expect("an answer and a clean end, not a reset");
    let answers = answers(&output, &["GET"]);
    assert_eq!((answers.len(), answers[0].status, answers[0].body.len()), (1, 200, 1024));
    let (status, _, stderr) = house.server.wait();
    assert_eq!(status, Some(0), "{stderr}");
    let stats = counters(house.folder.path());
    assert_eq!((stats.clients_now, stats.requests()), (0, 2));
}

fn a_silent_client_does_not_hold_up_a_quick_one(model: Model) {
    let house = House::open(model, &["-q"]);
    let mut silent = house.connect();
    let mut dribbling = house.connect();
    dribbling.write_all(b"GET / HT").unwrap();
    for _ in 0..20 {
        assert_eq!(house.get("/1k.txt").body.len(), 1024);
    }
    dribbling.write_all(b"TP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut dribbling).status, 200);
    silent.write_all(keeping("/").as_bytes()).unwrap();
    assert_eq!(read_answer(&mut silent).status, 200);
}

fn a_download_does_not_hold_up_a_quick_one(model: Model) {
    let house = House::open(model, &["-q"]);
    let mut slow = slow_socket(&house);
    slow.write_all(closing("/20m.bin").as_bytes()).unwrap();
    let mut output = vec![0; 1000];
    slow.read_exact(&mut output).unwrap();
    for _ in 0..20 {
        assert_eq!(house.get("/1k.txt").body.len(), 1024);
    }
    slow.read_to_end(&mut output).unwrap();
    assert!(answers(&output, &["GET"])[0].body == large().0);
}

fn eleven_hundred_open_connections_are_no_obstacle(model: Model) {
    let _crowd = crowd();
    let house = House::open(model, &["-q"]);
    let mut sockets: Vec<_> = (0..1100).map(|_| house.connect()).collect();
    assert_eq!(house.get("/1k.txt").body.len(), 1024);
    for socket in sockets.iter_mut().rev().step_by(100) {
        socket.write_all(keeping("/").as_bytes()).unwrap();
        assert_eq!(read_answer(socket).status, 200);
    }
    drop(sockets);
    let (stats, _, _) = house.close();
    assert_eq!((stats.clients_now, stats.clients_refused, stats.clients_total), (0, 0, 1101));
}

fn a_stop_turns_newcomers_away_while_an_answer_is_in_flight(model: Model) {
    let house = House::open(model, &["-q", "--grace", "60s"]);
    let mut socket = slow_socket(&house);
    socket.write_all(keeping("/20m.bin").as_bytes()).unwrap();
    let mut output = vec![0; 1000];
    socket.read_exact(&mut output).unwrap();
    house.server.signal(nix::sys::signal::SIGTERM);
    eventually("nobody listens", || TcpStream::connect(("127.0.0.1", house.server.port)).is_err());
    socket.read_to_end(&mut output).unwrap();
    assert!(answers(&output, &["GET"])[0].body == large().0);
    assert_eq!(house.server.wait().0, Some(0));
}

fn an_answer_cut_off_by_the_end_of_the_grace_is_logged(model: Model) {
    let house = House::open(model, &["--grace", "100ms"]);
    let mut socket = slow_socket(&house);
    socket.write_all(keeping("/20m.bin").as_bytes()).unwrap();
    socket.read_exact(&mut [0; 1000]).unwrap();
    house.server.signal(nix::sys::signal::SIGTERM);
    let (status, log, stderr) = house.server.wait();
    assert_eq!(status, Some(0), "{stderr}");
    let line = log.lines().next().unwrap_or_else(|| panic!("no line: {stderr}"));
    let bytes: usize = line.split(' ').nth(9).unwrap().parse().unwrap();
    assert!((1..large().0.len()).contains(&bytes), "{line}");
    let stats = counters(house.folder.path());
    assert_eq!((stats.clients_now, stats.closed[CloseReason::Stopping.index()]), (0, 1), "{stats:?}");
}

fn the_log_is_opened_again_while_a_client_fills_the_house(model: Model) {
    let place = tempfile::tempdir().unwrap();
    let (path, moved) = (place.path().join("log"), place.path().join("log.1"));
    let house = House::open(model, &["--log-file", path.to_str().unwrap(), "--max-connections", "1"]);
    let mut socket = house.connect();
    let mut ask = |path: &str| {
        socket.write_all(keeping(path).as_bytes()).unwrap();
        assert_eq!(read_answer(&mut socket).status, 200);
    };
    ask("/1k.txt?before");
    std::fs::rename(&path, &moved).unwrap();
    house.server.signal(nix::sys::signal::SIGHUP);
    eventually("the new file has a line", || {
        ask("/1k.txt?after");
        std::fs::read_to_string(&path).is_ok_and(|log| log.contains("?after "))
    });
    assert!(!std::fs::read_to_string(&path).unwrap().contains("?before "));
    drop(socket);
    house.close();
}
