//! Whose turn it is: the `Vec` of clients, and the boundary between the hot and the quiet.
//!
//! ```text
//!    0          hot                                      len
//!    ├───────────┼────────────────────────────────────────┤
//!    │ active    │ quiet     ▲ cursor                     │
//!    │ lately    │           └ tried in slices            │
//!    └───────────┴────────────────────────────────────────┘
//! ```
//!
//! **full**: there is no boundary; everyone is hot; every sweep tries every client. This is the chapter's loop.
//!
//! **hot**: a client is hot for [`HOT_FOR`] after its last octet. Hot clients are tried in every sweep. Of the
//! quiet ones a slice is tried: [`QUIET_SLICE_BUSY`] when the hot ones had work in this sweep,
//! [`QUIET_SLICE_IDLE`] when they had none. A quiet client that speaks becomes hot at once.
//!
//! So a quiet client waits at most ⌈quiet ÷ slice⌉ sweeps.

use std::time::{Duration, Instant};

use super::client::Client;
use super::stream::Stream;
use crate::config::Sweep;

/// How long after its last octet a client is still tried in every sweep. Longer than the pauses of a client at
/// work (a round trip, a slow disk), much shorter than those of a person.
pub const HOT_FOR: Duration = Duration::from_millis(10);

/// Quiet clients tried in a sweep in which the hot ones had work: their share of the time stays small.
pub const QUIET_SLICE_BUSY: usize = 8;

/// Quiet clients tried in a sweep in which the hot ones had none: there is time, but a hot client that speaks
/// now waits for the slice to end.
pub const QUIET_SLICE_IDLE: usize = 128;

/// The clients, and a walk over them: [`Roster::begin`], then [`Roster::next`] until `None`, and after each
/// either [`Roster::keep`] or [`Roster::remove`]. Removal never skips the neighbour.
#[derive(Debug)]
pub struct Roster<S = Stream> {
    clients: Vec<Client<S>>,
    hot: usize,
    sweep: Sweep,
    /// Where the next slice of the quiet begins.
    cursor: usize,
    /// The walk: the place of the client whose turn it is, how many quiet ones are still to be tried, and
    /// whether the hot ones had work.
    place: usize,
    quiet_left: usize,
    in_quiet: bool,
    hot_worked: bool,
}

impl<S> Roster<S> {
    /// An empty roster.
    pub const fn new(sweep: Sweep) -> Self {
        Self {
            clients: Vec::new(),
            hot: 0,
            sweep,
            cursor: 0,
            place: 0,
            quiet_left: 0,
            in_quiet: false,
            hot_worked: false,
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
        self.clients.push(client);
        let last = self.clients.len() - 1;
        self.clients.swap(self.hot, last);
        self.hot += 1;
    }

    /// Begins a walk.
    pub const fn begin(&mut self) {
        self.place = 0;
        self.in_quiet = false;
        self.hot_worked = false;
    }

    /// The client whose turn it is; `None` ends the walk.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "an iterator could not lend")]
    pub fn next(&mut self) -> Option<&mut Client<S>> {
        if !self.in_quiet {
            if self.place < self.hot {
                return self.clients.get_mut(self.place);
            }
            self.in_quiet = true;
            let slice = if self.hot_worked { QUIET_SLICE_BUSY } else { QUIET_SLICE_IDLE };
            self.quiet_left = slice.min(self.clients.len() - self.hot);
        }
        if self.quiet_left == 0 {
            return None;
        }
        self.quiet_left -= 1;
        if self.cursor < self.hot || self.cursor >= self.clients.len() {
            self.cursor = self.hot;
        }
        self.place = self.cursor;
        self.clients.get_mut(self.place)
    }

    /// The client stays. `worked`: something came or went.
    #[inline]
    pub fn keep(&mut self, worked: bool, now: Instant) {
        if self.in_quiet {
            self.cursor += 1;
            if worked {
                // Trade places with the first of the quiet; the boundary moves over it.
                self.clients.swap(self.place, self.hot);
                self.hot += 1;
            }
        } else if worked {
            self.hot_worked = true;
            self.place += 1;
        } else if self.sweep == Sweep::Hot
            && self.clients.get(self.place).is_some_and(|client| now >= client.active_at + HOT_FOR)
        {
            // Trade places with the last of the hot; the boundary moves before it. That one's turn is next.
            self.hot -= 1;
            self.clients.swap(self.place, self.hot);
        } else {
            self.place += 1;
        }
    }

    /// The client leaves. Its place is taken by one whose turn is still to come.
    pub fn remove(&mut self) {
        if self.in_quiet {
            self.clients.swap_remove(self.place);
        } else {
            self.hot_worked = true;
            self.hot -= 1;
            self.clients.swap(self.place, self.hot);
            self.clients.swap_remove(self.hot);
        }
    }

    /// Makes those hot of whom this says true, by their place.
    pub fn warm(&mut self, ready: &[bool]) {
        for (place, _) in ready.iter().enumerate().filter(|(_, ready)| **ready) {
            if place >= self.hot && place < self.clients.len() {
                self.clients.swap(place, self.hot);
                self.hot += 1;
            }
        }
    }

    /// Tells idle clients to leave, at most `count`, the longest silent first, and only such as have been silent since
    /// `since`. They are made hot, so the next walk removes them. Returns how many.
    pub fn make_room(&mut self, count: usize, since: Instant) -> usize {
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
                client.make_room();
                *leaves = true;
            }
        }
        self.warm(&leaving);
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
