//! The load client: one thread, nonblocking sockets, every answer checked.
//!
//! Open loop for latency: requests are due at times planned beforehand and are counted from then, whether or not the
//! server was ready for them. Closed loop for throughput: each connection asks again as soon as it is answered. The
//! client never sleeps while it measures, or it would measure its own timer slack; it spins, on a core of its own.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Bytes of an answer beyond its body that a connection has room for; every common server's head is far smaller.
const HEAD_ROOM: usize = 4096;

/// How long the client waits without a single answer before it says that there is none. Longer than the retry
/// of a lost SYN (1 s), so that a full accept queue shows as latency and not as a failure.
pub const PATIENCE: Duration = Duration::from_millis(1500);

/// Nanoseconds, from 1 ns to a minute, to three digits.
pub type Latencies = Histogram<u64>;

/// An empty histogram of the one shape that is used here.
pub fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, 60_000_000_000, 3)
        .unwrap_or_else(|_| unreachable!("constant, valid bounds"))
}

/// Whom to ask, what, and what the one right answer is.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where the server listens.
    pub address: SocketAddr,
    /// The whole request, sent each time.
    pub request: Vec<u8>,
    /// The body that the answer must have, byte for byte.
    pub body: Vec<u8>,
}

impl Target {
    /// A GET for `path` that is kept alive.
    pub fn get(address: SocketAddr, path: &str, body: Vec<u8>) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes();
        Self { address, request, body }
    }
}

/// Why a phase could not be measured.
#[derive(Debug)]
pub enum Failure {
    /// Not one answer for [`PATIENCE`] although some were owed.
    NoAnswer,
    /// An answer that is not the right one: a fast wrong server is not a result.
    WrongAnswer(String),
    /// The connection failed.
    Io(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => write!(f, "no answer within {} s", PATIENCE.as_secs_f64()),
            Self::WrongAnswer(why) => write!(f, "wrong answer: {why}"),
            Self::Io(error) => write!(f, "connection failed: {error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn wrong<T>(why: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::WrongAnswer(why.into()))
}

/// What an open-loop phase saw.
pub struct OpenLoop {
    /// From the planned send time to the last byte of the answer.
    pub planned: Latencies,
    /// From the actual send: the flattering way to count, kept to show the difference.
    pub sent: Latencies,
    /// Requests that were due.
    pub due: u64,
    /// Of these, answered before the client stopped waiting; fewer than `due` means that the rate was too high.
    pub answered: u64,
    /// From the start to the last answer.
    pub took: Duration,
}

/// What a closed-loop phase saw.
pub struct ClosedLoop {
    /// Answers within `took`.
    pub answered: u64,
    /// How long was counted.
    pub took: Duration,
}

/// The client with its active connections.
pub struct Client {
    target: Target,
    connections: Vec<Connection>,
    /// All right answers so far: to be compared with what the server says it gave.
    answers: u64,
}

impl Client {
    /// Connects `active` connections, one after the other.
    pub fn connect(target: Target, active: usize) -> Result<Self, Failure> {
        let connections = (0..active).map(|_| Connection::open(&target)).collect::<Result<_, _>>()?;
        Ok(Self { target, connections, answers: 0 })
    }

    /// All right answers since it was connected.
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// One request on the first connection, so that the server has surely taken all connections that came before.
    pub fn probe(&mut self) -> Result<(), Failure> {
        let Some(connection) = self.connections.first_mut() else { return Ok(()) };
        connection.ask(&self.target)?;
        let start = Instant::now();
        while !connection.attempt(&self.target)? {
            if start.elapsed() > PATIENCE {
                return Err(Failure::NoAnswer);
            }
        }
        self.answers += 1;
        Ok(())
    }

    /// Sends requests at the planned times, each on the connection that has been free longest, and waits `grace`
    /// beyond `span` for the rest of the answers.
    pub fn open_loop(
        &mut self,
        plan: &[Duration],
        span: Duration,
        grace: Duration,
    ) -> Result<OpenLoop, Failure> {
        let mut seen = OpenLoop {
            planned: latencies(),
            sent: latencies(),
            due: plan.len() as u64,
            answered: 0,
            took: span,
        };
        let start = Instant::now();
        let mut due = plan.iter().map(|offset| start + *offset).peekable();
        let mut free: VecDeque<usize> = (0..self.connections.len()).collect();
        let mut asked: Vec<usize> = Vec::with_capacity(free.len());
        let mut last_news = start;
        loop {
            let now = Instant::now();
            while due.peek().is_some_and(|planned| *planned <= now) {
                let Some(index) = free.pop_front() else { break };
                let (Some(planned), Some(connection)) = (due.next(), self.connections.get_mut(index)) else {
                    break;
                };
                connection.planned = planned;
                connection.ask(&self.target)?;
                if asked.is_empty() {
                    last_news = now; // nobody owed us anything until now
                }
                asked.push(index);
            }
            let mut i = 0;
            while let Some(&index) = asked.get(i) {
                let Some(connection) = self.connections.get_mut(index) else { break };
                if connection.attempt(&self.target)? {
                    let now = Instant::now();
                    record(&mut seen.planned, now - connection.planned);
                    record(&mut seen.sent, now - connection.sent);
                    seen.answered += 1;
                    last_news = now;
                    asked.swap_remove(i);
                    free.push_back(index);
                } else {
                    i += 1;
                }
            }
            let done = due.peek().is_none() && asked.is_empty();
            if done || now > start + span + grace {
                seen.took = now - start;
                break;
            }
            if !asked.is_empty() && now > last_news + PATIENCE {
                return Err(Failure::NoAnswer);
            }
        }
        self.answers += seen.answered;
        // What was never answered waited at least until now; leaving it out would flatter the server.
        let end = Instant::now();
        for planned in due.chain(asked.iter().filter_map(|&i| Some(self.connections.get(i)?.planned))) {
            record(&mut seen.planned, end.saturating_duration_since(planned));
        }
        self.finish(asked)?;
        Ok(seen)
    }

    /// Keeps every connection asking for `span`; what is answered later is waited for but not counted.
    pub fn closed_loop(&mut self, span: Duration) -> Result<ClosedLoop, Failure> {
        for connection in &mut self.connections {
            connection.ask(&self.target)?;
        }
        let start = Instant::now();
        let mut last_news = start;
        let mut answered = 0;
        let took = loop {
            let mut news = false;
            for connection in &mut self.connections {
                if connection.attempt(&self.target)? {
                    answered += 1;
                    news = true;
                    connection.ask(&self.target)?;
                }
            }
            let now = Instant::now();
            if now - start >= span {
                break now - start;
            }
            if news {
                last_news = now;
            } else if now > last_news + PATIENCE {
                return Err(Failure::NoAnswer);
            }
        };
        self.answers += answered;
        self.finish((0..self.connections.len()).collect())?;
        Ok(ClosedLoop { answered, took })
    }

    /// Takes the answers that are still owed, so that the next phase starts with nothing in flight.
    fn finish(&mut self, mut asked: Vec<usize>) -> Result<(), Failure> {
        let start = Instant::now();
        while !asked.is_empty() {
            let mut i = 0;
            while let Some(&index) = asked.get(i) {
                let Some(connection) = self.connections.get_mut(index) else { break };
                if connection.attempt(&self.target)? {
                    self.answers += 1;
                    asked.swap_remove(i);
                } else {
                    i += 1;
                }
            }
            if start.elapsed() > PATIENCE {
                return Err(Failure::NoAnswer);
            }
        }
        Ok(())
    }
}

fn record(histogram: &mut Latencies, latency: Duration) {
    // Longer than a minute counts as a minute; shorter than 1 ns does not happen.
    histogram.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).max(1));
}

/// One connection: at most one request under way.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    /// The head of the last right answer: the next one usually differs in nothing, and then needs no parsing.
    head: Vec<u8>,
    close: bool,
    /// Whether this connection has answered before; only then may the server have closed it in between.
    used: bool,
    planned: Instant,
    sent: Instant,
}

impl Connection {
    fn open(target: &Target) -> io::Result<Self> {
        let now = Instant::now();
        Ok(Self {
            stream: connect(target.address)?,
            buffer: vec![0; HEAD_ROOM + target.body.len()],
            filled: 0,
            head: Vec::new(),
            close: false,
            used: false,
            planned: now,
            sent: now,
        })
    }

    fn reopen(&mut self, target: &Target) -> io::Result<()> {
        self.stream = connect(target.address)?;
        self.filled = 0;
        self.close = false;
        self.used = false;
        Ok(())
    }

    /// Sends one request. It is far smaller than any send buffer, so a short write is an error.
    fn ask(&mut self, target: &Target) -> Result<(), Failure> {
        if self.close {
            self.reopen(target)?;
        }
        self.sent = Instant::now();
        match self.stream.write(&target.request) {
            Ok(n) if n == target.request.len() => Ok(()),
            Ok(_) => Err(io::Error::new(ErrorKind::WriteZero, "the send buffer is full").into()),
            Err(_) if self.used => {
                self.reopen(target)?;
                Ok(self.stream.write_all(&target.request)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// One attempt to read; true once the answer is there whole and is right.
    fn attempt(&mut self, target: &Target) -> Result<bool, Failure> {
        let Some(room) = self.buffer.get_mut(self.filled..).filter(|room| !room.is_empty()) else {
            return wrong(format!("more than {} bytes", self.buffer.len()));
        };
        match self.stream.read(room) {
            Ok(0) if self.used && self.filled == 0 => self.retry(target),
            Ok(0) => wrong(format!("closed after {} bytes of an answer", self.filled)),
            Ok(n) => {
                self.filled += n;
                self.judge(target)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
            Err(error) if self.used && self.filled == 0 && error.kind() == ErrorKind::ConnectionReset => {
                self.retry(target)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The server closed a kept connection just as the request was sent: ask again on a new one (RFC 9112 §9.5).
    fn retry(&mut self, target: &Target) -> Result<bool, Failure> {
        self.reopen(target)?;
        self.stream.write_all(&target.request)?;
        Ok(false)
    }

    fn judge(&mut self, target: &Target) -> Result<bool, Failure> {
        let Some(answer) = self.buffer.get(..self.filled) else { return Ok(false) };
        let body = match answer.strip_prefix(self.head.as_slice()) {
            Some(body) if !self.head.is_empty() => body,
            _ => {
                let Some(head) = Head::parse(answer)? else { return Ok(false) };
                if head.length != target.body.len() {
                    return wrong(format!(
                        "{} bytes announced instead of {}",
                        head.length,
                        target.body.len()
                    ));
                }
                let (head_bytes, body) = answer.split_at(head.size);
                self.close = head.close;
                // A head that says "close" must be parsed each time; only the usual one is remembered.
                self.head = if head.close { Vec::new() } else { head_bytes.to_vec() };
                body
            }
        };
        if body.len() < target.body.len() {
            return Ok(false);
        }
        if body != target.body {
            return wrong("another body than the file's");
        }
        self.filled = 0;
        self.used = true;
        Ok(true)
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What matters of an answer's head.
struct Head {
    size: usize,
    length: usize,
    close: bool,
}

impl Head {
    /// `None`: not whole yet.
    fn parse(answer: &[u8]) -> Result<Option<Self>, Failure> {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut fields);
        let size = match response.parse(answer) {
            Ok(httparse::Status::Complete(size)) => size,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return wrong(format!("not HTTP ({error})")),
        };
        if response.code != Some(200) {
            return wrong(format!("status {}", response.code.unwrap_or(0)));
        }
        let field = |name: &str| {
            let found = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
            found.and_then(|field| std::str::from_utf8(field.value).ok())
        };
        let Some(length) = field("content-length").and_then(|length| length.trim().parse().ok()) else {
            return wrong("no Content-Length");
        };
        let close = match field("connection") {
            Some(value) => value.to_ascii_lowercase().contains("close"),
            None => response.version == Some(0),
        };
        Ok(Some(Self { size, length, close }))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::compare::arrivals::Arrivals;

    const BODY: &[u8] = b"hello, sweep";

    /// A server on a thread that gives each connection to `serve`.
    fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || serve(stream));
            }
        });
        Target::get(address, "/", BODY.to_vec())
    }

    /// Reads one request; false at the end.
    fn request(stream: &mut TcpStream) -> bool {
        let mut seen = Vec::new();
        let mut byte = [0];
        while !seen.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => seen.push(byte[0]),
                _ => return false,
            }
        }
        true
    }

    fn answer(fields: &str, body: &[u8]) -> Vec<u8> {
        let mut answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{fields}\r\n", body.len()).into_bytes();
        answer.extend_from_slice(body);
        answer
    }

    #[test]
    fn every_planned_request_is_answered_and_counted_from_its_planned_time() {
        let target =
            server(|mut stream| while request(&mut stream) && stream.write_all(&answer("", BODY)).is_ok() {});
        let mut client = Client::connect(target, 3).unwrap();
        client.probe().unwrap();
        let span = Duration::from_millis(200);
        let plan = Arrivals::Periodic.plan(500.0, span, &mut fastrand::Rng::with_seed(7));
        let seen = client.open_loop(&plan, span, Duration::from_secs(5)).unwrap();
        assert_eq!(seen.due, plan.len() as u64);
        assert_eq!(seen.answered, seen.due);
        assert_eq!(seen.planned.len(), seen.due);
        assert_eq!(client.answers(), seen.due + 1);
        assert!(seen.planned.max() >= seen.sent.max());
    }

    #[test]
    fn a_stall_is_seen_from_the_planned_times_but_hardly_from_the_sent_ones() {
        // One connection, one stall of 100 ms: everything that was due meanwhile waited too.
        let count = Arc::new(AtomicUsize::new(0));
        let target = server(move |mut stream| {
            while request(&mut stream) {
                if count.fetch_add(1, Ordering::Relaxed) == 20 {
                    std::thread::sleep(Duration::from_millis(100));
                }
                if stream.write_all(&answer("", BODY)).is_err() {
                    break;
                }
            }
        });
        let mut client = Client::connect(target, 1).unwrap();
        let span = Duration::from_millis(200);
        let plan = Arrivals::Periodic.plan(1000.0, span, &mut fastrand::Rng::with_seed(7));
        let seen = client.open_loop(&plan, span, Duration::from_secs(5)).unwrap();
        let slow = |h: &Latencies| h.count_between(20_000_000, u64::MAX);
        assert!(slow(&seen.planned) > 3 * slow(&seen.sent), "{} {}", slow(&seen.planned), slow(&seen.sent));
        assert!(slow(&seen.sent) >= 1);
    }

    #[test]
    fn a_closed_loop_counts_answers() {
        let target =
            server(|mut stream| while request(&mut stream) && stream.write_all(&answer("", BODY)).is_ok() {});
        let mut client = Client::connect(target, 4).unwrap();
        let seen = client.closed_loop(Duration::from_millis(50)).unwrap();
        assert!(seen.answered > 0);
        assert!(client.answers() >= seen.answered);
        assert!(client.answers() <= seen.answered + 4);
    }

    #[test]
    fn an_answer_in_pieces_is_put_together() {
        let target = server(|mut stream| {
            stream.set_nodelay(true).unwrap();
            while request(&mut stream) {
                for byte in answer("X-Piece: yes\r\n", BODY) {
                    if stream.write_all(&[byte]).is_err() {
                        return;
                    }
                }
            }
        });
        let mut client = Client::connect(target, 1).unwrap();
        client.probe().unwrap();
        client.probe().unwrap();
        assert_eq!(client.answers(), 2);
    }

    #[test]
    fn a_server_that_closes_is_connected_to_again() {
        let with_notice = server(|mut stream| {
            request(&mut stream);
            let _ = stream.write_all(&answer("Connection: close\r\n", BODY));
        });
        let without_notice = server(|mut stream| {
            request(&mut stream);
            let _ = stream.write_all(&answer("", BODY));
        });
        for target in [with_notice, without_notice] {
            let mut client = Client::connect(target, 1).unwrap();
            for _ in 0..5 {
                client.probe().unwrap();
            }
            assert_eq!(client.answers(), 5);
        }
    }

    #[test]
    fn wrong_answers_are_failures_and_say_what_is_wrong() {
        let cases: [(&[u8], &str); 6] = [
            (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "status 404"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "3 bytes announced"),
            (b"HTTP/1.1 200 OK\r\n\r\n", "no Content-Length"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello, sweeq", "another body"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello, sweep!", "another body"),
            (b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
        ];
        for (bytes, what) in cases {
            let target = server(move |mut stream| {
                request(&mut stream);
                let _ = stream.write_all(bytes);
                let _ = stream.read(&mut [0]);
            });
            let failure = Client::connect(target, 1).unwrap().probe().unwrap_err().to_string();
            assert!(failure.contains(what), "{failure} should say {what}");
        }
    }

    #[test]
    fn silence_is_a_failure_and_not_a_hang() {
        let target = server(|mut stream| while request(&mut stream) {});
        let mut client = Client::connect(target, 1).unwrap();
        assert!(matches!(client.closed_loop(Duration::from_secs(60)), Err(Failure::NoAnswer)));
    }

    #[test]
    fn more_than_the_server_can_do_is_reported_as_unanswered_and_still_counted_as_slow() {
        let target = server(|mut stream| {
            while request(&mut stream) {
                std::thread::sleep(Duration::from_millis(10));
                if stream.write_all(&answer("", BODY)).is_err() {
                    break;
                }
            }
        });
        let mut client = Client::connect(target, 1).unwrap();
        let span = Duration::from_millis(100);
        let plan = Arrivals::Periodic.plan(1000.0, span, &mut fastrand::Rng::with_seed(7));
        let seen = client.open_loop(&plan, span, Duration::ZERO).unwrap();
        assert!(seen.answered < seen.due);
        assert_eq!(seen.planned.len(), seen.due, "unanswered requests are in the histogram too");
        assert_eq!(seen.sent.len(), seen.answered);
    }
}
