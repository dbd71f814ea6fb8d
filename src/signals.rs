//! Signals as flags that the loop looks at, and one descriptor that wakes whoever sleeps.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// The exit status of a server that was told twice: 128 + SIGINT, as shells report it.
const TOLD_TWICE: i32 = 130;

/// What the process was told.
#[derive(Debug)]
pub struct Signals {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    /// Becomes readable at a signal; both ends are nonblocking.
    alarm: UnixStream,
    ring: UnixStream,
}

impl Signals {
    /// Flags that only [`Signals::request_stop`] sets: for tests, and for servers inside other programs.
    ///
    /// # Errors
    /// No descriptors are free.
    pub fn none() -> io::Result<Self> {
        let (alarm, ring) = UnixStream::pair()?;
        alarm.set_nonblocking(true)?;
        ring.set_nonblocking(true)?;
        Ok(Self { stop: Arc::default(), reload: Arc::default(), alarm, ring })
    }

    /// SIGINT and SIGTERM ask to stop, and a second one ends the process at once; SIGHUP asks to reload.
    ///
    /// # Errors
    /// No descriptors are free, or the handlers cannot be installed.
    pub fn install() -> io::Result<Self> {
        let signals = Self::none()?;
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset, the second finds it set and exits.
            signal_hook::flag::register_conditional_shutdown(signal, TOLD_TWICE, signals.stop.clone())?;
            signal_hook::flag::register(signal, signals.stop.clone())?;
            signal_hook::low_level::pipe::register(signal, signals.ring.try_clone()?)?;
        }
        signal_hook::flag::register(SIGHUP, signals.reload.clone())?;
        signal_hook::low_level::pipe::register(SIGHUP, signals.ring.try_clone()?)?;
        Ok(signals)
    }

    /// Whether to stop.
    pub fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Asks to stop, as a signal would.
    pub fn request_stop(&self) {
        use std::io::Write;
        self.stop.store(true, Ordering::Relaxed);
        // Full means that it rings already.
        let _ = (&self.ring).write(b"!");
    }

    /// Whether to reload; says so once for each time, and silences the alarm then.
    pub fn take_reload(&self) -> bool {
        self.take_reload_with(|| self.silence())
    }

    /// What `silence` is, only tests may change: what else happens in the middle.
    fn take_reload_with(&self, mut silence: impl FnMut()) -> bool {
        if !self.reload.load(Ordering::Relaxed) {
            return false;
        }
        // Until the flag stays down. Whoever asks between the two rings once more, and an alarm without a flag would
        // ring for ever; a flag without an alarm would be overlooked.
        while self.reload.swap(false, Ordering::Relaxed) {
            silence();
        }
        if self.stop_requested() {
            self.request_stop(); // that alarm may have been silenced too
        }
        true
    }

    /// [`Signals::take_reload`] in a forked child: the alarm is the parent's, and rings on.
    pub fn take_reload_in_child(&self) -> bool {
        self.reload.load(Ordering::Relaxed) && self.reload.swap(false, Ordering::Relaxed)
    }

    /// Asks to reload, as SIGHUP would.
    pub fn request_reload(&self) {
        use std::io::Write;
        self.reload.store(true, Ordering::Relaxed);
        let _ = (&self.ring).write(b"!");
    }

    /// Becomes readable at a signal, and stays so until [`Signals::silence`].
    pub fn alarm(&self) -> BorrowedFd<'_> {
        self.alarm.as_fd()
    }

    /// Stops the alarm; the flags stay.
    pub fn silence(&self) {
        while (&self.alarm).read(&mut [0; 64]).is_ok_and(|n| n > 0) {}
    }
}

/// Whether whoever started this process has it ignore the signal, as nohup(1) does with SIGHUP. Linux tells in
/// proc_pid_status(5); elsewhere nothing is taken to be ignored.
pub fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_is_taken_once_and_silences_its_alarm() {
        let signals = Signals::none().unwrap();
        assert!(!signals.take_reload());
        signals.request_reload();
        assert!(signals.take_reload());
        assert!(!signals.take_reload());
        assert!((&signals.alarm).read(&mut [0; 8]).is_err(), "nothing rings any more");
    }

    #[test]
    fn an_alarm_that_rings_while_it_is_silenced_does_not_ring_for_ever() {
        let signals = Signals::none().unwrap();
        signals.request_reload();
        let mut comes_again = true;
        assert!(signals.take_reload_with(|| {
            signals.silence();
            if std::mem::take(&mut comes_again) {
                signals.request_reload();
            }
        }));
        let rings = (&signals.alarm).read(&mut [0; 8]).is_ok_and(|n| n > 0);
        assert!(!rings || signals.take_reload(), "it rings, and nobody is told why");
    }

    #[test]
    fn the_alarm_of_a_stop_survives_a_reload() {
        let signals = Signals::none().unwrap();
        signals.request_stop();
        signals.request_reload();
        assert!(signals.take_reload());
        assert!((&signals.alarm).read(&mut [0; 8]).is_ok_and(|n| n > 0), "it rings on");
    }
}
