//! The simulated network: a socket that a server reads and writes, the peer's end of it, and the door.
//!
//! It does what TCP allows, as unkindly as the seed says: cuts anything anywhere, would block although there is
//! data, is interrupted, takes less than it is given, and destroys what was not read yet when a side closes with
//! something unread (RFC 1122 §4.2.2.13), which is why a server must linger.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::Instant;

use wouldblock::net::{Accept, Accepted, Interest, Transport};
use wouldblock::service::Peer;
use wouldblock::stats::Stats;

use super::rng::{Rng, mix};
use super::turns::Moment;

/// What the network itself counted: the server's counters must agree.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) moment: Cell<Moment>,
    pub(super) reads: Cell<u64>,
    pub(super) read_would_blocks: Cell<u64>,
    pub(super) writes: Cell<u64>,
    pub(super) write_would_blocks: Cell<u64>,
    pub(super) bytes_in: Cell<u64>,
    pub(super) bytes_out: Cell<u64>,
    /// Everything that happened, in one number: two runs of a seed must agree on it.
    pub(super) history: Cell<u64>,
    /// Tells everything on standard error: for the replay of one seed.
    pub(super) aloud: bool,
}

impl Tally {
    fn note(&self, wire: usize, call: &'static str, result: &io::Result<usize>) {
        let outcome = match result {
            Ok(n) => *n as u64,
            Err(error) => u64::MAX - error.kind() as u64,
        };
        let event = mix(wire as u64 ^ mix(outcome ^ mix(u64::from(call.as_bytes()[0]))));
        self.history.set(mix(self.history.get() ^ event));
        if self.aloud {
            eprintln!("{:5} {wire:4} {call:8} {result:?}", self.moment.get().sweeps);
        }
    }
}

pub(super) fn add(counter: &Cell<u64>, n: usize) {
    counter.set(counter.get() + n as u64);
}

/// How unkind a wire is. Chances are out of 256.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    pub(super) would_block: usize,
    pub(super) interrupted: usize,
    /// Takes or gives less than it could.
    pub(super) short: usize,
    /// Octets that the socket's send buffer holds.
    pub(super) send_buffer: usize,
    /// Whether the socket takes octets from a file itself, as sendfile(2) does.
    pub(super) sends_files: bool,
    /// Whether the socket knows how much the peer has acknowledged.
    pub(super) knows_acknowledged: bool,
}

/// Both ends of a connection, and what is on its way.
#[derive(Debug)]
pub(super) struct Wire {
    id: usize,
    rng: Rng,
    faults: Faults,
    tally: Rc<Tally>,
    /// On its way to the server, from `read_at` on.
    inbox: Vec<u8>,
    read_at: usize,
    fin: bool,
    reset: bool,
    saw_end: bool,
    saw_error: bool,
    /// On its way to the peer.
    outbox: Vec<u8>,
    /// Octets that have left the outbox.
    taken: u64,
    /// The server has said that it closes now: until it does, nothing reaches the peer.
    withheld: bool,
    shut: bool,
    closed: bool,
    /// The peer was reset, and what was on its way to him is lost.
    destroyed: bool,
    /// When the server last tried this one.
    pub(super) last_try: Moment,
    /// When its deadline was first seen to be past.
    pub(super) overdue: Option<Moment>,
}

pub(super) type Shared = Rc<RefCell<Wire>>;

pub(super) fn wire(id: usize, rng: Rng, faults: Faults, tally: &Rc<Tally>) -> Shared {
    Rc::new(RefCell::new(Wire {
        id,
        rng,
        faults,
        tally: tally.clone(),
        inbox: Vec::new(),
        read_at: 0,
        fin: false,
        reset: false,
        saw_end: false,
        saw_error: false,
        outbox: Vec::new(),
        taken: 0,
        withheld: false,
        shut: false,
        closed: false,
        destroyed: false,
        last_try: Moment::default(),
        overdue: None,
    }))
}

// The peer's end.
impl Wire {
    /// The peer sends.
    pub(super) fn send(&mut self, octets: &[u8]) {
        assert!(!self.fin, "the peer itself said that no more would come");
        if self.closed {
            self.destroy(); // nobody listens there any more: reset
        } else {
            self.inbox.extend_from_slice(octets);
        }
    }

    /// The peer says that it sends no more, and still reads.
    pub(super) fn half_close(&mut self) {
        self.fin = true;
    }

    /// The peer resets.
    pub(super) fn reset(&mut self) {
        self.reset = true;
        self.outbox.clear();
    }

    /// The peer reads up to so many octets.
    pub(super) fn take(&mut self, most: usize, into: &mut Vec<u8>) -> usize {
        let n = if self.withheld && !self.closed { 0 } else { most.min(self.outbox.len()) };
        into.extend(self.outbox.drain(..n));
        self.taken += n as u64;
        n
    }

    /// The peer sees the end of the answers.
    pub(super) const fn at_end(&self) -> bool {
        (self.shut || self.closed) && self.outbox.is_empty()
    }

    /// From now on there is room for more than an octet at a time.
    pub(super) fn widen(&mut self) {
        self.faults.send_buffer = self.faults.send_buffer.max(100_000);
    }

    /// What was on its way to the peer was destroyed by a reset.
    pub(super) const fn destroyed(&self) -> bool {
        self.destroyed
    }

    pub(super) const fn closed_by_server(&self) -> bool {
        self.closed
    }

    fn destroy(&mut self) {
        self.destroyed |= !self.outbox.is_empty();
        self.outbox.clear();
    }
}

// The server's end.
impl Wire {
    fn fault(&mut self) -> Option<io::Error> {
        self.last_try = self.tally.moment.get();
        assert!(!self.saw_error, "wire {}: used after an error", self.id);
        assert!(!self.withheld, "wire {}: used after its last octets, and not closed", self.id);
        let chance = self.rng.below(256);
        if chance < self.faults.would_block {
            Some(ErrorKind::WouldBlock.into())
        } else if chance < self.faults.would_block + self.faults.interrupted {
            Some(ErrorKind::Interrupted.into())
        } else {
            None
        }
    }

    fn shortened(&mut self, n: usize) -> usize {
        if n > 1 && self.rng.below(256) < self.faults.short {
            if self.rng.one_in(2) { 1 } else { self.rng.between(1, n) }
        } else {
            n
        }
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        assert!(!buf.is_empty(), "wire {}: a read of nothing looks like the end of file", self.id);
        assert!(!self.saw_end, "wire {}: read again after the end of file", self.id);
        if let Some(fault) = self.fault() {
            return Err(fault);
        }
        if self.reset {
            self.saw_error = true;
            return Err(ErrorKind::ConnectionReset.into());
        }
        let left = self.inbox.len() - self.read_at;
        if left == 0 {
            self.saw_end = self.fin;
            return if self.fin { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let n = self.shortened(left.min(buf.len()));
        buf[..n].copy_from_slice(&self.inbox[self.read_at..self.read_at + n]);
        self.read_at += n;
        if self.read_at == self.inbox.len() {
            self.inbox.clear();
            self.read_at = 0;
        }
        add(&self.tally.bytes_in, n);
        Ok(n)
    }

    /// How many octets of `len` are taken now.
    fn room(&mut self, len: usize) -> io::Result<usize> {
        assert!(len > 0, "wire {}: a write of nothing", self.id);
        assert!(!self.shut, "wire {}: written after shutdown", self.id);
        if let Some(fault) = self.fault() {
            return Err(fault);
        }
        if self.reset {
            self.saw_error = true;
            return Err(self.rng.pick(&[ErrorKind::BrokenPipe, ErrorKind::ConnectionReset]).into());
        }
        let room = self.faults.send_buffer.saturating_sub(self.outbox.len());
        if room == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(self.shortened(len.min(room)))
    }

    fn write(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let n = self.room(bufs.iter().map(|buf| buf.len()).sum())?;
        let mut left = n;
        for buf in bufs {
            let here = left.min(buf.len());
            self.outbox.extend_from_slice(&buf[..here]);
            left -= here;
        }
        Ok(n)
    }

    /// The head as a write, then the file as sendfile(2).
    fn write_file(&mut self, head: &[u8], file: &File, offset: u64, len: usize) -> io::Result<usize> {
        if !head.is_empty() {
            let n = self.write(&[IoSlice::new(head)])?;
            if n < head.len() {
                return Ok(n);
            }
        }
        let most = match self.room(len) {
            Ok(most) => most,
            Err(_) if !head.is_empty() => return Ok(head.len()),
            Err(error) => return Err(error),
        };
        let at = self.outbox.len();
        self.outbox.resize(at + most, 0);
        let read = file.read_at(&mut self.outbox[at..], offset);
        self.outbox.truncate(at + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) | Err(_) if !head.is_empty() => Ok(head.len()),
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => Ok(head.len() + n),
            Err(error) => Err(error),
        }
    }

    /// What poll(2) would say; it counts as a turn.
    fn is_ready(&mut self, interest: Option<Interest>) -> bool {
        self.last_try = self.tally.moment.get();
        assert!(!self.withheld, "wire {}: asked after its last octets, and not closed", self.id);
        let ready = match interest {
            _ if self.reset => true,
            Some(Interest::Read) => self.read_at < self.inbox.len() || self.fin,
            Some(Interest::Write) => self.outbox.len() < self.faults.send_buffer,
            None => false,
        };
        ready || self.rng.below(256) < self.faults.would_block // poll(2), BUGS: it may be wrong in this direction
    }

    fn close(&mut self) {
        self.closed = true;
        if self.read_at < self.inbox.len() {
            self.destroy();
        }
    }

    fn count_write(&self, result: &io::Result<usize>) {
        add(&self.tally.writes, 1);
        match result {
            Ok(n) => add(&self.tally.bytes_out, *n),
            Err(error) if is_would_block(error) => add(&self.tally.write_would_blocks, 1),
            Err(_) => {}
        }
    }
}

fn is_would_block(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// The server's socket. Dropping it closes it.
#[derive(Debug)]
pub(super) struct SimSocket(pub(super) Shared);

impl Read for SimSocket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        let result = wire.read(buf);
        add(&wire.tally.reads, 1);
        if result.as_ref().is_err_and(is_would_block) {
            add(&wire.tally.read_would_blocks, 1);
        }
        wire.tally.note(wire.id, "read", &result);
        result
    }
}

impl Write for SimSocket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        let result = wire.write(bufs);
        wire.count_write(&result);
        wire.tally.note(wire.id, "write", &result);
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for SimSocket {
    fn shut_down_write(&mut self) -> io::Result<()> {
        let mut wire = self.0.borrow_mut();
        assert!(!wire.shut, "wire {}: shut down twice", wire.id);
        assert!(!wire.withheld, "wire {}: shut down after its last octets, and not closed", wire.id);
        let result = if wire.reset { Err(ErrorKind::NotConnected.into()) } else { Ok(()) };
        wire.last_try = wire.tally.moment.get();
        wire.shut = true;
        wire.saw_error = wire.reset;
        wire.tally.note(wire.id, "shutdown", &Ok(usize::from(wire.reset)));
        result
    }

    fn write_last(&mut self, buf: &[u8]) -> io::Result<usize> {
        let result = self.write(buf);
        self.0.borrow_mut().withheld = result.as_ref().is_ok_and(|&n| n == buf.len());
        result
    }

    fn send_file(&mut self, head: &[u8], file: &File, offset: u64, len: usize) -> Option<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        if !wire.faults.sends_files {
            return None;
        }
        let result = wire.write_file(head, file, offset, len);
        wire.count_write(&result);
        wire.tally.note(wire.id, "sendfile", &result);
        Some(result)
    }

    fn ask(streams: &mut dyn Iterator<Item = (&Self, Option<Interest>)>, ready: &mut Vec<bool>) {
        ready.extend(streams.map(|(stream, interest)| stream.0.borrow_mut().is_ready(interest)));
    }

    fn acknowledged(&self) -> Option<u64> {
        let wire = self.0.borrow();
        wire.faults.knows_acknowledged.then_some(wire.taken)
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        let mut wire = self.0.borrow_mut();
        wire.close();
        wire.tally.note(wire.id, "close", &Ok(0));
    }
}

/// The door: whoever stands in the queue is let in, unless accept would block all the same.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) queue: Rc<RefCell<VecDeque<Shared>>>,
    pub(super) rng: Rng,
    /// Chances out of 256 that accept would block although somebody is there.
    pub(super) would_block: usize,
    pub(super) closed: bool,
}

impl Accept for Door {
    type Stream = SimSocket;

    fn try_accept(&mut self, stats: &mut Stats, _: Instant) -> Option<Accepted<SimSocket>> {
        if self.closed {
            return None;
        }
        stats.accepts += 1;
        let newcomer =
            if self.rng.below(256) < self.would_block { None } else { self.queue.borrow_mut().pop_front() };
        let Some(shared) = newcomer else {
            stats.accept_would_blocks += 1;
            return None;
        };
        let id = {
            let mut wire = shared.borrow_mut();
            wire.last_try = wire.tally.moment.get();
            wire.tally.note(wire.id, "accept", &Ok(0));
            wire.id
        };
        let [_, a, b, c] = (id as u32).to_be_bytes();
        let address = SocketAddr::new(Ipv4Addr::new(10, a, b, c).into(), 40_000);
        Some(Accepted { stream: SimSocket(shared), peer: Peer::Ip(address) })
    }

    fn descriptor_freed(&mut self) {}

    fn has_newcomer(&self) -> bool {
        !self.closed && !self.queue.borrow().is_empty()
    }

    fn close(&mut self) {
        self.closed = true;
        for shared in self.queue.borrow_mut().drain(..) {
            shared.borrow_mut().close();
        }
    }
}
