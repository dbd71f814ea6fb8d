//! The content: requests put straight to a `Site` over a folder made for the test; no socket.

mod absent;
mod auth;
mod cache;
mod files;
mod listing;
mod parts;
mod root;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use wouldblock::http::{Headers, Method, Request, Target, Version};
use wouldblock::service::{Content, Context, Peer, Response, Service};
use wouldblock::site::{Options, Site};
use wouldblock::stats::Stats;

/// A folder with a site over it, and a clock that only the test moves.
pub(crate) struct Folder {
    /// Outside of the root: what no request may reach.
    outside: TempDir,
    site: Site,
    batch: u64,
    now: Instant,
}

impl Folder {
    /// A site over an empty folder, with default options.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(choose: impl FnOnce(&mut Options)) -> Self {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let mut options = Options::new(&root);
        choose(&mut options);
        let site = Site::open(options).unwrap();
        Self { outside, site, batch: 0, now: Instant::now() }
    }

    /// Another site over the same folder, or over what the options say.
    pub(crate) fn reopen(&mut self, choose: impl FnOnce(&mut Options)) {
        let mut options = Options::new(self.outside.path().join("root"));
        choose(&mut options);
        self.site = Site::open(options).unwrap();
    }

    /// A path in the root.
    pub(crate) fn at(&self, name: &str) -> std::path::PathBuf {
        self.outside.path().join("root").join(name)
    }

    /// A path beside the root.
    pub(crate) fn outside(&self, name: &str) -> std::path::PathBuf {
        self.outside.path().join(name)
    }

    /// Writes a file, and the folders above it.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Writes a file whose version counts as settled: what is read now is trusted by its identity.
    pub(crate) fn write_settled(&self, name: &str, content: impl AsRef<[u8]>) {
        self.write(name, content);
        settle();
    }

    pub(crate) fn get(&mut self, target: &str) -> Answer {
        self.ask("GET", target, &[])
    }

    /// A request of a batch of its own.
    pub(crate) fn ask(&mut self, method: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
        self.batch += 1;
        self.ask_again(method, target, fields)
    }

    /// A request that came with the one before.
    pub(crate) fn ask_again(&mut self, method: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| httparse::Header { name, value: value.as_bytes() }).collect();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let request = Request {
            method: match method {
                "GET" => Method::Get,
                "HEAD" => Method::Head,
                "OPTIONS" => Method::Options,
                "POST" | "PUT" | "DELETE" | "CONNECT" | "TRACE" | "PATCH" => Method::Known(method),
                _ => Method::Unknown(method),
            },
            target: if target == "*" { Target::Asterisk } else { Target::Origin { path, query } },
            raw_target: target,
            version: Version::Http11,
            headers: Headers::new(&fields),
        };
        let context = Context {
            now: self.now,
            unix_time: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
            stats: &Stats::default(),
            peer: &Peer::Unix,
            batch: self.batch,
        };
        Answer(self.site.respond(&request, &context).expect("files never block"))
    }

    /// Moves the loop's clock.
    pub(crate) fn later(&mut self, time: Duration) {
        self.now += time;
    }
}

/// Long enough for every file written so far to be trusted by its identity: more than two clock ticks.
pub(crate) fn settle() {
    std::thread::sleep(Duration::from_millis(40));
}

/// A response, with ways to look into it.
#[derive(Debug)]
pub(crate) struct Answer(pub(crate) Response);

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.0.status.0
    }

    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let mut values = self.fields().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.to_owned());
        assert!(values.next().is_none(), "{name} comes twice");
        value
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = std::str::from_utf8(&self.0.fields).unwrap();
        assert!(text.is_empty() || text.ends_with("\r\n"), "{text:?}");
        text.split_terminator("\r\n").map(|line| line.split_once(": ").unwrap())
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        let body = octets(&self.0.content);
        assert_eq!(body.len() as u64, self.0.content.len());
        body
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body()).unwrap()
    }

    /// Whether the body is the very same memory as another's: it came out of the cache.
    pub(crate) fn shares_memory_with(&self, other: &Self) -> bool {
        match (&self.0.content, &other.0.content) {
            (Content::Bytes(one, _), Content::Bytes(other, _)) => Arc::ptr_eq(one, other),
            (Content::File(one, _), Content::File(other, _)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

fn octets(content: &Content) -> Vec<u8> {
    match content {
        Content::Empty => Vec::new(),
        Content::Bytes(bytes, range) => bytes[range.clone()].to_vec(),
        Content::File(file, range) => {
            let mut octets = vec![0; usize::try_from(range.end - range.start).unwrap()];
            file.read_exact_at(&mut octets, range.start).unwrap();
            octets
        }
        Content::Parts(parts) => parts.iter().flat_map(octets).collect(),
    }
}

/// Sets a file's mtime, seconds after the epoch.
pub(crate) fn set_modified(path: &Path, seconds: u64) {
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    std::fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
}
