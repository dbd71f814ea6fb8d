//! What the tests share.

pub(crate) mod script;
pub(crate) mod stepper;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use wouldblock::http::{Method, Request, Status, Target};
use wouldblock::service::{Content, Context, Response, Service};

/// All tests share one process, and many a system gives it 1,024 descriptors at first: as many as it may have.
pub(crate) fn raise_descriptor_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

/// From now on this process gets no more descriptors than so many.
pub(crate) fn limit_descriptors(process: u32, count: u64) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let pid = Pid::from_raw(process as i32);
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(count), maximum: Some(count) }).unwrap();
}

/// select(2) has no bit for descriptors from 1,024 on, and all tests share one process: whoever holds a crowd holds this.
static CROWDS: RwLock<()> = RwLock::new(());

/// For a test with hundreds of sockets, while it has them.
pub(crate) fn crowd() -> RwLockReadGuard<'static, ()> {
    raise_descriptor_limit();
    CROWDS.read().unwrap_or_else(PoisonError::into_inner)
}

/// For a test whose descriptors must be small numbers: no crowd meanwhile.
pub(crate) fn no_crowd() -> RwLockWriteGuard<'static, ()> {
    CROWDS.write().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this system speaks IPv6; many a container does not.
pub(crate) fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

/// A service without a disk: `/` and anything else says who asked, `/size/N` is N octets of a pattern that tells
/// where one is, `/later/N` would block N times before it answers, `/reads` says how many reads there were, `/missing`
/// is 404.
#[derive(Debug, Default)]
pub(crate) struct Echo {
    asked: u32,
}

impl Service for Echo {
    fn respond(&mut self, request: &Request<'_>, context: &Context<'_>) -> Option<Response> {
        let path = match request.target {
            Target::Origin { path, .. } => path,
            Target::Asterisk => "*",
            Target::Authority(authority) => authority,
        };
        if let Method::Unknown(_) = request.method {
            return Some(text(Status::NOT_IMPLEMENTED, "unknown method"));
        }
        if let Some(size) = path.strip_prefix("/size/").and_then(|size| size.parse().ok()) {
            return Some(Response {
                status: Status::OK,
                fields: Arc::from(*b"Content-Type: application/octet-stream\r\n"),
                content: Content::from_bytes(pattern(size)),
            });
        }
        if let Some(times) = path.strip_prefix("/later/").and_then(|times| times.parse::<u32>().ok()) {
            if self.asked < times {
                self.asked += 1;
                return None;
            }
            self.asked = 0;
        }
        if path == "/reads" {
            return Some(text(Status::OK, &context.stats.reads.to_string()));
        }
        if path == "/missing" {
            return Some(text(Status::NOT_FOUND, "nothing here"));
        }
        Some(text(Status::OK, &format!("{} {}", request.method.as_str(), request.raw_target)))
    }

    fn refuse(&mut self, status: Status, why: &str) -> Response {
        text(status, why)
    }
}

/// Serves one content at every path, except `/quick`.
pub(crate) struct One(pub(crate) Content);

impl Service for One {
    fn respond(&mut self, request: &Request<'_>, _: &Context<'_>) -> Option<Response> {
        let content = match request.raw_target {
            "/quick" => Content::from_bytes(*b"quick"),
            _ => self.0.clone(),
        };
        Some(Response { status: Status::OK, fields: Arc::from(*b""), content })
    }

    fn refuse(&mut self, status: Status, _: &str) -> Response {
        Response { status, fields: Arc::from(*b""), content: Content::Empty }
    }
}

fn text(status: Status, body: &str) -> Response {
    Response {
        status,
        fields: Arc::from(*b"Content-Type: text/plain\r\n"),
        content: Content::from_bytes(body.as_bytes()),
    }
}

/// `len` octets in which no two places a few thousand apart look alike.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// An answer taken apart by an eye of its own, not by the server's parser.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Cuts a stream of answers apart by their Content-Length. `methods` are those of the requests, in order, because an
/// answer to HEAD has no body. Interim answers (1xx) are given as answers too. Panics on anything malformed.
pub(crate) fn answers(mut bytes: &[u8], methods: &[&str]) -> Vec<Answer> {
    let mut all = Vec::new();
    let mut methods = methods.iter();
    while !bytes.is_empty() {
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("no end of the head in {:?}", bytes.escape_ascii().to_string()));
        let head = std::str::from_utf8(&bytes[..end]).expect("heads are ASCII").to_owned();
        bytes = &bytes[end + 4..];
        let rest = head.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("no status line: {head:?}"));
        let status: u16 = rest[..3].parse().expect("a status code");
        let mut answer = Answer { status, head, body: Vec::new() };
        if status >= 200 {
            let method = methods.next().copied().unwrap_or("GET");
            let length: usize = match answer.field("content-length") {
                Some(length) => length.parse().expect("a length"),
                None => {
                    assert!(status == 204 || status == 304, "no Content-Length: {}", answer.head);
                    0
                }
            };
            if method != "HEAD" && status != 304 {
                assert!(bytes.len() >= length, "body cut short: {} of {length}", bytes.len());
                let (body, after) = bytes.split_at(length);
                answer.body = body.to_vec();
                bytes = after;
            }
        }
        all.push(answer);
    }
    all
}
