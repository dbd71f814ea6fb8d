//! The transports: what a [`super::Client`] reads from and writes to.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

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

impl Stream {
    /// Makes calls wait, at most for so long; then they report that they would block, as a nonblocking socket does
    /// at once (socket(7), `SO_RCVTIMEO` and `SO_SNDTIMEO`).
    ///
    /// # Errors
    /// The socket is none any more, or the time is zero.
    pub fn block_for(&self, time: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => {
                socket.set_nonblocking(false)?;
                socket.set_read_timeout(Some(time))?;
                socket.set_write_timeout(Some(time))
            }
            Self::Unix(socket) => {
                socket.set_nonblocking(false)?;
                socket.set_read_timeout(Some(time))?;
                socket.set_write_timeout(Some(time))
            }
        }
    }
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

    #[cfg(target_os = "linux")]
    fn send_file(&mut self, head: &[u8], file: &File, offset: u64, len: usize) -> Option<io::Result<usize>> {
        Some(send_file(self.as_fd(), head, file, offset, len))
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
