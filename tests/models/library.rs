//! The same `serve` inside the test's process, with short limits and a service made up.

use std::fs::File;
use std::sync::{Arc, RwLockWriteGuard};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use wouldblock::access_log::AccessLog;
use wouldblock::config::Config;
use wouldblock::http::Limits;
use wouldblock::idle::IdleStrategy;
use wouldblock::net::{Address, Listener, Worker};
use wouldblock::server::{Server, serve};
use wouldblock::signals::Signals;

use super::*;
use crate::common::{Echo, no_crowd};

for_models! {
    [nonblocking = Nonblocking, blocking = Blocking, thread = Thread, coroutine = Coroutine,
     select = Select, poll = Poll, epoll = Epoll, epoll_et = EpollEt]
    [
        a_silent_client_is_closed_when_its_time_is_up_and_not_before,
        half_a_request_is_answered_408_when_its_time_is_up,
        a_service_that_would_block_is_asked_again,
        the_grace_ends_for_a_client_that_takes_nothing,
    ]
}

for_models! {
    [nonblocking = Nonblocking, thread = Thread, coroutine = Coroutine,
     select = Select, poll = Poll, epoll = Epoll, epoll_et = EpollEt]
    [no_more_than_the_limit_of_connections_are_let_in]
}

for_models! {
    [nonblocking = Nonblocking, blocking = Blocking, coroutine = Coroutine,
     select = Select, poll = Poll, epoll = Epoll, epoll_et = EpollEt]
    [a_log_whose_reader_was_slow_is_written_although_nothing_else_happens]
}

/// A server on a thread of this process.
struct Inside {
    port: u16,
    signals: Arc<Signals>,
    thread: std::thread::JoinHandle<std::io::Result<Stats>>,
    _no_crowd: Option<RwLockWriteGuard<'static, ()>>,
}

impl Inside {
    fn open(config: Config) -> Self {
        Self::logging(config, AccessLog::off())
    }

    fn logging(config: Config, log: AccessLog) -> Self {
        let no_crowd = (config.model == Model::Select).then(no_crowd);
        let listener = Listener::bind(&[Address::Ip(([127, 0, 0, 1], 0).into())]).unwrap();
        let [Address::Ip(address)] = listener.addresses()[..] else { panic!("one address was bound") };
        let signals = Arc::new(Signals::none().unwrap());
        let worker = Worker::new(Box::new(Echo::default()), config.limits.clone(), log);
        let thread = std::thread::spawn({
            let signals = signals.clone();
            move || serve(listener, worker, &config, &signals)
        });
        Self { port: address.port(), signals, thread, _no_crowd: no_crowd }
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.set_read_timeout(Some(IN_VAIN)).unwrap();
        socket
    }

    fn close(self) -> Stats {
        self.signals.request_stop();
        self.thread.join().unwrap().unwrap()
    }
}

fn config(model: Model) -> Config {
    Config { model, ..Config::default() }
}

fn a_silent_client_is_closed_when_its_time_is_up_and_not_before(model: Model) {
    let idle = Duration::from_millis(300);
    let limits = Limits { idle_timeout: idle, ..Limits::default() };
    let server = Inside::open(Config { limits, ..config(model) });
    let mut socket = server.connect();
    let start = Instant::now();
    assert_eq!(socket.read(&mut [0; 10]).unwrap(), 0);
    assert!(start.elapsed() >= idle - Duration::from_millis(20), "{:?}", start.elapsed());
    // Silence before a request is none after it: the time starts anew with each answer.
    let mut socket = server.connect();
    for _ in 0..2 {
        std::thread::sleep(idle / 2);
        socket.write_all(keeping("/").as_bytes()).unwrap();
        read_answer(&mut socket);
    }
    let start = Instant::now();
    assert_eq!(socket.read(&mut [0; 10]).unwrap(), 0);
    assert!(start.elapsed() >= idle - Duration::from_millis(20), "{:?}", start.elapsed());
    let stats = server.close();
    assert_eq!(stats.closed[4], 2, "idle timeouts");
    assert_eq!(stats.clients_now, 0);
}

fn half_a_request_is_answered_408_when_its_time_is_up(model: Model) {
    let limits = Limits { header_timeout: Duration::from_millis(200), ..Limits::default() };
    let server = Inside::open(Config { limits, ..config(model) });
    let mut socket = server.connect();
    socket.write_all(b"GET / HTTP/1.1\r\nHost").unwrap();
    let mut output = Vec::new();
    socket.read_to_end(&mut output).unwrap();
    assert_eq!(answers(&output, &["GET"])[0].status, 408);
    drop(socket);
    assert_eq!(server.close().clients_now, 0);
}

fn a_service_that_would_block_is_asked_again(model: Model) {
    let server = Inside::open(config(model));
    let mut socket = server.connect();
    for _ in 0..3 {
        socket.write_all(keeping("/later/5").as_bytes()).unwrap();
        assert_eq!(read_answer(&mut socket).status, 200);
    }
    drop(socket);
    assert_eq!(server.close().requests(), 3);
}

fn the_grace_ends_for_a_client_that_takes_nothing(model: Model) {
    let server = Inside::open(Config { grace: Duration::from_millis(200), ..config(model) });
    let mut socket = server.connect();
    socket.write_all(keeping("/size/50000000").as_bytes()).unwrap();
    socket.read_exact(&mut [0; 1000]).unwrap();
    let stats = server.close();
    assert_eq!((stats.clients_now, stats.clients_total), (0, 1));
    assert_eq!(stats.closed[7], 1, "stopping");
}

fn no_more_than_the_limit_of_connections_are_let_in(model: Model) {
    let server = Inside::open(Config { max_connections: 3, ..config(model) });
    let mut inside: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for socket in &mut inside {
        socket.write_all(keeping("/").as_bytes()).unwrap();
        read_answer(socket);
    }
    let mut outside = server.connect();
    outside.write_all(keeping("/").as_bytes()).unwrap();
    outside.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(outside.read(&mut [0; 1]).is_err(), "a fourth was let in");
    for socket in &mut inside {
        socket.write_all(keeping("/").as_bytes()).unwrap();
        read_answer(socket);
    }
    inside.pop();
    outside.set_read_timeout(Some(IN_VAIN)).unwrap();
    assert_eq!(read_answer(&mut outside).status, 200);
    drop((inside, outside));
    let stats = server.close();
    assert_eq!((stats.clients_peak, stats.clients_total, stats.clients_now), (3, 4, 0));
    assert!(stats.waits < 500, "{} waits: the queue must not keep the loop awake", stats.waits);
}

fn a_log_whose_reader_was_slow_is_written_although_nothing_else_happens(model: Model) {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_NONBLOCK).unwrap();
    let (mut reader, mut writer) = (File::from(reader), File::from(writer));
    while writer.write(&[b'.'; 4096]).is_ok() {}
    let server =
        Inside::logging(Config { idle: IdleStrategy::Park, ..config(model) }, AccessLog::to_file(writer));
    let mut socket = server.connect();
    socket.write_all(closing("/size/10").as_bytes()).unwrap();
    socket.read_to_end(&mut Vec::new()).unwrap();
    std::thread::sleep(Duration::from_millis(100)); // by now it most likely sleeps, with the line unwritten
    let mut seen = Vec::new();
    eventually("the line", || {
        let _ = reader.read_to_end(&mut seen); // ends when nothing is there
        seen.ends_with(b"\n")
    });
    assert!(String::from_utf8_lossy(&seen).contains("GET /size/10 "));
    server.close();
}

#[test]
fn process_refuses_to_fork_a_program_with_threads() {
    let listener = Listener::bind(&[Address::Ip(([127, 0, 0, 1], 0).into())]).unwrap();
    let worker = Worker::new(Box::new(Echo::default()), Limits::default(), AccessLog::off());
    let signals = Signals::none().unwrap();
    // The test runner has at least one thread besides this one.
    let outcome = serve(listener, worker, &config(Model::Process), &signals);
    assert!(outcome.is_err_and(|error| error.to_string().contains("threads")));
}

#[test]
fn the_grace_ends_for_a_client_that_takes_nothing_while_the_loop_is_parked() {
    // The client's own deadlines are so far away that whoever waits for them waits in vain.
    let far = Duration::from_secs(3600);
    let limits = Limits { write_timeout: far, min_rate: 0, ..Limits::default() };
    let grace = Duration::from_millis(200);
    let server =
        Inside::open(Config { limits, grace, idle: IdleStrategy::Park, ..config(Model::Nonblocking) });
    let mut socket = server.connect();
    socket.write_all(keeping("/size/50000000").as_bytes()).unwrap();
    socket.read_exact(&mut [0; 1000]).unwrap();
    std::thread::sleep(Duration::from_millis(100)); // by now it most likely sleeps
    server.signals.request_stop();
    eventually("the end of the grace", || server.thread.is_finished());
    assert_eq!(server.close().closed[7], 1, "stopping");
}

#[test]
fn a_reload_during_the_grace_does_not_keep_the_alarm_ringing() {
    let listener = Listener::bind(&[Address::Ip(([127, 0, 0, 1], 0).into())]).unwrap();
    let worker = Worker::new(Box::new(Echo::default()), Limits::default(), AccessLog::off());
    let signals = Signals::none().unwrap();
    let mut server = Server::new(listener, worker, &Config::default(), &signals);
    let rings = || {
        let mut alarm = [PollFd::new(signals.alarm(), PollFlags::POLLIN)];
        poll(&mut alarm, PollTimeout::ZERO).unwrap() > 0
    };
    signals.request_stop();
    assert!(rings());
    server.stop(Instant::now());
    signals.request_reload();
    assert!(rings(), "it wakes the loop, which reads again what is to be read");
    server.sweep(Instant::now());
    assert!(!rings(), "what was heeded wakes nobody any more");
}
