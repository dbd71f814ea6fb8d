//! A process for each client: fork(2), and the child serves it alone.
//!
//! The loop of `blocking.rs`, unchanged, in a copy of the whole server. Nothing is shared, so nothing needs a lock,
//! and a child that dies takes one client with it. But what a child learns (its cache, its counters) dies with it
//! unless it is sent home.
//!
//! What the course's servers (section 9.3, 多进程, and 4.2) leave out, and this one does: the parent closes its copy
//! of the socket, or the client would never see the end; children are reaped, or they stay as zombies; their number
//! is bounded.
//!
//! What it costs: the dearest newcomer of all models, for whom page tables are copied. Measured in November 2026
//! (release build, virtual machine with two cores, Linux 6.18, kept connections, 1 KiB): 2.0 calls on sockets for
//! each request; 140 KB for each silent client (its share of what is shared included), and in the kernel 16 KiB of
//! stack and 68 KiB of page tables.
//!
//! Where it breaks: at as many processes as the system gives, and in a program with threads, because only one of
//! them is copied: then it refuses to start.

#![expect(unsafe_code, reason = "fork(2) and signal handlers have no safe form")]

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::blocking::{PATIENCE, serve_client};
use super::house::{House, earlier, wait_for};
use crate::config::Config;
use crate::http::CloseReason;
use crate::net::{Client, Listener, Worker};
use crate::signals::Signals;
use crate::stats::Stats;

/// Most children at once, whatever the limit of connections: a machine has 32768 process numbers by default
/// (`kernel.pid_max`) and other things to do.
const MAX_CHILDREN: usize = 1024;

/// Room for one child's counters as JSON; they take about 700 octets.
const RECORD_BYTES: usize = 4096;

/// In a child: whether the parent, or the terminal, told it to stop.
static TOLD: AtomicBool = AtomicBool::new(false);

/// In a child: whether the parent told it to open the log again.
static RELOADS: AtomicBool = AtomicBool::new(false);

struct Server<'s> {
    house: House,
    /// Not yet reaped, each with whether its counters have come home.
    children: HashMap<Pid, bool>,
    signals: &'s Signals,
    /// Readable when a child has ended (SIGCHLD).
    bell: UnixStream,
    /// Where children's counters arrive, one datagram each, and where children send them.
    returns: UnixDatagram,
    home: UnixDatagram,
    grace: Duration,
}

/// Forks a child for each client until told to stop, then waits for all of them.
pub(super) fn serve(
    listener: Listener,
    mut worker: Worker,
    config: &Config,
    signals: &Signals,
) -> io::Result<Stats> {
    refuse_threads()?;
    worker.expect_blocking();
    let house = House::new(listener, worker, config.max_connections.min(MAX_CHILDREN));
    let (bell, ring) = UnixStream::pair()?;
    let (returns, home) = UnixDatagram::pair()?;
    bell.set_nonblocking(true)?;
    ring.set_nonblocking(true)?;
    returns.set_nonblocking(true)?;
    let handler = signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, ring)?;
    let children = HashMap::new();
    let mut server = Server { house, children, signals, bell, returns, home, grace: config.grace };

    while !signals.stop_requested() {
        server.round(None);
    }

    server.stop(Signal::SIGTERM);
    let grace = Instant::now() + config.grace + PATIENCE; // theirs ends first
    while !server.children.is_empty() && Instant::now() < grace {
        server.round(Some(grace));
    }
    server.stop(Signal::SIGKILL);
    while !server.children.is_empty() {
        server.round(None);
    }
    signal_hook::low_level::unregister(handler);
    Ok(server.house.finish([]))
}

impl Server<'_> {
    /// One round: a newcomer if there is one, otherwise wait; then those who have come home.
    fn round(&mut self, until: Option<Instant>) {
        let now = Instant::now();
        self.house.worker.tick(now);
        match self.house.accept(self.children.len(), now) {
            Some(client) => self.fork(client, now),
            None => self.wait(until),
        }
        self.reap();
    }

    /// Waits for newcomers, for children that end, for a signal.
    fn wait(&mut self, until: Option<Instant>) {
        let own = [self.signals.alarm(), self.bell.as_fd(), self.returns.as_fd()];
        let until = earlier(until, self.house.listener.deadline());
        let ready = wait_for(self.house.doors(self.children.len()).chain(own), until);
        if self.house.heed(self.signals) {
            self.tell(Signal::SIGHUP); // each child has a log of its own
        }
        self.house.worker.stats.waits += 1;
        self.house.worker.stats.wakeups += ready;
    }

    fn fork(&mut self, client: Client, now: Instant) {
        // SAFETY: the process has one thread (`refuse_threads`), so the child is a whole copy: no lock is held by
        // somebody who is not there, and everything may be called that could be called before.
        match unsafe { fork() } {
            Ok(ForkResult::Parent { child }) => {
                drop(client); // the parent's copy: the client must see the end when the child closes its own
                self.children.insert(child, false);
                self.house.listener.descriptor_freed();
            }
            Ok(ForkResult::Child) => self.serve_child(client),
            Err(error) => self.house.turned_away("process", &error.into(), now),
        }
    }

    /// The life of a child.
    fn serve_child(&mut self, client: Client) -> ! {
        obey_parent();
        self.house.listener.close(); // the copies; the parent listens on
        let worker = &mut self.house.worker;
        worker.stats = Stats::default();
        let is_told = |worker: &mut Worker| {
            // Told before it obeyed, it has the flags as a copy of the parent's.
            if RELOADS.swap(false, Ordering::Relaxed) || self.signals.take_reload_in_child() {
                worker.log.reopen();
            }
            TOLD.load(Ordering::Relaxed) || self.signals.stop_requested()
        };
        let reason = serve_client(client, worker, is_told, self.grace);
        worker.stats.client_left(reason.index());
        let record = serde_json::to_vec(&(std::process::id(), worker.finish())).unwrap_or_default();
        let _ = self.home.send(&record); // fails only if the parent is gone
        std::process::exit(0); // no destructors: everything here belongs to the parent
    }

    /// Adds up what children sent home, and takes their remains from the process table.
    fn reap(&mut self) {
        while (&self.bell).read(&mut [0; 64]).is_ok_and(|n| n > 0) {}
        let ended = std::iter::from_fn(|| waitpid(None, Some(WaitPidFlag::WNOHANG)).ok()?.pid());
        let ended: Vec<_> = ended.collect();
        // Whoever has ended has sent before; so look for the records after looking for the ended.
        let mut record = [0; RECORD_BYTES];
        while let Ok(n) = self.returns.recv(&mut record) {
            if let Ok((child, stats)) = serde_json::from_slice(record.get(..n).unwrap_or_default()) {
                self.children.insert(Pid::from_raw(child), true);
                self.house.came_home(stats);
            }
        }
        for child in ended {
            if self.children.remove(&child) == Some(false) {
                log::warn!(
                    "child {child} ended without a word: its client is lost, its counters are unknown"
                );
                self.house.left(CloseReason::Transport(io::ErrorKind::Other));
            }
        }
    }

    /// Forks no more, and tells the children.
    fn stop(&mut self, signal: Signal) {
        self.house.stop();
        self.signals.silence();
        self.tell(signal);
    }

    fn tell(&self, signal: Signal) {
        for child in self.children.keys() {
            let _ = kill(*child, signal); // fails only if it has ended
        }
    }
}

/// In a child: signals set a flag of its own, and the end of the parent is the end.
fn obey_parent() {
    extern "C" fn told(_: nix::libc::c_int) {
        TOLD.store(true, Ordering::Relaxed);
    }
    extern "C" fn reloads(_: nix::libc::c_int) {
        RELOADS.store(true, Ordering::Relaxed);
    }
    let handlers: [(_, extern "C" fn(_)); 3] =
        [(Signal::SIGTERM, told), (Signal::SIGINT, told), (Signal::SIGHUP, reloads)];
    for (signal, handler) in handlers {
        let action = SigAction::new(SigHandler::Handler(handler), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing but store to an atomic, which is async-signal-safe. It replaces the
        // parent's, whose second signal ends the process at once: a terminal's Ctrl-C reaches parent and child,
        // and then the parent tells the child again. And what rings in a child would ring in the parent.
        if let Err(error) = unsafe { sigaction(signal, &action) } {
            log::warn!("a child cannot be told of {signal}: {error}");
        }
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL) {
        log::warn!("a child may outlive its parent: {error}");
    }
}

/// fork(2) copies the calling thread and no other; a lock held by another would stay locked in the child for ever.
fn refuse_threads() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if let Ok(tasks) = std::fs::read_dir("/proc/self/task")
        && tasks.count() > 1
    {
        return Err(io::Error::other(
            "the process model forks, and this program has threads: choose another --model",
        ));
    }
    Ok(())
}
