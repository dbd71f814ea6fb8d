//! The access log: one line for each answer, in the combined format.
//!
//! Lines are built into a buffer and written when the loop is idle or the buffer is full, never one by one. The
//! loop never waits for whoever reads them: a pipe is written only while it has room, what does not fit stays in
//! the buffer, and beyond a bound lines are dropped and counted.

// No octet from the network, and no file, may end the server.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::string_slice,
        clippy::get_unwrap
    )
)]

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::http::{HttpDate, Method, Request};
use crate::service::{Peer, Response};

/// The buffer is written when it holds this much, even if the loop is busy.
const WRITE_AT: usize = 32 * 1024;

/// Lines kept for a reader that does not read; beyond this they are dropped.
const KEPT: usize = 1024 * 1024;

/// A pipe that reports room takes at least this much without blocking (pipe(7), PIPE_BUF).
const PIPE_BUF: usize = 4096;

/// Where the lines go, and the lines that have not gone yet.
#[derive(Debug, Default)]
pub struct AccessLog {
    sink: Option<Arc<File>>,
    buffer: Vec<u8>,
    /// `06/Nov/1994:08:49:37 +0000`, of this second.
    time: Vec<u8>,
    dropped: u64,
    failed: bool,
}

/// The line of an answer whose body is still being sent: everything but the count of octets.
#[derive(Debug)]
pub struct PendingLine {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl AccessLog {
    /// A log that writes nothing and costs nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// A log to standard output.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn stdout() -> io::Result<Self> {
        let fd: OwnedFd = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self::to_file(File::from(fd)))
    }

    /// A log to this file or pipe.
    pub fn to_file(file: File) -> Self {
        Self { sink: Some(Arc::new(file)), ..Self::default() }
    }

    /// Another log to the same place, with a buffer of its own: for another thread. Lines stay whole, see
    /// [`AccessLog::flush`].
    pub fn fellow(&self) -> Self {
        Self { sink: self.sink.clone(), time: self.time.clone(), ..Self::default() }
    }

    /// Whether lines are wanted.
    pub const fn is_on(&self) -> bool {
        self.sink.is_some()
    }

    /// Lines dropped so far because nobody took them.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Tells the second.
    pub fn tick(&mut self, date: &HttpDate) {
        // "Sun, 06 Nov 1994 08:49:37 GMT"
        let text = date.as_bytes();
        self.time.clear();
        self.time.extend_from_slice(&text[5..7]);
        self.time.push(b'/');
        self.time.extend_from_slice(&text[8..11]);
        self.time.push(b'/');
        self.time.extend_from_slice(&text[12..16]);
        self.time.push(b':');
        self.time.extend_from_slice(&text[17..25]);
        self.time.extend_from_slice(b" +0000");
    }

    /// Records an answer. `request` is `None` if what came could not be read. Where the body is yet to be sent, the
    /// line is handed back, to be given to [`AccessLog::finish`] with the octets that really went.
    pub fn record(
        &mut self,
        peer: &Peer,
        request: Option<&Request<'_>>,
        response: &Response,
    ) -> Option<PendingLine> {
        let no_body =
            response.status.forbids_body() || request.is_some_and(|request| request.method == Method::Head);
        let length = if no_body { 0 } else { response.content.len() };
        if length > crate::http::INLINE_MAX {
            let (mut before, mut after) = (Vec::new(), Vec::new());
            push_before(&mut before, &self.time, peer, request, response.status.0);
            push_after(&mut after, request);
            return Some(PendingLine { before, after });
        }
        if self.has_room() {
            push_before(&mut self.buffer, &self.time, peer, request, response.status.0);
            push_bytes(&mut self.buffer, length);
            push_after(&mut self.buffer, request);
            self.flush_if_full();
        }
        None
    }

    /// Completes a line with the octets of the body that were sent.
    pub fn finish(&mut self, line: &PendingLine, bytes: u64) {
        if self.has_room() {
            self.buffer.extend_from_slice(&line.before);
            push_bytes(&mut self.buffer, bytes);
            self.buffer.extend_from_slice(&line.after);
            self.flush_if_full();
        }
    }

    fn has_room(&mut self) -> bool {
        let room = self.buffer.len() < KEPT;
        self.dropped += u64::from(!room);
        room
    }

    fn flush_if_full(&mut self) {
        if self.buffer.len() >= WRITE_AT {
            self.flush();
        }
    }

    /// Writes what the reader takes now; never waits. Each write ends with a line where it can, so that the lines of
    /// threads and processes that share a file or a pipe stay whole; one longer than [`PIPE_BUF`] may be torn.
    pub fn flush(&mut self) {
        self.write(Duration::ZERO);
    }

    /// Writes what is left, at the end of the program: waits for a slow reader, but not for one that takes nothing
    /// for this long. Lines that do not go out are counted as dropped.
    pub fn close(&mut self, patience: Duration) {
        self.write(patience);
        self.dropped += lines(&self.buffer);
        self.buffer.clear();
    }

    fn write(&mut self, patience: Duration) {
        let Some(mut sink) = self.sink.as_deref() else { return };
        let mut written = 0;
        while let Some(rest) = self.buffer.get(written..).filter(|rest| !rest.is_empty()) {
            if !has_room(sink, patience) {
                break;
            }
            let piece = rest.get(..PIPE_BUF).unwrap_or(rest);
            let whole_lines = memchr::memrchr(b'\n', piece).and_then(|end| piece.get(..=end));
            match sink.write(whole_lines.unwrap_or(piece)) {
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    // A full disk, a reader that left: serving goes on, and people are told once.
                    if !self.failed {
                        self.failed = true;
                        log::warn!(
                            "the access log cannot be written, its lines are dropped: {error} (said once)"
                        );
                    }
                    self.dropped += lines(rest);
                    written = self.buffer.len();
                }
            }
        }
        self.buffer.drain(..written);
    }
}

fn lines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

/// Whether a write of [`PIPE_BUF`] octets would go through at once, now or within the patience. A file always has
/// room.
fn has_room(sink: &File, patience: Duration) -> bool {
    let mut descriptors = [PollFd::new(sink, PollFlags::OUT)];
    // An error is for the write to report.
    poll(&mut descriptors, Timespec::try_from(patience).ok().as_ref()).is_ok_and(|ready| ready == 1)
}

fn push_before(out: &mut Vec<u8>, time: &[u8], peer: &Peer, request: Option<&Request<'_>>, status: u16) {
    let _ = write!(out, "{peer} - - [");
    out.extend_from_slice(time);
    out.extend_from_slice(b"] \"");
    match request {
        Some(request) => {
            push_escaped(out, request.method.as_str().as_bytes());
            out.push(b' ');
            push_escaped(out, request.raw_target.as_bytes());
            out.push(b' ');
            out.extend_from_slice(request.version.as_str().as_bytes());
        }
        None => out.push(b'-'),
    }
    let _ = write!(out, "\" {status} ");
}

fn push_bytes(out: &mut Vec<u8>, bytes: u64) {
    if bytes == 0 {
        out.push(b'-');
    } else {
        let _ = write!(out, "{bytes}");
    }
}

fn push_after(out: &mut Vec<u8>, request: Option<&Request<'_>>) {
    for name in ["referer", "user-agent"] {
        out.extend_from_slice(b" \"");
        push_escaped(out, request.and_then(|request| request.headers.get(name)).unwrap_or(b"-"));
        out.push(b'"');
    }
    out.push(b'\n');
}

/// A client must not be able to write what looks like another line, or like a command to a terminal.
fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    for &octet in text {
        match octet {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', octet]),
            b' '..=b'~' => out.push(octet),
            _ => {
                let _ = write!(out, "\\x{octet:02x}");
            }
        }
    }
}
