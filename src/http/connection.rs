//! The life of one connection, without its socket.
//!
//! ```text
//!             first octet         blank line           body read past
//!    Idle ───────────────► Head ─────────────► Body ───────────────────► Answer
//!     ▲ ▲                   ▲ └──────────────────────────────────────────►│
//!     │ └── all consumed ───┴── more is here already ◄──── respond() ◄────┤
//!     │                                                                   │ respond(), the last answer
//!     │     what was queued is sent first, whatever the phase             ▼
//!     └─────────────────────────────────────────────── Closed ◄── Linger ◄── Shutdown
//! ```
//!
//! Rules of this file:
//! - No I/O, no clock: every input carries `now`.
//! - How the input is cut never changes the output.
//! - While there is something to send, nothing is read: a client that does not take its answers cannot make the
//!   server keep more of them.
//! - End of file from the peer means "no more requests", not "no more answers".
//! - Every end has a [`CloseReason`].

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::buffer::{RecvBuffer, SendBuffer, Spare};
use super::chunked::BodyReader;
use super::close_reason::CloseReason;
use super::headers::HeaderStorage;
use super::limits::Limits;
use super::request::{self, Body, Framing, Request, Version};
use super::request_error::RequestError;
use super::response::{HttpDate, ResponseHead, push_head};

/// A body up to this many octets is copied behind its head, so that both leave in one write. Copying 16 KiB
/// costs about as much as the second system call that it saves.
pub const INLINE_MAX: u64 = 16 * 1024;

/// No further pipelined request is answered while this much is unsent.
const SEND_HIGH: usize = 64 * 1024;

/// What a connection needs next. Exactly one thing at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wants {
    /// A read: [`Connection::recv_space`], then [`Connection::received`].
    Read,
    /// An answer that would have blocked: ask the service again.
    Answer,
    /// A write of [`Connection::transmit`], then [`Connection::transmitted`].
    Write,
    /// The writing half shut down, then [`Connection::shut_down`].
    Shutdown,
    /// The end; [`Connection::close_reason`] says why.
    Close,
}

/// Where in its life a connection is. For pictures and tests; drivers ask [`Connection::wants`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Between requests; nothing has come but empty lines.
    Idle,
    /// Part of a request's head has come.
    Head,
    /// The head is complete; its body is being read past.
    Body,
    /// A request waits for its answer.
    Answer,
    /// The last answer is queued or sent; the writing half is to be shut down.
    Shutdown,
    /// Reading and discarding, so that closing cannot destroy the last answer (RFC 9112 §9.6).
    Linger,
    /// Over.
    Closed,
}

/// The body of an answer, as far as the protocol needs to know it.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// Octets to copy behind the head; see [`INLINE_MAX`].
    Inline(&'a [u8]),
    /// So many octets that somebody else keeps and sends when [`Connection::transmit`] names them.
    External(u64),
}

/// What to send next: the rest of what is queued, then this range of the external body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit<'a> {
    /// Heads and small bodies.
    pub head: &'a [u8],
    /// The unsent range of the [`Payload::External`] body; empty if there is none.
    pub body: Range<u64>,
}

/// One connection: bytes and time in, bytes out.
#[derive(Debug)]
pub struct Connection {
    // What a fruitless turn looks at stands together.
    phase: Phase,
    /// Why it ends after the answers it owes, if it was told to.
    leaving: Option<CloseReason>,
    peer_done: bool,
    head_only: bool,
    deadline: Instant,
    body_len: u64,
    body_sent: u64,
    /// Octets moved since the deadline was last renewed.
    moved: u64,
    /// Octets that the peer had acknowledged when that was last looked at.
    acknowledged: u64,
    recv: RecvBuffer,
    send: SendBuffer,
    limits: Arc<Limits>,
    framing: Framing,
    body: BodyReader,
    /// The whole length, head and body, of the request that waits for its answer.
    request_len: usize,
    /// How much of the buffer behind the head has been given to the body reader.
    body_seen: usize,
    error: Option<RequestError>,
    reason: CloseReason,
}

impl Connection {
    /// A connection that was accepted at `now`.
    pub fn new(limits: Arc<Limits>, now: Instant) -> Self {
        Self {
            phase: Phase::Idle,
            leaving: None,
            peer_done: false,
            head_only: false,
            deadline: now + limits.idle_timeout,
            body_len: 0,
            body_sent: 0,
            moved: 0,
            acknowledged: 0,
            recv: RecvBuffer::default(),
            send: SendBuffer::default(),
            limits,
            framing: Framing {
                head_bytes: 0,
                body: Body::Length(0),
                keep_alive: true,
                expects_continue: false,
                version: Version::Http11,
            },
            body: BodyReader::Length(0),
            request_len: 0,
            body_seen: 0,
            error: None,
            reason: CloseReason::PeerClosed,
        }
    }

    // ---- input -------------------------------------------------------------------------------------------

    /// Room to read into: never empty. Only when [`Wants::Read`].
    pub fn recv_space(&mut self, spare: &mut Spare) -> &mut [u8] {
        match self.phase {
            // What was read past need not be kept.
            Phase::Body => {
                self.recv.truncate(self.framing.head_bytes);
                self.body_seen = 0;
            }
            Phase::Linger => self.recv.truncate(0),
            _ => {}
        }
        self.recv.space(spare)
    }

    /// So many octets were read into the space; 0 is the peer's end of file.
    pub fn received(&mut self, n: usize, now: Instant) {
        if n == 0 {
            self.peer_done = true;
            if self.phase == Phase::Linger {
                self.phase = Phase::Closed;
            }
            return;
        }
        self.recv.commit(n);
        match self.phase {
            // Empty lines are no request: whoever sends them is as idle as before.
            Phase::Idle if self.recv.skip_empty_lines() => {}
            Phase::Idle => {
                self.phase = Phase::Head;
                self.deadline = now + self.limits.header_timeout;
            }
            Phase::Body => self.renew(n as u64, self.limits.header_timeout, now),
            Phase::Linger => {
                self.moved += n as u64;
                if self.moved > self.limits.linger_bytes {
                    self.phase = Phase::Closed;
                }
            }
            _ => {}
        }
    }

    /// So many octets of [`Connection::transmit`] were taken by the socket.
    pub fn transmitted(&mut self, n: usize, now: Instant) {
        let here = self.send.advance(n);
        self.body_sent = (self.body_sent + (n - here) as u64).min(self.body_len);
        if self.has_output() {
            self.renew(n as u64, self.limits.write_timeout, now);
            return;
        }
        self.body_len = 0;
        self.body_sent = 0;
        self.moved = 0;
        match self.phase {
            Phase::Idle => match self.leaving {
                Some(reason) => {
                    self.phase = Phase::Shutdown;
                    self.reason = reason;
                }
                None => self.deadline = now + self.limits.idle_timeout,
            },
            _ => self.deadline = now + self.limits.header_timeout,
        }
    }

    /// The peer has acknowledged so many octets since the connection began: whoever can find that out, says it when
    /// the deadline of an answer has passed, before [`Connection::handle_timeout`]. Enough since the last time renews
    /// the deadline, so a stalled peer is let go after one window, or two if it stalled in the midst of one.
    pub fn acknowledged(&mut self, total: u64, now: Instant) {
        let progress = total.saturating_sub(self.acknowledged);
        self.acknowledged = total;
        self.moved = 0;
        self.renew(progress, self.limits.write_timeout, now);
    }

    /// The writing half was shut down: now read and discard, for a while.
    pub fn shut_down(&mut self, now: Instant) {
        self.phase = if self.peer_done { Phase::Closed } else { Phase::Linger };
        self.moved = 0;
        self.recv.consume(self.recv.len());
        self.deadline = now + self.limits.linger_timeout;
    }

    /// Tells the time. Cheap when the deadline lies ahead.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now < self.deadline {
            return;
        }
        if self.has_output() {
            return self.abort(CloseReason::WriteStalled);
        }
        match self.phase {
            Phase::Idle => self.abort(self.leaving.unwrap_or(CloseReason::IdleTimeout)),
            Phase::Head => {
                self.refuse(RequestError::HeadTimeout);
            }
            Phase::Body => self.error = Some(RequestError::BodyTimeout),
            // The service takes its time; that is not the client's fault.
            Phase::Answer => self.deadline = now + self.limits.idle_timeout,
            Phase::Linger | Phase::Shutdown => self.phase = Phase::Closed,
            Phase::Closed => {}
        }
    }

    /// The server stops, or needs the place: it ends after the answer it is owed. To an idle one nothing is owed, but
    /// a request may have arrived of which nobody knows yet, and closing would answer it with a reset: its deadline is
    /// now, so it ends if one more read brings nothing.
    pub fn leave(&mut self, reason: CloseReason, now: Instant) {
        self.leaving = Some(reason);
        if self.phase == Phase::Idle && !self.has_output() {
            self.deadline = self.deadline.min(now);
        }
    }

    /// Ends it at once, whatever is owed.
    pub fn abort(&mut self, reason: CloseReason) {
        self.phase = Phase::Closed;
        self.reason = reason;
    }

    // ---- requests and answers ----------------------------------------------------------------------------

    /// The next request that is complete, body included. The same one again until it is answered. `None`: more
    /// must be received, or sent, first. An error is to be answered like a request; it is the last.
    pub fn next_request<'b>(
        &'b mut self,
        storage: &'b mut HeaderStorage<'b>,
        spare: &mut Spare,
        now: Instant,
    ) -> Option<Result<Request<'b>, RequestError>> {
        if self.body_len > 0 || self.send.len() >= SEND_HIGH {
            return None;
        }
        if let Some(error) = self.error {
            return Some(Err(error));
        }
        match self.phase {
            Phase::Head => match self.recv.find_head(&self.limits) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(self.refuse(error))),
            },
            Phase::Body => {
                let at = self.framing.head_bytes + self.body_seen;
                let unseen = self.recv.bytes().get(at..).unwrap_or_default();
                match self.body.feed(unseen, &self.limits) {
                    Ok(Some(n)) => {
                        self.request_len = at + n;
                        self.phase = Phase::Answer;
                    }
                    Ok(None) => {
                        self.body_seen += unseen.len();
                        return None;
                    }
                    Err(error) => return Some(Err(self.refuse(error))),
                }
            }
            Phase::Answer => {}
            _ => return None,
        }
        // HEAD is never answered with a body, not even when the rest of the request is nonsense.
        self.head_only = self.recv.bytes().starts_with(b"HEAD ");
        match request::parse(self.recv.bytes(), storage, &self.limits) {
            Ok((request, framing)) => {
                if self.phase == Phase::Head {
                    let was_pending = self.has_output();
                    if framing.expects_continue && framing.body != Body::Length(0) {
                        // Even if the body is here already: RFC 9110 §10.1.1 allows to leave it out, but then
                        // the output would depend on how the input was cut.
                        self.send.tail(spare).extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                    }
                    self.framing = framing;
                    self.body = BodyReader::new(framing.body);
                    let unseen = self.recv.bytes().get(framing.head_bytes..).unwrap_or_default();
                    match self.body.feed(unseen, &self.limits) {
                        Ok(Some(n)) => {
                            self.request_len = framing.head_bytes + n;
                            self.phase = Phase::Answer;
                        }
                        Ok(None) => {
                            self.body_seen = unseen.len();
                            self.phase = Phase::Body;
                            if !was_pending {
                                // However late its head was complete.
                                self.moved = 0;
                                self.deadline = now + self.limits.header_timeout;
                            }
                            return None;
                        }
                        Err(error) => {
                            self.error = Some(error);
                            return Some(Err(error));
                        }
                    }
                }
                Some(Ok(request))
            }
            Err(error) => {
                self.error = Some(error);
                Some(Err(error))
            }
        }
    }

    /// What has come of the request may not even be its whole method: where that may become HEAD, no body is sent.
    fn refuse(&mut self, error: RequestError) -> RequestError {
        let begun = self.recv.bytes();
        let begun = begun.strip_prefix(b"\r").unwrap_or(begun);
        self.head_only = begun.iter().zip(b"HEAD ").all(|(octet, expected)| octet == expected);
        self.error = Some(error);
        error
    }

    /// Answers the request (or error) that [`Connection::next_request`] gave. Returns whether the external body
    /// is to be kept: not for HEAD, nor where the status forbids one.
    pub fn respond(
        &mut self,
        head: &ResponseHead<'_>,
        payload: Payload<'_>,
        date: &HttpDate,
        spare: &mut Spare,
        now: Instant,
    ) -> bool {
        let keep = self.framing.keep_alive && self.error.is_none() && self.leaving.is_none();
        let connection = match (keep, self.framing.version) {
            (false, _) => Some("close"),
            (true, Version::Http10) => Some("keep-alive"),
            (true, Version::Http11) => None,
        };
        let length = match payload {
            Payload::Inline(bytes) => bytes.len() as u64,
            Payload::External(length) => length,
        };
        let no_body = self.head_only || head.status.forbids_body();
        let content_length = (!head.status.forbids_body()).then_some(length);
        let was_pending = self.has_output();
        let tail = self.send.tail(spare);
        push_head(tail, head, date, content_length, connection);
        match payload {
            _ if no_body => {}
            Payload::Inline(bytes) => tail.extend_from_slice(bytes),
            Payload::External(length) => self.body_len = length,
        }
        if !was_pending {
            self.moved = 0;
            self.deadline = now + self.limits.write_timeout;
        }
        self.next_phase(keep);
        self.body_len > 0
    }

    fn next_phase(&mut self, keep: bool) {
        if self.error.is_none() {
            self.recv.consume(self.request_len);
        }
        if keep {
            self.phase = if self.recv.skip_empty_lines() { Phase::Idle } else { Phase::Head };
            return;
        }
        self.reason = match self.error {
            Some(RequestError::HeadTimeout | RequestError::BodyTimeout) => CloseReason::RequestTimeout,
            Some(error) => CloseReason::BadRequest(error),
            None => self.leaving.filter(|_| self.framing.keep_alive).unwrap_or(CloseReason::Answered),
        };
        self.error = None;
        self.phase = Phase::Shutdown;
    }

    // ---- output ------------------------------------------------------------------------------------------

    /// What the connection needs next.
    pub fn wants(&self) -> Wants {
        if self.phase == Phase::Closed {
            Wants::Close
        } else if self.has_output() {
            Wants::Write
        } else if self.error.is_some() {
            Wants::Answer
        } else {
            match self.phase {
                Phase::Answer => Wants::Answer,
                Phase::Shutdown => Wants::Shutdown,
                // The peer said that no more will come, and nothing is owed.
                _ if self.peer_done => Wants::Close,
                _ => Wants::Read,
            }
        }
    }

    /// When [`Connection::handle_timeout`] must be called even if nothing happened.
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What to send next.
    pub fn transmit(&self) -> Transmit<'_> {
        Transmit { head: self.send.unsent(), body: self.body_sent..self.body_len }
    }

    /// Whether there is something to send.
    pub const fn has_output(&self) -> bool {
        self.send.len() > 0 || self.body_len > self.body_sent
    }

    /// Gives buffers with nothing in them back to the pool. Call it at the end of a turn.
    pub fn release(&mut self, spare: &mut Spare) {
        self.recv.release(spare);
        self.send.release(spare);
    }

    /// Why it ended; meaningful once it wants [`Wants::Close`].
    pub const fn close_reason(&self) -> CloseReason {
        self.reason
    }

    /// Where in its life it is.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether what [`Connection::next_request`] gave, request or error, is answered without a body.
    pub const fn is_head_only(&self) -> bool {
        self.head_only
    }

    /// Whether closing may follow the last answer at once: the peer has seen our end coming, sent no body, and
    /// nothing more of it is here. Otherwise unread octets in the kernel would turn the close into a reset.
    pub fn may_close_at_once(&self) -> bool {
        self.phase == Phase::Shutdown
            && matches!(self.reason, CloseReason::Answered)
            && self.framing.body == Body::Length(0)
            && self.recv.is_empty()
    }

    /// Progress renews a deadline only when it is worth it: [`Limits::min_rate`] times the window.
    fn renew(&mut self, n: u64, window: std::time::Duration, now: Instant) {
        self.moved += n;
        let enough = u128::from(self.limits.min_rate).saturating_mul(window.as_millis()).max(1);
        if u128::from(self.moved) * 1000 >= enough {
            self.moved = 0;
            self.deadline = now + window;
        }
    }
}
