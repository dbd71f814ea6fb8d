//! One door: an address, and the nonblocking socket that listens on it.
//!
//! What lives here: how a socket is bound, or taken over from whoever started us, and how it accepts. What must not:
//! which door comes next, and what to do when no descriptor is free; that is the listener's business.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::net::SocketFlags;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::stream::Stream;
use super::tls::Tls;
use crate::service::Peer;

/// A newcomer.
#[derive(Debug)]
pub struct Accepted<S = Stream> {
    /// The socket, nonblocking, Nagle's algorithm off.
    pub stream: S,
    /// Who is at the other end.
    pub peer: Peer,
}

/// Newcomers that the kernel may keep waiting for us; it cuts this to `net.core.somaxconn` (listen(2)). Linux's
/// own default is 4096 since 5.4.
const BACKLOG: i32 = 4096;

/// Most octets that a socket takes beyond what it can send (tcp(7), TCP_NOTSENT_LOWAT): as much as 10 Gbit/s carry in
/// 200 µs. With 64 KiB four large downloads on a loopback are hardly quicker, but who is woken by the kernel would be
/// woken four times as often.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 256 * 1024;

/// Where to listen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// An IP address and port; port 0 lets the kernel choose. `::` accepts IPv4 as well, unless
    /// [`BindOptions::only_v6`] says otherwise.
    Ip(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Whether another of these addresses accepts IPv4 on the same port: then `::` must not, or one of the two could
    /// not be had.
    pub fn is_beside_ipv4(&self, all: &[Self]) -> bool {
        let Self::Ip(own) = self else { return false };
        own.is_ipv6()
            && all
                .iter()
                .any(|other| matches!(other, Self::Ip(ip) if ip.is_ipv4() && ip.port() == own.port()))
    }
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
            io::ErrorKind::AddrInUse if matches!(self.address, Address::Unix(_)) => {
                f.write_str("; another program listens there, or a file of that name is in the way")
            }
            io::ErrorKind::AddrInUse => {
                f.write_str("; another program has it: stop that one, or choose a port with -p")
            }
            io::ErrorKind::PermissionDenied if matches!(self.address, Address::Ip(_)) => {
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

/// How to listen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BindOptions {
    /// Lets other processes that say so too listen on the same address; the kernel shares newcomers out among them
    /// (socket(7), `SO_REUSEPORT`).
    pub reuse_port: bool,
    /// `::` accepts IPv6 alone.
    pub only_v6: bool,
    /// The permissions of a Unix socket's file; without it, the umask decides. Whoever may write may connect.
    pub mode: Option<u32>,
}

/// A socket that listens.
#[derive(Debug)]
pub(super) enum Door {
    Tcp(TcpListener),
    /// With the file that is ours to remove.
    Unix(UnixListener, Option<SocketFile>),
}

/// The file of a Unix socket that we have bound.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode: another server may have put its own file there since.
    identity: (u64, u64),
    /// The process that may remove it: a forked child leaves it alone.
    owner: u32,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)?, owner: std::process::id() })
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = std::fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

impl Door {
    pub(super) fn bind(address: &Address, options: &BindOptions) -> Result<Self, BindError> {
        match address {
            Address::Ip(ip) => bind_ip(*ip, options).map(Self::Tcp),
            Address::Unix(path) => bind_unix(path, options.mode),
        }
        .map_err(|source| BindError { address: address.clone(), source })
    }

    /// A TCP socket that listens already.
    pub(super) fn adopt_tcp(socket: TcpListener) -> io::Result<Self> {
        set_inherited(&socket2::SockRef::from(&socket))?;
        socket.set_nonblocking(true)?;
        Ok(Self::Tcp(socket))
    }

    /// A Unix socket that listens already; its file belongs to whoever made it.
    pub(super) fn adopt_unix(socket: UnixListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self::Unix(socket, None))
    }

    pub(super) fn address(&self) -> Option<Address> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok().map(Address::Ip),
            Self::Unix(socket, _) => {
                let address = socket.local_addr().ok()?;
                Some(Address::Unix(address.as_pathname().unwrap_or_else(|| Path::new("?")).to_owned()))
            }
        }
    }

    /// One attempt.
    pub(super) fn accept(&self, tls: Option<&Tls>) -> io::Result<Accepted> {
        match self {
            Self::Tcp(socket) => {
                let (stream, address) = accept_tcp(socket)?;
                let mut stream = Stream::Tcp(stream);
                if let Some(tls) = tls {
                    stream = Stream::Tls(Box::new(tls.accept(stream)?));
                }
                Ok(Accepted { stream, peer: Peer::Ip(address) })
            }
            Self::Unix(socket, _) => {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Accepted { stream: Stream::Unix(stream), peer: Peer::Unix })
            }
        }
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket, _) => socket.as_fd(),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Self::Unix(_, Some(file)) = self
            && file.owner == std::process::id()
            && identity(&file.path).is_ok_and(|identity| identity == file.identity)
        {
            let _ = std::fs::remove_file(&file.path);
        }
    }
}

fn bind_ip(address: SocketAddr, options: &BindOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Dual stack for `::`, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(options.only_v6 || !address.ip().is_unspecified())?;
    }
    // Judged at bind(2), so it must come first: otherwise a restart fails while old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    set_inherited(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// What every accepted socket is to have. On Linux it inherits that, which saves a call for each; see `accept_tcp`.
fn set_inherited(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    // What waits in a socket is sent by whoever brings the next acknowledgement: on a loopback the client's core, which
    // has its own work. Where a system does not know the option, that is all that is lost.
    #[cfg(target_os = "linux")]
    if let Err(error) = socket.set_tcp_notsent_lowat(UNSENT_BYTES) {
        log::debug!("sockets take more than they can send: {error}");
    }
    Ok(())
}

/// Whether nobody listens. A server whose queue is full is one that does (connect(2): EAGAIN); we do not stand in it.
fn is_refused(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let outcome = socket.connect(&SockAddr::unix(path)?);
    Ok(outcome.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

fn bind_unix(path: &Path, mode: Option<u32>) -> io::Result<Door> {
    // A socket file that nobody listens on any more is what a killed server leaves behind. connect(2) refuses for
    // any other file as well, and that one is not ours to remove.
    if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) && is_refused(path)? {
        std::fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let door = Door::Unix(socket.into(), Some(SocketFile::of(path)?));
    if let Some(mode) = mode {
        // Before listen(2): nobody whom the mode keeps out can have come in.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    if let Door::Unix(socket, _) = &door {
        socket2::SockRef::from(socket).listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
    }
    Ok(door)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_unix_socket_has_the_mode_asked_for_and_its_file_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        for asked in [0o600, 0o660, 0o666] {
            let options = BindOptions { mode: Some(asked), ..BindOptions::default() };
            let door = Door::bind(&Address::Unix(path.clone()), &options).unwrap();
            assert_eq!(mode(&path), asked);
            assert_eq!(door.address(), Some(Address::Unix(path.clone())));
            drop(door);
            assert!(!path.exists());
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn accepted_sockets_send_at_once_and_take_little_more_than_they_can_send() {
        let any = "127.0.0.1:0".parse().unwrap();
        let doors = [
            Door::bind(&Address::Ip(any), &BindOptions::default()).unwrap(),
            Door::adopt_tcp(TcpListener::bind(any).unwrap()).unwrap(),
        ];
        for door in doors {
            let Some(Address::Ip(address)) = door.address() else { panic!("{:?}", door.address()) };
            let _client = TcpStream::connect(address).unwrap();
            let Stream::Tcp(socket) = door.accept(None).unwrap().stream else { panic!("not TCP") };
            let socket = socket2::SockRef::from(&socket);
            assert!(socket.tcp_nodelay().unwrap());
            assert_eq!(socket.tcp_notsent_lowat().unwrap(), UNSENT_BYTES);
        }
    }

    #[test]
    fn a_socket_file_left_behind_is_replaced_and_any_other_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("name");
        let address = Address::Unix(path.clone());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind");
        let door = Door::bind(&address, &BindOptions::default()).unwrap();
        let error = Door::bind(&address, &BindOptions::default()).unwrap_err();
        assert!(error.to_string().contains("another program listens there"), "{error}");
        drop(door);

        std::fs::write(&path, "precious").unwrap();
        let error = Door::bind(&address, &BindOptions::default()).unwrap_err();
        assert!(error.to_string().contains("a file of that name is in the way"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn the_file_of_a_successor_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let address = Address::Unix(path.clone());
        let first = Door::bind(&address, &BindOptions::default()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let second = Door::bind(&address, &BindOptions::default()).unwrap();
        drop(first);
        assert!(path.exists(), "it is the second one's");
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_server_whose_queue_is_full_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let address = SockAddr::unix(&path).unwrap();
        let busy = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        busy.bind(&address).unwrap();
        busy.listen(0).unwrap();
        let mut queue = Vec::new();
        loop {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            if socket.connect(&address).is_err() {
                break;
            }
            queue.push(socket);
        }
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || tell.send(Door::bind(&Address::Unix(path), &BindOptions::default())));
        let outcome = told.recv_timeout(std::time::Duration::from_secs(60)).expect("it waits for a place");
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("another program listens there"), "{error}");
    }

    #[test]
    fn an_adopted_unix_socket_keeps_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        drop(Door::adopt_unix(UnixListener::bind(&path).unwrap()).unwrap());
        assert!(path.exists(), "it belongs to whoever made it");
    }

    #[test]
    fn two_may_share_a_port_if_both_say_so() {
        let share = BindOptions { reuse_port: true, ..BindOptions::default() };
        let any = Address::Ip("127.0.0.1:0".parse().unwrap());
        let first = Door::bind(&any, &share).unwrap();
        let address = first.address().unwrap();
        assert!(Door::bind(&address, &share).is_ok());
        assert!(Door::bind(&address, &BindOptions::default()).is_err());
    }
}
