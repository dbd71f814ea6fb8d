//! A closed-loop client: each of its connections asks again as soon as its answer is here. It spins over nonblocking
//! sockets, because a client that sleeps measures its own waking. Every answer is checked by status and length.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::serving::{LENGTH, PATH};

/// An answer that takes longer is a server that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Rounds without an answer between looks at the clock.
const LOOKS: u32 = 1 << 16;

/// Connections that ask for [`PATH`].
pub(crate) struct Asking {
    connections: Vec<Connection>,
    request: Vec<u8>,
    /// Octets of a whole answer, head and body; the same for all.
    answer: usize,
}

struct Connection {
    socket: TcpStream,
    waits: bool,
    got: usize,
}

impl Asking {
    /// Connects, and asks once on each connection, so that all are known and warm.
    pub(crate) fn connect(address: SocketAddr, connections: usize) -> io::Result<Self> {
        let request =
            format!("GET {PATH} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n");
        let mut asking = Self { connections: Vec::new(), request: request.into_bytes(), answer: 0 };
        for _ in 0..connections {
            let mut socket = TcpStream::connect_timeout(&address, PATIENCE)?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.write_all(&asking.request)?;
            asking.answer = read_answer(&mut socket)?;
            socket.set_nonblocking(true)?;
            asking.connections.push(Connection { socket, waits: false, got: 0 });
        }
        Ok(asking)
    }

    /// So many requests; returns the time from the first to the last octet.
    ///
    /// Panics if an answer is wrong or does not come: then there is nothing to measure.
    pub(crate) fn ask(&mut self, requests: u64) -> Duration {
        let mut buffer = [0; 16 * 1024];
        let (mut asked, mut answered) = (0, 0);
        let mut fruitless = 0u32;
        let mut silent_since = None;
        let start = Instant::now();
        while answered < requests {
            fruitless += 1;
            for connection in &mut self.connections {
                if connection.waits && connection.read(&mut buffer, self.answer) {
                    connection.waits = false;
                    answered += 1;
                }
                if !connection.waits && asked < requests {
                    connection.socket.write_all(&self.request).expect("a request fits into an empty socket");
                    connection.waits = true;
                    asked += 1;
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
    /// One attempt; true if it completes the answer.
    fn read(&mut self, buffer: &mut [u8], answer: usize) -> bool {
        match self.socket.read(buffer) {
            Ok(n) => {
                assert!(n > 0, "the server closed the connection");
                if self.got == 0 {
                    assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", buffer[..n].escape_ascii());
                }
                self.got += n;
                assert!(self.got <= answer, "more than an answer came");
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("the connection broke: {error}"),
        }
        let whole = self.got == answer;
        if whole {
            self.got = 0;
        }
        whole
    }
}

/// Reads one answer, checks it, and says how long it is.
fn read_answer(socket: &mut TcpStream) -> io::Result<usize> {
    let wrong = |bytes: &[u8]| io::Error::other(format!("wrong answer: {}", bytes.escape_ascii()));
    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let n = socket.read(&mut piece)?;
        bytes.extend_from_slice(&piece[..n]);
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(head) = head
            && bytes.len() >= head + 4 + LENGTH
        {
            let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
            let length = format!("\r\ncontent-length: {LENGTH}");
            let right = text.starts_with("http/1.1 200") && text.contains(&length);
            return if right && bytes.len() == head + 4 + LENGTH {
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
