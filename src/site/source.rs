//! One file, read or opened: its octets, which version of them, and a validator.

use std::fs::File;
use std::hash::Hasher;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::mime::is_utf8_text;
use super::root::{Fault, Identity, Root};
use crate::service::Content;

/// How often a small file that changes under our hands is read again before it is streamed instead.
const READ_ATTEMPTS: usize = 3;
/// How much of a large file is looked at to tell text from octets.
const GLANCE_BYTES: usize = 4 * 1024;

/// One version of one file.
#[derive(Debug)]
pub(super) struct Source {
    /// All of it: in memory if it is small, else an open handle.
    pub(super) content: Content,
    /// Which version this is.
    pub(super) identity: Identity,
    /// Whether a later change is bound to show in the identity.
    pub(super) settled: bool,
    /// A strong validator without its quotes. `None` for a large file that has just been changed: it may be
    /// changed again without a trace, and two versions with one tag are worse than none with any.
    pub(super) tag: Option<String>,
    /// Whether it looks like UTF-8 text.
    pub(super) utf8: bool,
}

impl Source {
    /// Reads a regular file of up to `file_bytes` into memory, opens a larger one. A bounded number of system
    /// calls and octets.
    pub(super) fn load(root: &Root, name: &str, file_bytes: usize) -> Result<Self, Fault> {
        let mut settled = true;
        for _ in 0..READ_ATTEMPTS {
            let now = unix_nanos();
            let (mut file, identity) = root.open_file(name)?;
            settled &= identity.is_settled(now);
            if identity.size > file_bytes as u64 {
                return Ok(Self::opened(file, identity, settled)?);
            }
            let octets = read_up_to(&mut file, file_bytes)?;
            if octets.len() as u64 == identity.size && Identity::of(&file)? == identity {
                return Ok(Self::read(octets, identity, settled));
            }
            // It was written to meanwhile: half of one version and half of another is no version.
            settled = false;
        }
        let (file, identity) = root.open_file(name)?;
        Ok(Self::opened(file, identity, settled)?)
    }

    fn read(octets: Vec<u8>, identity: Identity, settled: bool) -> Self {
        // Of the content and nothing else: a copy of the site elsewhere has the same tags, and a file rewritten
        // within one tick of the clock has another. 64 bits: a browser compares two versions, not 2^32.
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(&octets);
        let tag = Some(format!("{:x}-{:016x}", octets.len(), hasher.finish()));
        let utf8 = is_utf8_text(&octets);
        Self { content: Content::from_bytes(octets), identity, settled, tag, utf8 }
    }

    fn opened(file: File, identity: Identity, settled: bool) -> io::Result<Self> {
        let tag = settled.then(|| {
            let (inode, size, modified, changed) = identity.parts();
            let mut hasher = std::hash::DefaultHasher::new();
            hasher.write_u64(inode);
            for (seconds, nanos) in [modified, changed] {
                hasher.write_i64(seconds);
                hasher.write_u32(nanos);
            }
            format!("{size:x}-{:016x}", hasher.finish())
        });
        let mut glance = [0; GLANCE_BYTES];
        let length = file.read_at(&mut glance, 0)?;
        let utf8 = is_utf8_text(glance.get(..length).unwrap_or_default());
        let content = Content::File(Arc::new(file), 0..identity.size);
        Ok(Self { content, identity, settled, tag, utf8 })
    }
}

/// At most one octet more than `most`, which tells that there is more.
fn read_up_to(file: &mut File, most: usize) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    let most = most as u64 + 1;
    file.take(most).read_to_end(&mut octets)?;
    Ok(octets)
}

/// The wall clock, in nanoseconds since the epoch.
pub(super) fn unix_nanos() -> i128 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i128::try_from(since.as_nanos()).unwrap_or(i128::MAX),
        Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
    }
}
