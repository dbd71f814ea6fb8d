//! The listener: one or several doors tried in turn, and waiting when no descriptor is free.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::attempt;
use super::door::{Accepted, Address, BindError, BindOptions, Door};
use super::stream::{Stream, Transport};
use super::tls::Tls;
use crate::stats::Stats;

/// With no descriptor free, and nobody leaving, accepting is tried again after this long: another process, or
/// the file cache, may have given one back.
const PAUSE: Duration = Duration::from_secs(1);

/// Most attempts at one door in a row that fail because of the newcomer's own connection.
const TRIES: usize = 64;

/// Where newcomers come from: listening sockets, or a simulated network.
pub trait Accept {
    /// What a newcomer is spoken to through.
    type Stream: Transport;

    /// One attempt. `None`: it would have blocked.
    fn try_accept(&mut self, stats: &mut Stats, now: Instant) -> Option<Accepted<Self::Stream>>;

    /// A client left.
    fn descriptor_freed(&mut self);

    /// Lets nobody in any more.
    fn close(&mut self);

    /// Whether accepting is paused because no descriptor is free.
    fn is_paused(&self, _now: Instant) -> bool {
        false
    }

    /// Whether somebody is at the door, paused or not; lets nobody in.
    fn has_newcomer(&self) -> bool {
        false
    }

    /// Reads again what may have changed: certificates.
    fn reload(&mut self) {}
}

/// One or several listening sockets, nonblocking, tried in turn.
#[derive(Debug, Default)]
pub struct Listener {
    sockets: Vec<Door>,
    /// The one to begin with next time, so that a crowd at one door does not keep the other shut.
    turn: usize,
    /// Set while no descriptor is free: when to try again at the latest.
    paused_until: Option<Instant>,
    told_of_pause: bool,
    tls: Option<Tls>,
}

impl Listener {
    /// Binds and listens on every address.
    ///
    /// # Errors
    /// The first address that cannot be had.
    pub fn bind(addresses: &[Address]) -> Result<Self, BindError> {
        let mut listener = Self::default();
        for address in addresses {
            let only_v6 = address.is_beside_ipv4(addresses);
            listener.add(address, &BindOptions { only_v6, ..BindOptions::default() })?;
        }
        Ok(listener)
    }

    /// Binds one more address and listens on it.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn add(&mut self, address: &Address, options: &BindOptions) -> Result<(), BindError> {
        self.sockets.push(Door::bind(address, options)?);
        Ok(())
    }

    /// Takes over a TCP socket that listens already, from whoever started us.
    ///
    /// # Errors
    /// It cannot be made nonblocking.
    pub fn adopt_tcp(&mut self, socket: TcpListener) -> io::Result<()> {
        self.sockets.push(Door::adopt_tcp(socket)?);
        Ok(())
    }

    /// Takes over a Unix socket that listens already.
    ///
    /// # Errors
    /// It cannot be made nonblocking.
    pub fn adopt_unix(&mut self, socket: UnixListener) -> io::Result<()> {
        self.sockets.push(Door::adopt_unix(socket)?);
        Ok(())
    }

    /// Whether there is no socket at all.
    pub const fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Speaks TLS with everyone who comes by TCP. Unix sockets stay as they are: whoever opens one is on this
    /// machine, most often a proxy that has spoken TLS already.
    pub fn set_tls(&mut self, tls: Tls) {
        self.tls = Some(tls);
    }

    /// Reads the certificates again; a client that is connected keeps the old ones, and so does everyone if the new
    /// ones cannot be used.
    pub fn reload(&mut self) {
        match self.tls.as_mut().map(Tls::reload) {
            Some(Ok(())) => log::info!("the certificates were read again"),
            Some(Err(error)) => log::error!("{error}; the old certificates stay in use"),
            None => {}
        }
    }

    /// The addresses really bound, with the ports the kernel chose.
    pub fn addresses(&self) -> Vec<Address> {
        self.sockets.iter().filter_map(Door::address).collect()
    }

    /// The descriptors to wait on: none while accepting is paused.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets().filter(|_| self.paused_until.is_none())
    }

    /// The descriptors, paused or not: for models that register them once.
    pub fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(AsFd::as_fd)
    }

    /// Whether accepting is paused because no descriptor is free.
    pub fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    /// Whether somebody is at the door, paused or not; lets nobody in.
    pub fn has_newcomer(&self) -> bool {
        let mut doors: Vec<_> =
            self.sockets().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        poll(&mut doors, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// When a paused listener is to be tried again.
    pub const fn deadline(&self) -> Option<Instant> {
        self.paused_until
    }

    /// One attempt at each socket until one gives a newcomer. `None`: it would have blocked, or accepting is
    /// paused because no descriptor is free. A newcomer who left before being accepted is passed over.
    pub fn try_accept(&mut self, stats: &mut Stats, now: Instant) -> Option<Accepted> {
        if self.is_paused(now) {
            return None;
        }
        self.paused_until = None;
        for _ in 0..self.sockets.len() {
            self.turn = (self.turn + 1) % self.sockets.len();
            if let Some(accepted) = self.try_door(stats, now) {
                return Some(accepted);
            }
            if self.paused_until.is_some() {
                return None;
            }
        }
        None
    }

    /// One attempt at the socket whose turn it is, and another after each newcomer who is gone: others may stand
    /// behind him, and the kernel tells whoever waits for edges only once.
    fn try_door(&mut self, stats: &mut Stats, now: Instant) -> Option<Accepted> {
        for _ in 0..TRIES {
            let socket = self.sockets.get(self.turn)?;
            stats.accepts += 1;
            match attempt(socket.accept(self.tls.as_ref())) {
                Ok(Some(accepted)) => return Some(accepted),
                Ok(None) => {
                    stats.accept_would_blocks += 1;
                    return None;
                }
                Err(error) => self.failed(&error, stats, now),
            }
            if self.paused_until.is_some() {
                return None;
            }
        }
        None
    }

    /// Stops listening: newcomers are turned away by the kernel from now on.
    pub fn close(&mut self) {
        self.sockets.clear();
        self.paused_until = None;
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

impl Accept for Listener {
    type Stream = Stream;

    fn try_accept(&mut self, stats: &mut Stats, now: Instant) -> Option<Accepted> {
        self.try_accept(stats, now)
    }

    fn descriptor_freed(&mut self) {
        self.descriptor_freed();
    }

    fn close(&mut self) {
        self.close();
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.is_paused(now)
    }

    fn has_newcomer(&self) -> bool {
        self.has_newcomer()
    }

    fn reload(&mut self) {
        self.reload();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn a_door_that_is_closed_is_not_paused() {
        let now = Instant::now();
        let mut listener = Listener::bind(&[Address::Ip(([127, 0, 0, 1], 0).into())]).unwrap();
        listener.pause(now);
        assert!(listener.deadline().is_some());
        listener.close();
        assert!(listener.deadline().is_none(), "there is nothing to wake up for");
    }

    /// A socket that does not listen fails every time, as one does for a moment whose newcomers are gone.
    #[test]
    fn after_an_error_the_same_door_is_tried_again_and_then_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let mut listener = Listener::default();
        listener.add(&Address::Unix(path.clone()), &BindOptions::default()).unwrap();
        let deaf: OwnedFd = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap().into();
        listener.adopt_unix(deaf.into()).unwrap();
        let _newcomer = UnixStream::connect(path).unwrap();
        let mut stats = Stats::default();
        let accepted = listener.try_accept(&mut stats, Instant::now());
        assert!(accepted.is_some(), "whoever comes to the other door is let in");
        assert_eq!(stats.accepts, TRIES as u64 + 1);
    }
}
