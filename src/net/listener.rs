//! Listening sockets: binding, accepting, and waiting when no descriptor is free.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::SocketFlags;
use socket2::{Domain, Protocol, Socket, Type};

use super::attempt;
use super::stream::Stream;
use crate::service::Peer;
use crate::stats::Stats;

/// Newcomers that the kernel may keep waiting for us; it cuts this to `net.core.somaxconn` (listen(2)). Linux's
/// own default is 4096 since 5.4.
const BACKLOG: i32 = 4096;

/// With no descriptor free, and nobody leaving, accepting is tried again after this long: another process, or
/// the file cache, may have given one back.
const PAUSE: Duration = Duration::from_secs(1);

/// Where to listen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// An IP address and port; port 0 lets the kernel choose. `::` accepts IPv4 as well.
    Ip(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An address that cannot be listened on, and why.
#[derive(Debug)]
pub struct BindError {
    address: Address,
    source: io::Error,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.source)?;
        match self.source.kind() {
            io::ErrorKind::AddrInUse => {
                f.write_str("; another program has it: stop that one, or choose a port with -p")
            }
            io::ErrorKind::PermissionDenied => {
                f.write_str("; ports below 1024 need privilege: choose another with -p")
            }
            io::ErrorKind::AddrNotAvailable => {
                f.write_str("; this machine has no such address: see -b in --help")
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A newcomer.
#[derive(Debug)]
pub struct Accepted {
    /// The socket, nonblocking, Nagle's algorithm off.
    pub stream: Stream,
    /// Who is at the other end.
    pub peer: Peer,
}

#[derive(Debug)]
enum Door {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// One or several listening sockets, nonblocking, tried in turn.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<Door>,
    /// The one to begin with next time, so that a crowd at one door does not keep the other shut.
    turn: usize,
    /// Set while no descriptor is free: when to try again at the latest.
    paused_until: Option<Instant>,
    told_of_pause: bool,
}

impl Listener {
    /// Binds and listens on every address.
    ///
    /// # Errors
    /// The first address that cannot be had.
    pub fn bind(addresses: &[Address]) -> Result<Self, BindError> {
        let mut sockets = Vec::new();
        for address in addresses {
            let socket = match address {
                Address::Ip(ip) => bind_ip(*ip).map(Door::Tcp),
                Address::Unix(path) => bind_unix(path),
            };
            sockets.push(socket.map_err(|source| BindError { address: address.clone(), source })?);
        }
        Ok(Self { sockets, turn: 0, paused_until: None, told_of_pause: false })
    }

    /// The addresses really bound, with the ports the kernel chose.
    pub fn addresses(&self) -> Vec<Address> {
        self.sockets
            .iter()
            .filter_map(|socket| match socket {
                Door::Tcp(socket) => socket.local_addr().ok().map(Address::Ip),
                Door::Unix(_, path) => Some(Address::Unix(path.clone())),
            })
            .collect()
    }

    /// The descriptors to wait on: none while accepting is paused.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets().filter(|_| self.paused_until.is_none())
    }

    /// The descriptors, paused or not: for models that register them once.
    pub fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(|socket| match socket {
            Door::Tcp(socket) => socket.as_fd(),
            Door::Unix(socket, _) => socket.as_fd(),
        })
    }

    /// Closes this process's copies after a fork; the process they were copied from goes on listening.
    pub fn abandon(&mut self) {
        self.sockets.clear(); // leaves the file of a Unix socket, which is still in use
    }

    /// When a paused listener is to be tried again.
    pub const fn deadline(&self) -> Option<Instant> {
        self.paused_until
    }

    /// One attempt at each socket until one gives a newcomer. `None`: it would have blocked, or accepting is
    /// paused because no descriptor is free. A newcomer who left before being accepted is passed over.
    pub fn try_accept(&mut self, stats: &mut Stats, now: Instant) -> Option<Accepted> {
        if self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        self.paused_until = None;
        for _ in 0..self.sockets.len() {
            self.turn = (self.turn + 1) % self.sockets.len();
            let socket = self.sockets.get(self.turn)?;
            stats.accepts += 1;
            match attempt(accept(socket)) {
                Ok(Some(accepted)) => return Some(accepted),
                Ok(None) => stats.accept_would_blocks += 1,
                Err(error) => {
                    self.failed(&error, stats, now);
                    if self.paused_until.is_some() {
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Stops listening: newcomers are turned away by the kernel from now on.
    pub fn close(&mut self) {
        self.remove_files();
        self.sockets.clear();
    }

    fn remove_files(&self) {
        for socket in &self.sockets {
            if let Door::Unix(_, path) = socket {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// A client left: if accepting was paused for want of a descriptor, there is one now.
    pub const fn descriptor_freed(&mut self) {
        self.paused_until = None;
    }

    /// Pauses accepting until a client leaves, as for want of a descriptor: the limit of connections is reached.
    pub fn pause(&mut self, now: Instant) {
        self.paused_until = Some(now + PAUSE);
    }

    fn failed(&mut self, error: &io::Error, stats: &mut Stats, now: Instant) {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        match errno {
            // The newcomer stays in the kernel's queue. Asking again at once would only burn the core.
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => {
                stats.accept_pauses += 1;
                self.paused_until = Some(now + PAUSE);
                if !self.told_of_pause {
                    self.told_of_pause = true;
                    log::warn!(
                        "accepting pauses: {error}; newcomers wait in the kernel's queue until a client leaves \
                         (raise the limit with ulimit -n; said once)"
                    );
                }
            }
            // accept(2): errors of the newcomer's own connection are his, not ours.
            _ => log::debug!("a newcomer was gone before being accepted: {error}"),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.remove_files();
    }
}

fn bind_ip(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Dual stack for `::`, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // Judged at bind(2), so it must come first: otherwise a restart fails while old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    // Inherited by accepted sockets on Linux, which saves one call for each of them; see `accept`.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn bind_unix(path: &PathBuf) -> io::Result<Door> {
    // A socket file that nobody listens on any more is what a killed server leaves behind.
    if UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        std::fs::remove_file(path)?;
    }
    let socket = UnixListener::bind(path)?;
    socket.set_nonblocking(true)?;
    Ok(Door::Unix(socket, path.clone()))
}

fn accept(socket: &Door) -> io::Result<Accepted> {
    match socket {
        Door::Tcp(socket) => {
            let (stream, address) = accept_tcp(socket)?;
            Ok(Accepted { stream: Stream::Tcp(stream), peer: Peer::Ip(address) })
        }
        Door::Unix(socket, _) => {
            let (stream, _) = socket.accept()?;
            stream.set_nonblocking(true)?;
            Ok(Accepted { stream: Stream::Unix(stream), peer: Peer::Unix })
        }
    }
}

/// accept4(2): nonblocking from the start; an accepted socket does not inherit that flag.
#[cfg(target_os = "linux")]
fn accept_tcp(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (fd, address) = rustix::net::acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
    let address = address.ok_or(io::ErrorKind::ConnectionAborted)?;
    Ok((TcpStream::from(fd), SocketAddr::new(address.ip().to_canonical(), address.port())))
}

#[cfg(not(target_os = "linux"))]
fn accept_tcp(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, address) = socket.accept()?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok((stream, SocketAddr::new(address.ip().to_canonical(), address.port())))
}
