//! The transports: what a [`super::Client`] reads from and writes to.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::client::Interest;

/// A byte stream to a peer. The loop knows no more of it than this, so that it can be a TCP socket, a Unix
/// socket, TLS over either, or a simulated network.
pub trait Transport: Read + Write {
    /// Says "no more answers" while still reading (shutdown(2) with `SHUT_WR`).
    ///
    /// # Errors
    /// The peer is gone already.
    fn shut_down_write(&mut self) -> io::Result<()>;

    /// Sends the head and then up to `len` octets of the file from `offset`, without copying them through user
    /// space; `None` if this transport cannot. Returns how many octets of both together were taken.
    ///
    /// # Errors
    /// As write(2); [`io::ErrorKind::UnexpectedEof`] if the file ends before `offset`.
    fn send_file(&mut self, head: &[u8], file: &File, offset: u64, len: usize) -> Option<io::Result<usize>> {
        let _ = (head, file, offset, len);
        None
    }

    /// Says of each stream, in order, whether what it is waited for would not block now. One system call for all of
    /// them if the transport knows how; otherwise "perhaps", for everyone: then trying is the only way to know.
    fn ask(streams: &mut dyn Iterator<Item = (&Self, Option<Interest>)>, ready: &mut Vec<bool>)
    where
        Self: Sized,
    {
        ready.extend(streams.map(|_| true));
    }

    /// Whether the transport still has to be agreed on (TLS) before requests can come.
    fn is_handshaking(&self) -> bool {
        false
    }
}

/// A socket of ours.
#[derive(Debug)]
pub enum Stream {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Read for Stream {
    #[inline]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buf),
            Self::Unix(socket) => socket.read(buf),
        }
    }
}

impl Write for Stream {
    #[inline]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(buf),
            Self::Unix(socket) => socket.write(buf),
        }
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write_vectored(bufs),
            Self::Unix(socket) => socket.write_vectored(bufs),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Stream {
    fn shut_down_write(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Self::Unix(socket) => socket.shutdown(Shutdown::Write),
        }
    }

    fn ask(streams: &mut dyn Iterator<Item = (&Self, Option<Interest>)>, ready: &mut Vec<bool>) {
        let mut descriptors: Vec<_> =
            streams.map(|(stream, interest)| PollFd::new(stream, poll_flags(interest))).collect();
        match poll(&mut descriptors, Some(&Timespec::default())) {
            Ok(_) => ready.extend(descriptors.iter().map(|descriptor| !descriptor.revents().is_empty())),
            // No memory for so many, or a signal: then they are tried.
            Err(_) => ready.extend(descriptors.iter().map(|_| true)),
        }
    }

    #[cfg(target_os = "linux")]
    fn send_file(&mut self, head: &[u8], file: &File, offset: u64, len: usize) -> Option<io::Result<usize>> {
        Some(send_file(self.as_fd(), head, file, offset, len))
    }
}

/// What poll(2) is to watch a socket for; for who waits for neither, only its end.
pub fn poll_flags(interest: Option<Interest>) -> PollFlags {
    match interest {
        Some(Interest::Read) => PollFlags::IN,
        Some(Interest::Write) => PollFlags::OUT,
        None => PollFlags::empty(),
    }
}

/// The head goes first, marked with `MSG_MORE` so that it does not leave in a packet of its own, then the file.
#[cfg(target_os = "linux")]
fn send_file(
    socket: BorrowedFd<'_>,
    head: &[u8],
    file: &File,
    mut offset: u64,
    len: usize,
) -> io::Result<usize> {
    use rustix::net::{SendFlags, send};
    let mut head_sent = 0;
    if !head.is_empty() {
        head_sent = send(socket, head, SendFlags::MORE | SendFlags::NOSIGNAL)?;
        if head_sent < head.len() {
            return Ok(head_sent);
        }
    }
    match rustix::fs::sendfile(socket, file, Some(&mut offset), len) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(sent) => Ok(head_sent + sent),
        // The head is out: that was progress; the file's turn comes again.
        Err(rustix::io::Errno::AGAIN) if head_sent > 0 => Ok(head_sent),
        Err(error) => Err(error.into()),
    }
}
