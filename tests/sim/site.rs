//! The content of the simulation, and a disk with faults: every octet of it can be told from any other answer's.
//!
//! Targets are `/KIND/ID/A/B`. ID is different for every request of a run, and comes back in `X-Asked`.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};

use wouldblock::http::{Request, Status};
use wouldblock::service::{Content, Context, Response, Service};

use super::rng::Rng;

/// The one large file: enough for several turns of one client.
pub(super) const FILE_LEN: u64 = 1_700_000;

/// What a target stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// So many octets from memory.
    Memory(u64),
    /// A piece of the large file: offset, length.
    File(u64, u64),
    /// Three pieces: memory, file, memory; as multipart/byteranges has them.
    Parts(u64, u64),
    /// As `File`, but the file has become shorter by the time it is sent: so many octets are left.
    Short(u64, u64),
    /// The disk fails at the first read.
    Broken,
    /// The file has vanished: 404.
    Vanished,
}

impl Kind {
    pub(super) fn target(self, id: u64) -> String {
        match self {
            Self::Memory(len) => format!("/memory/{id}/{len}"),
            Self::File(offset, len) => format!("/file/{id}/{offset}/{len}"),
            Self::Parts(offset, len) => format!("/parts/{id}/{offset}/{len}"),
            Self::Short(len, left) => format!("/short/{id}/{len}/{left}"),
            Self::Broken => format!("/broken/{id}"),
            Self::Vanished => format!("/vanished/{id}"),
        }
    }

    fn parse(target: &str) -> Option<(Self, u64)> {
        let mut words = target.strip_prefix('/')?.split('/');
        let kind = words.next()?;
        let mut number = || words.next()?.parse().ok();
        let id = number()?;
        let kind = match kind {
            "memory" => Self::Memory(number()?),
            "file" => Self::File(number()?, number()?),
            "parts" => Self::Parts(number()?, number()?),
            "short" => Self::Short(number()?, number()?),
            "broken" => Self::Broken,
            "vanished" => Self::Vanished,
            _ => return None,
        };
        Some((kind, id))
    }

    pub(super) const fn status(self) -> u16 {
        if matches!(self, Self::Vanished) { 404 } else { 200 }
    }

    /// The length that the answer promises.
    pub(super) const fn len(self) -> u64 {
        match self {
            Self::Memory(len) | Self::File(_, len) | Self::Short(len, _) => len,
            Self::Parts(_, len) => len + 2 * BORDER,
            Self::Broken => 100_000,
            Self::Vanished => 7,
        }
    }

    /// How much of it can come before the connection has to end.
    pub(super) const fn available(self) -> u64 {
        match self {
            Self::Short(_, left) => left,
            Self::Broken => 0,
            _ => self.len(),
        }
    }

    /// The octet at a place of the body.
    pub(super) fn octet(self, id: u64, at: u64) -> u8 {
        match self {
            Self::Memory(_) | Self::Broken | Self::Vanished => memory_octet(id, at),
            Self::File(offset, _) => file_octet(offset + at),
            Self::Short(_, left) => file_octet(FILE_LEN - left + at),
            Self::Parts(offset, len) => {
                if at < BORDER {
                    memory_octet(id, at)
                } else if at < BORDER + len {
                    file_octet(offset + at - BORDER)
                } else {
                    memory_octet(id, at - BORDER - len)
                }
            }
        }
    }
}

/// Octets of memory before and behind the file in `Parts`.
const BORDER: u64 = 77;

const fn memory_octet(id: u64, at: u64) -> u8 {
    (id.wrapping_mul(31) ^ at ^ (at >> 8)) as u8
}

const fn file_octet(at: u64) -> u8 {
    (at.wrapping_mul(7) ^ (at >> 8) ^ (at >> 16)) as u8
}

fn memory(id: u64, len: u64) -> Content {
    Content::from_bytes((0..len).map(|at| memory_octet(id, at)).collect::<Vec<_>>())
}

/// A real file; all servers of all seeds share it.
fn large_file() -> Arc<File> {
    static FILE: OnceLock<Arc<File>> = OnceLock::new();
    let make = || {
        let file = tempfile::tempfile().unwrap();
        let octets: Vec<u8> = (0..FILE_LEN).map(file_octet).collect();
        file.write_all_at(&octets, 0).unwrap();
        Arc::new(file)
    };
    FILE.get_or_init(make).clone()
}

/// A file whose reads fail: this process has no memory at its first addresses (EIO, proc(5)).
fn broken_file() -> Arc<File> {
    static FILE: OnceLock<Arc<File>> = OnceLock::new();
    FILE.get_or_init(|| Arc::new(File::open("/proc/self/mem").unwrap())).clone()
}

#[derive(Debug)]
pub(super) struct SimSite {
    file: Arc<File>,
    broken: Arc<File>,
    rng: Rng,
    /// Chances out of 256 that an answer is slow.
    slow: usize,
    /// How often each slow request is still told to come again.
    waiting: HashMap<u64, usize>,
}

impl SimSite {
    pub(super) fn new(rng: Rng, slow: usize) -> Self {
        Self { file: large_file(), broken: broken_file(), rng, slow, waiting: HashMap::new() }
    }

    /// Whether this request must wait once more.
    fn waits(&mut self, id: u64) -> bool {
        let slow = self.slow;
        let rng = &mut self.rng;
        let left = self
            .waiting
            .entry(id)
            .or_insert_with(|| if rng.below(256) < slow { rng.between(1, 40) } else { 0 });
        *left = left.saturating_sub(1);
        *left > 0
    }
}

impl Service for SimSite {
    fn respond(&mut self, request: &Request<'_>, _: &Context<'_>) -> Option<Response> {
        let Some((kind, id)) = Kind::parse(request.raw_target) else {
            return Some(self.refuse(Status::NOT_FOUND, "not of this simulation"));
        };
        if self.waits(id) {
            return None;
        }
        self.waiting.remove(&id);
        let content = match kind {
            Kind::Memory(len) => memory(id, len),
            Kind::File(offset, len) => Content::File(self.file.clone(), offset..offset + len),
            Kind::Parts(offset, len) => Content::Parts(Arc::from([
                memory(id, BORDER),
                Content::File(self.file.clone(), offset..offset + len),
                memory(id, BORDER),
            ])),
            Kind::Short(len, left) => {
                let start = FILE_LEN - left;
                Content::File(self.file.clone(), start..start + len)
            }
            Kind::Broken => Content::File(self.broken.clone(), 0..kind.len()),
            Kind::Vanished => memory(id, kind.len()),
        };
        let fields = format!("X-Asked: {} {id}\r\n", request.method.as_str());
        Some(Response { status: Status(kind.status()), fields: fields.as_bytes().into(), content })
    }

    fn refuse(&mut self, status: Status, why: &str) -> Response {
        Response { status, fields: Arc::from(*b""), content: Content::from_bytes(why.as_bytes()) }
    }
}
