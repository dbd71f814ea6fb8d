//! The last one out: a process that sleeps until the measuring one is gone, however it went (a second Ctrl-C, a closed
//! terminal, `kill -9`), and then ends what was measured and removes the folder. In a measurement that ends in order
//! there is nothing left for it to do.
//!
//! It leads a process group in which all other children are. So no signal of the terminal's reaches them before the
//! measuring process has decided, and one call ends them all, those of other servers too.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What the names of our folders begin with.
pub const PREFIX: &str = "wouldblock-compare-";

/// The guard's side: waits for the end of input, removes the folder, and ends its group and with it itself.
pub fn watch(folder: &Path) -> io::Result<()> {
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    // Whoever tries this by hand keeps his folder.
    if folder.file_name().map(OsStr::as_bytes).is_some_and(|name| name.starts_with(PREFIX.as_bytes())) {
        let _ = fs::remove_dir_all(folder);
    }
    kill(Pid::from_raw(0), Signal::SIGKILL)?;
    Ok(())
}

/// The measuring side. Dropping it ends whatever still runs in the group.
pub struct Guard {
    child: Child,
    input: Option<ChildStdin>,
}

impl Guard {
    /// Starts a guard over this folder.
    pub fn start(folder: &Path) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["compare", "guard"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { input: child.stdin.take(), child })
    }

    /// The group that the other children join.
    pub fn group(&self) -> i32 {
        self.child.id().cast_signed()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
