//! The two buffers of a connection, and the pool they come from.
//!
//! An idle connection holds no buffer: [`Spare`] lends them for as long as there is something in them. The loop
//! that serves sixteen busy clients one after the other therefore uses the same few kilobytes over and over,
//! which stay in the cache, and 10,000 silent ones cost nothing.

use super::limits::Limits;
use super::request_error::RequestError;

/// Most octets asked for by one read. A browser's request is about 500; 16 KiB takes thirty of them at once.
pub const READ_SIZE: usize = 16 * 1024;

/// Buffers kept for reuse; beyond this many they go back to the allocator.
const SPARE_MAX: usize = 64;

/// A send buffer that has grown beyond this is not kept.
const SEND_KEPT: usize = 128 * 1024;

/// The pool: empty buffers waiting to be lent. One for each thread of control.
#[derive(Debug, Default)]
pub struct Spare {
    recv: Vec<Vec<u8>>,
    send: Vec<Vec<u8>>,
}

/// What came and has not been consumed: `storage[start..end]`.
#[derive(Debug, Default)]
pub(super) struct RecvBuffer {
    /// Initialised to its full length; empty while the connection is idle.
    storage: Vec<u8>,
    start: usize,
    end: usize,
    /// How far, from `start`, line ends have been looked for; never looked at twice.
    scanned: usize,
    /// Where, from `start`, the line being looked at begins.
    line: usize,
}

impl RecvBuffer {
    pub(super) fn bytes(&self) -> &[u8] {
        self.storage.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) const fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Room for the next read, at least one octet: what is unread moves to the front when it must.
    pub(super) fn space(&mut self, spare: &mut Spare) -> &mut [u8] {
        if self.storage.is_empty() {
            self.storage = spare.recv.pop().unwrap_or_else(|| vec![0; READ_SIZE]);
        }
        if self.start > 0 && self.storage.len() - self.end < READ_SIZE / 2 {
            self.storage.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.storage.len() {
            // Only a head longer than READ_SIZE comes here; Limits::head_bytes bounds it.
            self.storage.resize(self.storage.len() + READ_SIZE, 0);
        }
        self.storage.get_mut(self.end..).unwrap_or_default()
    }

    /// Says that `n` octets were read into the space.
    pub(super) fn commit(&mut self, n: usize) {
        self.end = (self.end + n).min(self.storage.len());
    }

    /// Drops the first `n` octets.
    pub(super) fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
        self.scanned = 0;
        self.line = 0;
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Keeps the first `n` octets: what follows a head and has been read past.
    pub(super) fn truncate(&mut self, n: usize) {
        self.end = self.end.min(self.start + n);
    }

    /// Drops empty lines in front (RFC 9112 §2.2). Returns whether nothing else is here; half of one may be.
    pub(super) fn skip_empty_lines(&mut self) -> bool {
        while self.bytes().starts_with(b"\r\n") {
            self.consume(2);
        }
        matches!(self.bytes(), b"" | b"\r")
    }

    /// Gives an empty buffer back.
    pub(super) fn release(&mut self, spare: &mut Spare) {
        if self.is_empty() && !self.storage.is_empty() {
            let storage = std::mem::take(&mut self.storage);
            if spare.recv.len() < SPARE_MAX && storage.len() == READ_SIZE {
                spare.recv.push(storage);
            }
        }
    }

    /// Looks on for the blank line that ends a head. Drops empty lines in front of it (RFC 9112 §2.2). The
    /// verdict depends on the octets only, not on how they were cut: each limit is judged at its own octet.
    pub(super) fn find_head(&mut self, limits: &Limits) -> Result<bool, RequestError> {
        // Longest request line: the target, and around it more than any method and version take.
        let first_line = (limits.target_bytes + 64).min(limits.head_bytes);
        loop {
            let unseen = self.bytes().get(self.scanned..).unwrap_or_default();
            let found = memchr::memchr(b'\n', unseen);
            let upto = found.map_or(self.len(), |at| self.scanned + at + 1);
            if self.line == 0 && upto > first_line {
                return Err(RequestError::TargetTooLong);
            }
            if upto > limits.head_bytes {
                return Err(RequestError::HeadTooLarge);
            }
            self.scanned = upto;
            if found.is_none() {
                return Ok(false);
            }
            let line = self.bytes().get(self.line..upto).unwrap_or_default();
            if !line.ends_with(b"\r\n") {
                return Err(RequestError::BareLineFeed);
            }
            if line.len() > 2 {
                self.line = upto;
            } else if self.line == 0 {
                self.consume(2);
            } else {
                return Ok(true);
            }
        }
    }
}

/// What is to be sent: heads and small bodies, one after the other, so that pipelined answers leave together.
#[derive(Debug, Default)]
pub(super) struct SendBuffer {
    storage: Vec<u8>,
    sent: usize,
}

impl SendBuffer {
    pub(super) fn unsent(&self) -> &[u8] {
        self.storage.get(self.sent..).unwrap_or_default()
    }

    pub(super) const fn len(&self) -> usize {
        self.storage.len() - self.sent
    }

    /// The end of the buffer, for appending.
    pub(super) fn tail(&mut self, spare: &mut Spare) -> &mut Vec<u8> {
        if self.storage.capacity() == 0 {
            self.storage = spare.send.pop().unwrap_or_default();
        }
        &mut self.storage
    }

    /// Says that up to `n` octets were sent; returns how many of them were from here.
    pub(super) fn advance(&mut self, n: usize) -> usize {
        let here = n.min(self.len());
        self.sent += here;
        if self.sent == self.storage.len() {
            self.storage.clear();
            self.sent = 0;
        }
        here
    }

    /// Gives an empty buffer back.
    pub(super) fn release(&mut self, spare: &mut Spare) {
        if self.storage.is_empty() && self.storage.capacity() > 0 {
            let storage = std::mem::take(&mut self.storage);
            if spare.send.len() < SPARE_MAX && storage.capacity() <= SEND_KEPT {
                spare.send.push(storage);
            }
        }
    }
}
