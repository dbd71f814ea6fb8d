//! A thread for each client: blocking calls, and the scheduler does the waiting.
//!
//! The loop of `blocking.rs`, unchanged, on a thread of its own: while one thread waits in `read`, the others run.
//! Reads like the simplest server there is, and uses every core. Section 9.4 of the course (9.5 in its other
//! edition), which starts as many threads as clients come.
//!
//! What it costs: a stack, a buffer lent to the `read` that waits, and a lock around whatever the clients share;
//! here, the site and its cache. Measured in November 2026 (release build, virtual machine with two cores, Linux
//! 6.18, kept connections, 1 KiB): 2.0 calls on sockets for each request, and with sixteen clients 0.05 futex(2) for
//! the lock; 38 KB for each silent client (16 of them the buffer), and 16 KiB of stack in the kernel.
//!
//! Where it breaks: at as many threads as the system gives, long before the descriptors are used up.
//!
//! How it stops: no signal reaches a thread that blocks in `read`. Each looks at the flag when its call returns,
//! [`PATIENCE`] later at most; for a thousand silent clients that is a thousand calls a second, 1 % of a core.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use super::blocking::{PATIENCE, serve_client};
use super::house::{House, wait_for};
use crate::config::Config;
use crate::http::{Request, Status};
use crate::net::{Listener, Worker};
use crate::service::{Context, Response, Service};
use crate::signals::Signals;
use crate::stats::Stats;

/// Most threads at once, whatever the limit of connections: an eighth of Linux's default for all processes of a
/// machine together (`kernel.pid_max`, 32768).
const MAX_THREADS: usize = 4096;

/// The stack of a thread. Only what is touched takes memory; what is reserved takes addresses.
const STACK: usize = 256 * 1024;

/// Starts a thread for each client until told to stop, then waits for all of them.
pub(super) fn serve(
    listener: Listener,
    mut worker: Worker,
    config: &Config,
    signals: &Signals,
) -> io::Result<Stats> {
    let shared = Arc::new(Mutex::new(worker.service));
    worker.service = Box::new(Shared { service: shared.clone(), thread: 0 });
    worker.expect_blocking();
    let mut house = House::new(listener, worker, config.max_connections.min(MAX_THREADS));
    let (home, returns) = mpsc::channel();
    let is_told = |_: &mut Worker| signals.stop_requested();

    // The scope is left when its last thread has ended: none outlives the server.
    thread::scope(|scope| {
        let mut clients = 0;
        while !signals.stop_requested() {
            while let Ok(stats) = returns.try_recv() {
                clients -= 1;
                house.came_home(stats);
            }
            let now = Instant::now();
            house.worker.tick(now);
            let Some(client) = house.accept(clients, now) else {
                let pause = house.listener.deadline();
                if house.doors(clients).next().is_some() {
                    house.worker.stats.waits += 1;
                    house.worker.stats.wakeups +=
                        wait_for(house.doors(clients).chain([signals.alarm()]), pause);
                } else if let Ok(stats) = returns.recv_timeout(PATIENCE) {
                    clients -= 1; // the house was full
                    house.came_home(stats);
                }
                house.heed(signals);
                continue;
            };
            let thread = house.worker.stats.clients_total;
            let mut worker = house.worker.fellow(Box::new(Shared { service: shared.clone(), thread }));
            let home = home.clone();
            let service_client = move || {
                let reason = serve_client(client, &mut worker, is_told, config.grace);
                worker.stats.client_left(reason.index());
                let _ = home.send(worker.finish()); // fails only if the server is gone
            };
            match thread::Builder::new().stack_size(STACK).spawn_scoped(scope, service_client) {
                Ok(_) => clients += 1,
                Err(error) => house.turned_away("thread", &error, now),
            }
        }
        drop(home);
        house.stop();
        signals.silence();
    });
    returns.iter().for_each(|stats| house.came_home(stats));
    Ok(house.finish([]))
}

/// The one service behind a lock, as each thread has it.
struct Shared {
    service: Arc<Mutex<Box<dyn Service + Send>>>,
    /// Tells the batches of one thread from those of another.
    thread: u64,
}

impl Service for Shared {
    fn respond(&mut self, request: &Request<'_>, context: &Context<'_>) -> Option<Response> {
        let batch = self.thread << 40 | context.batch;
        let mut service = self.service.lock().unwrap_or_else(PoisonError::into_inner);
        service.respond(request, &Context { batch, ..*context })
    }

    fn refuse(&mut self, status: Status, why: &str) -> Response {
        self.service.lock().unwrap_or_else(PoisonError::into_inner).refuse(status, why)
    }
}
