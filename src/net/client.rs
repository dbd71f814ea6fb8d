//! One socket and one [`Connection`] put together: a client, and its turn.

use std::io;
use std::time::{Duration, Instant};

use super::attempt;
use super::body::{Body, SCRATCH_BYTES};
use super::stream::{Interest, Stream, Transport};
use super::worker::Worker;
use crate::access_log::PendingLine;
use crate::http::{
    CloseReason, Connection, HeaderStorage, INLINE_MAX, Method, Payload, Phase, ResponseHead, Status,
    Transmit, Wants,
};
use crate::service::{Content, Context, Peer, Response};

/// How soon a service or a disk that would have blocked is asked again, by models that sleep in the kernel.
const ASK_AGAIN: Duration = Duration::from_millis(1);

/// How long the sweeping loop leaves a socket alone that has taken all it can. Tried again at once it would take the
/// few kilobytes that have drained meanwhile, one call for each; epoll(7) too reports room only when a third is free.
const FULL_FOR: Duration = Duration::from_micros(50);

/// How much of a turn is to be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TurnPart {
    /// A read, answers, and a write.
    Whole,
    /// The same, but what the read brings is answered next time.
    Read,
    /// The rest of the turn after a read that brought something.
    Answer,
}

/// A client: its socket, its connection, and the body it is being sent.
#[derive(Debug)]
pub struct Client<S = Stream> {
    stream: S,
    conn: Connection,
    /// The body that the connection only knows the length of.
    body: Option<Body>,
    /// The log line of that body's answer, waiting for the count of octets sent.
    line: Option<Box<PendingLine>>,
    peer: Peer,
    /// Since when nothing has come or gone; the roster's business.
    pub(super) active_at: Instant,
    /// Until when its full socket is left alone by whoever is not told that there is room.
    full_until: Option<Instant>,
    tally: Tally,
    /// How much of a turn the next one is; the roster's business.
    pub(super) part: TurnPart,
    /// Until when the transport must be agreed on.
    handshake_deadline: Instant,
}

impl<S> Client<S> {
    /// Whether it could be let go without loss: between requests, owed nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.conn.phase() == Phase::Idle && !self.conn.has_output()
    }

    /// Its place is needed: it leaves at its next turn, unless it has spoken meanwhile.
    pub(super) fn make_room(&mut self, now: Instant) {
        self.conn.leave(CloseReason::MadeRoom, now);
    }
}

impl<S: Transport> Client<S> {
    /// A client that was accepted at `now`.
    pub fn new(stream: S, peer: Peer, worker: &mut Worker, now: Instant) -> Self {
        worker.stats.client_came();
        Self {
            stream,
            conn: Connection::new(worker.limits.clone(), now),
            body: None,
            line: None,
            peer,
            active_at: now,
            full_until: None,
            tally: Tally {
                id: worker.stats.clients_total,
                came_at: now,
                bytes_in: 0,
                bytes_out: 0,
                requests: 0,
            },
            part: TurnPart::Whole,
            handshake_deadline: now + worker.limits.header_timeout,
        }
    }

    /// One turn: at most one read, the answers to what came, and a bounded write of them; what the socket does not
    /// take waits for the next turn. Returns how many attempts got somewhere. Never blocks on a nonblocking socket.
    ///
    /// The roster may have it in two parts: what was read in the first is answered in the second.
    ///
    /// # Errors
    /// The reason why this client is to be removed.
    #[inline]
    pub fn turn(&mut self, worker: &mut Worker, mut now: Instant) -> Result<usize, CloseReason> {
        let mut work = 0;
        if self.part == TurnPart::Answer {
            // It was read earlier in this sweep.
            self.part = TurnPart::Whole;
            work += self.exchange(worker, now);
        } else if self.conn.wants() == Wants::Read {
            worker.stats.reads += 1;
            let space = worker.read_limit.cut(self.conn.recv_space(&mut worker.spare));
            match attempt(self.stream.read(space)) {
                Ok(Some(n)) => {
                    now = worker.time_after(now);
                    work += self.received(n, worker, now);
                    if n > 0 && self.part == TurnPart::Read {
                        // A few others are read before it is answered.
                        self.part = TurnPart::Answer;
                        return Ok(work);
                    }
                    work += self.exchange(worker, now);
                }
                Ok(None) => {
                    worker.stats.read_would_blocks += 1; // no data: ask again next sweep
                    let shaken = self.check_handshake(worker, now)?;
                    if now < self.conn.deadline() {
                        self.conn.release(&mut worker.spare);
                        return Ok(shaken);
                    }
                }
                Err(error) => return Err(self.broken(error, worker)),
            }
        }
        // After the read: who spoke in time is heard, even if it was the loop that came late.
        if now >= self.conn.deadline() {
            self.overdue(now);
        }
        if self.conn.wants() == Wants::Answer {
            work += self.exchange(worker, now);
        }
        if self.conn.wants() == Wants::Write {
            work += self.write(worker, now)?; // in the same turn; the socket nearly always takes it
        }
        self.settle(worker, now)?;
        Ok(work)
    }

    /// The server stops: it ends after the answer it is owed; if it is owed none, at its next turn.
    pub fn stop(&mut self, now: Instant) {
        self.conn.leave(CloseReason::Stopping, now);
    }

    /// Whether the client waits to read or to write; `None`: for neither, only for time.
    pub fn interest(&self) -> Option<Interest> {
        match self.conn.wants() {
            Wants::Read | Wants::Shutdown if self.stream.has_output() => Some(Interest::Write),
            Wants::Read => Some(Interest::Read),
            Wants::Write if !self.waits_for_disk() => Some(Interest::Write),
            _ => None,
        }
    }

    /// When this client must have a turn even if its socket is silent.
    pub fn deadline(&self, now: Instant) -> Instant {
        match self.conn.wants() {
            Wants::Answer => now + ASK_AGAIN,
            Wants::Write if self.waits_for_disk() => self.conn.deadline().min(now + ASK_AGAIN),
            Wants::Read if self.stream.has_input() => now,
            Wants::Read if self.stream.is_handshaking() => self.handshake_deadline.min(self.conn.deadline()),
            Wants::Read | Wants::Write => self.conn.deadline(),
            Wants::Shutdown if self.stream.has_output() => self.conn.deadline(),
            Wants::Shutdown | Wants::Close => now,
        }
    }

    /// Whether trying it now would be in vain: its socket was full a moment ago.
    #[inline]
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_until.is_some_and(|until| now < until)
    }

    /// The transport, for drivers that wait on it.
    pub const fn stream(&self) -> &S {
        &self.stream
    }

    /// The protocol's side, for pictures of the loop.
    pub const fn connection(&self) -> &Connection {
        &self.conn
    }

    /// What it did so far.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// When something last came or went.
    pub const fn active_at(&self) -> Instant {
        self.active_at
    }

    /// Who is at the other end.
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whether what is to be sent next was not in memory yet when it was asked for.
    fn waits_for_disk(&self) -> bool {
        self.body.as_ref().is_some_and(Body::is_waiting)
    }

    fn received(&mut self, n: usize, worker: &mut Worker, now: Instant) -> usize {
        worker.stats.bytes_in += n as u64;
        self.tally.bytes_in += n as u64;
        worker.batch += 1;
        self.active_at = now;
        self.conn.received(n, now);
        1
    }

    /// Answers every request that is complete. Must run after a write as well as after a read, or a pipelined
    /// request that is here already would wait for octets that never come.
    fn exchange(&mut self, worker: &mut Worker, now: Instant) -> usize {
        let mut answered = 0;
        loop {
            let mut storage = HeaderStorage::new();
            let Some(next) = self.conn.next_request(&mut storage, &mut worker.spare, now) else { break };
            let response = match next {
                Ok(request) => {
                    let context = Context {
                        now,
                        unix_time: worker.date.seconds(),
                        stats: &worker.stats,
                        peer: &self.peer,
                        batch: worker.batch,
                    };
                    let response = if request.is_for_tls() && self.stream.is_in_the_clear() {
                        Some(worker.service.refuse(Status::MISDIRECTED_REQUEST, "This is HTTP, not HTTPS."))
                    } else {
                        worker.service.respond(&request, &context)
                    };
                    let Some(response) = response else { break };
                    if worker.log.is_on() {
                        let head_only = request.method == Method::Head;
                        let line = worker.log.record(&self.peer, Some(&request), head_only, &response);
                        self.line = line.map(Box::new);
                    }
                    response
                }
                Err(error) => {
                    let response = worker.service.refuse(error.status(), error.explain());
                    if worker.log.is_on() {
                        let line = worker.log.record(&self.peer, None, self.conn.is_head_only(), &response);
                        self.line = line.map(Box::new);
                    }
                    response
                }
            };
            self.respond(response, worker, now);
            answered += 1;
        }
        answered
    }

    fn respond(&mut self, response: Response, worker: &mut Worker, now: Instant) {
        worker.stats.answered(response.status.0);
        self.tally.requests += 1;
        let head = ResponseHead { status: response.status, fields: &response.fields };
        let payload = match &response.content {
            Content::Bytes(bytes, range) if range.len() as u64 <= INLINE_MAX => {
                Payload::Inline(bytes.get(range.clone()).unwrap_or_default())
            }
            content => Payload::External(content.len()),
        };
        if self.conn.respond(&head, payload, &worker.date, &mut worker.spare, now) {
            self.body = Some(Body::new(response.content));
        } else if let Some(line) = self.line.take() {
            worker.log.finish(&line, 0);
        }
    }

    fn write(&mut self, worker: &mut Worker, now: Instant) -> Result<usize, CloseReason> {
        let Transmit { head, body: unsent } = self.conn.transmit();
        let waits_for_disk =
            !worker.blocking && self.body.as_mut().is_some_and(|body| body.waits_for_disk(unsent, now));
        if waits_for_disk {
            worker.stats.disk_would_blocks += 1;
            if head.is_empty() {
                return Ok(0);
            }
        }
        worker.stats.writes += 1;
        let sent = match attempt(self.transmit(&mut worker.scratch, waits_for_disk)) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.left(CloseReason::BodyTruncated, worker));
            }
            Err(error) => return Err(self.left(error.into(), worker)),
        };
        let Some(n) = sent else {
            worker.stats.write_would_blocks += 1; // the peer is slow: its deadline is running
            self.full_until = Some(now + FULL_FOR);
            return Ok(0);
        };
        worker.stats.bytes_out += n as u64;
        self.tally.bytes_out += n as u64;
        let now = worker.time_after(now);
        self.active_at = now;
        self.conn.transmitted(n, now);
        if self.conn.has_output() {
            if n < SCRATCH_BYTES {
                self.full_until = Some(now + FULL_FOR);
            }
            return Ok(1);
        }
        if let Some(body) = self.body.take()
            && let Some(line) = self.line.take()
        {
            worker.log.finish(&line, body.len());
        }
        Ok(1 + self.exchange(worker, now))
    }

    /// Sends some of what the connection names: what is queued, then (unless it is `only_head`) a piece of the body.
    fn transmit(&mut self, scratch: &mut Vec<u8>, only_head: bool) -> io::Result<usize> {
        let Transmit { head, body: unsent } = self.conn.transmit();
        match &self.body {
            Some(body) if !unsent.is_empty() && !only_head => {
                body.send(&mut self.stream, head, unsent.start, scratch)
            }
            _ if unsent.is_empty() && self.conn.may_close_at_once() => self.stream.write_last(head),
            _ => self.stream.write(head),
        }
    }

    /// The end of a turn: shuts down once, lets go of empty buffers, leaves.
    fn settle(&mut self, worker: &mut Worker, now: Instant) -> Result<(), CloseReason> {
        if self.conn.wants() == Wants::Shutdown {
            if self.conn.may_close_at_once() {
                self.conn.release(&mut worker.spare);
                self.stream.finish();
                return Err(self.conn.close_reason());
            }
            if attempt(self.stream.shut_down_write())?.is_some() {
                self.conn.shut_down(now);
            }
        }
        self.conn.release(&mut worker.spare);
        match self.conn.wants() {
            Wants::Close => {
                self.stream.finish();
                Err(self.left(self.conn.close_reason(), worker))
            }
            _ => Ok(()),
        }
    }

    /// The end, with or without having been given the whole answer: the log has what went.
    pub fn left(&mut self, reason: CloseReason, worker: &mut Worker) -> CloseReason {
        if let Some(line) = self.line.take() {
            let unsent = self.conn.transmit().body;
            worker.log.finish(&line, unsent.start);
        }
        worker.explain_leaving(&self.peer, reason);
        reason
    }

    /// Its time is up; but an answer is only stalled if the *peer* took too little of it. The kernel may have taken
    /// all it can hold long ago, and a slow reader needs minutes for that.
    #[cold]
    fn overdue(&mut self, now: Instant) {
        if self.conn.has_output()
            && let Some(octets) = self.stream.acknowledged()
        {
            self.conn.acknowledged(octets, now);
        }
        self.conn.handle_timeout(now);
    }

    /// A read failed: the handshake, if there still is one, or the socket.
    #[cold]
    fn broken(&mut self, error: io::Error, worker: &mut Worker) -> CloseReason {
        if !self.stream.is_handshaking() {
            return self.left(error.into(), worker);
        }
        worker.explain(log::Level::Debug, format_args!("the handshake with {}: {error}", self.peer));
        self.left(CloseReason::Handshake, worker)
    }

    /// After a read that brought no request's octets: steps of the handshake are work too, but do not extend the
    /// time for it.
    fn check_handshake(&mut self, worker: &mut Worker, now: Instant) -> Result<usize, CloseReason> {
        if self.stream.is_handshaking() && now >= self.handshake_deadline {
            return Err(self.broken(io::ErrorKind::TimedOut.into(), worker));
        }
        Ok(usize::from(self.stream.has_input()))
    }
}

/// What one client did so far; for pictures of the loop.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    /// A number that no other client of this worker has or had.
    pub id: u64,
    /// When it was accepted.
    pub came_at: Instant,
    /// Octets read.
    pub bytes_in: u64,
    /// Octets written.
    pub bytes_out: u64,
    /// Requests answered.
    pub requests: u64,
}
