//! What the process may do: how many descriptors it may have, and whose rights.

use std::ffi::CString;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Uid, User, geteuid, initgroups, setgid, setuid};

/// Descriptors for what comes and goes beside clients and kept files: a file on its way, a folder that is listed, the
/// log and the certificates when they are opened again.
const IN_PASSING: usize = 64;

/// What is open at the start, where the system does not say.
const OPEN_AT_START: usize = 16;

/// How many descriptors the process may have, and for what. Clients get what is left, or they would take the last one,
/// and then no file could be opened for those who were there first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptors {
    /// All of them.
    pub limit: usize,
    /// Most files kept open.
    pub files: usize,
    /// Kept back from clients, those files included.
    reserve: usize,
}

impl Descriptors {
    /// Takes as many as the system allows without asking for privilege. `files` are wished to be kept open.
    pub fn raise(files: usize) -> Self {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
        let mut limit = soft;
        if soft < hard {
            match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
                Ok(()) => limit = hard,
                Err(error) => log::debug!("the limit of descriptors stays at {soft}: {error}"),
            }
        }
        Self::share(usize::try_from(limit).unwrap_or(usize::MAX), files)
    }

    fn share(limit: usize, files: usize) -> Self {
        let eighth = limit / 8;
        let files = files.min(eighth);
        Self { limit, files, reserve: files + IN_PASSING.min(eighth) }
    }

    /// Most clients at once, beside what is open now.
    pub fn clients(&self) -> usize {
        // One of them is that of the list itself.
        let open = std::fs::read_dir("/dev/fd").map_or(OPEN_AT_START, |list| list.count().saturating_sub(1));
        self.limit.saturating_sub(self.reserve).saturating_sub(open).max(1)
    }
}

/// Whether the process has root's rights.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Becomes this user for good, with that user's groups. Must come before any other thread is started: the kernel
/// changes the rights of one thread, and the C library sees to the others.
///
/// # Errors
/// A sentence for the operator: there is no such user, or the process is not root.
pub fn become_user(name: &str) -> Result<(), String> {
    let user = User::from_name(name)
        .map_err(|error| format!("cannot look up the user {name}: {error}"))?
        .ok_or_else(|| format!("there is no user named {name}"))?;
    let fail = |error| format!("cannot become the user {name}: {error}; only root can, see --user");
    let groups_of = CString::new(name).map_err(|_| format!("there is no user named {name}"))?;
    // In this order: each step needs the rights that the next gives up.
    initgroups(&groups_of, user.gid).map_err(fail)?;
    setgid(user.gid).map_err(fail)?;
    setuid(user.uid).map_err(fail)?;
    // Believe nothing: if root can be had back, nothing was given up.
    if !user.uid.is_root() && setuid(Uid::from_raw(0)).is_ok() {
        return Err(format!("became {name}, but root's rights can be had back"));
    }
    // No program that this one might start can gain rights by being setuid (prctl(2)).
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_no_new_privs()
        .map_err(|error| format!("cannot renounce new privileges: {error}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_their_share_of_the_descriptors_whatever_the_limit() {
        // The limit, the files wished to be kept open, those that are, and what is kept back.
        for (limit, wished, files, reserve) in [
            (1_048_576, 128, 128, 192),
            (1024, 128, 128, 192),
            (256, 128, 32, 64),
            (64, 0, 0, 8),
            (0, 128, 0, 0),
        ] {
            assert_eq!(Descriptors::share(limit, wished), Descriptors { limit, files, reserve });
        }
        assert_eq!(Descriptors::share(4, 0).clients(), 1, "one can always come in");
    }
}
