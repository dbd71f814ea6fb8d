//! A tiny correct server with one switch: the id of the rule that it breaks, and breaks as far as possible alone.
//! The connection lives here; what is answered, in `mini_site`. Blocking, a thread per client, for tests only.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::mini_site::{Resp, answer};

/// How long a client may stay silent, take for a head, or stay idle, if that is what the checker watches.
const LIMIT: Duration = Duration::from_secs(3);
/// "For ever", for the switches that hang: longer than any rule watches.
const EVER: Duration = Duration::from_secs(30);

pub(super) struct Cx {
    pub(super) root: PathBuf,
    pub(super) broken: String,
    pub(super) cache: Mutex<HashMap<String, Vec<u8>>>,
    stop: AtomicBool,
    addr: SocketAddr,
    active: AtomicUsize,
    silent: AtomicUsize,
    half: AtomicUsize,
    writing: AtomicUsize,
    plain: AtomicUsize,
}

impl Cx {
    pub(super) fn is(&self, id: &str) -> bool {
        self.broken == id
    }

    /// How long a client may take. Elsewhere it must not close what the switch keeps open.
    fn limit(&self) -> Duration {
        if self.broken.is_empty() || self.broken.starts_with("slow.") { LIMIT } else { EVER }
    }

    pub(super) fn active(&self) -> usize {
        self.active.load(SeqCst)
    }

    /// Ends the server, as an uncaught exception would.
    fn die(&self) {
        self.stop.store(true, SeqCst);
        let _ = TcpStream::connect(self.addr);
    }

    fn hang(&self) {
        let until = Instant::now() + EVER;
        while Instant::now() < until && !self.stop.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_while(&self, count: &AtomicUsize) {
        let until = Instant::now() + EVER;
        while count.load(SeqCst) > 0 && Instant::now() < until && !self.stop.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A running server; ends when dropped.
pub(crate) struct Mini(Arc<Cx>);

impl Mini {
    /// Serves `root`; `broken` is a rule's id, or empty.
    pub(crate) fn start(root: &Path, broken: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let cx = Arc::new(Cx {
            root: root.canonicalize().unwrap(),
            broken: broken.to_owned(),
            cache: Mutex::default(),
            stop: AtomicBool::new(false),
            addr: listener.local_addr().unwrap(),
            active: AtomicUsize::new(0),
            silent: AtomicUsize::new(0),
            half: AtomicUsize::new(0),
            writing: AtomicUsize::new(0),
            plain: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&cx);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stop.load(SeqCst) {
                    break;
                }
                let (Ok(stream), cx) = (stream, Arc::clone(&shared)) else { continue };
                // Counted here and not by the thread, so that a newcomer sees all who came before.
                let active = cx.active.fetch_add(1, SeqCst) + 1;
                std::thread::spawn(move || {
                    serve(stream, &cx, active);
                    cx.active.fetch_sub(1, SeqCst);
                });
            }
        });
        Self(cx)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.0.addr)
    }
}

impl Drop for Mini {
    fn drop(&mut self) {
        self.0.die();
    }
}

#[derive(Default, Debug)]
pub(super) struct Req {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) old: bool,
    pub(super) fields: Vec<(String, String)>,
    pub(super) close: bool,
    /// How many came before on this connection.
    pub(super) nth: usize,
    /// Whether the one before asked for a file that is not there.
    pub(super) after_missing: bool,
    length: u64,
    chunked: bool,
}

impl Req {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Why there is no request.
enum No {
    /// Answer this and close.
    Status(u16),
    /// Close, or leave (the connection has ended).
    Gone,
    /// Say nothing and keep the connection.
    Hang,
}

struct Peer<'a> {
    stream: TcpStream,
    buf: Vec<u8>,
    reads: usize,
    cx: &'a Cx,
}

fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

impl Peer<'_> {
    /// One read; `Ok(0)` is the end of the stream.
    fn read(&mut self, until: Instant) -> std::io::Result<usize> {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(left))?;
        let mut chunk = [0; 16384];
        let n = self.stream.read(&mut chunk)?;
        self.buf.extend_from_slice(&chunk[..n]);
        self.reads += 1;
        Ok(n)
    }

    /// The octets of the next head, blank line included.
    fn head(&mut self, first: bool) -> Result<Vec<u8>, No> {
        let cx = self.cx;
        let idle = match (first, cx.broken.as_str()) {
            (true, "slow.silent-is-closed") | (false, "slow.idle-is-closed") => EVER,
            (false, "keepalive.after-a-second") => Duration::from_millis(500),
            _ => cx.limit(),
        };
        let mut until = Instant::now() + idle;
        let mut begun = !self.buf.is_empty();
        let mut half = false;
        self.reads = 0;
        let result = loop {
            while self.buf.starts_with(b"\r\n") && !cx.is("malformed.leading-empty-line") {
                self.buf.drain(..2);
            }
            if let Some(at) = self.buf.windows(4).position(|w| w == b"\r\n\r\n") {
                let line = self.buf.windows(2).position(|w| w == b"\r\n").unwrap_or(0);
                if line > 9000 && !cx.is("limits.target-huge") {
                    break Err(No::Status(414));
                }
                break Ok(self.buf.drain(..at + 4).collect());
            }
            let one_line = !self.buf.contains(&b'\n');
            if one_line && self.buf.len() > 9000 {
                let spared =
                    if self.buf.starts_with(b"GET") { "limits.target-huge" } else { "limits.endless-line" };
                if !cx.is(spared) {
                    break Err(No::Status(414));
                }
            } else if self.buf.len() > 16384 && !cx.is("limits.head-huge") {
                break Err(No::Status(431));
            }
            if cx.is("split.every-octet") && self.reads == 1 && self.buf.ends_with(b"\r\n\r") {
                break Err(No::Gone);
            }
            if cx.is("split.octet-by-octet") && self.reads > 20 {
                break Err(No::Gone);
            }
            if cx.is("split.halves") && begun {
                // Waits for the other half, but not long: 200 ms are too long for it, 3 ms are not.
                let is_half = self.buf.len() < 60 && !self.buf.contains(&b'\n');
                until = Instant::now() + if is_half { Duration::from_millis(120) } else { cx.limit() };
            }
            let early = self.buf.windows(11).any(|w| w == b"\r\nX-Padding");
            if cx.is("split.inside-a-field") && self.reads == 1 && early {
                break Ok(std::mem::take(&mut self.buf));
            }
            if cx.is("slow.dripping-head") && self.reads >= 4 {
                break Err(No::Gone);
            }
            let n = match self.read(until) {
                Ok(n) => n,
                Err(e) => {
                    let by_reset = e.kind() == ErrorKind::ConnectionReset;
                    let fatal = if begun { "close.reset-in-request" } else { "close.connect-and-reset" };
                    if by_reset && cx.is(fatal) {
                        cx.die();
                    }
                    break Err(if begun && !by_reset { No::Status(408) } else { No::Gone });
                }
            };
            if n == 0 {
                if !begun && first && (cx.is("close.connect-and-leave") || cx.is("close.survives")) {
                    cx.die();
                }
                break Err(if begun && cx.is("close.half-a-request") { No::Hang } else { No::Gone });
            }
            if !begun {
                begun = true;
                if first {
                    cx.silent.fetch_sub(1, SeqCst);
                }
            }
            if self.reads == 1 || cx.is("slow.drip-is-closed") {
                until = Instant::now() + if cx.is("slow.half-is-closed") { EVER } else { cx.limit() };
            }
            if self.reads == 2 && cx.is("slow.half-is-closed") {
                until = Instant::now() + cx.limit();
            }
            if !half && !self.buf.windows(4).any(|w| w == b"\r\n\r\n") {
                half = true;
                cx.half.fetch_add(1, SeqCst);
            }
        };
        if half {
            cx.half.fetch_sub(1, SeqCst);
        }
        if !begun && first {
            cx.silent.fetch_sub(1, SeqCst);
        }
        result
    }

    /// Makes the buffer hold `n` octets.
    fn fill(&mut self, n: usize) -> Result<(), No> {
        while self.buf.len() < n {
            match self.read(Instant::now() + self.cx.limit()) {
                Ok(0) | Err(_) => return Err(No::Gone),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    fn line(&mut self) -> Result<String, No> {
        loop {
            if let Some(at) = self.buf.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.buf.drain(..at + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            let have = self.buf.len();
            self.fill(have + 1)?;
        }
    }

    /// Reads past the body.
    fn skip_body(&mut self, req: &Req) -> Result<(), No> {
        let cx = self.cx;
        if req.chunked {
            if cx.is("split.chunks-octet-by-octet") && !self.buf.windows(5).any(|w| w == b"0\r\n\r\n")
                || cx.is("keepalive.chunked-body") && self.buf.starts_with(b"5;name")
            {
                return Ok(());
            }
            loop {
                let line = self.line()?;
                let digits = line.split(';').next().unwrap_or_default();
                let strange = match digits {
                    "zz" => "smuggling.chunk-size-text",
                    "+5" => "smuggling.chunk-size-sign",
                    "0x5" => "smuggling.chunk-size-prefix",
                    "10000000000000005" => "smuggling.chunk-size-overflow",
                    _ => "-",
                };
                let size = if cx.is(strange) {
                    5
                } else if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                    usize::from_str_radix(digits, 16).map_err(|_| No::Status(400))?
                } else {
                    return Err(No::Status(400));
                };
                if size == 0 {
                    while !self.line()?.is_empty() {}
                    return Ok(());
                }
                self.fill(size + 2)?;
                self.buf.drain(..size);
                if cx.is("smuggling.chunk-without-crlf") {
                    self.line()?;
                } else if !self.buf.starts_with(b"\r\n") {
                    return Err(No::Status(400));
                } else {
                    self.buf.drain(..2);
                }
            }
        }
        if cx.is("split.body-later") && (self.buf.len() as u64) < req.length
            || cx.is("keepalive.body-is-not-a-request") && self.buf.starts_with(b"GET /smuggled-by-length")
        {
            return Ok(());
        }
        let length = usize::try_from(req.length).map_err(|_| No::Status(413))?;
        if length > 1 << 20 {
            return Err(No::Status(413));
        }
        self.fill(length)?;
        self.buf.drain(..length);
        Ok(())
    }
}

/// Reads a head by the letter, except for the switch.
fn parse(head: &[u8], cx: &Cx) -> Result<Req, No> {
    let strict = |id: &str| !cx.is(id);
    let bad = Err(No::Status(400));
    // Octet for octet into chars: nothing is lost, and indexes are the same.
    let mut text: String = head.iter().map(|b| char::from(*b)).collect();
    let bare = text.replace("\r\n", "").contains('\r');
    if bare && strict("smuggling.bare-cr") {
        return bad;
    } else if bare {
        text = text.replace("\r\n", "\r").replace('\r', "\r\n");
    }
    if cx.is("smuggling.unicode-line-ends") {
        text = text.replace('\u{b}', "\r\n");
    }
    let mut lines = text.split("\r\n").take_while(|l| !l.is_empty());
    let Some(line) = lines.next() else { return bad };
    let parts: Vec<&str> = line.split(' ').collect();
    let mut req = Req { method: parts[0].to_owned(), ..Req::default() };
    if !line.is_ascii() && !line.starts_with("GET ") {
        return if strict("malformed.garbage") { bad } else { Err(No::Hang) };
    }
    if parts[0].starts_with("HTTP/") {
        return if strict("malformed.http-response") { bad } else { Err(No::Status(200)) };
    }
    if parts[0] == "PRI" {
        return if strict("malformed.h2-preface") { Err(No::Status(505)) } else { Err(No::Hang) };
    }
    match parts.len() {
        1 if strict("malformed.method-only") => return bad,
        1 => return Err(No::Status(200)),
        2 if strict("malformed.no-version") => return bad,
        2 => return Err(No::Hang),
        3 => {}
        _ if strict("malformed.target-space") => return bad,
        _ => {}
    }
    match parts[parts.len() - 1] {
        "HTTP/1.1" => {}
        "HTTP/1.0" => req.old = true,
        "HTTP/2.0" if strict("malformed.version-2") => return Err(No::Status(505)),
        "http/1.1" if strict("malformed.version-case") => return bad,
        "HTTP/2.0" | "http/1.1" => {}
        _ if strict("malformed.bad-version") => return bad,
        _ => {}
    }
    if req.method.len() > 100 {
        if strict("limits.long-method") {
            return Err(No::Status(501));
        }
        "GET".clone_into(&mut req.method);
    }
    parts[1].clone_into(&mut req.target);
    if req.target.chars().any(|c| c < '!' || c == '\u{7f}') && strict("malformed.target-control") {
        return bad;
    }
    if !req.target.is_ascii() {
        return if strict("malformed.target-utf8") { bad } else { Err(No::Hang) };
    }
    for line in lines {
        let folded = line.starts_with([' ', '\t']);
        if folded && strict("smuggling.folded-field") {
            return bad;
        }
        let Some((name, value)) = line.trim_start().split_once(':') else {
            if strict("malformed.no-colon") {
                return bad;
            }
            continue;
        };
        if value.contains('\0') {
            return if strict("malformed.nul-in-value") { bad } else { Err(No::Hang) };
        }
        let spaced = name.ends_with(' ');
        if spaced && strict("malformed.space-before-colon")
            || name.is_empty() && strict("malformed.empty-name")
        {
            return bad;
        }
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if !spaced && !name.chars().all(token) && strict("malformed.name-not-a-token") {
            return bad;
        }
        req.fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    if req.fields.len() > 50 && cx.is("limits.many-fields") {
        return bad;
    }
    host(&req, cx)?;
    framing(&mut req, cx)?;
    connection(&mut req, cx);
    Ok(req)
}

fn host(req: &Req, cx: &Cx) -> Result<(), No> {
    let hosts: Vec<&str> = req.fields.iter().filter(|(n, _)| n == "host").map(|(_, v)| v.as_str()).collect();
    let valid = |h: &str| h.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b));
    let wrong = match hosts[..] {
        [] if req.old => cx.is("malformed.10-without-host"),
        [] => !cx.is("malformed.no-host"),
        [one] => !valid(one) && !cx.is("malformed.bad-host"),
        _ => !cx.is("malformed.two-hosts"),
    };
    if wrong { Err(No::Status(400)) } else { Ok(()) }
}

fn framing(req: &mut Req, cx: &Cx) -> Result<(), No> {
    let lengths: Vec<&str> =
        req.fields.iter().filter(|(n, _)| n == "content-length").map(|(_, v)| v.as_str()).collect();
    for value in &lengths {
        let id = match *value {
            "0, 44" => "smuggling.length-list",
            "+0" => "smuggling.length-plus",
            "-1" => "smuggling.length-minus",
            "0x0" => "smuggling.length-hex",
            "zero" => "smuggling.length-text",
            "" => "smuggling.length-empty",
            "18446744073709551616" => "smuggling.length-overflow",
            _ => "-",
        };
        if !cx.is(id) {
            let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            req.length = value.parse().ok().filter(|_| digits).ok_or(No::Status(400))?;
        }
    }
    if lengths.len() > 1 {
        if !cx.is("smuggling.two-lengths") {
            return Err(No::Status(400));
        }
        req.length = lengths[0].parse().unwrap_or(0);
    }
    let Some(te) = req.get("transfer-encoding").map(str::to_ascii_lowercase) else { return Ok(()) };
    if !lengths.is_empty() {
        return if cx.is("smuggling.length-and-chunked") { Ok(()) } else { Err(No::Status(400)) };
    }
    req.chunked = match te.as_str() {
        "chunked" => true,
        "xchunked" if cx.is("smuggling.almost-chunked") => true,
        "chunked, identity" if cx.is("smuggling.chunked-not-last") => true,
        "x-nothing" if cx.is("smuggling.unknown-coding") => false,
        _ => return Err(No::Status(501)),
    };
    Ok(())
}

fn connection(req: &mut Req, cx: &Cx) {
    let value = req.get("connection").unwrap_or_default().to_owned();
    let has = |option: &str| {
        let list: Vec<&str> = if cx.is("keepalive.close-in-a-list") {
            vec![value.as_str()]
        } else {
            value.split(',').collect()
        };
        list.iter().map(|o| o.trim()).any(|o| {
            if cx.is("keepalive.close-in-any-case") { o == option } else { o.eq_ignore_ascii_case(option) }
        })
    };
    req.close = has("close") || req.old && !has("keep-alive") && !cx.is("keepalive.10-closes");
    if req.old && req.chunked && !cx.is("smuggling.chunked-in-10") {
        req.close = true;
    }
    if cx.is("keepalive.default") {
        req.close = true;
    }
}

/// One connection from its first octet to its end.
fn serve(stream: TcpStream, cx: &Cx, active: usize) {
    cx.silent.fetch_add(1, SeqCst);
    let crowd = match cx.broken.as_str() {
        "many.burst" => (40..60).contains(&active),
        "many.idle-hundred" => active > 95,
        "many.two-hundred" => active > 150,
        _ => false,
    };
    let mut peer = Peer { stream, buf: Vec::new(), reads: 0, cx };
    let mut nth = 0;
    let mut after_missing = false;
    loop {
        let head = peer.head(nth == 0);
        if crowd {
            return;
        }
        let head_len = head.as_ref().map_or(0, Vec::len);
        let parsed = head.and_then(|head| {
            if cx.is("split.utf8-across-1024")
                && head.len() >= 1024
                && std::str::from_utf8(&head[..1024]).is_err_and(|e| e.error_len().is_none())
            {
                return Err(No::Hang);
            }
            parse(&head, cx)
        });
        let mut req = match parsed {
            Ok(req) => req,
            Err(No::Gone) => return,
            Err(No::Hang) => return cx.hang(),
            Err(No::Status(status)) => {
                let resp = Resp::plain(status);
                let _ = peer.stream.write_all(&resp.bytes(&Req { close: true, ..Req::default() }, cx));
                return linger(&mut peer);
            }
        };
        req.nth = nth;
        req.after_missing = after_missing;
        after_missing = req.target.starts_with("/wouldblock-no-such");
        nth += 1;
        if !before_answer(&mut peer, &req, head_len) {
            return;
        }
        let late_body = req.get("expect").is_some() && cx.is("method.expect-continue");
        if req.get("expect").is_some() && !late_body && (!req.old || cx.is("framing.no-1xx-to-10")) {
            let _ = peer.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        if let Err(no) = peer.skip_body(&req) {
            if let No::Status(status) = no {
                let resp = Resp::plain(status);
                let _ = peer.stream.write_all(&resp.bytes(&Req { close: true, ..Req::default() }, cx));
                linger(&mut peer);
            }
            return;
        }
        let resp = answer(&req, cx, !peer.buf.is_empty());
        if let Resp::Nothing = resp {
            return cx.hang();
        }
        if !write(&mut peer, &req, &resp) {
            return;
        }
        let only = nth == 1
            && req.length == 0
            && peer.buf.is_empty()
            && req.get("connection") == Some("close")
            && !req.old;
        let disobey = cx.is("keepalive.close-obeyed") && only
            || cx.is("keepalive.nothing-after-close") && !peer.buf.is_empty();
        let silently = cx.is("keepalive.close-announced") && req.target.starts_with("/wouldblock-no-such")
            || cx.is("keepalive.10-keep-alive") && req.old;
        if resp.closes(&req) && !disobey || silently {
            if cx.is("close.no-reset") && head_len > 2000
                || cx.is("close.orderly-end") && req.target.ends_with("big.bin")
            {
                std::thread::sleep(Duration::from_millis(30));
                reset(&peer.stream);
                return;
            }
            return linger(&mut peer);
        }
        if cx.is("split.two-in-one")
            && req.method == "GET"
            && peer.buf.starts_with(b"GET /wouldblock-no-such")
            || cx.is("split.one-and-a-half")
                && req.method == "GET"
                && !peer.buf.windows(4).any(|w| w == b"\r\n\r\n")
        {
            peer.buf.clear();
        }
    }
}

/// The switches that strike between request and answer. `false` ends the connection.
fn before_answer(peer: &mut Peer<'_>, req: &Req, head_len: usize) -> bool {
    let cx = peer.cx;
    let sized = cx.is("limits.head-3k") && (2900..3100).contains(&head_len)
        || cx.is("limits.head-7k") && (6900..7100).contains(&head_len);
    let upload = cx.is("close.error-survives-upload") && req.length > 100_000;
    if sized || upload {
        reset(&peer.stream);
        return false;
    }
    match cx.broken.as_str() {
        "slow.silent-neighbour" => cx.wait_while(&cx.silent),
        "slow.half-a-request-neighbour" => cx.wait_while(&cx.half),
        "slow.no-reader-neighbour" => cx.wait_while(&cx.writing),
        "close.half-close" | "close.half-close-large" => {
            let large = req.target.ends_with("big.bin");
            if large == cx.is("close.half-close-large") {
                std::thread::sleep(Duration::from_millis(20));
                let _ = peer.stream.set_nonblocking(true);
                let ended = matches!(peer.stream.peek(&mut [0]), Ok(0));
                let _ = peer.stream.set_nonblocking(false);
                return !ended;
            }
        }
        // Counted anew after every crowd.
        "many.one-after-another" if cx.active() > 20 => cx.plain.store(0, SeqCst),
        "many.one-after-another" => return cx.plain.fetch_add(1, SeqCst) != 250,
        "many.two" if req.nth > 0 && cx.active() > 1 => {
            cx.hang();
            return false;
        }
        _ => {}
    }
    true
}

/// Sends the answer; `false` if the connection is over.
fn write(peer: &mut Peer<'_>, req: &Req, resp: &Resp) -> bool {
    let cx = peer.cx;
    let bytes = resp.bytes(req, cx);
    let large = bytes.len() > 1_000_000;
    if large {
        cx.writing.fetch_add(1, SeqCst);
    }
    if large && cx.is("slow.pause-then-read") {
        let _ = peer.stream.set_write_timeout(Some(Duration::from_millis(150)));
    }
    let written = peer.stream.write_all(&bytes);
    if large {
        cx.writing.fetch_sub(1, SeqCst);
    }
    if written.is_err() && large && cx.is("close.reset-in-answer") {
        cx.die();
    }
    written.is_ok()
}

/// Says that nothing more comes, then reads until the peer has gone, so that no reset destroys the answer.
fn linger(peer: &mut Peer<'_>) {
    let _ = peer.stream.shutdown(std::net::Shutdown::Write);
    let until = Instant::now() + Duration::from_secs(2);
    while matches!(peer.read(until), Ok(n) if n > 0) && Instant::now() < until {
        peer.buf.clear();
    }
}
