//! Whether anything may have changed on the disk: one cheap question in place of one for each file.
//!
//! The kernel tells by inotify(7) what happens to the files and folders it is asked to watch, and it has told before
//! the call that made the change returns. So if every folder on the way to a file, and the file, are watched, and
//! nothing has been told since the file was last looked at, then it is still the same. Asking whether something was
//! told is one ioctl(2), 260 ns, whatever the file; looking at the file is one fstatat(2), 920 ns (one after the
//! other on the machine of the recorded figures).
//!
//! What was told is not evaluated: whatever it was, everything is looked at once more. Where the kernel cannot be relied on
//! to tell, nothing is watched, and each file is looked at for each batch as before: on file systems whose changes
//! come from elsewhere (network, FUSE, overlays), where the way leads through a symbolic link, when too much is going
//! on, and on other systems than Linux.
//!
//! inotify does not tell of writes through a shared memory map or by io_submit(2) before the file is closed, nor of
//! what is mounted over a folder. Such a change is seen within [`RESOLVE_AGAIN`](super::root::RESOLVE_AGAIN).

use std::sync::Arc;

use super::root::Root;
use crate::service::Context;

/// Changes in one second beyond which watching would cost more than it saves: each means that every file in use is
/// looked at, and its watches set, once more. Then nothing more is watched until the second is over.
const CHANGES_A_SECOND: u32 = 100;

/// Most watches. Each holds about 1 KiB of the kernel's memory and counts against the 8,192 that some systems give to
/// all programs of a user together.
const WATCHES: usize = 1_024;

/// What may be relied on as long as [`Watch::epoch`] stays what it was. Dropping it ends the watches that nothing
/// else needs.
#[derive(Debug)]
pub(super) struct Watched {
    /// The epoch in which the files were looked at.
    pub(super) epoch: u64,
    #[expect(dead_code, reason = "held, not read")]
    marks: Vec<Arc<kernel::Mark>>,
}

/// What the kernel is asked to tell.
pub(super) struct Watch {
    kernel: Option<kernel::Inotify>,
    epoch: u64,
    /// The batch in which the kernel was last asked.
    batch: u64,
    /// Changes in this second, and which second that is.
    changes: u32,
    second: u64,
}

impl Watch {
    /// Watches nothing yet. Not `wanted`: never will.
    pub(super) fn new(wanted: bool) -> Self {
        let kernel = if wanted { kernel::Inotify::open(WATCHES) } else { None };
        Self { kernel, epoch: 0, batch: 0, changes: 0, second: 0 }
    }

    /// A number that is another one whenever something that is watched has changed. One system call, none if this
    /// batch has asked before or nothing is watched.
    #[inline]
    pub(super) fn epoch(&mut self, context: &Context<'_>) -> u64 {
        if let Some(kernel) = &self.kernel
            && self.batch != context.batch
            && kernel.is_watching()
        {
            self.batch = context.batch;
            if kernel.has_news() && kernel.take_news() {
                self.epoch += 1;
                self.count(context);
            }
        }
        self.epoch
    }

    /// Watches all that decides what this name leads to. Whoever looks at the file after that may rely on what was
    /// seen until the epoch changes. `None`: that cannot be relied on.
    #[cold]
    pub(super) fn hold(&mut self, root: &Root, name: &str, context: &Context<'_>) -> Option<Watched> {
        if self.second == context.unix_time && self.changes >= CHANGES_A_SECOND {
            return None;
        }
        let epoch = self.epoch(context);
        let marks = self.kernel.as_mut()?.mark_way(root, name)?;
        Some(Watched { epoch, marks })
    }

    fn count(&mut self, context: &Context<'_>) {
        if self.second != context.unix_time {
            self.second = context.unix_time;
            self.changes = 0;
        }
        self.changes += 1;
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::collections::HashMap;
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
    use std::sync::{Arc, Weak};

    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
    use rustix::fs::{Mode, OFlags};

    use super::super::root::{Kind, Root, kind_of};

    /// What happens to a folder that may change where a way through it leads.
    const FOLDER: WatchFlags = WatchFlags::CREATE
        .union(WatchFlags::DELETE)
        .union(WatchFlags::MOVE)
        .union(WatchFlags::ATTRIB)
        .union(WatchFlags::DELETE_SELF)
        .union(WatchFlags::MOVE_SELF);

    /// What happens to a file, under whichever of its names. ATTRIB: also that its last name is gone. CLOSE_WRITE:
    /// whoever wrote through a memory map has closed it, most likely.
    const FILE: WatchFlags = WatchFlags::MODIFY
        .union(WatchFlags::ATTRIB)
        .union(WatchFlags::CLOSE_WRITE)
        .union(WatchFlags::MOVE_SELF)
        .union(WatchFlags::DELETE_SELF);

    /// File systems of which all changes pass through this kernel, by statfs(2): ext2 to ext4, XFS, Btrfs, F2FS, tmpfs.
    const LOCAL: [u32; 5] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0x0102_1994];

    /// Most events read at once; what is left is news for the next batch.
    const EVENTS: usize = 1_024;

    /// An inotify instance and the marks it has made.
    pub(super) struct Inotify {
        descriptor: Arc<OwnedFd>,
        /// By watch descriptor: two ways may lead over one folder, which has one.
        marks: HashMap<i32, Weak<Mark>>,
        most: usize,
    }

    /// One file or folder, watched until this is dropped.
    #[derive(Debug)]
    pub(in super::super) struct Mark {
        inotify: Arc<OwnedFd>,
        watch: i32,
    }

    impl Drop for Mark {
        fn drop(&mut self) {
            // It is gone already if the file is.
            let _ = inotify::remove_watch(&self.inotify, self.watch);
        }
    }

    impl Inotify {
        pub(super) fn open(most: usize) -> Option<Self> {
            match inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC) {
                Ok(descriptor) => {
                    Some(Self { descriptor: Arc::new(descriptor), marks: HashMap::new(), most })
                }
                Err(error) => {
                    log::debug!("files are looked at for each request: no inotify(7): {error}");
                    None
                }
            }
        }

        pub(super) fn is_watching(&self) -> bool {
            !self.marks.is_empty()
        }

        #[inline]
        pub(super) fn has_news(&self) -> bool {
            // An error would be news too: it has never been seen.
            rustix::io::ioctl_fionread(&self.descriptor) != Ok(0)
        }

        /// Reads the news; whether there is any but that a mark of ours is gone.
        pub(super) fn take_news(&self) -> bool {
            let mut room = [MaybeUninit::uninit(); 4096];
            let mut news = inotify::Reader::new(&self.descriptor, &mut room);
            let mut changed = false;
            for _ in 0..EVENTS {
                match news.next() {
                    Ok(event) => changed |= event.events() != ReadFlags::IGNORED,
                    Err(_) => return changed, // it would block
                }
            }
            true
        }

        /// Marks every folder on the way from the root to a file, and the file.
        pub(super) fn mark_way(&mut self, root: &Root, name: &str) -> Option<Vec<Arc<Mark>>> {
            let mut marks = vec![self.mark(root.folder(), FOLDER)?];
            let mut steps = name.split('/').filter(|step| !step.is_empty()).peekable();
            let mut at: Option<OwnedFd> = None;
            while let Some(step) = steps.next() {
                // NOFOLLOW: a link could be turned round anywhere on its way, which nobody would tell.
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let folder = at.as_ref().map_or_else(|| root.folder(), AsFd::as_fd);
                let next = rustix::fs::openat(folder, step, flags, Mode::empty()).ok()?;
                let kind = kind_of(&rustix::fs::fstat(&next).ok()?);
                let mask = match (kind, steps.peek()) {
                    (Kind::Directory, _) => FOLDER,
                    (Kind::File, None) => FILE,
                    _ => return None,
                };
                marks.push(self.mark(next.as_fd(), mask)?);
                at = Some(next);
            }
            Some(marks)
        }

        fn mark(&mut self, file: BorrowedFd<'_>, mask: WatchFlags) -> Option<Arc<Mark>> {
            let kind = u32::try_from(rustix::fs::fstatfs(file).ok()?.f_type).ok()?;
            if !LOCAL.contains(&kind) {
                return None;
            }
            if self.marks.len() >= self.most {
                self.marks.retain(|_, mark| mark.strong_count() > 0);
            }
            if self.marks.len() >= self.most {
                return None;
            }
            // By the descriptor, so that it is this very file; inotify(7) takes only paths.
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            let watch = inotify::add_watch(&self.descriptor, path, mask).ok()?;
            if let Some(mark) = self.marks.get(&watch).and_then(Weak::upgrade) {
                return Some(mark);
            }
            let mark = Arc::new(Mark { inotify: self.descriptor.clone(), watch });
            self.marks.insert(watch, Arc::downgrade(&mark));
            Some(mark)
        }
    }
}

/// Elsewhere nobody is asked.
#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::convert::Infallible;
    use std::sync::Arc;

    use super::super::root::Root;

    #[derive(Debug)]
    pub(in super::super) struct Mark(Infallible);

    pub(super) struct Inotify(Infallible);

    impl Inotify {
        pub(super) const fn open(_most: usize) -> Option<Self> {
            None
        }

        pub(super) const fn is_watching(&self) -> bool {
            match self.0 {}
        }

        pub(super) const fn has_news(&self) -> bool {
            match self.0 {}
        }

        pub(super) const fn take_news(&self) -> bool {
            match self.0 {}
        }

        pub(super) const fn mark_way(&mut self, _root: &Root, _name: &str) -> Option<Vec<Arc<Mark>>> {
            match self.0 {}
        }
    }
}
