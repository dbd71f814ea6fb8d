//! The transports: what a [`super::Client`] reads from and writes to.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::tls::TlsStream;

/// What a client's socket is to be watched for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    /// Data, or its end.
    Read,
    /// Room for more.
    Write,
}

/// A byte stream to a peer. The loop knows no more of it than this, so that it can be a TCP socket, a Unix
/// socket, TLS over either, or a simulated network.
pub trait Transport: Read + Write {
    /// Says "no more answers" while still reading (shutdown(2) with `SHUT_WR`).
    ///
    /// # Errors
    /// The peer is gone already; [`io::ErrorKind::WouldBlock`] if something must be sent first and cannot be yet.
    fn shut_down_write(&mut self) -> io::Result<()>;

    /// Writes the end of the last answer. The caller closes as soon as all of it was taken: until then it may be kept
    /// back, so that the end of file leaves in the same packet.
    ///
    /// # Errors
    /// As write(2).
    fn write_last(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write(buf)
    }

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

    /// Whether everybody on the way can read what is said.
    fn is_in_the_clear(&self) -> bool {
        false
    }

    /// Whether the transport has something of its own to send, besides what it was given to write.
    fn has_output(&self) -> bool {
        false
    }

    /// Whether a read may bring something although the kernel reports nothing new: octets that were read from the
    /// socket but not handed on.
    fn has_input(&self) -> bool {
        false
    }

    /// How many octets the peer's system has acknowledged since the connection began, where the transport can tell.
    /// What the kernel here has taken says little: it takes hundreds of kilobytes for a peer that takes none.
    fn acknowledged(&self) -> Option<u64> {
        None
    }

    /// The last word before the end (TLS close_notify), as far as it can be said at once.
    fn finish(&mut self) {}
}

/// A socket of ours.
#[derive(Debug)]
pub enum Stream {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over TCP. Boxed, because a session is a hundred times as large as a descriptor.
    Tls(Box<TlsStream>),
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
            Self::Tls(session) => session.socket().block_for(time),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
            Self::Tls(session) => session.as_fd(),
        }
    }
}

impl Read for Stream {
    #[inline]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buf),
            Self::Unix(socket) => socket.read(buf),
            Self::Tls(session) => session.read(buf),
        }
    }
}

impl Write for Stream {
    #[inline]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(buf),
            Self::Unix(socket) => socket.write(buf),
            Self::Tls(session) => session.write(buf),
        }
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write_vectored(bufs),
            Self::Unix(socket) => socket.write_vectored(bufs),
            Self::Tls(session) => session.write_vectored(bufs),
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
            Self::Tls(session) => session.shut_down_write(),
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
    fn write_last(&mut self, buf: &[u8]) -> io::Result<usize> {
        use rustix::net::{SendFlags, send};
        match self {
            Self::Tcp(socket) => Ok(send(socket, buf, SendFlags::MORE | SendFlags::NOSIGNAL)?),
            socket => socket.write(buf),
        }
    }

    #[cfg(target_os = "linux")]
    fn send_file(&mut self, head: &[u8], file: &File, offset: u64, len: usize) -> Option<io::Result<usize>> {
        match self {
            Self::Tls(_) => None, // it must be encrypted first
            socket => Some(send_file(socket.as_fd(), head, file, offset, len)),
        }
    }

    #[inline]
    fn is_handshaking(&self) -> bool {
        matches!(self, Self::Tls(session) if session.is_handshaking())
    }

    /// Whoever opens a Unix socket is on this machine, most often a proxy that has spoken TLS already.
    fn is_in_the_clear(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    #[inline]
    fn has_output(&self) -> bool {
        matches!(self, Self::Tls(session) if session.has_output())
    }

    #[inline]
    fn has_input(&self) -> bool {
        matches!(self, Self::Tls(session) if session.has_input())
    }

    #[cfg(target_os = "linux")]
    fn acknowledged(&self) -> Option<u64> {
        match self {
            Self::Tcp(socket) => acknowledged(socket),
            Self::Unix(_) => None,
            Self::Tls(session) => session.acknowledged(),
        }
    }

    fn finish(&mut self) {
        if let Self::Tls(session) = self {
            session.finish();
        }
    }
}

/// The first 128 octets of `struct tcp_info` (tcp(7)), which every Linux since 4.1 gives; the last eight of them are
/// `tcpi_bytes_acked`.
#[cfg(target_os = "linux")]
type TcpInfoStart = [u64; 16];

#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug)]
struct TcpInfo;

#[cfg(target_os = "linux")]
nix::getsockopt_impl!(
    TcpInfo,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    TcpInfoStart,
    nix::sys::socket::sockopt::GetStruct<TcpInfoStart>
);

#[cfg(target_os = "linux")]
fn acknowledged(socket: &TcpStream) -> Option<u64> {
    let info = nix::sys::socket::getsockopt(socket, TcpInfo).ok()?;
    info.last().copied()
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
        // The head is out: that was progress; the file's turn, and its error, come again.
        Ok(0) | Err(_) if head_sent > 0 => Ok(head_sent),
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(sent) => Ok(head_sent + sent),
        Err(error) => Err(error.into()),
    }
}
