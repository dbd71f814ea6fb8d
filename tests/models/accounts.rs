//! What the report, the log and /proc say afterwards.

use super::*;

for_models! {
    [nonblocking = Nonblocking, blocking = Blocking, process = Process, thread = Thread, coroutine = Coroutine,
     select = Select, poll = Poll, epoll = Epoll, epoll_et = EpollEt]
    [
        nothing_is_left_of_clients_that_are_gone,
        every_answer_is_one_whole_line_of_the_log,
        the_report_counts_the_calls_of_the_model,
    ]
}

for_models! {
    [blocking = Blocking, process = Process, thread = Thread, coroutine = Coroutine,
     select = Select, poll = Poll, epoll = Epoll, epoll_et = EpollEt]
    [a_house_of_silent_clients_sleeps]
}

for_models! {
    [nonblocking = Nonblocking, thread = Thread, coroutine = Coroutine,
     select = Select, poll = Poll, epoll = Epoll, epoll_et = EpollEt]
    [
        newcomers_wait_while_no_descriptor_is_free,
        a_silent_crowd_leaves_descriptors_for_files,
    ]
}

/// No descriptor, no thread, no zombie.
fn nothing_is_left_of_clients_that_are_gone(model: Model) {
    let house = House::open(model, &["-q"]);
    let pid = house.server.pid();
    assert_eq!(house.get("/1k.txt").status, 200); // whatever is opened once is open now
    eventually("the first client is gone", || children(pid).is_empty() && threads(pid) == 1);
    let before = descriptors(pid);
    for _ in 0..5 {
        let mut sockets: Vec<_> = (0..20).map(|_| house.connect()).collect();
        for socket in &mut sockets {
            socket.write_all(closing("/1k.txt").as_bytes()).unwrap();
        }
        for socket in &mut sockets {
            socket.read_to_end(&mut Vec::new()).unwrap();
        }
    }
    eventually("descriptors back to where they were", || descriptors(pid) == before);
    eventually("one thread, no children, zombies included", || threads(pid) == 1 && children(pid).is_empty());
    let (stats, _, _) = house.close();
    assert_eq!((stats.clients_total, stats.clients_now), (101, 0));
    assert_eq!(stats.closed.iter().sum::<u64>(), 101);
}

fn every_answer_is_one_whole_line_of_the_log(model: Model) {
    let house = House::open(model, &[]);
    let port = house.server.port;
    let clients: Vec<_> = (0..30)
        .map(|client| {
            std::thread::spawn(move || {
                let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
                // Together, so that several lines are written at once.
                let path = format!("/{client}-{}", "x".repeat(100));
                let requests = [keeping(&path), keeping(&path), keeping(&path), closing(&path)].concat();
                socket.write_all(requests.as_bytes()).unwrap();
                socket.read_to_end(&mut Vec::new()).unwrap();
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let (stats, log, _) = house.close();
    assert_eq!((stats.requests(), stats.log_lines_dropped), (120, 0));
    let mut counts = vec![0; 30];
    for line in log.lines() {
        let (client, rest) =
            line.split_once("\"GET /").and_then(|(_, rest)| rest.split_once('-')).expect("a request");
        assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
        assert!(rest.starts_with(&format!("{} HTTP/1.1\" 404 ", "x".repeat(100))), "{line}");
        assert!(line.ends_with(" \"-\" \"-\""), "{line}");
        counts[client.parse::<usize>().unwrap()] += 1;
    }
    assert_eq!(counts, vec![4; 30]);
}

fn the_report_counts_the_calls_of_the_model(model: Model) {
    let house = House::open(model, &["-q"]);
    let mut socket = house.connect();
    for _ in 0..50 {
        socket.write_all(keeping("/1k.txt").as_bytes()).unwrap();
        read_answer(&mut socket);
    }
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(socket.read(&mut [0; 10]).unwrap(), 0);
    let (stats, _, stderr) = house.close();
    assert!(stderr.contains("requests   50 "), "{stderr}");
    assert_eq!(stats.requests(), 50);
    assert_eq!(stats.writes - stats.write_would_blocks, 50, "each answer leaves in one write");
    // One read for each request, and one that finds the end.
    assert_eq!(stats.reads - stats.read_would_blocks, 51);
    match model {
        Model::Nonblocking => assert!(stats.sweeps > 0),
        // These ask once for each request.
        Model::Select | Model::Poll | Model::Epoll => {
            assert!(stats.waits >= 50 && stats.read_would_blocks < 5)
        }
        // These read until that would block; a quick client has sent the next request by then.
        Model::EpollEt | Model::Coroutine => assert!(stats.waits > 0),
        // These ask for newcomers only. The kernel waits inside the read.
        _ => assert!(stats.waits < 10 && stats.read_would_blocks < 5, "{stderr}"),
    }
    match model {
        Model::Epoll => assert_eq!(stats.watches, 1, "registered once, never changed"),
        Model::EpollEt => assert_eq!(stats.watches, 1),
        Model::Coroutine => assert_eq!(stats.watches, 2),
        _ => assert_eq!(stats.watches, 0),
    }
}

/// Whoever is told instead of asking has nothing to do while nothing happens.
fn a_house_of_silent_clients_sleeps(model: Model) {
    let house = House::open(model, &["-q"]);
    let mut silent: Vec<_> = (0..20).map(|_| house.connect()).collect();
    if model != Model::Blocking {
        for socket in &mut silent {
            socket.write_all(keeping("/").as_bytes()).unwrap();
            read_answer(socket);
        }
    }
    std::thread::sleep(Duration::from_millis(1500));
    let (stats, _, _) = house.close();
    // Some for each newcomer and request; the models that block look up once a second.
    assert!(stats.waits < 250, "{} waits", stats.waits);
    assert!(stats.attempts() < 300, "{} attempts", stats.attempts());
}

fn newcomers_wait_while_no_descriptor_is_free(model: Model) {
    let house = House::open(model, &["-q"]);
    limit_descriptors(house.server.pid(), 60);
    let first: Vec<_> = (0..80).map(|_| house.connect()).collect();
    let mut last = house.connect(); // accepted by the kernel, not by the server
    last.write_all(closing("/1k.txt").as_bytes()).unwrap();
    last.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let early = last.read(&mut [0; 1]);
    assert!(early.is_err(), "answered although there were more clients than descriptors: {early:?}");
    drop(first);
    last.set_read_timeout(Some(IN_VAIN)).unwrap();
    let mut output = Vec::new();
    last.read_to_end(&mut output).unwrap();
    // Those who came in with him may hold the last descriptors, and then there is none for the file.
    assert!([200, 503].contains(&answers(&output, &["GET"])[0].status));
    eventually("all is well again", || house.get("/1k.txt").status == 200);
    let (stats, _, stderr) = house.close();
    assert!(stats.accept_pauses > 0);
    assert_eq!(stats.clients_now, 0);
    assert!(stderr.contains("accepting pauses"), "{stderr}");
    assert!(stats.waits < 2000, "{} waits: the queue must not keep the loop awake", stats.waits);
}

/// A server that may have so many descriptors from the start.
fn with_descriptors(model: Model, count: u32) -> House {
    House::open_with(model, &["-q"], |command| {
        let program = command.get_program().to_owned();
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        *command = Command::new("sh");
        let script = format!("ulimit -n {count}; exec \"$0\" \"$@\"");
        command.args(["-c", &script]).arg(program).args(arguments);
    })
}

fn a_silent_crowd_leaves_descriptors_for_files(model: Model) {
    let house = with_descriptors(model, 64);
    let mut first = house.connect();
    let mut ask = |path: &str| {
        first.write_all(keeping(path).as_bytes()).unwrap();
        read_answer(&mut first).status
    };
    assert_eq!(ask("/1k.txt"), 200);
    let crowd: Vec<_> = (0..100).map(|_| house.connect()).collect();
    eventually("as many are inside as may be", || {
        assert_eq!(ask("/1k.txt"), 200);
        descriptors(house.server.pid()) >= 48
    });
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(50));
        for (path, status) in [("/200k.bin", 200), ("/sub/", 200), ("/20m.bin", 200), ("/nothing", 404)] {
            assert_eq!(ask(path), status, "{path}");
        }
    }
    drop(crowd);
    eventually("there is room for others", || house.get("/1k.txt").status == 200);
    let (stats, _, stderr) = house.close();
    assert_eq!((stats.clients_now, stats.accept_pauses), (0, 0), "{stderr}");
}
