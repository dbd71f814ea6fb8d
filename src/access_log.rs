//! The access log: one line for each answer. What a line looks like is in `format.rs`.
//!
//! Lines are built into a buffer and written when the loop is idle, the buffer is full or the second changes, never one
//! by one. The loop never waits for whoever reads them: a pipe is written only while it has room, what does not fit stays in
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

mod format;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub use format::LogFormat;

use crate::http::{HttpDate, Request};
use crate::service::{Peer, Response};

/// The buffer is written when it holds this much, even if the loop is busy.
const WRITE_AT: usize = 32 * 1024;

/// Lines kept for a reader that does not read; beyond this they are dropped.
const KEPT: usize = 1024 * 1024;

/// A reader who did not take all is tried again after this long.
const RETRY: Duration = Duration::from_millis(100);

/// A pipe that reports room takes at least this much without blocking (pipe(7), PIPE_BUF).
const PIPE_BUF: usize = 4096;

/// Where the lines go, and the lines that have not gone yet.
#[derive(Debug, Default)]
pub struct AccessLog {
    /// Shared with the logs of other threads, so that reopening changes all of them at once.
    sink: Option<Arc<RwLock<File>>>,
    format: LogFormat,
    /// What to open again.
    path: Option<PathBuf>,
    buffer: Vec<u8>,
    /// This second, as the format has it.
    time: Vec<u8>,
    dropped: u64,
    failed: bool,
}

/// The line of an answer whose body is still being sent: everything but the count of octets.
#[derive(Debug)]
pub struct PendingLine {
    text: Vec<u8>,
    /// Where in it the count belongs.
    gap: usize,
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
        Self { sink: Some(Arc::new(RwLock::new(file))), ..Self::default() }
    }

    /// Another log to the same place, with a buffer of its own: for another thread. Lines stay whole, see
    /// [`AccessLog::flush`].
    pub fn fellow(&self) -> Self {
        Self { sink: self.sink.clone(), format: self.format, time: self.time.clone(), ..Self::default() }
    }

    /// A log to the file of this name, which is made if need be and never cut short.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: Some(path.to_owned()), ..Self::to_file(append_to(path)?) })
    }

    /// The same log with lines of another shape.
    #[must_use]
    pub fn with_format(mut self, format: LogFormat) -> Self {
        self.format = format;
        self
    }

    /// Opens the file again, for those who have moved it away (logrotate). What was logged until now goes into the old
    /// one. If there is no new one to be had, the old one stays in use.
    pub fn reopen(&mut self) {
        let (Some(path), Some(sink)) = (&self.path, &self.sink) else { return };
        match append_to(path) {
            Ok(file) => {
                let sink = sink.clone();
                self.flush();
                *sink.write().unwrap_or_else(PoisonError::into_inner) = file;
                self.failed = false;
            }
            Err(error) => log::error!(
                "cannot open the access log {} again: {error}; the old file stays in use",
                path.display()
            ),
        }
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
        self.time.clear();
        self.format.push_time(&mut self.time, date);
    }

    /// Records an answer. `request` is `None` if what came could not be read; `head_only` says that it was HEAD all the
    /// same. Where the body is yet to be sent, the line is handed back, to be given to [`AccessLog::finish`] with the
    /// octets that really went.
    pub fn record(
        &mut self,
        peer: &Peer,
        request: Option<&Request<'_>>,
        head_only: bool,
        response: &Response,
    ) -> Option<PendingLine> {
        let no_body = head_only || response.status.forbids_body();
        let length = if no_body { 0 } else { response.content.len() };
        if length > crate::http::INLINE_MAX {
            let mut text = Vec::with_capacity(256);
            self.format.push_before(&mut text, &self.time, peer, request, response.status.0);
            let gap = text.len();
            self.format.push_after(&mut text, request);
            return Some(PendingLine { text, gap });
        }
        if self.has_room() {
            let format = self.format;
            format.push_before(&mut self.buffer, &self.time, peer, request, response.status.0);
            format.push_bytes(&mut self.buffer, length);
            format.push_after(&mut self.buffer, request);
            self.flush_if_full();
        }
        None
    }

    /// Completes a line with the octets of the body that were sent.
    pub fn finish(&mut self, line: &PendingLine, bytes: u64) {
        if self.has_room() {
            let (before, after) = line.text.split_at(line.gap);
            self.buffer.extend_from_slice(before);
            self.format.push_bytes(&mut self.buffer, bytes);
            self.buffer.extend_from_slice(after);
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
    /// threads and processes that share a file or a pipe stay whole; one longer than `PIPE_BUF` may be torn.
    pub fn flush(&mut self) {
        self.write(Duration::ZERO);
    }

    /// After a flush: when to try again, if the reader did not take all. Nobody else would wake a loop that sleeps.
    pub fn retry(&self) -> Option<Instant> {
        (!self.buffer.is_empty()).then(|| Instant::now() + RETRY)
    }

    /// Writes what is left, at the end of the program: waits for a slow reader, but not for one that takes nothing
    /// for this long. Lines that do not go out are counted as dropped.
    pub fn close(&mut self, patience: Duration) {
        self.write(patience);
        self.dropped += lines(&self.buffer);
        self.buffer.clear();
    }

    fn write(&mut self, patience: Duration) {
        let Some(sink) = &self.sink else { return };
        let sink = sink.read().unwrap_or_else(PoisonError::into_inner);
        let mut written = 0;
        while let Some(rest) = self.buffer.get(written..).filter(|rest| !rest.is_empty()) {
            if !has_room(&sink, patience) {
                break;
            }
            match (&*sink).write(whole_lines(rest)) {
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

/// Every write goes to the end of the file, wherever that is by then, so that several processes can share it, and
/// opening never waits, not even for a FIFO that nobody reads (open(2): ENXIO).
fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// As many lines as a pipe with room takes for sure. Cut at the end of a line, so that what several processes write
/// to one file does not mingle within lines.
fn whole_lines(text: &[u8]) -> &[u8] {
    let piece = text.get(..PIPE_BUF).unwrap_or(text);
    let end = memchr::memrchr(b'\n', piece).map_or(piece.len(), |at| at + 1);
    piece.get(..end).unwrap_or(piece)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_logged_before_reopening_is_in_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        std::fs::write(&path, "kept\n").unwrap();
        let mut log = AccessLog::open(&path).unwrap();
        log.buffer.extend_from_slice(b"before\n");
        std::fs::rename(&path, &moved).unwrap();
        log.reopen();
        log.buffer.extend_from_slice(b"after\n");
        log.flush();
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "kept\nbefore\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "after\n");
    }

    #[test]
    fn a_file_that_cannot_be_opened_again_stays_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let moved = folder.path().join("moved");
        let mut log = AccessLog::open(&inner.join("log")).unwrap();
        std::fs::rename(&inner, &moved).unwrap();
        log.reopen();
        log.buffer.extend_from_slice(b"on and on\n");
        log.flush();
        assert_eq!(std::fs::read_to_string(moved.join("log")).unwrap(), "on and on\n");
    }

    #[test]
    fn a_fifo_that_nobody_reads_is_an_error_and_not_a_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(AccessLog::open(&path).is_err());
    }

    #[test]
    fn writes_end_with_a_line_where_one_ends() {
        let long = [b'x'; 2 * PIPE_BUF];
        assert_eq!(whole_lines(&long).len(), PIPE_BUF, "one line longer than a write");
        assert_eq!(whole_lines(b"a\nb\n"), b"a\nb\n");
        let two = [&long[..PIPE_BUF - 1], b"\n", b"second\n"].concat();
        assert_eq!(whole_lines(&two).len(), PIPE_BUF);
        let cut = [&long[..100], b"\n", &long[..]].concat();
        assert_eq!(whole_lines(&cut).len(), 101);
    }
}
