//! The folder that is served, and the only way into it.
//!
//! Every name is looked up *beneath* the folder (cap-std; on Linux openat2(2) with RESOLVE_BENEATH): neither
//! `..`, nor an absolute path, nor a symbolic link leads out, not even one that is swapped in between check and
//! use. Links that stay inside are followed, absolute ones too. `follow_symlinks` is the operator's consent to
//! leave.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// How long a name that keeps leading to the same file is not resolved beneath the root again, and the root not by its
/// own name. Once a second costs nothing even if every file is asked for all the time.
pub(super) const RESOLVE_AGAIN: Duration = Duration::from_secs(1);

/// Which version of which file a name led to. Two equal identities are the same octets, if the file was not
/// changed within the clock tick in which it was looked at: see [`Identity::is_settled`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    /// In octets.
    pub(super) size: u64,
    /// Last write, as seconds and nanoseconds after the epoch. Anyone may set it to anything.
    pub(super) modified: (i64, u32),
    /// Last write or change of mode, owner or links. Only the kernel sets it.
    changed: (i64, u32),
}

/// How long after its last change a file may be changed once more without a new ctime. The kernel stamps files
/// with a clock that ticks CONFIG_HZ times a second, at the least 100; two ticks, to be past the edge.
const TICKS_NS: i128 = 20_000_000;
/// The same for file systems that keep whole seconds (ext3, HFS+) or two (FAT).
const WHOLE_SECONDS_NS: i128 = 2_100_000_000;

impl Identity {
    #[expect(clippy::unnecessary_cast, reason = "the fields' types differ between systems")]
    pub(super) fn new(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime as i64, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            changed: (stat.st_ctime as i64, u32::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        }
    }

    /// Of an open file.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        Ok(Self::new(&rustix::fs::fstat(file)?))
    }

    /// Whether any change after `now` (nanoseconds since the epoch) will show in the identity: the last change
    /// is further back than the file system's clock is coarse. Git calls the opposite "racily clean".
    pub(super) fn is_settled(&self, now: i128) -> bool {
        let changed = i128::from(self.changed.0) * 1_000_000_000 + i128::from(self.changed.1);
        let coarse = if self.changed.1 == 0 { WHOLE_SECONDS_NS } else { TICKS_NS };
        changed + coarse < now
    }

    /// Everything that tells versions apart, for a validator.
    pub(super) const fn parts(&self) -> (u64, u64, (i64, u32), (i64, u32)) {
        (self.inode, self.size, self.modified, self.changed)
    }
}

/// What stands at a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A FIFO, a socket, a device: never opened, for opening one may wait, or do something.
    Other,
}

/// What a stat says it is.
pub(super) const fn kind_of(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        _ => Kind::Other,
    }
}

/// Why a name gives nothing.
#[derive(Debug)]
pub(super) enum Fault {
    /// Nothing is there, or nothing that may be told.
    Absent,
    /// A directory is there, where a file was wanted.
    Directory,
    /// The operating system says no.
    Forbidden,
    /// No descriptor or memory is left, or the file is lent out; another time it may work.
    Exhausted(io::Error),
    /// The disk or something else failed.
    Broken(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        let Some(errno) = Errno::from_io_error(&error) else {
            return match error.kind() {
                // cap-std's own error for a path that leads out.
                io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => {
                    Self::Absent
                }
                _ => Self::Broken(error),
            };
        };
        match errno {
            // LOOP: links in a circle. XDEV: out of the root. NXIO: a socket, or a FIFO nobody reads.
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::XDEV
            | Errno::NXIO
            | Errno::INVAL => Self::Absent,
            Errno::ACCESS | Errno::PERM => Self::Forbidden,
            // AGAIN: another program holds a lease on the file, as Samba does for its clients, and is asked to let go.
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN => Self::Exhausted(error),
            _ => Self::Broken(error),
        }
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}

/// The root folder, held open: renaming it alone does not matter, another one in its place is served within
/// [`RESOLVE_AGAIN`].
#[derive(Debug)]
pub(super) struct Root {
    dir: Dir,
    /// As the operator named it, but absolute. Any link on the way may be switched later.
    asked: PathBuf,
    /// Its real path when it was opened, for absolute links that come back in.
    path: PathBuf,
    follow_symlinks: bool,
    /// When it was last seen whether it still is what the operator named.
    followed: Option<Instant>,
    /// Whether it was said that nothing can be opened there any more.
    lost: bool,
}

impl Root {
    /// Opens the folder, however its own path is linked.
    pub(super) fn open(path: &Path, follow_symlinks: bool) -> io::Result<Self> {
        let asked = std::path::absolute(path)?;
        let path = asked.canonicalize()?;
        let dir = Dir::open_ambient_dir(&path, ambient_authority())?;
        Ok(Self { dir, asked, path, follow_symlinks, followed: None, lost: false })
    }

    /// Goes over to the folder that stands where the operator said, if that is another one by now: it was built
    /// anew, or a link was switched. True if it is; then nothing that was read before counts. Looks once in
    /// [`RESOLVE_AGAIN`].
    #[inline]
    pub(super) fn follow(&mut self, now: Instant) -> bool {
        if self.followed.is_some_and(|then| now.saturating_duration_since(then) < RESOLVE_AGAIN) {
            return false;
        }
        self.followed = Some(now);
        self.replace()
    }

    #[cold]
    fn replace(&mut self) -> bool {
        match self.successor() {
            Ok(None) => self.lost = false,
            Ok(Some(next)) => {
                // A deployment is no cause for concern, the end of one that was told of is worth as much as it was.
                let level = if self.lost { log::Level::Warn } else { log::Level::Info };
                log::log!(
                    level,
                    "{} is another folder now: serving {}",
                    next.asked.display(),
                    next.path.display()
                );
                *self = Self { followed: self.followed, ..next };
                return true;
            }
            Err(error) if !self.lost => {
                self.lost = true;
                log::warn!(
                    "cannot open {} any more: {error}; what was there is served until something is (said once)",
                    self.asked.display()
                );
            }
            Err(_) => {}
        }
        false
    }

    /// `None`: it is the one that is held. As long as it is, no other gets its inode.
    fn successor(&self) -> io::Result<Option<Self>> {
        let (held, found) = (rustix::fs::fstat(&self.dir)?, rustix::fs::stat(&self.asked)?);
        if (held.st_dev, held.st_ino) == (found.st_dev, found.st_ino) {
            return Ok(None);
        }
        Self::open(&self.asked, self.follow_symlinks).map(Some)
    }

    /// Its real path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder itself.
    pub(super) fn folder(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// One system call, no allocation: which file does this name lead to *now*? Links are followed wherever they
    /// lead, so the answer serves to recognise what was opened beneath the root before, and for nothing else.
    pub(super) fn recognise(&self, name: &CStr) -> Result<Identity, Errno> {
        rustix::fs::statat(&self.dir, name, AtFlags::empty()).map(|stat| Identity::new(&stat))
    }

    /// Whether nothing at all stands at this name, not even a link that leads nowhere: what appears there will change
    /// the folder it is in.
    pub(super) fn is_vacant(&self, name: &CStr) -> bool {
        rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW).err() == Some(Errno::NOENT)
    }

    /// What stands at this name beneath the root; `""` is the root itself.
    pub(super) fn look(&self, name: &str) -> Result<(Kind, Identity), Fault> {
        // O_PATH opens nothing, so that no FIFO waits and no device notices; it only finds.
        let found = self.find(name, OFlags::PATH)?;
        let stat = rustix::fs::fstat(&found)?;
        Ok((kind_of(&stat), Identity::new(&stat)))
    }

    /// Opens a regular file for reading. What is neither that nor a directory is as good as absent.
    pub(super) fn open_file(&self, name: &str) -> Result<(File, Identity), Fault> {
        match self.look(name)?.0 {
            Kind::File => {}
            Kind::Directory => return Err(Fault::Directory),
            Kind::Other => return Err(Fault::Absent),
        }
        // NONBLOCK: should a FIFO have taken the file's place since.
        let file = self.find(name, OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let stat = rustix::fs::fstat(&file)?;
        if kind_of(&stat) != Kind::File {
            return Err(Fault::Absent);
        }
        Ok((file, Identity::new(&stat)))
    }

    /// Opens a directory for listing.
    pub(super) fn open_directory(&self, name: &str) -> Result<File, Fault> {
        Ok(self.find(name, OFlags::DIRECTORY)?)
    }

    fn find(&self, name: &str, flags: OFlags) -> io::Result<File> {
        // A slash at the end would make `link/` follow what `link` does not.
        let name = name.trim_end_matches('/');
        let name = if name.is_empty() { "." } else { name };
        if self.follow_symlinks {
            let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
            return Ok(rustix::fs::openat(&self.dir, name, flags, Mode::empty())?.into());
        }
        match self.find_beneath(Path::new(name), flags) {
            Err(error) if is_escape(&error) => {
                // An absolute link always "leads out" for the kernel, even if it comes back in: ask where the
                // name ends, and open that, beneath the root again.
                let real = self.path.join(name).canonicalize()?;
                match real.strip_prefix(&self.path) {
                    Ok(inside) => {
                        let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
                        self.find_beneath(inside, flags)
                    }
                    Err(_) => Err(error),
                }
            }
            result => result,
        }
    }

    fn find_beneath(&self, name: &Path, flags: OFlags) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let bits = i32::try_from(flags.bits()).unwrap_or(0);
        options.read(true).custom_flags(bits);
        Ok(self.dir.open_with(name, &options)?.into_std())
    }
}

fn is_escape(error: &io::Error) -> bool {
    match Errno::from_io_error(error) {
        Some(errno) => errno == Errno::XDEV,
        None => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

/// The name as the kernel wants it. Names come out of [`super::path::decode`] and have no NUL; one that has is
/// nothing.
pub(super) fn c_name(name: &str) -> Result<CString, Fault> {
    CString::new(name).map_err(|_| Fault::Absent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_errno_is_the_fault_that_a_client_is_told() {
        for errno in [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::NAMETOOLONG, Errno::XDEV, Errno::NXIO]
        {
            assert!(matches!(Fault::from(errno), Fault::Absent), "{errno}");
        }
        for errno in [Errno::ACCESS, Errno::PERM] {
            assert!(matches!(Fault::from(errno), Fault::Forbidden), "{errno}");
        }
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN] {
            assert!(matches!(Fault::from(errno), Fault::Exhausted(_)), "{errno}");
        }
        assert!(matches!(Fault::from(Errno::IO), Fault::Broken(_)));
    }

    #[test]
    fn an_identity_settles_two_ticks_after_the_change_and_later_on_coarse_clocks() {
        let at = |changed| Identity { device: 1, inode: 1, size: 0, modified: (0, 0), changed };
        let second = 1_000_000_000;
        assert!(!at((100, 5)).is_settled(100 * second + 10_000_000));
        assert!(at((100, 5)).is_settled(100 * second + 20_000_006));
        assert!(!at((100, 0)).is_settled(102 * second));
        assert!(at((100, 0)).is_settled(103 * second));
        // A clock that was set back: never trusted until it has caught up.
        assert!(!at((200, 5)).is_settled(100 * second));
    }
}
