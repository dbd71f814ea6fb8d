//! What a measurement shows on a terminal while it runs, and how it is ended.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use crate::compare::lang::Lang;
use crate::compare::matrix::{Kind, Measurement};
use crate::compare::rounds::Watch;
use crate::signals::is_ignored;

/// What is being measured and the time left, on a terminal; and whether somebody wants it to end.
pub(super) struct Progress {
    bar: ProgressBar,
    lang: Lang,
    stop: Arc<AtomicBool>,
}

impl Progress {
    /// Catches the signals that ask to end. The first ends the measurement after the present run, so that what is
    /// complete is told. A second one ends this process at once, and the guard ends the others; but a terminal that is
    /// closed may send SIGHUP twice for one wish.
    pub(super) fn new(lang: Lang) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGQUIT, SIGHUP] {
            // What whoever started us has us ignore stays ignored: nohup(1).
            if is_ignored(signal) {
                continue;
            }
            if signal != SIGHUP {
                signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))?;
            }
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
        }
        let bar = if io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {prefix} {msg}") {
            bar.set_style(style);
        }
        Ok(Self { bar, lang, stop })
    }

    /// Takes the bar off the terminal.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Watch for Progress {
    fn next(&mut self, done: f64, total: f64, what: &Measurement) -> bool {
        let left = Duration::from_secs_f64((total - done).max(0.0)).as_secs();
        let (prefix, kind) = match self.lang {
            Lang::En => (format!("{}:{:02} left", left / 60, left % 60), kind_en(what.kind)),
            Lang::Zh => (format!("还剩 {}:{:02}", left / 60, left % 60), kind_zh(what.kind)),
        };
        self.bar.set_length((total * 1e3) as u64);
        self.bar.set_position((done * 1e3) as u64);
        self.bar.set_prefix(prefix);
        self.bar.set_message(format!("{}, N = {}: {kind}", what.cell.server.name(), what.cell.silent));
        self.bar.tick();
        !self.is_stopped()
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn kind_en(kind: Kind) -> String {
    match kind {
        Kind::Idle => "idle".to_owned(),
        Kind::Rate(rate) => format!("latency at {rate}/s"),
        Kind::Max => "throughput".to_owned(),
    }
}

fn kind_zh(kind: Kind) -> String {
    match kind {
        Kind::Idle => "空闲".to_owned(),
        Kind::Rate(rate) => format!("每秒 {rate} 个请求时的延迟"),
        Kind::Max => "吞吐量".to_owned(),
    }
}
