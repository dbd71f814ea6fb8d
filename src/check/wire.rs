//! A small HTTP/1.1 client that never trusts the server: blocking sockets, a deadline on every operation.
//!
//! It shares nothing with the server's own parser, since an independent parser is the better judge. It is
//! *lenient* on purpose: it reads what a flawed server sends as far as that can be read and keeps the raw
//! octets, so that one flaw turns one rule red and not all of them. Judging is the business of the rules.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::answer::{Answer, BodyEnd, End, Head, head_end, parse_head};

/// The checker keeps no more than this of one body; the largest file it lays is smaller.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// How long to try to connect, at least: a SYN that finds the queue full is repeated after one second and again
/// after two more.
const CONNECT: Duration = Duration::from_millis(3500);
/// No more than this waits to be understood, whatever a server pours out.
const MAX_INBOX: usize = MAX_BODY + 1024 * 1024;
/// Most octets of a response head: no server needs more, and a server that never ends it must not fill memory.
pub(super) const MAX_HEAD: usize = 256 * 1024;
/// How much of each direction is kept for the report.
const KEPT: usize = 600;

/// What went over one connection, shortened, for the report.
#[derive(Debug, Default, Clone)]
pub(super) struct Exchange {
    pub(super) sent: Vec<u8>,
    pub(super) sent_total: usize,
    pub(super) came: Vec<u8>,
    pub(super) came_total: usize,
}

/// Shared between a connection and the rule that opened it.
pub(super) type Log = Arc<Mutex<Exchange>>;

fn note(log: &Log, bytes: &[u8], sent: bool) {
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    let log = &mut *log;
    let (kept, total) =
        if sent { (&mut log.sent, &mut log.sent_total) } else { (&mut log.came, &mut log.came_total) };
    let room = KEPT.saturating_sub(kept.len()).min(bytes.len());
    kept.extend_from_slice(&bytes[..room]);
    *total += bytes.len();
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lack {
    /// Nothing complete came in time and the connection is open.
    Silence(Duration),
    /// The connection ended before an answer's head was complete.
    Ended(End),
    /// Something came that cannot be read as HTTP.
    NotHttp,
    /// An answer began whose head is longer than [`MAX_HEAD`].
    LongHead,
    /// As [`Lack::NotHttp`], after a readable answer on the same connection: that one's end was wrong.
    Misframed,
    /// The rule's own time was over: says nothing about the server.
    OutOfTime,
}

/// What one attempt to read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pull {
    Data,
    Ended,
    Nothing,
}

/// One connection.
pub(super) struct Conn {
    stream: TcpStream,
    inbox: Vec<u8>,
    ended: Option<End>,
    /// Whether a head could be read on this connection already.
    spoke: bool,
    patience: Duration,
    /// How long a body that only the end of the connection can end may pause.
    lull: Duration,
    until: Instant,
    log: Log,
}

impl Conn {
    /// Connects, for `patience` or a little longer. Every later operation ends at `until`, and each wait for the server after `patience`.
    pub(super) fn open(addr: SocketAddr, patience: Duration, until: Instant, log: Log) -> io::Result<Self> {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let stream = TcpStream::connect_timeout(&addr, patience.max(CONNECT).min(left))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            inbox: Vec::new(),
            ended: None,
            spoke: false,
            patience,
            lull: patience,
            until,
            log,
        })
    }

    /// Waits no longer than this for the end of a body without length: for servers that are known not to end it.
    pub(super) fn shorten_lull(&mut self, lull: Duration) {
        self.lull = self.lull.min(lull);
    }

    /// Waits at least this long for each step, but not for the end of a body without length.
    pub(super) fn lengthen_patience(&mut self, patience: Duration) {
        self.patience = self.patience.max(patience);
    }

    /// Keeps the kernel from growing the receive buffer to megabytes, so that a reader who does not read is felt
    /// by the server. Not smaller, or reading the rest afterwards takes minutes.
    pub(super) fn shrink_receive_buffer(&self) {
        // Best effort: with a larger buffer the rule merely tests less.
        let _ = socket2::SockRef::from(&self.stream).set_recv_buffer_size(128 * 1024);
    }

    /// Sends everything, or as much as the server takes; reads meanwhile what it says, so that neither side
    /// waits for the other. Returns whether all of it was taken.
    pub(super) fn send(&mut self, bytes: &[u8]) -> bool {
        note(&self.log, bytes, true);
        let mut progress = Instant::now();
        let mut rest = bytes;
        while !rest.is_empty() {
            let _ = self.stream.set_write_timeout(Some(Duration::from_millis(50)));
            match self.stream.write(rest) {
                Ok(0) => return false,
                Ok(n) => {
                    rest = rest.get(n..).unwrap_or_default();
                    progress = Instant::now();
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    let given_up = Instant::now() >= self.until.min(progress + self.patience);
                    if given_up || self.pull(Instant::now() + Duration::from_millis(5)) == Pull::Ended {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
        true
    }

    /// Sends what fits without ever reading: for clients that do not read. Returns the octets taken.
    pub(super) fn send_unread(&mut self, bytes: &[u8], patience: Duration) -> usize {
        note(&self.log, bytes, true);
        let until = self.until.min(Instant::now() + patience);
        let mut sent = 0;
        while sent < bytes.len() {
            let _ = self.stream.set_write_timeout(Some(Duration::from_millis(50)));
            match self.stream.write(bytes.get(sent..).unwrap_or_default()) {
                Ok(n) => sent += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e)
                    if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
                        && Instant::now() < until => {}
                Err(_) => break,
            }
        }
        sent
    }

    /// One read into the inbox, waiting until `until` at most. Looks once even when that is over: if it was this
    /// process that got no time from a busy machine, what the server said meanwhile is there.
    pub(super) fn pull(&mut self, until: Instant) -> Pull {
        self.pull_at_most(until, 64 * 1024)
    }

    /// As [`Conn::pull`], at most `most` octets.
    pub(super) fn pull_at_most(&mut self, until: Instant, most: usize) -> Pull {
        if self.ended.is_some() {
            return Pull::Ended;
        }
        let until = until.min(self.until);
        let mut chunk = [0; 64 * 1024];
        let most = most.min(chunk.len());
        loop {
            if self.out_of_time() || self.inbox.len() > MAX_INBOX {
                return Pull::Nothing;
            }
            let left = until.saturating_duration_since(Instant::now());
            let _ = self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))));
            match self.stream.read(&mut chunk[..most]) {
                Ok(0) => {
                    self.ended = Some(End::Closed);
                    return Pull::Ended;
                }
                Ok(n) => {
                    note(&self.log, &chunk[..n], false);
                    self.inbox.extend_from_slice(&chunk[..n]);
                    return Pull::Data;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Pull::Nothing;
                }
                Err(_) => {
                    self.ended = Some(End::Reset);
                    return Pull::Ended;
                }
            }
        }
    }

    /// Octets received and not yet given to an answer.
    pub(super) fn unread(&self) -> &[u8] {
        &self.inbox
    }

    /// Reads the head of the final answer, past any 1xx: every client must be able to (RFC 9110 §15.2).
    pub(super) fn head(&mut self) -> Result<Head, Lack> {
        self.final_head().map(|(head, _)| head)
    }

    /// As [`Conn::head`], with the status codes of the 1xx that came before. A 101 is final: what follows it is no
    /// longer HTTP.
    fn final_head(&mut self) -> Result<(Head, Vec<u16>), Lack> {
        let mut interim = Vec::new();
        loop {
            let head = self.next_head()?;
            if !(100..200).contains(&head.status) || head.status == 101 {
                return Ok((head, interim));
            }
            interim.push(head.status);
            if interim.len() > 10 {
                return Err(Lack::NotHttp);
            }
        }
    }

    /// Reads one head, even of a 1xx.
    pub(super) fn next_head(&mut self) -> Result<Head, Lack> {
        self.next_head_within(self.patience)
    }

    /// As [`Conn::next_head`], with another patience.
    pub(super) fn next_head_within(&mut self, patience: Duration) -> Result<Head, Lack> {
        let begun = Instant::now();
        let mut seen = 0;
        loop {
            if let Some(end) = head_end(&self.inbox, seen) {
                let raw: Vec<u8> = self.inbox.drain(..end).collect();
                let head = parse_head(raw).ok_or_else(|| self.not_http());
                self.spoke = true;
                return head;
            }
            seen = self.inbox.len().saturating_sub(4);
            if self.inbox.len() > MAX_HEAD {
                let begun = self.inbox.starts_with(b"HTTP");
                return Err(if begun { Lack::LongHead } else { self.not_http() });
            }
            match self.pull(begun + patience) {
                Pull::Data => {}
                Pull::Ended if self.inbox.is_empty() => {
                    return Err(Lack::Ended(self.ended.unwrap_or(End::Closed)));
                }
                // A head without its blank line: readable or not, the connection ended inside it.
                Pull::Ended if self.inbox.starts_with(b"HTTP") => {
                    return Err(Lack::Ended(self.ended.unwrap_or(End::Closed)));
                }
                Pull::Ended => return Err(self.not_http()),
                Pull::Nothing if self.out_of_time() => return Err(Lack::OutOfTime),
                Pull::Nothing => return Err(Lack::Silence(begun.elapsed())),
            }
        }
    }

    fn not_http(&self) -> Lack {
        if self.spoke { Lack::Misframed } else { Lack::NotHttp }
    }

    /// Reads one whole answer, past any 1xx. `to_head` says that the request was a HEAD.
    pub(super) fn answer(&mut self, to_head: bool) -> Result<Answer, Lack> {
        let (head, interim) = self.final_head()?;
        let (body, end) = self.body(&head, to_head);
        Ok(Answer { head, body, end, interim })
    }

    /// Reads the body that belongs to `head` (RFC 9112 §6.3).
    pub(super) fn body(&mut self, head: &Head, to_head: bool) -> (Vec<u8>, BodyEnd) {
        if to_head || head.status < 200 || matches!(head.status, 204 | 304) {
            return (Vec::new(), BodyEnd::NoBody);
        }
        if head.has_token("transfer-encoding", "chunked") {
            return self.chunked();
        }
        match head.length() {
            Some(length) => {
                let length = usize::try_from(length).unwrap_or(MAX_BODY).min(MAX_BODY);
                let short = self.fill(length);
                let take = length.min(self.inbox.len());
                (self.inbox.drain(..take).collect(), short.unwrap_or(BodyEnd::Length))
            }
            None => loop {
                match self.pull(Instant::now() + self.lull) {
                    Pull::Data if self.inbox.len() < MAX_BODY => {}
                    Pull::Data | Pull::Nothing => return (std::mem::take(&mut self.inbox), self.waiting()),
                    // Even a reset: whether it came too early cannot be known without a length.
                    Pull::Ended => return (std::mem::take(&mut self.inbox), BodyEnd::Close),
                }
            },
        }
    }

    /// Waits until the inbox holds `n` octets. `None` when it does.
    fn fill(&mut self, n: usize) -> Option<BodyEnd> {
        while self.inbox.len() < n {
            match self.pull(Instant::now() + self.patience) {
                Pull::Data => {}
                Pull::Ended => return Some(BodyEnd::Cut(self.ended.unwrap_or(End::Closed))),
                Pull::Nothing => return Some(self.waiting()),
            }
        }
        None
    }

    fn chunked(&mut self) -> (Vec<u8>, BodyEnd) {
        let mut body = Vec::new();
        loop {
            let line = match self.line() {
                Ok(line) => line,
                Err(end) => return (body, end),
            };
            let digits = line.split(|b| *b == b';').next().unwrap_or_default();
            let size = std::str::from_utf8(digits).ok().filter(|d| !d.is_empty());
            let size = size.filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
            let Some(size) = size.and_then(|d| usize::from_str_radix(d, 16).ok()).filter(|s| *s <= MAX_BODY)
            else {
                return (body, BodyEnd::BadChunk);
            };
            if size == 0 {
                loop {
                    match self.line() {
                        Ok(line) if line.is_empty() => return (body, BodyEnd::Chunked),
                        Ok(_) => {}
                        Err(end) => return (body, end),
                    }
                }
            }
            if let Some(end) = self.fill(size + 2) {
                let take = size.min(self.inbox.len());
                body.extend(self.inbox.drain(..take));
                return (body, end);
            }
            body.extend(self.inbox.drain(..size));
            let crlf: Vec<u8> = self.inbox.drain(..2).collect();
            if crlf != b"\r\n" {
                return (body, BodyEnd::BadChunk);
            }
        }
    }

    /// One line that ends in CRLF, without it.
    fn line(&mut self) -> Result<Vec<u8>, BodyEnd> {
        loop {
            if let Some(at) = self.inbox.windows(2).position(|w| w == b"\r\n") {
                let line = self.inbox.drain(..at).collect();
                self.inbox.drain(..2);
                return Ok(line);
            }
            if self.inbox.len() > MAX_HEAD {
                return Err(BodyEnd::BadChunk);
            }
            match self.pull(Instant::now() + self.patience) {
                Pull::Data => {}
                Pull::Ended => return Err(BodyEnd::Cut(self.ended.unwrap_or(End::Closed))),
                Pull::Nothing => return Err(self.waiting()),
            }
        }
    }

    fn out_of_time(&self) -> bool {
        Instant::now() >= self.until
    }

    fn waiting(&self) -> BodyEnd {
        if self.out_of_time() { BodyEnd::OutOfTime } else { BodyEnd::Waiting }
    }

    /// Waits for the server to end the connection; what comes meanwhile stays in the inbox.
    pub(super) fn wait_end(&mut self, patience: Duration) -> Option<End> {
        let until = Instant::now() + patience;
        loop {
            match self.pull(until) {
                Pull::Data if self.inbox.len() < MAX_BODY => {}
                Pull::Data | Pull::Nothing => return None,
                Pull::Ended => return self.ended,
            }
        }
    }

    /// Says that nothing more will be sent; goes on reading.
    pub(super) fn finish_writing(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends the connection by a reset.
    pub(super) fn reset(self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}
