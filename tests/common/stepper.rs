//! The loop, stepped in the test's own thread by a clock that the test moves. Real sockets, no sleeping, no second
//! thread, no race for a port.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use wouldblock::access_log::AccessLog;
use wouldblock::config::{Config, Sweep};
use wouldblock::live::{Board, Live, Observer, Settings};
use wouldblock::net::{Address, Listener, Worker};
use wouldblock::server::Server;
use wouldblock::service::Service;
use wouldblock::signals::Signals;
use wouldblock::stats::Stats;

use super::Echo;

/// Sweeps after which a test gives up: loopback delivery is prompt, but not promised.
const PATIENCE: usize = 200_000;

fn bind() -> (Listener, SocketAddr) {
    let listener = Listener::bind(&[Address::Ip("127.0.0.1:0".parse().unwrap())]).unwrap();
    let Some(Address::Ip(address)) = listener.addresses().pop() else { panic!("bound to IP") };
    (listener, address)
}

pub(crate) const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

pub(crate) fn sweeping(sweep: Sweep) -> Config {
    Config { sweep, ..Config::default() }
}

/// Runs a scenario with both ways to sweep: what a client sees must not depend on it.
pub(crate) fn both(scenario: impl Fn(Stepper)) {
    for sweep in [Sweep::Full, Sweep::Hot] {
        scenario(Stepper::new(&sweeping(sweep)));
    }
}

pub(crate) struct Stepper {
    server: Server<'static>,
    now: Instant,
    address: SocketAddr,
}

impl Stepper {
    pub(crate) fn new(config: &Config) -> Self {
        Self::serving(config, Box::new(Echo::default()))
    }

    pub(crate) fn serving(config: &Config, service: Box<dyn Service + Send>) -> Self {
        let worker = Worker::new(service, config.limits.clone(), AccessLog::off());
        Self::with(config, worker, bind())
    }

    /// With the loop's board before the service, as for the chapter.
    pub(crate) fn live(config: &Config) -> Self {
        let (listener, address) = bind();
        let now = Instant::now();
        let board = Board::new(now, Settings { idle: config.idle, sweep: config.sweep, read_limit: None });
        let service = Live::new(Echo::default(), board.clone(), "nonblocking");
        let mut worker = Worker::new(Box::new(service), config.limits.clone(), AccessLog::off());
        worker.observer = Some(Observer::new(board, Some(address), now));
        Self::with(config, worker, (listener, address))
    }

    fn with(config: &Config, worker: Worker, (listener, address): (Listener, SocketAddr)) -> Self {
        static SIGNALS: OnceLock<Signals> = OnceLock::new();
        super::raise_descriptor_limit();
        // None ever comes, so all can share them; each of their own would leave descriptors behind.
        let signals = SIGNALS.get_or_init(|| Signals::none().unwrap());
        Self { server: Server::new(listener, worker, config, signals), now: Instant::now(), address }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// One sweep, a tenth of a millisecond later.
    pub(crate) fn sweep(&mut self) -> usize {
        self.pass(Duration::from_micros(100));
        self.server.sweep(self.now)
    }

    /// One sweep, with the clock as it stands.
    pub(crate) fn sweep_at_once(&mut self) -> usize {
        self.server.sweep(self.now)
    }

    /// Lets time go by.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Sweeps until this holds.
    #[track_caller]
    pub(crate) fn sweep_until(&mut self, mut holds: impl FnMut(&Server<'static>) -> bool) -> usize {
        for sweeps in 0..PATIENCE {
            if holds(&self.server) {
                return sweeps;
            }
            self.sweep();
        }
        panic!("not within {PATIENCE} sweeps; {:?}", self.server.stats());
    }

    /// Sweeps until there are so many clients.
    #[track_caller]
    pub(crate) fn sweep_until_clients(&mut self, count: usize) {
        self.sweep_until(|server| server.roster().len() == count);
    }

    /// Sweeps while reading from the socket until it has given `len` octets.
    #[track_caller]
    pub(crate) fn read_exact(&mut self, socket: &mut TcpStream, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..PATIENCE {
            self.sweep();
            if read_some(socket, &mut bytes, len) || bytes.len() == len {
                break;
            }
        }
        assert_eq!(bytes.len(), len, "{}", bytes.escape_ascii());
        bytes
    }

    /// Sweeps while reading from the socket until its end.
    #[track_caller]
    pub(crate) fn read_to_end(&mut self, socket: &mut TcpStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..PATIENCE {
            self.sweep();
            if read_some(socket, &mut bytes, usize::MAX) {
                return bytes;
            }
        }
        panic!("no end of file; so far {}", bytes.escape_ascii());
    }

    /// Sends a request and sweeps until its whole answer is here.
    #[track_caller]
    pub(crate) fn ask(&mut self, socket: &mut TcpStream, request: &str) -> super::Answer {
        socket.write_all(request.as_bytes()).unwrap();
        self.next_answer(socket)
    }

    /// Sweeps until a whole answer to a GET is here.
    #[track_caller]
    pub(crate) fn next_answer(&mut self, socket: &mut TcpStream) -> super::Answer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.read_exact(socket, 1));
        }
        let text = String::from_utf8(head.clone()).unwrap();
        let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        head.extend(self.read_exact(socket, length.parse().unwrap()));
        super::answers(&head, &["GET"]).remove(0)
    }

    pub(crate) const fn stats(&self) -> &Stats {
        self.server.stats()
    }

    pub(crate) const fn server(&self) -> &Server<'static> {
        &self.server
    }

    pub(crate) const fn server_mut(&mut self) -> &mut Server<'static> {
        &mut self.server
    }

    pub(crate) fn stop(&mut self) {
        self.server.stop(self.now);
    }
}

/// Reads what is there, up to `len` in all; true at the end of file.
fn read_some(socket: &mut TcpStream, bytes: &mut Vec<u8>, len: usize) -> bool {
    let mut piece = [0; 64 * 1024];
    while bytes.len() < len {
        let want = piece.len().min(len - bytes.len());
        match socket.read(&mut piece[..want]) {
            Ok(0) => return true,
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return true,
            Err(error) => panic!("{error}"),
        }
    }
    false
}
