//! A file in the cache: its representations, and whether they are still what is on the disk.
//!
//! The rule is: *a change on disk is seen by the first request that arrives after it.* So each request asks the
//! disk, and asks as cheaply as it can:
//!
//! - if nothing that decides about this file was told to have changed, it has not: see [`super::watch`];
//! - else one fstatat(2) of the name; device, inode, size, mtime and ctime together say whether it still leads to the
//!   version that was read. The ctime is the kernel's own; nobody can set it back;
//! - requests of one batch were all here before the first of them was looked at, and share its answer;
//! - a version that was younger than two clock ticks when it was read may have been changed again under the same
//!   ctime ("racily clean"). It is read again for each batch until it has settled;
//! - fstatat follows links out of the root, opening does not. Should the same file suddenly be reached by such a
//!   link (its folder was moved out and linked to), that is noticed within [`RESOLVE_AGAIN`];
//! - for a client that accepts codings the neighbours count too: see [`Neighbours`].
//!
//! What no stat can show is not seen: writes through a shared memory map show when the kernel writes them back,
//! and writes on another machine to a network file system as late as that file system lets them. What a stat can show
//! but nobody tells (see [`super::watch`]) is seen within [`RESOLVE_AGAIN`].

use std::ffi::CString;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::cache::Weigh;
use super::config::Config;
use super::mime::Media;
use super::negotiation::{Accepted, Coding};
use super::representation::{Description, Representation};
use super::root::{Fault, Identity, RESOLVE_AGAIN, Root, c_name};
use super::source::{Source, unix_nanos};
use super::watch::{Watch, Watched};
use crate::service::{Content, Context};

/// Smallest file that is compressed here: below this an answer fits into one packet either way.
const COMPRESS_MIN: u64 = 1024;
/// Largest file that is compressed here. The loop stands still meanwhile: at about 50 MB/s, 5 ms, once per
/// version. Larger text is for the build to compress (`name.gz`).
const COMPRESS_MAX: u64 = 256 * 1024;
/// Fast and nearly as small: level 4 is within a few percent of 6 on text, in half the time.
const COMPRESS_LEVEL: u32 = 4;

/// One file, in all the forms in which it may be sent.
#[derive(Debug)]
pub(super) struct Entry {
    name: String,
    c_name: CString,
    /// Index names that would go before this one, should they appear.
    before: Vec<CString>,
    identity: Identity,
    settled: bool,
    tag: Option<String>,
    content_type: String,
    negotiable: bool,
    /// Whether it reads as text, so that gzip may pay.
    text: bool,
    plain: Representation,
    gzip: Gzip,
    neighbours: Option<Neighbours>,
    checked: Seen,
    /// That it will be told if this is no longer so. Only for what is in use for longer than [`RESOLVE_AGAIN`].
    watched: Option<Watched>,
}

/// When something was last found to be current.
#[derive(Clone, Copy, Debug)]
struct Seen {
    batch: u64,
    /// When it was last resolved beneath the root.
    resolved: std::time::Instant,
}

impl Seen {
    const fn now(context: &Context<'_>) -> Self {
        Self { batch: context.batch, resolved: context.now }
    }

    fn is_due(&self, context: &Context<'_>) -> bool {
        context.now.saturating_duration_since(self.resolved) >= RESOLVE_AGAIN
    }
}

#[derive(Debug)]
enum Gzip {
    Untried,
    DoesNotPay,
    Made(Representation),
}

/// The compressed files beside a file. They are looked for when a client first accepts one. One fstatat of the
/// *directory* tells that none appeared or vanished, one of each neighbour that was found tells that it is still
/// the one that was read, for the next client of the batch may get another: two system calls more than for the file
/// alone, or up to four, and only for clients that accept codings.
///
/// A neighbour older than the file itself is stale and left alone until it is touched. What changes without the
/// directory changing (the target of a link, permissions) is seen within [`RESOLVE_AGAIN`].
#[derive(Debug)]
struct Neighbours {
    directory: CString,
    identity: Identity,
    settled: bool,
    found: [Option<Neighbour>; 3],
    checked: Seen,
    /// As of the file itself: of the directory and of each that was found, or of none.
    watched: Vec<Watched>,
}

#[derive(Debug)]
struct Neighbour {
    name: String,
    c_name: CString,
    identity: Identity,
    settled: bool,
    /// `None`: older than the file.
    representation: Option<Representation>,
}

impl Entry {
    /// Opens and describes a file. `before` are the index names that were tried in vain.
    pub(super) fn open(
        name: String,
        before: Vec<CString>,
        root: &Root,
        config: &Config,
        context: &Context<'_>,
    ) -> Result<Self, Fault> {
        let c_name = c_name(&name)?;
        let Source { content, identity, settled, tag, utf8 } =
            Source::load(root, &name, config.options.cache.file_bytes)?;
        let media = config.types.of(&name);
        let content_type = media.content_type(utf8);
        let Media { text, compressible, .. } = media;
        // The same for all codings and decided by the name alone, so that no neighbour can change it later.
        let negotiable = compressible && (config.options.precompressed || config.options.compress);
        let about = Description {
            content_type: content_type.clone(),
            tag: tag.as_deref(),
            modified: identity.modified.0,
            coding: None,
            vary: negotiable,
        };
        let plain = Representation::new(content, about, config, context.unix_time);
        Ok(Self {
            name,
            c_name,
            before,
            identity,
            settled,
            tag,
            content_type,
            negotiable,
            text: compressible && (text || utf8),
            plain,
            gzip: Gzip::Untried,
            neighbours: None,
            checked: Seen::now(context),
            watched: None,
        })
    }

    /// Whether the file is still the one that was read. One system call, none if this batch has asked before.
    pub(super) fn is_current(&mut self, root: &Root, watch: &mut Watch, context: &Context<'_>) -> bool {
        if self.checked.batch == context.batch {
            return true;
        }
        let due = self.checked.is_due(context);
        let untold = is_untold(self.watched.as_ref(), watch, context);
        if untold && !due {
            self.checked.batch = context.batch;
            return true;
        }
        if self.settled && !untold && (due || self.watched.is_some()) {
            // Before it is looked at, so that no change falls between the two. An earlier index that is a link to
            // nowhere may come to life in a folder that is not watched.
            self.watched = watch
                .hold(root, &self.name, context)
                .filter(|_| self.before.iter().all(|name| root.is_vacant(name)));
        }
        let unchanged = self.settled
            && root.recognise(&self.c_name) == Ok(self.identity)
            && self.before.iter().all(|name| root.recognise(name) == Err(rustix::io::Errno::NOENT));
        if !unchanged {
            return false;
        }
        if due {
            match root.look(&self.name) {
                Ok((_, identity)) if identity == self.identity => self.checked.resolved = context.now,
                // It was recognised just now; to resolve it waits until there is a descriptor.
                Err(Fault::Exhausted(_)) => {}
                _ => return false,
            }
        }
        self.checked.batch = context.batch;
        true
    }

    /// The file as it is, without a coding.
    pub(super) const fn plain(&self) -> &Representation {
        &self.plain
    }

    /// The representation that suits the client best.
    pub(super) fn choose(
        &mut self,
        accepted: &Accepted,
        root: &Root,
        watch: &mut Watch,
        config: &Config,
        context: &Context<'_>,
    ) -> &Representation {
        if !self.negotiable || !accepted.any() {
            return &self.plain;
        }
        let mut at_hand = [false; 3];
        if config.options.precompressed {
            self.refresh_neighbours(root, watch, config, context);
            at_hand = self.neighbour_codings();
        }
        let [_, _, gzip_neighbour] = at_hand;
        let may_gzip = !gzip_neighbour && self.may_gzip(config);
        let wish = |gzip| accepted.choose([at_hand[0], at_hand[1], gzip]);
        if may_gzip && wish(true) == Some(Coding::Gzip) {
            self.make_gzip(config, context);
            if let Gzip::Made(representation) = &self.gzip {
                return representation;
            }
        }
        let chosen = wish(gzip_neighbour).and_then(|coding| self.neighbour(coding));
        chosen.and_then(|neighbour| neighbour.representation.as_ref()).unwrap_or(&self.plain)
    }

    fn neighbour(&self, coding: Coding) -> Option<&Neighbour> {
        self.neighbours.as_ref()?.found.get(coding as usize)?.as_ref()
    }

    fn neighbour_codings(&self) -> [bool; 3] {
        Coding::ALL
            .map(|coding| self.neighbour(coding).is_some_and(|neighbour| neighbour.representation.is_some()))
    }

    fn refresh_neighbours(&mut self, root: &Root, watch: &mut Watch, config: &Config, context: &Context<'_>) {
        let current = self.neighbours.as_mut().is_some_and(|known| known.is_current(root, watch, context));
        if !current {
            self.neighbours = self.look_for_neighbours(root, config, context);
            if let Some(neighbours) = self.neighbours.as_mut().filter(|_| self.watched.is_some()) {
                neighbours.hold(root, watch, context);
            }
        }
    }

    /// `None` if the directory cannot even be looked at; then there are none for now.
    fn look_for_neighbours(&self, root: &Root, config: &Config, context: &Context<'_>) -> Option<Neighbours> {
        let parent = self.name.rsplit_once('/').map_or(".", |(parent, _)| parent);
        let directory = c_name(parent).ok()?;
        // First the directory, then what is in it: what appears in between is found or seen next time.
        let now = unix_nanos();
        let identity = root.recognise(&directory).ok()?;
        let found = Coding::ALL.map(|coding| self.look_for_neighbour(coding, root, config, context));
        let settled = identity.is_settled(now);
        Some(Neighbours {
            directory,
            identity,
            settled,
            found,
            checked: Seen::now(context),
            watched: Vec::new(),
        })
    }

    fn look_for_neighbour(
        &self,
        coding: Coding,
        root: &Root,
        config: &Config,
        context: &Context<'_>,
    ) -> Option<Neighbour> {
        let name = format!("{}{}", self.name, coding.suffix());
        let source = match Source::load(root, &name, config.options.cache.file_bytes) {
            Ok(source) => source,
            Err(Fault::Absent | Fault::Directory) => return None,
            Err(fault) => {
                log::debug!("cannot use {name:?}: {fault:?}");
                return None;
            }
        };
        let fresh = source.identity.modified >= self.identity.modified;
        if !fresh {
            log::debug!("{name:?} is older than {:?}: not used until it is made again", self.name);
        }
        let representation = fresh.then(|| {
            let about = Description {
                content_type: self.content_type.clone(),
                tag: source.tag.as_deref(),
                modified: source.identity.modified.0,
                coding: Some(coding),
                vary: true,
            };
            Representation::new(source.content, about, config, context.unix_time)
        });
        let c_name = c_name(&name).ok()?;
        Some(Neighbour { name, c_name, identity: source.identity, settled: source.settled, representation })
    }

    fn may_gzip(&self, config: &Config) -> bool {
        let size = self.plain.content.len();
        // A version that may change without a trace would be compressed for every request.
        config.options.compress
            && self.text
            && self.settled
            && (COMPRESS_MIN..=COMPRESS_MAX).contains(&size)
            && !matches!(self.gzip, Gzip::DoesNotPay)
    }

    fn make_gzip(&mut self, config: &Config, context: &Context<'_>) {
        if !matches!(self.gzip, Gzip::Untried) {
            return;
        }
        let size = self.plain.content.len();
        self.gzip = match compressed(&self.plain.content) {
            // A tenth less is the least that is worth the client's work.
            Ok(octets) if octets.len() as u64 <= size / 10 * 9 => {
                let about = Description {
                    content_type: self.content_type.clone(),
                    tag: self.tag.as_deref(),
                    modified: self.identity.modified.0,
                    coding: Some(Coding::Gzip),
                    vary: true,
                };
                let content = Content::from_bytes(octets);
                Gzip::Made(Representation::new(content, about, config, context.unix_time))
            }
            Ok(_) => Gzip::DoesNotPay,
            Err(error) => {
                log::debug!("cannot compress {:?}: {error}", self.name);
                Gzip::DoesNotPay
            }
        };
    }
}

impl Neighbours {
    fn is_current(&mut self, root: &Root, watch: &mut Watch, context: &Context<'_>) -> bool {
        if self.checked.batch == context.batch {
            return true;
        }
        if self.checked.is_due(context) {
            return false;
        }
        let unchanged = is_untold(self.watched.first(), watch, context) || self.is_unchanged(root);
        if unchanged {
            self.checked.batch = context.batch;
        }
        unchanged
    }

    /// From now on it is told if something changes; if nothing has while this was said.
    fn hold(&mut self, root: &Root, watch: &mut Watch, context: &Context<'_>) {
        let Some(directory) = self.directory.to_str().ok() else { return };
        let names = self.found.iter().flatten().map(|neighbour| neighbour.name.as_str());
        let watched: Option<Vec<_>> =
            std::iter::once(directory).chain(names).map(|name| watch.hold(root, name, context)).collect();
        self.watched = watched.filter(|_| self.is_unchanged(root)).unwrap_or_default();
    }

    /// All of them, whatever this client accepts.
    fn is_unchanged(&self, root: &Root) -> bool {
        self.settled
            && root.recognise(&self.directory) == Ok(self.identity)
            && self.found.iter().flatten().all(|neighbour| {
                neighbour.settled && root.recognise(&neighbour.c_name) == Ok(neighbour.identity)
            })
    }
}

/// Whether all of this is watched, and nothing was told since it was looked at. One system call for each batch.
fn is_untold(watched: Option<&Watched>, watch: &mut Watch, context: &Context<'_>) -> bool {
    watched.is_some_and(|watched| watched.epoch == watch.epoch(context))
}

impl Weigh for Entry {
    fn memory(&self) -> usize {
        let names = 3 * self.name.len() + self.content_type.len() + size_of::<Self>();
        names + self.representations().map(|representation| representation.weight().0).sum::<usize>()
    }

    fn handles(&self) -> usize {
        self.representations().map(|representation| representation.weight().1).sum()
    }
}

impl Entry {
    fn representations(&self) -> impl Iterator<Item = &Representation> {
        let gzip = match &self.gzip {
            Gzip::Made(representation) => Some(representation),
            Gzip::Untried | Gzip::DoesNotPay => None,
        };
        let found = self.neighbours.iter().flat_map(|neighbours| neighbours.found.iter().flatten());
        std::iter::once(&self.plain)
            .chain(gzip)
            .chain(found.filter_map(|neighbour| neighbour.representation.as_ref()))
    }
}

fn compressed(content: &Content) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(COMPRESS_LEVEL));
    match content {
        Content::Bytes(bytes, range) => encoder.write_all(bytes.get(range.clone()).unwrap_or_default())?,
        Content::File(file, range) => {
            let size = usize::try_from(range.end.min(COMPRESS_MAX)).unwrap_or(0);
            let mut octets = vec![0; size];
            file.read_exact_at(&mut octets, 0)?;
            encoder.write_all(&octets)?;
        }
        Content::Empty | Content::Parts(_) => {}
    }
    encoder.finish()
}
