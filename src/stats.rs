//! What the loop counts: plain `u64`s in a struct that the loop owns. No atomics, no branches, no formatting; a
//! snapshot is a copy, and one thread's counters are added to another's with `+=`.

use std::ops::AddAssign;
use std::time::Duration;

/// Everything a server counts. All but the `clients_now` gauge and the two maxima only grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[expect(missing_docs, reason = "the names say it; the ones that do not have a comment")]
pub struct Stats {
    pub sweeps: u64,
    /// Sweeps in which no attempt got anywhere.
    pub idle_sweeps: u64,
    /// Attempts of each call, and how many of them would have blocked.
    pub accepts: u64,
    pub accept_would_blocks: u64,
    pub reads: u64,
    pub read_would_blocks: u64,
    pub writes: u64,
    pub write_would_blocks: u64,
    /// Turns in which a piece of a file was not in memory yet.
    pub disk_would_blocks: u64,
    /// Calls that ask the kernel who is ready, or that sleep until someone is: select, poll, epoll_wait, park.
    pub waits: u64,
    /// Descriptors those calls named as ready.
    pub wakeups: u64,
    /// Calls that change what the kernel watches: epoll_ctl.
    pub watches: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Answers by the first digit of their status: `[1xx, 2xx, 3xx, 4xx, 5xx]`.
    pub answers: [u64; 5],
    pub clients_now: u64,
    pub clients_peak: u64,
    pub clients_total: u64,
    /// Newcomers turned away because the model could not serve them (select past FD_SETSIZE, no more processes).
    pub clients_refused: u64,
    /// Connections closed, by `CloseReason::index()`.
    pub closed: [u64; Self::REASONS],
    /// Times the accept queue had to wait because no descriptor was free (EMFILE, ENFILE).
    pub accept_pauses: u64,
    /// Sleeps of the idle strategy, and nanoseconds asked for and achieved.
    pub sleeps: u64,
    pub sleep_asked_ns: u64,
    pub slept_ns: u64,
    pub yields: u64,
    /// Log lines that could not be written and were dropped.
    pub log_lines_dropped: u64,
}

impl Stats {
    /// How many reasons for closing there are.
    pub const REASONS: usize = 13;

    /// Requests answered.
    pub fn requests(&self) -> u64 {
        self.answers.iter().sum()
    }

    /// System calls on sockets: accept, read, write and waits.
    pub const fn attempts(&self) -> u64 {
        self.accepts + self.reads + self.writes
    }

    /// Attempts that would have blocked: the price of asking instead of being told.
    pub const fn would_blocks(&self) -> u64 {
        self.accept_would_blocks + self.read_would_blocks + self.write_would_blocks
    }

    /// Time spent asleep between sweeps.
    pub const fn slept(&self) -> Duration {
        Duration::from_nanos(self.slept_ns)
    }

    /// Counts an answer.
    pub fn answered(&mut self, status: u16) {
        if let Some(class) = self.answers.get_mut(usize::from(status / 100).wrapping_sub(1)) {
            *class += 1;
        }
    }

    /// Counts a newcomer.
    pub fn client_came(&mut self) {
        self.clients_total += 1;
        self.clients_now += 1;
        self.clients_peak = self.clients_peak.max(self.clients_now);
    }

    /// Counts a client that left, with the index of its reason.
    pub fn client_left(&mut self, reason: usize) {
        self.clients_now = self.clients_now.saturating_sub(1);
        if let Some(count) = self.closed.get_mut(reason) {
            *count += 1;
        }
    }
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        let Self {
            sweeps,
            idle_sweeps,
            accepts,
            accept_would_blocks,
            reads,
            read_would_blocks,
            writes,
            write_would_blocks,
            disk_would_blocks,
            waits,
            wakeups,
            watches,
            bytes_in,
            bytes_out,
            answers,
            clients_now,
            clients_peak,
            clients_total,
            clients_refused,
            closed,
            accept_pauses,
            sleeps,
            sleep_asked_ns,
            slept_ns,
            yields,
            log_lines_dropped,
        } = other;
        self.sweeps += sweeps;
        self.idle_sweeps += idle_sweeps;
        self.accepts += accepts;
        self.accept_would_blocks += accept_would_blocks;
        self.reads += reads;
        self.read_would_blocks += read_would_blocks;
        self.writes += writes;
        self.write_would_blocks += write_would_blocks;
        self.disk_would_blocks += disk_would_blocks;
        self.waits += waits;
        self.wakeups += wakeups;
        self.watches += watches;
        self.bytes_in += bytes_in;
        self.bytes_out += bytes_out;
        for (sum, more) in self.answers.iter_mut().zip(answers) {
            *sum += more;
        }
        self.clients_now += clients_now;
        self.clients_peak = self.clients_peak.max(clients_peak);
        self.clients_total += clients_total;
        self.clients_refused += clients_refused;
        for (sum, more) in self.closed.iter_mut().zip(closed) {
            *sum += more;
        }
        self.accept_pauses += accept_pauses;
        self.sleeps += sleeps;
        self.sleep_asked_ns += sleep_asked_ns;
        self.slept_ns += slept_ns;
        self.yields += yields;
        self.log_lines_dropped += log_lines_dropped;
    }
}
