//! Coroutines: an `async fn` for each client on one thread, run by tokio.
//!
//! Reads like the blocking server, waits like the edge-triggered one. Where a blocking call would wait, `.await`
//! puts the function aside with all its variables and runs another; tokio sleeps in epoll_wait(2) when all of them
//! wait. What was a stack shrinks to what lives across an `await`.
//!
//! Between two `await`s nobody else runs: that is why counters and cache need no lock here, and why one slow file
//! stops everyone. The course's gevent (section 10.3) has the same weakness: monkey patching reaches sockets, not
//! files.
//!
//! What it costs, measured in November 2026 (release build, virtual machine with two cores, Linux 6.18, kept
//! connections, 1 KiB): for each request one write, 1.6 reads and 0.8 waits with one client, 1.9 reads and 0.1 waits
//! with sixteen; 2.6 KB for each silent client.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::Interest as Ready;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::{sleep_until, timeout_at};

use super::house::{ACCEPTS_PER_ROUND, House};
use crate::config::Config;
use crate::http::CloseReason;
use crate::net::{Client, Interest, Listener, Worker};
use crate::signals::Signals;
use crate::stats::Stats;

/// What all coroutines share. Borrowed between `await`s only.
struct Server {
    house: RefCell<House>,
    clients: Cell<usize>,
    stopping: Cell<bool>,
    /// Whether the grace is over.
    closing: Cell<bool>,
    /// Wakes every client: the server stops, or the grace is over.
    stop: Notify,
    /// Wakes who waits for room: a client has left.
    left: Notify,
    /// Wakes the writer of the log: there may be lines.
    answered: Notify,
}

/// Runs all coroutines until told to stop, then until the answers in flight are out.
pub(super) fn serve(
    listener: Listener,
    worker: Worker,
    config: &Config,
    signals: &Signals,
) -> io::Result<Stats> {
    let server = Rc::new(Server {
        house: RefCell::new(House::new(listener, worker, config.max_connections)),
        clients: Cell::new(0),
        stopping: Cell::new(false),
        closing: Cell::new(false),
        stop: Notify::new(),
        left: Notify::new(),
        answered: Notify::new(),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let tasks = LocalSet::new();
    let outcome = tasks.block_on(&runtime, run(&server, signals, config.grace));
    drop(tasks);
    outcome?;

    // Everyone else who had a share of the server was a task.
    let server = Rc::into_inner(server).ok_or_else(|| io::Error::other("a task outlived its runtime"))?;
    let mut house = server.house.into_inner();
    house.worker.stats.waits = runtime.metrics().worker_park_count(0);
    Ok(house.finish([]))
}

/// The first coroutine: starts the others, waits for the signal, and then for the last client.
async fn run(server: &Rc<Server>, signals: &Signals, grace: Duration) -> io::Result<()> {
    let alarm = watch(signals.alarm(), Ready::READABLE)?;
    let doors: io::Result<Vec<_>> =
        server.house.borrow().listener.sockets().map(|door| door.try_clone_to_owned()).collect();
    let mut porters = Vec::new();
    for door in doors? {
        porters.push(spawn_local(accept(watch(door, Ready::READABLE)?, server.clone())));
    }
    spawn_local(write_log(server.clone()));

    while !signals.stop_requested() {
        let mut ready = alarm.readable().await?;
        server.house.borrow_mut().heed(signals);
        ready.clear_ready();
    }

    for porter in porters {
        porter.abort(); // his copy of the door is open as long as he is there
        let _ = porter.await;
    }
    server.stop();
    if timeout_at((Instant::now() + grace).into(), server.nobody_left()).await.is_err() {
        server.close();
        server.nobody_left().await;
    }
    Ok(())
}

/// Starts a coroutine for each newcomer at this door.
async fn accept(door: AsyncFd<OwnedFd>, server: Rc<Server>) {
    while let Ok(mut ready) = door.readable().await {
        server.room().await;
        for _ in 0..ACCEPTS_PER_ROUND {
            let newcomer = server.house.borrow_mut().accept(server.clients.get(), Instant::now());
            let Some(newcomer) = newcomer else {
                // tokio asks the kernel edge triggered: a door that was not tried is still ready.
                if !server.is_door_shut() {
                    ready.clear_ready();
                }
                break;
            };
            server.clients.set(server.clients.get() + 1);
            spawn_local(serve_client(newcomer, server.clone()));
        }
        yield_now().await;
    }
}

/// A client from its first request to its last.
async fn serve_client(client: Client, server: Rc<Server>) {
    server.house.borrow_mut().worker.stats.watches += 2; // tokio registers it now and takes it off at the end
    match watch(Seat(client), Ready::READABLE | Ready::WRITABLE) {
        Ok(seat) => converse(seat, &server).await,
        Err(error) => server.house.borrow_mut().left(error.into()),
    }
    server.clients.set(server.clients.get() - 1);
    server.left.notify_waiters();
}

/// The loop of `blocking.rs`; only the waiting has a name here.
async fn converse(mut seat: AsyncFd<Seat>, server: &Server) {
    loop {
        if server.closing.get() {
            return server.house.borrow_mut().put_out(&mut seat.get_mut().0, CloseReason::Stopping);
        }
        if server.stopping.get() {
            seat.get_mut().0.stop(Instant::now());
        }
        let deadline = seat.get_ref().0.deadline(Instant::now()).into();
        let progress = match seat.get_ref().0.interest() {
            None => {
                sleep_until(deadline).await;
                server.turn(&mut seat.get_mut().0)
            }
            Some(interest) => {
                let interest = match interest {
                    Interest::Read => Ready::READABLE,
                    Interest::Write => Ready::WRITABLE,
                };
                let ready = tokio::select! {
                    biased;
                    ready = timeout_at(deadline, seat.ready_mut(interest)) => ready,
                    () = server.stop.notified() => continue,
                };
                match ready {
                    Ok(Ok(mut ready)) => {
                        let progress = server.turn(&mut ready.get_inner_mut().0);
                        // Would block: from here on the kernel tells. Unless it is the disk that would.
                        if progress == Some(0) && ready.get_inner().0.interest().is_some() {
                            ready.clear_ready();
                        }
                        progress
                    }
                    _ => server.turn(&mut seat.get_mut().0),
                }
            }
        };
        match progress {
            None => return,
            // Room for more at once: but the others have not had their turn.
            Some(1..) if seat.get_ref().0.interest() == Some(Interest::Write) => yield_now().await,
            Some(_) => {}
        }
    }
}

/// Writes the log when those who were ready have had their turn.
async fn write_log(server: Rc<Server>) {
    loop {
        let retry = server.house.borrow_mut().write_log(None);
        let answered = server.answered.notified();
        match retry {
            Some(retry) => drop(timeout_at(retry.into(), answered).await),
            None => answered.await,
        }
    }
}

impl Server {
    fn turn(&self, client: &mut Client) -> Option<usize> {
        let mut house = self.house.borrow_mut();
        let now = Instant::now();
        house.worker.tick(now);
        house.worker.stats.wakeups += 1;
        let progress = house.turn(client, now);
        if progress != Some(0) && house.worker.log.is_on() {
            self.answered.notify_one();
        }
        progress
    }

    /// Whether newcomers must wait whatever the kernel says.
    fn is_door_shut(&self) -> bool {
        self.house.borrow().doors(self.clients.get()).next().is_none()
    }

    /// Waits until there is room for a newcomer, or until a descriptor may be free again.
    async fn room(&self) {
        while self.is_door_shut() {
            let pause = self.house.borrow().listener.deadline();
            match pause {
                Some(end) if timeout_at(end.into(), self.left.notified()).await.is_err() => return,
                Some(_) => {}
                None => self.left.notified().await,
            }
        }
    }

    /// Accepts nobody any more; clients leave as soon as they are owed nothing.
    fn stop(&self) {
        self.house.borrow_mut().stop();
        self.stopping.set(true);
        self.stop.notify_waiters();
    }

    /// The grace is over: clients leave whatever they are owed.
    fn close(&self) {
        self.closing.set(true);
        self.stop.notify_waiters();
    }

    /// Waits until the last client has left.
    async fn nobody_left(&self) {
        while self.clients.get() > 0 {
            self.left.notified().await;
        }
    }
}

/// Registers a descriptor with the runtime.
#[expect(
    deprecated,
    reason = "its successor is an unsafe fn; all that is asked there is that the descriptor stays \
    the same and open, and these owners neither close nor exchange it"
)]
fn watch<T: AsRawFd>(owner: T, interest: Ready) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(owner, interest)
}

/// A client as tokio registers it.
struct Seat(Client);

impl AsRawFd for Seat {
    fn as_raw_fd(&self) -> RawFd {
        self.0.stream().as_fd().as_raw_fd()
    }
}
