//! The body that a client is being sent: which piece is next, whether the disk has it, how it gets into the socket.

use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use super::TURN_BYTES;
use super::disk::ReadAhead;
use super::stream::Transport;
use crate::service::Content;

/// Most octets of a file that pass through user space at once, where the socket cannot take them from the file.
pub(super) const SCRATCH_BYTES: usize = 64 * 1024;

/// A content on its way. How far it has come is the connection's to know: each call is told.
#[derive(Debug)]
pub(super) struct Body {
    content: Content,
    /// How much of it can be sent without waiting for the disk.
    read_ahead: ReadAhead,
}

impl Body {
    pub(super) fn new(content: Content) -> Self {
        let read_ahead = ReadAhead::new(content.len());
        Self { content, read_ahead }
    }

    /// In octets.
    pub(super) fn len(&self) -> u64 {
        self.content.len()
    }

    /// Whether the disk was found not to have the next piece, and has not been asked again since.
    pub(super) const fn is_waiting(&self) -> bool {
        self.read_ahead.is_waiting()
    }

    /// Whether the next piece would have to be waited for. Asks the disk, if that is not known.
    pub(super) fn waits_for_disk(&mut self, unsent: Range<u64>, now: Instant) -> bool {
        let at = unsent.start;
        if self.read_ahead.covers(at, unsent.end - at) {
            return false;
        }
        match piece(&self.content, at) {
            Piece::File(file, offset, left) => !self.read_ahead.is_ready(at, file, offset, left, now),
            Piece::Bytes(_) => false,
        }
    }

    /// Sends the head, then a piece of the body from octet `at` on, at most [`TURN_BYTES`] together. All policy about
    /// copying, vectored writes and sendfile(2) is in this function.
    ///
    /// # Errors
    /// The socket's and the disk's; `UnexpectedEof`: the file has become shorter.
    pub(super) fn send(
        &self,
        stream: &mut impl Transport,
        head: &[u8],
        at: u64,
        scratch: &mut Vec<u8>,
    ) -> io::Result<usize> {
        let room = TURN_BYTES.saturating_sub(head.len());
        match piece(&self.content, at) {
            Piece::Bytes(bytes) => {
                let bytes = bytes.get(..room).unwrap_or(bytes);
                stream.write_vectored(&[IoSlice::new(head), IoSlice::new(bytes)])
            }
            Piece::File(file, offset, len) => {
                let len = len.min(room as u64) as usize;
                if let Some(sent) = stream.send_file(head, file, offset, len) {
                    return sent;
                }
                // Nothing unsent is kept: what the socket does not take is read again at its offset.
                scratch.clear();
                scratch.extend_from_slice(head);
                scratch.resize(head.len() + len.min(SCRATCH_BYTES), 0);
                let n = match file.read_at(scratch.get_mut(head.len()..).unwrap_or_default(), offset) {
                    // The disk's fault is this answer's alone: those queued before it go out first.
                    Err(_) | Ok(0) if !head.is_empty() => 0,
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    read => read?,
                };
                scratch.truncate(head.len() + n);
                stream.write(scratch)
            }
        }
    }
}

/// What of a content stands at an offset.
enum Piece<'a> {
    Bytes(&'a [u8]),
    /// An offset into the file, and how many octets of it are left.
    File(&'a File, u64, u64),
}

fn piece(content: &Content, at: u64) -> Piece<'_> {
    let mut skip = at;
    let mut parts = std::slice::from_ref(content).iter();
    if let Content::Parts(several) = content {
        parts = several.iter();
    }
    for part in parts {
        if skip >= part.len() {
            skip -= part.len();
            continue;
        }
        return match part {
            Content::Bytes(bytes, range) => {
                Piece::Bytes(bytes.get(range.start + skip as usize..range.end).unwrap_or_default())
            }
            Content::File(file, range) => Piece::File(file, range.start + skip, part.len() - skip),
            Content::Empty | Content::Parts(_) => Piece::Bytes(&[]),
        };
    }
    Piece::Bytes(&[])
}
