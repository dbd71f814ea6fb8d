//! A closed-loop client: each of its connections asks again as soon as its answer is here. It spins over nonblocking
//! sockets, because a client that sleeps measures its own waking. Every answer is checked by status and length.
//!
//! Two system calls a request, where a client that waits in epoll(7) needs six: so that of the two on a machine of
//! two cores it is the server that is measured.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use memchr::memmem;

use super::serving::{LENGTH, PATH};

/// An answer that takes longer is a server that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Rounds without an answer between looks at the clock.
const LOOKS: u32 = 1 << 16;

/// What is asked for.
pub(crate) struct Question<'a> {
    pub(crate) path: &'a str,
    /// Octets of the body that is right.
    pub(crate) length: usize,
    /// Requests sent together.
    pub(crate) depth: usize,
    /// Whether each request has a connection of its own.
    pub(crate) close: bool,
}

/// Connections that ask.
pub(crate) struct Asking {
    address: SocketAddr,
    connections: Vec<Connection>,
    /// As many requests as are sent together.
    requests: Vec<u8>,
    depth: u64,
    close: bool,
    /// Octets of all answers to them, heads and bodies; always the same.
    answers: usize,
    buffer: Vec<u8>,
}

struct Connection {
    socket: TcpStream,
    waits: bool,
    asked_at: Instant,
    got: usize,
}

/// What [`Asking::ask_for`] has seen.
pub(crate) struct Asked {
    pub(crate) requests: u64,
    pub(crate) octets: u64,
    pub(crate) took: Duration,
    /// Nanoseconds from sending, or connecting, to the last octet of what was sent together.
    pub(crate) latencies: Histogram<u64>,
    /// Connections that the server ended between two answers; they were made anew.
    pub(crate) reconnected: u64,
}

impl Asking {
    /// Connections that ask for [`PATH`], one request at a time.
    pub(crate) fn connect(address: SocketAddr, connections: usize) -> io::Result<Self> {
        Self::with(address, connections, &Question { path: PATH, length: LENGTH, depth: 1, close: false })
    }

    /// Connects, and asks once on each connection, so that all are known and warm.
    pub(crate) fn with(address: SocketAddr, connections: usize, question: &Question<'_>) -> io::Result<Self> {
        let Question { path, length, depth, close } = *question;
        let last = if close { "Connection: close\r\n" } else { "" };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: bench\r\nAccept: */*\r\n{last}\r\n"
        );
        let mut asking = Self {
            address,
            connections: Vec::new(),
            requests: request.repeat(depth).into_bytes(),
            depth: depth as u64,
            close,
            answers: 0,
            buffer: vec![0; 64 * 1024],
        };
        for _ in 0..connections {
            let mut connection = Connection::open(address)?;
            connection.socket.write_all(request.as_bytes())?;
            asking.answers = read_answer(&mut connection.socket, length)? * depth;
            connection.socket.set_nonblocking(true)?;
            asking.connections.push(connection);
        }
        Ok(asking)
    }

    /// Asks for so long. An error: the server ended a connection in the middle of an answer, or lets nobody in.
    ///
    /// Panics if an answer is wrong or does not come.
    pub(crate) fn ask_for(&mut self, time: Duration) -> io::Result<Asked> {
        let latencies = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds");
        let mut asked = Asked { requests: 0, octets: 0, took: time, latencies, reconnected: 0 };
        let start = Instant::now();
        let mut last_answer = start;
        loop {
            let now = Instant::now();
            if now >= start + time {
                asked.took = now - start;
                return Ok(asked);
            }
            assert!(now < last_answer + PATIENCE, "no answer within {PATIENCE:?}");
            for connection in &mut self.connections {
                if connection.waits {
                    match connection.read(&mut self.buffer, self.answers) {
                        Ok(false) => continue,
                        Ok(true) => {
                            last_answer = Instant::now();
                            asked.requests += self.depth;
                            asked.octets += self.answers as u64;
                            asked
                                .latencies
                                .saturating_record((last_answer - connection.asked_at).as_nanos() as u64);
                        }
                        // Some servers let no connection have more than so many requests.
                        Err(error)
                            if !self.close
                                && connection.got == 0
                                && error.kind() == ErrorKind::UnexpectedEof =>
                        {
                            asked.reconnected += 1;
                            *connection = Connection::open(self.address)?;
                            connection.socket.set_nonblocking(true)?;
                        }
                        Err(error) => return Err(error),
                    }
                }
                // Not `now`: with many connections that is a whole round ago.
                connection.asked_at = Instant::now();
                if self.close {
                    // The kernel does it all in this call: on a loopback it need not wait for the other end.
                    connection.socket = TcpStream::connect(self.address)?;
                    connection.socket.set_nonblocking(true)?;
                }
                connection.waits = true;
                connection.socket.write_all(&self.requests)?;
            }
        }
    }

    /// So many requests; returns the time from the first to the last octet.
    ///
    /// Panics if an answer is wrong or does not come: then there is nothing to measure.
    pub(crate) fn ask(&mut self, requests: u64) -> Duration {
        let (mut asked, mut answered) = (0, 0);
        let mut fruitless = 0u32;
        let mut silent_since = None;
        let start = Instant::now();
        while answered < requests {
            fruitless += 1;
            for connection in &mut self.connections {
                if connection.waits
                    && connection
                        .read(&mut self.buffer, self.answers)
                        .expect("the server keeps the connection")
                {
                    connection.waits = false;
                    answered += self.depth;
                }
                if !connection.waits && asked < requests {
                    connection.socket.write_all(&self.requests).expect("a request fits into an empty socket");
                    connection.waits = true;
                    asked += self.depth;
                    fruitless = 0;
                    silent_since = None;
                }
            }
            if fruitless >= LOOKS {
                fruitless = 0;
                let since = *silent_since.get_or_insert_with(Instant::now);
                assert!(since.elapsed() < PATIENCE, "no answer within {PATIENCE:?}");
            }
        }
        start.elapsed()
    }
}

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, waits: false, asked_at: Instant::now(), got: 0 })
    }

    /// One attempt; true if it completes the answers.
    fn read(&mut self, buffer: &mut [u8], answers: usize) -> io::Result<bool> {
        match self.socket.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                if self.got == 0 {
                    assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", buffer[..n].escape_ascii());
                }
                self.got += n;
                if self.got > answers {
                    // The last of those that this connection may have says so in its head.
                    let is_last = memmem::find(&buffer[..n], b"onnection: close\r\n").is_some();
                    assert!(is_last, "more than an answer came: {}", buffer[..n.min(300)].escape_ascii());
                    self.got = 0;
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        let whole = self.got == answers;
        if whole {
            self.got = 0;
        }
        Ok(whole)
    }
}

/// Reads one answer, checks it, and says how long it is.
fn read_answer(socket: &mut TcpStream, expected: usize) -> io::Result<usize> {
    let wrong = |bytes: &[u8]| {
        io::Error::other(format!("wrong answer: {}", bytes[..bytes.len().min(300)].escape_ascii()))
    };
    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let n = socket.read(&mut piece)?;
        bytes.extend_from_slice(&piece[..n]);
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(head) = head
            && bytes.len() >= head + 4 + expected
        {
            let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
            let length = format!("\r\ncontent-length: {expected}");
            let right = text.starts_with("http/1.1 200") && text.contains(&length);
            return if right && bytes.len() == head + 4 + expected {
                Ok(bytes.len())
            } else {
                Err(wrong(&bytes))
            };
        }
        if n == 0 {
            return Err(wrong(&bytes));
        }
    }
}
