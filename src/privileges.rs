//! What the process may do: how many descriptors it may have, and whose rights.

use std::ffi::CString;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Uid, User, geteuid, initgroups, setgid, setuid};

/// A server needs a descriptor for each client: takes as many as the system allows without asking for privilege.
pub fn raise_descriptor_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        log::debug!("the limit of descriptors stays at {soft}: {error}");
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
