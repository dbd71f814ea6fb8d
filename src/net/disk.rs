//! The disk as one more thing that may block: asked before a piece of a large file is sent.
//!
//! There is no nonblocking mode for files: `O_NONBLOCK` on them means nothing, and a read of what is not in the page
//! cache stops the whole loop. But preadv2(2) with `RWF_NOWAIT` says so instead, like a socket: EAGAIN is the disk's
//! "would block". Then read-ahead is asked for, and the client waits for a later sweep. Where the file system cannot
//! tell, the file is read as it always was.
//!
//! What is asked is one octet, the last of a window, because pages come in order. The window grows while the answer
//! is "here", so that a hot file costs one question for 4 MiB and a small one none. What is left out: a hole in the
//! middle of a window is not noticed, and costs one wait as it did before; metadata (opening, stat) is not asked.

use std::fs::File;
use std::time::{Duration, Instant};

use super::TURN_BYTES;

/// Contents up to this length are sent without asking: they are a few reads of a disk at most, and mostly hot.
const SMALL: u64 = 1024 * 1024;

/// The first question covers one turn. As much again with each "here", up to the last number.
const FIRST_WINDOW: u64 = TURN_BYTES as u64;
const LAST_WINDOW: u64 = 4 * 1024 * 1024;

/// How much is asked for when something is missing: enough to keep the disk at work while a turn is sent.
const AHEAD: u64 = 2 * 1024 * 1024;

/// The kernel cuts a request for read-ahead to what one device takes at once; this much every device takes.
const AHEAD_STEP: u64 = 128 * 1024;

/// How long to wait for the disk before reading all the same: somebody may be taking the pages away as fast as they
/// come, and a reader who waits for ever is worse than a loop that waits once.
const PATIENCE: Duration = Duration::from_millis(500);

/// What the page cache says about an octet of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Look {
    Here,
    WouldBlock,
    CannotTell,
}

/// What can be looked at without waiting, and fetched in the background.
trait Disk {
    fn look(&self, offset: u64) -> Look;
    fn fetch(&self, offset: u64, len: u64);
}

/// How far the body that a client is being sent is known to be in memory.
#[derive(Debug)]
pub(super) struct ReadAhead {
    /// Up to this octet of the body.
    ready_upto: u64,
    window: u64,
    /// Since when the disk is being waited for.
    since: Option<Instant>,
}

impl ReadAhead {
    /// Nothing is known of a body of this length.
    pub(super) const fn new(body_len: u64) -> Self {
        let ready_upto = if body_len <= SMALL { u64::MAX } else { 0 };
        Self { ready_upto, window: FIRST_WINDOW, since: None }
    }

    /// Whether the disk is being waited for.
    pub(super) const fn is_waiting(&self) -> bool {
        self.since.is_some()
    }

    /// Whether a turn from this octet of the body on is known not to wait.
    #[inline]
    pub(super) const fn covers(&self, at: u64, left: u64) -> bool {
        let turn = if left < FIRST_WINDOW { left } else { FIRST_WINDOW };
        at.saturating_add(turn) <= self.ready_upto
    }

    /// Whether the next turn can be sent without waiting: octet `at` of the body, `offset` of the file, of which
    /// `left` octets are to be sent.
    pub(super) fn is_ready(&mut self, at: u64, file: &File, offset: u64, left: u64, now: Instant) -> bool {
        self.ask(at, file, offset, left, now)
    }

    fn ask(&mut self, at: u64, disk: &impl Disk, offset: u64, left: u64, now: Instant) -> bool {
        if self.covers(at, left) {
            return true;
        }
        let window = self.window.min(left).max(1);
        let mut look = disk.look(offset + window - 1);
        if look == Look::Here && self.is_waiting() {
            // What was fetched comes in several pieces, in any order.
            let pieces = (offset..offset + window).step_by(AHEAD_STEP as usize).skip(1);
            look = pieces.map(|end| disk.look(end - 1)).find(|look| *look != Look::Here).unwrap_or(look);
        }
        if look == Look::Here && (self.ready_upto == 0 || at > self.ready_upto) {
            look = disk.look(offset); // the first window of a piece: nobody has looked at what is before it either
        }
        match look {
            Look::Here => {
                self.ready_upto = at.saturating_add(window);
                self.window = (self.window * 2).min(LAST_WINDOW);
                self.since = None;
            }
            Look::CannotTell => {
                self.ready_upto = u64::MAX;
                self.since = None;
            }
            Look::WouldBlock => {
                self.window = FIRST_WINDOW;
                let since = *self.since.get_or_insert_with(|| {
                    disk.fetch(offset, AHEAD.min(left));
                    now
                });
                if now.saturating_duration_since(since) < PATIENCE {
                    return false;
                }
                self.ready_upto = at.saturating_add(FIRST_WINDOW);
                self.since = None;
            }
        }
        true
    }
}

#[cfg(target_os = "linux")]
impl Disk for File {
    fn look(&self, offset: u64) -> Look {
        use rustix::io::{Errno, ReadWriteFlags, preadv2};
        let mut octet = [0];
        match preadv2(self, &mut [std::io::IoSliceMut::new(&mut octet)], offset, ReadWriteFlags::NOWAIT) {
            // None at all: the file has become shorter. Whoever sends it will say so.
            Ok(_) => Look::Here,
            Err(Errno::AGAIN) => Look::WouldBlock,
            Err(_) => Look::CannotTell,
        }
    }

    fn fetch(&self, offset: u64, len: u64) {
        use rustix::fs::{Advice, fadvise};
        for step in (offset..offset.saturating_add(len)).step_by(AHEAD_STEP as usize) {
            // Only advice: where it is not taken, the wait ends with patience.
            let _ = fadvise(self, step, std::num::NonZeroU64::new(AHEAD_STEP), Advice::WillNeed);
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Disk for File {
    fn look(&self, _: u64) -> Look {
        Look::CannotTell
    }

    fn fetch(&self, _: u64, _: u64) {}
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// A disk whose pages are here or not; counts questions and requests.
    struct Fake {
        here: Box<dyn Fn(u64) -> Look>,
        looks: Cell<usize>,
        fetched: RefCell<Vec<(u64, u64)>>,
    }

    impl Fake {
        fn new(here: impl Fn(u64) -> Look + 'static) -> Self {
            Self { here: Box::new(here), looks: Cell::new(0), fetched: RefCell::default() }
        }
    }

    impl Disk for Fake {
        fn look(&self, offset: u64) -> Look {
            self.looks.set(self.looks.get() + 1);
            (self.here)(offset)
        }

        fn fetch(&self, offset: u64, len: u64) {
            self.fetched.borrow_mut().push((offset, len));
        }
    }

    const MIB: u64 = 1024 * 1024;

    /// Sends all of it in turns of at most this much; returns the turns in which the disk would have blocked.
    fn send(disk: &Fake, len: u64, turn: u64) -> usize {
        let mut ahead = ReadAhead::new(len);
        let (mut at, mut blocked) = (0, 0);
        let now = Instant::now();
        while at < len {
            if ahead.ask(at, disk, at, len - at, now) {
                at += turn.min(len - at);
            } else {
                blocked += 1;
                assert!(ahead.is_waiting());
                if blocked > 10 {
                    break;
                }
            }
        }
        blocked
    }

    #[test]
    fn a_hot_file_costs_a_question_for_four_mebibytes_and_a_small_one_none() {
        for (len, most) in [(MIB, 0), (10 * MIB, 7), (1024 * MIB, 300)] {
            for turn in [FIRST_WINDOW, 100_000, 1] {
                if turn == 1 && len > MIB {
                    continue;
                }
                let disk = Fake::new(|_| Look::Here);
                assert_eq!(send(&disk, len, turn), 0);
                assert!(disk.looks.get() <= most, "{} looks for {} MiB", disk.looks.get(), len / MIB);
                assert_eq!(*disk.fetched.borrow(), []);
            }
        }
    }

    #[test]
    fn what_is_missing_is_fetched_once_and_waited_for() {
        let disk = Fake::new(|_| Look::WouldBlock);
        let mut ahead = ReadAhead::new(100 * MIB);
        let start = Instant::now();
        for at in 0..499 {
            assert!(!ahead.ask(0, &disk, 7 * MIB, 93 * MIB, start + Duration::from_millis(at)));
        }
        assert_eq!(*disk.fetched.borrow(), [(7 * MIB, AHEAD)]);
        // But not for ever, and only for one turn.
        assert!(ahead.ask(0, &disk, 7 * MIB, 93 * MIB, start + PATIENCE));
        assert!(!ahead.is_waiting());
        let later = start + PATIENCE * 2;
        assert!(!ahead.ask(FIRST_WINDOW, &disk, 7 * MIB + FIRST_WINDOW, 92 * MIB, later));
        assert_eq!(disk.fetched.borrow().len(), 2);
    }

    #[test]
    fn the_first_cold_octet_is_noticed_before_it_is_sent() {
        // Hot up to a place, cold behind it: no turn may reach behind it.
        for cold_from in [0, 1, MIB, 9 * MIB + 12_345] {
            let disk =
                Fake::new(move |offset| if offset < cold_from { Look::Here } else { Look::WouldBlock });
            let mut ahead = ReadAhead::new(64 * MIB);
            let now = Instant::now();
            let mut at = 0;
            while ahead.ask(at, &disk, at, 64 * MIB - at, now) {
                at += FIRST_WINDOW;
                assert!(at <= cold_from, "octet {cold_from} was sent without being here");
            }
        }
        // Cold at the front, hot behind, as memory is taken away.
        let disk = Fake::new(|offset| if offset < 1000 { Look::WouldBlock } else { Look::Here });
        assert_eq!(send(&disk, 64 * MIB, FIRST_WINDOW), 11);
    }

    #[test]
    fn where_nobody_can_tell_nobody_is_asked_twice() {
        let disk = Fake::new(|_| Look::CannotTell);
        assert_eq!(send(&disk, 64 * MIB, FIRST_WINDOW), 0);
        assert_eq!(disk.looks.get(), 1);
    }
}
