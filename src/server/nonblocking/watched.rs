//! The loop, watched: what it shows to pages, and what they may change. One comparison per sweep while nothing is
//! due; see [`crate::live`].

use std::time::Instant;

use super::Server;
use crate::live::{Call, Cell, CellState, Controls, Observer, Settings, SweepRecord};
use crate::net::{Accept, Client, ReadLimit, Transport};
use crate::service::Peer;

impl<L: Accept> Server<'_, L> {
    /// Shows what there is to see, if that is due.
    #[inline]
    pub(super) fn show(&mut self, now: Instant) {
        if self.worker.observer.as_ref().is_some_and(|observer| observer.is_due(now))
            && let Some(observer) = self.worker.observer.take()
        {
            self.worker.observer = Some(self.show_to(observer, now));
        }
    }

    #[cold]
    fn show_to(&mut self, mut observer: Observer, now: Instant) -> Observer {
        let settings =
            || Settings { idle: self.idle, sweep: self.roster.sweep(), read_limit: self.worker.read_limit.0 };
        let hot = self.roster.hot();
        let cells = || self.roster.iter().enumerate().map(|(place, client)| cell(client, place < hot, now));
        if let Some(wish) = observer.observe(now, &self.worker.stats, settings, cells) {
            self.change(wish);
            if wish.record {
                let record = self.recorded_sweep();
                observer.recorded(record);
            }
        }
        observer
    }

    fn change(&mut self, wish: Controls) {
        if let Some(idle) = wish.idle {
            self.idle = idle;
            self.new_idle = Some(idle);
        }
        if let Some(sweep) = wish.sweep {
            self.roster.set_sweep(sweep);
        }
        if let Some(limit) = wish.read_limit {
            self.worker.read_limit = ReadLimit(limit);
        }
    }

    /// A sweep like any other, with the clock read around every step. The ordinary sweep follows it.
    fn recorded_sweep(&mut self) -> SweepRecord {
        let mut record = SweepRecord::new(self.worker.stats.sweeps);
        let began = Instant::now();
        self.next_accept = began; // this one tries the listener whether or not it is due
        let mut before = self.worker.stats;
        self.accept(began);
        let mut from = began;
        let mut to = Instant::now();
        record.push((Call::Accept, 0), [began, from, to], [&before, &self.worker.stats]);
        before = self.worker.stats;
        from = to;
        self.roster.begin(&mut self.worker.stats, began);
        if self.worker.stats.waits > before.waits {
            to = Instant::now();
            record.push((Call::Poll, 0), [began, from, to], [&before, &self.worker.stats]);
        }
        while let Some(client) = self.roster.next() {
            before = self.worker.stats;
            from = to;
            let id = client.tally().id;
            match client.turn(&mut self.worker, began) {
                Ok(progress) => self.roster.keep(progress > 0, began),
                Err(reason) => {
                    self.roster.remove();
                    self.listener.descriptor_freed();
                    self.worker.stats.client_left(reason.index());
                }
            }
            to = Instant::now();
            record.push((Call::Turn, id), [began, from, to], [&before, &self.worker.stats]);
        }
        self.worker.stats.sweeps += 1;
        record
    }
}

fn cell<S: Transport>(client: &Client<S>, hot: bool, now: Instant) -> Cell {
    let tally = client.tally();
    Cell {
        id: tally.id,
        port: match client.peer() {
            Peer::Ip(address) => address.port(),
            Peer::Unix => 0,
        },
        state: CellState::of(client.connection()),
        hot,
        age: now.saturating_duration_since(tally.came_at),
        quiet: now.saturating_duration_since(client.active_at()),
        bytes_in: tally.bytes_in,
        bytes_out: tally.bytes_out,
        requests: tally.requests,
    }
}
