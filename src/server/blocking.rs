//! Blocking, one client at a time: accept, serve until the client leaves, accept the next.
//!
//! Nothing is asked in vain and nothing is registered: `read` simply does not return before there is something to
//! read. And no concurrency whatsoever: while `read` waits for this client, everybody else waits for this client. A
//! browser that keeps its connection open (they all do) locks the others out until its idle timeout. That is the
//! lesson. Sections 9.2 and 9.3 of the course, whose servers have no timeout at all.
//!
//! What it costs: fewer calls than any other model. Measured in November 2026 (release build, virtual machine with
//! two cores, Linux 6.18, kept connections, 1 KiB): 2.0 calls on sockets for each request, one read and one write.
//!
//! How it stops: a signal interrupts a read that has a timeout (signal(7)); one that comes just before the read is
//! seen when the timeout is over, [`PATIENCE`] later at most. SIGHUP is heeded in the same way. Only a slow reader of a
//! large file may take longer: sendfile(2) passes 512 KiB on in pieces, and waits for each anew. (64 KiB in a call
//! would end in time, and gave half as many downloads of 10 MiB.)

use std::io;
use std::time::{Duration, Instant};

use super::house::{House, earlier, reload, time_until, wait_for};
use crate::config::Config;
use crate::http::CloseReason;
use crate::net::{Client, Listener, Worker};
use crate::signals::Signals;
use crate::stats::Stats;

/// Longest time that one call on a socket blocks. A silent client costs one fruitless call in that time; a stop
/// that was missed is noticed after it.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Socket timeouts are kept in ticks of the kernel's clock, 1 to 10 ms, rounded up.
const GRAIN: Duration = Duration::from_millis(1);

/// Serves one client after the other until told to stop; the one being served may finish.
pub(super) fn serve(
    listener: Listener,
    worker: Worker,
    config: &Config,
    signals: &Signals,
) -> io::Result<Stats> {
    let mut house = House::new(listener, worker, config.max_connections.min(1));
    house.worker.expect_blocking();
    let mut crowd = Crowd::default();

    while !signals.stop_requested() {
        let now = Instant::now();
        house.worker.tick(now);
        let Some(client) = house.accept(0, now) else {
            let until = house.write_log(house.listener.deadline());
            house.worker.stats.waits += 1;
            let descriptors = house.doors(0).chain([signals.alarm()]);
            let ready = wait_for(descriptors, until);
            house.worker.stats.wakeups += ready;
            house.heed(signals);
            continue;
        };
        let House { listener, worker, .. } = &mut house;
        let is_told = |worker: &mut Worker| {
            crowd.look(listener);
            if signals.take_reload() {
                reload(listener, worker);
            }
            let stops = signals.stop_requested();
            if stops {
                listener.close(); // newcomers need not wait for this client to be told
            }
            stops
        };
        let reason = serve_client(client, worker, is_told, config.grace);
        crowd.looked = None;
        house.left(reason);
    }
    Ok(house.finish([]))
}

/// Serves a client from its first request to its last, on a socket that blocks. This is what the course calls
/// `service_client`; the thread and process models call it too. Before each call that may block it asks whether it is
/// told to stop; who answers may see to the worker's log meanwhile. Returns why it ended.
pub(super) fn serve_client(
    mut client: Client,
    worker: &mut Worker,
    mut is_told_to_stop: impl FnMut(&mut Worker) -> bool,
    grace: Duration,
) -> CloseReason {
    let mut patience = Duration::ZERO;
    let mut grace_ends = None;
    loop {
        let now = Instant::now();
        worker.tick(now);
        if is_told_to_stop(worker) && grace_ends.is_none() {
            grace_ends = Some(now + grace);
            client.stop(now);
        }
        if grace_ends.is_some_and(|end| end <= now) {
            return client.left(CloseReason::Stopping, worker);
        }
        let deadline = earlier(Some(client.deadline(now)), grace_ends);
        let time = time_until(deadline, now, GRAIN).unwrap_or(PATIENCE).clamp(GRAIN, PATIENCE);
        if client.interest().is_none() {
            std::thread::sleep(deadline.unwrap_or(now) - now); // waits for the service, not for its socket
        } else if time != patience {
            if let Err(error) = client.stream().block_for(time) {
                return client.left(error.into(), worker);
            }
            patience = time;
        }
        worker.log.flush();
        if let Err(reason) = client.turn(worker, now) {
            worker.log.flush();
            return reason;
        }
    }
}

/// Whether others wait while one client is silent. Said once.
#[derive(Default)]
struct Crowd {
    looked: Option<Instant>,
    told: bool,
}

impl Crowd {
    /// Called before every call that may block; looks only after one that took long.
    fn look(&mut self, listener: &Listener) {
        let now = Instant::now();
        let was_long = self.looked.is_some_and(|looked| now - looked >= PATIENCE);
        self.looked = Some(now);
        if was_long && !self.told && listener.has_newcomer() {
            self.told = true;
            log::warn!(
                "one client at a time: others wait at the door while this one takes its time; \
                 --model thread serves them meanwhile (said once)"
            );
        }
    }
}
