//! Connections that say nothing: what browsers keep in reserve, made visible in any number up to a bound.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// Most silent connections at a time.
pub(super) const SILENT_MAX: usize = 1000;
/// Most opened or dropped per call: a connect over loopback costs some 20 µs, so a call stays below a few
/// milliseconds and below any listen backlog.
const PER_CALL: usize = 64;

/// The client ends of the silent connections that the loop holds to itself.
#[derive(Debug)]
pub(super) struct Silent {
    address: Option<SocketAddr>,
    sockets: Vec<Socket>,
}

impl Silent {
    /// Will connect to `address`, by way of loopback if it is a wildcard.
    pub(super) fn new(address: Option<SocketAddr>) -> Self {
        let address = address.map(|mut address| {
            if address.ip().is_unspecified() {
                address.set_ip(match address.ip() {
                    IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                    IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
                });
            }
            address
        });
        Self { address, sockets: Vec::new() }
    }

    /// Comes nearer to `wanted` open connections and keeps their local ports in step. Those that the server
    /// has closed meanwhile (it does, after its idle timeout) are let go.
    pub(super) fn tend(&mut self, wanted: usize, ports: &mut Vec<u16>) {
        let Some(address) = self.address else { return };
        let wanted = wanted.min(SILENT_MAX);
        if wanted == 0 && self.sockets.is_empty() {
            return;
        }
        let before = self.sockets.len();
        self.sockets.retain(|socket| !has_ended(socket));
        let mut changed = before != self.sockets.len();
        for _ in 0..PER_CALL {
            if self.sockets.len() == wanted {
                break;
            }
            changed = true;
            if self.sockets.len() > wanted {
                self.sockets.pop();
            } else {
                match connect(address) {
                    Ok(socket) => self.sockets.push(socket),
                    // No descriptor or port free: what could be opened stays, the next call tries again.
                    Err(_) => break,
                }
            }
        }
        if changed {
            ports.clear();
            ports.extend(
                self.sockets.iter().filter_map(|socket| Some(socket.local_addr().ok()?.as_socket()?.port())),
            );
        }
    }
}

/// Begins to connect; never waits. Over loopback the handshake is done by the time this returns, as long as the
/// listener's queue has room.
fn connect(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if !is_under_way(&error) => Err(error),
        _ => Ok(socket),
    }
}

fn is_under_way(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(nix::libc::EINPROGRESS)
}

/// Whether the server's end is gone. The server owes a silent client nothing but a 408 at most, so any octet
/// counts as its end as well.
fn has_ended(socket: &Socket) -> bool {
    let mut octet = [std::mem::MaybeUninit::uninit()];
    match socket.peek(&mut octet) {
        Ok(_) => true,
        Err(error) => !matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::NotConnected
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn silent_connections_come_and_go_by_slices() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut silent = Silent::new(listener.local_addr().ok());
        let mut ports = Vec::new();
        silent.tend(100, &mut ports);
        assert_eq!(ports.len(), PER_CALL);
        silent.tend(100, &mut ports);
        assert_eq!(ports.len(), 100);
        let (first, peer) = listener.accept().unwrap();
        assert!(ports.contains(&peer.port()));
        drop(first);
        silent.tend(99, &mut ports);
        assert_eq!(ports.len(), 99);
        assert!(!ports.contains(&peer.port()), "what the server closed is let go");
        silent.tend(0, &mut ports);
        silent.tend(0, &mut ports);
        assert!(ports.is_empty());
    }

    #[test]
    fn without_an_address_nothing_is_opened() {
        let mut silent = Silent::new(None);
        let mut ports = Vec::new();
        silent.tend(10, &mut ports);
        assert!(ports.is_empty());
    }
}
