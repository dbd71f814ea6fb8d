//! Whose turn it is: the `Vec` of clients, and the boundary between the hot and the quiet.
//!
//! ```text
//!    0          hot                                      len
//!    ├───────────┼────────────────────────────────────────┤
//!    │ active    │ quiet     ▲ cursor                     │
//!    │ lately    │           └ asked in slices            │
//!    └───────────┴────────────────────────────────────────┘
//! ```
//!
//! Hot clients are read in groups of 16, and a group is answered when it has been read; unless in the sweep before at
//! most one had anything to say.
//!
//! **full**: there is no boundary; everyone is hot; every sweep tries every client. This is the chapter's loop. (Only
//! a client whose socket would take no more of an answer is left alone for 50 µs, in either way to sweep.)
//!
//! **hot**: a client is hot for [`HOT_FOR`] after its last octet. Hot clients are tried in every sweep. A slice of
//! the quiet is asked with one poll(2) that does not wait, and whoever has something becomes hot and is tried in
//! the same sweep. This is the one place where the loop asks instead of trying: a fruitless read of one of 10,000
//! sockets costs three times its share of a poll(2) (350 and 110 ns, one after another; among other work, which
//! takes the caches, a question costs 350 to 540). How large the slice is, says [`Pace`].
//!
//! So a quiet client that speaks waits at most two rounds of the slices: nobody who comes or leaves moves one of the
//! quiet across the cursor, but within its round one may be asked first and in the next round last.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::client::{Client, TurnPart};
use super::pace::Pace;
use super::stream::{Stream, Transport};
use crate::config::Sweep;
use crate::stats::Stats;

/// How long after its last octet a client is still tried in every sweep. Longer than the pauses of a client at
/// work (a round trip, a slow disk), much shorter than those of a person.
pub const HOT_FOR: Duration = Duration::from_millis(10);

/// So many clients are read one after another before the first of them is answered: whether the files are still the
/// same is asked once after all these reads, instead of once after each (6 % more requests with 16 clients, 10 with
/// 64). 16 buffers still are in the cache; with 256 of them half the speed was lost.
const GROUP: usize = u16::BITS as usize;

/// The clients, and a walk over the hot ones: [`Roster::begin`], then [`Roster::next`] until `None`, and after each
/// either [`Roster::keep`] or [`Roster::remove`]. Removal never skips the neighbour.
#[derive(Debug)]
pub struct Roster<S = Stream> {
    clients: Vec<Client<S>>,
    hot: usize,
    sweep: Sweep,
    /// Where the next slice of the quiet begins.
    cursor: usize,
    /// The place of the client whose turn it is.
    place: usize,
    /// The places of the group whose turn it is.
    group: Range<usize>,
    /// Who of the group has been read and is to be answered: one bit for each place.
    heard: u16,
    /// Whether those are being answered.
    answering: bool,
    /// What time it is in this walk.
    now: Instant,
    /// How many had work since the walk began.
    worked: usize,
    /// Whether clients are read in groups in this walk.
    grouped: bool,
    pace: Pace,
    /// Who of a slice is to become hot; kept for its room.
    ready: Vec<bool>,
}

impl<S: Transport> Roster<S> {
    /// An empty roster.
    pub fn new(sweep: Sweep) -> Self {
        Self {
            clients: Vec::new(),
            hot: 0,
            sweep,
            cursor: 0,
            place: 0,
            group: 0..0,
            heard: 0,
            answering: false,
            now: Instant::now(),
            worked: 0,
            grouped: false,
            pace: Pace::new(Instant::now()),
            ready: Vec::new(),
        }
    }

    /// Changes the way to sweep. Takes effect at once: everyone becomes hot and, for `Hot`, cools down again.
    pub const fn set_sweep(&mut self, sweep: Sweep) {
        self.sweep = sweep;
        self.hot = self.clients.len();
    }

    /// The way to sweep.
    pub const fn sweep(&self) -> Sweep {
        self.sweep
    }

    /// A newcomer; hot, because it will most likely speak now.
    pub fn push(&mut self, client: Client<S>) {
        let last = self.clients.len();
        self.clients.push(client);
        // The first of those still to be asked goes to the end; the first of the asked takes its place.
        let cursor = self.cursor.clamp(self.hot, last);
        self.clients.swap(cursor, last);
        self.clients.swap(self.hot, cursor);
        self.hot += 1;
        self.cursor = cursor + 1;
    }

    /// Begins a walk: asks a slice of the quiet who has something, and makes those hot.
    pub fn begin(&mut self, stats: &mut Stats, now: Instant) {
        self.now = now;
        self.gather(0);
        if self.hot < self.clients.len() {
            self.ask(stats, now);
        }
        // Who speaks alone would only wait for the reads of those who say nothing.
        self.grouped = self.worked > 1;
        self.worked = 0;
    }

    fn ask(&mut self, stats: &mut Stats, now: Instant) {
        let quiet = self.clients.len() - self.hot;
        let mut due = self.pace.slice(self.hot, quiet, self.worked > 0, now);
        while due > 0 && self.hot < self.clients.len() {
            due -= self.ask_slice(due, stats, now); // a round that ends in the middle of it begins anew
        }
    }

    /// Asks at most so many, up to the end of the `Vec`. Returns how many.
    fn ask_slice(&mut self, slice: usize, stats: &mut Stats, now: Instant) -> usize {
        if self.cursor < self.hot || self.cursor >= self.clients.len() {
            self.cursor = self.hot;
        }
        let start = self.cursor;
        let end = (start + slice).min(self.clients.len());
        self.cursor = end;
        let asked = self.clients.get(start..end).unwrap_or_default();
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        stats.waits += 1;
        S::ask(&mut asked.iter().map(|client| (client.stream(), client.interest())), &mut ready);
        for (client, ready) in asked.iter().zip(&mut ready) {
            stats.wakeups += u64::from(*ready);
            // Not only the socket can have something to say: the clock, or a service or disk that would have blocked.
            *ready |= client.interest().is_none() || client.deadline(now) <= now;
        }
        self.warm(start, &ready);
        self.ready = ready;
        end - start
    }

    /// The client whose turn it is; `None` ends the walk.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "an iterator could not lend")]
    pub fn next(&mut self) -> Option<&mut Client<S>> {
        loop {
            let end = self.group.end.min(self.hot);
            let part = if self.grouped && !self.answering { TurnPart::Read } else { TurnPart::Whole };
            if self.answering {
                self.place = self.group.start + self.heard.trailing_zeros() as usize;
                self.heard &= self.heard.wrapping_sub(1);
            } else {
                self.skip_full(end);
            }
            if self.place < end {
                let client = self.clients.get_mut(self.place)?;
                if client.part != TurnPart::Answer {
                    client.part = part;
                }
                return Some(client);
            }
            if self.heard != 0 {
                self.answering = true;
            } else if end < self.hot {
                self.gather(end);
            } else {
                return None;
            }
        }
    }

    /// Those whose places begin here are read next, and then answered.
    fn gather(&mut self, start: usize) {
        self.place = start;
        self.group = start..start + GROUP;
        self.answering = false;
    }

    fn skip_full(&mut self, end: usize) {
        while self.place < end && self.clients.get(self.place).is_some_and(|client| client.is_full(self.now))
        {
            self.place += 1;
        }
    }

    /// The client stays. `worked`: something came or went.
    #[inline]
    pub fn keep(&mut self, worked: bool, now: Instant) {
        if self.answering {
            return; // it counted when it was read
        }
        self.worked += usize::from(worked);
        let Some(client) = self.clients.get(self.place) else { return };
        if client.part == TurnPart::Answer {
            self.heard |= self.bit(self.place);
        } else if !worked && self.sweep == Sweep::Hot && now >= client.active_at + HOT_FOR {
            // Trade places with the last of the hot; the boundary moves before it. That one's turn is next.
            self.hot -= 1;
            self.clients.swap(self.place, self.hot);
            return;
        }
        self.place += 1;
    }

    /// The client leaves. The last of the hot takes its place, and has its turn next; the last of the asked takes
    /// that one's, and the last of those still to be asked that one's.
    pub fn remove(&mut self) {
        self.worked += usize::from(!self.answering);
        self.hot -= 1;
        self.hand_over_turn(self.hot, self.place);
        self.clients.swap(self.place, self.hot);
        self.cursor = self.cursor.clamp(self.hot + 1, self.clients.len()) - 1;
        self.clients.swap(self.hot, self.cursor);
        self.clients.swap_remove(self.cursor);
    }

    /// Who moves from the end of the hot into the group while that is being answered keeps its turn: if it comes out of a
    /// later group, it is still to be read; out of this one, it may be still to be answered.
    fn hand_over_turn(&mut self, from: usize, to: usize) {
        let last = self.bit(from);
        if self.answering && to < from && (last == 0 || self.heard & last != 0) {
            self.heard = self.heard & !last | self.bit(to);
        }
    }

    /// A place of the group as a bit; 0 for any other.
    fn bit(&self, place: usize) -> u16 {
        if self.group.contains(&place) { 1 << (place - self.group.start) } else { 0 }
    }

    /// Makes those hot of whom this says true, by their places from `start` on.
    pub fn warm(&mut self, start: usize, ready: &[bool]) {
        for (at, _) in ready.iter().enumerate().filter(|(_, ready)| **ready) {
            let place = start + at;
            if place >= self.hot && place < self.clients.len() {
                self.clients.swap(place, self.hot);
                self.hot += 1;
            }
        }
    }

    /// Tells idle clients to leave, at most `count`, the longest silent first, and only such as have been silent since
    /// `since`. They are made hot, so the next walk tries them once more and removes those who said nothing. Returns how many.
    pub fn make_room(&mut self, count: usize, since: Instant, now: Instant) -> usize {
        let mut idle: Vec<_> = self
            .clients
            .iter()
            .enumerate()
            .filter(|(_, client)| client.active_at <= since && client.is_idle())
            .map(|(place, client)| (client.active_at, place))
            .collect();
        idle.sort_unstable();
        idle.truncate(count);
        let mut leaving = vec![false; self.clients.len()];
        for &(_, place) in &idle {
            if let (Some(client), Some(leaves)) = (self.clients.get_mut(place), leaving.get_mut(place)) {
                client.make_room(now);
                *leaves = true;
            }
        }
        self.warm(0, &leaving);
        idle.len()
    }

    /// Everyone, hot first.
    pub fn iter(&self) -> impl Iterator<Item = &Client<S>> {
        self.clients.iter()
    }

    /// Everyone, hot first.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Client<S>> {
        self.clients.iter_mut()
    }

    /// How many are tried in every sweep.
    pub const fn hot(&self) -> usize {
        self.hot
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }
}
