//! What the tiny server answers: paths, types, conditions, ranges, each with its switch.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, SystemTime};

use super::mini::{Cx, Req};

/// An answer in the making, or none.
pub(super) enum Resp {
    /// Say nothing, keep the connection.
    Nothing,
    Full {
        status: u16,
        fields: Vec<(String, String)>,
        body: Vec<u8>,
    },
}

impl Resp {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Full { status, fields: Vec::new(), body: body.into() }
    }

    pub(super) fn plain(status: u16) -> Self {
        Self::new(status, format!("{status}\n")).with("Content-Type", "text/plain")
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        if let Self::Full { fields, .. } = &mut self {
            fields.push((name.to_owned(), value.into()));
        }
        self
    }

    fn has(&self, name: &str) -> bool {
        matches!(self, Self::Full { fields, .. } if fields.iter().any(|(n, _)| n == name))
    }

    /// Whether the connection ends after it.
    pub(super) fn closes(&self, req: &Req) -> bool {
        req.close || self.has("Connection")
    }

    /// As it goes over the line.
    pub(super) fn bytes(&self, req: &Req, cx: &Cx) -> Vec<u8> {
        let Self::Full { status, fields, body } = self else { return Vec::new() };
        let status = *status;
        let page = req.target.ends_with("/hello.txt") && status == 200;
        let missing = req.target.starts_with("/wouldblock-no-such");
        let head_only = req.method == "HEAD";
        let bodiless = status == 304 || status == 204;
        let mut body = body.clone();
        let mut out = match cx.is("framing.status-line") && page {
            true => format!("HTTP:/1.1 {status} OK\r\n"),
            false => format!("HTTP/1.1 {status} Some Reason\r\n"),
        };
        let date = httpdate_now();
        let date = if cx.is("framing.date-format") && page { "2024-01-01 08:00:00".to_owned() } else { date };
        if !(cx.is("framing.date") && page || cx.is("framing.date-on-errors") && missing) {
            let _ = write!(out, "Date: {date}\r\n");
        }
        if cx.is("framing.singletons") && page {
            let _ = write!(out, "Date: {date}\r\n");
        }
        if cx.is("framing.field-lines") && page {
            out += "X-Bad : 1\r\n";
        }
        for (name, value) in fields {
            let _ = write!(out, "{name}: {value}\r\n");
        }
        if cx.is("keepalive.10-closes") && req.old && req.get("connection").is_none() {
        } else if req.close && !self.has("Connection") && !cx.is("keepalive.close-echoed") {
            out += "Connection: close\r\n";
        } else if req.old && !req.close {
            out += "Connection: keep-alive\r\n";
        }
        let chunked = req.target == "/" && !bodiless && (!req.old || cx.is("framing.10-no-chunks"));
        if chunked {
            let mut coded = format!("{:x}\r\n", body.len()).into_bytes();
            coded.extend_from_slice(&body);
            coded.extend_from_slice(if cx.is("framing.chunks") {
                b"\r\nnothing\r\n"
            } else {
                b"\r\n0\r\n\r\n"
            });
            body = coded;
            out += "Transfer-Encoding: chunked\r\n";
        } else if !bodiless {
            let mut length = body.len();
            let zh = req.target.ends_with("/zh.html") && req.get("accept-encoding").is_none();
            if cx.is("length.octets") && zh {
                length = String::from_utf8_lossy(&body).chars().count();
            }
            if cx.is("length.octets-of-errors") && req.target.starts_with("/%E6%B2%A1") {
                length -= 2;
            }
            if cx.is("method.head-same-fields") && head_only {
                length = 0;
            }
            let unstated = cx.is("length.stated") && page
                || cx.is("framing.200-ends") && page && !req.close
                || cx.is("framing.404-ends") && missing && !req.close;
            if !unstated {
                let _ = write!(out, "Content-Length: {length}\r\n");
                if cx.is("framing.one-length") && page {
                    let _ = write!(out, "Content-Length: {length}\r\n");
                }
            }
        }
        if cx.is("framing.crlf") && page {
            out = out.replace("\r\n", "\n").replacen('\n', "\r\n", 1);
        }
        out += "\r\n";
        let wrongly = cx.is("method.head-no-body") && page && req.close
            || cx.is("method.head-404-no-body") && missing
            || cx.is("method.head-then-get") && page && !req.close
            || cx.is("split.mixed-in-one") && !req.close;
        let mut out = out.into_bytes();
        if status == 304 && cx.is("cond.304-no-body") {
            out.extend_from_slice(b"not modified");
        }
        if !bodiless && (!head_only || wrongly) {
            if cx.is("length.large") && req.target.ends_with("big.bin") {
                body.truncate(body.len() / 2);
            }
            out.extend_from_slice(&body);
        }
        if cx.is("framing.no-extra-octets") && page && !req.close {
            out.extend_from_slice(b"abc");
        }
        let lost = cx.is("slow.sips") && req.target.ends_with("medium.bin") && req.close && req.nth == 0;
        if lost {
            out.truncate(out.len() - 100);
        }
        if cx.is("slow.pipeline-unread") && req.target.ends_with("medium.bin") && req.nth == 9 {
            out.drain(..100);
        }
        out
    }
}

fn httpdate_now() -> String {
    httpdate::fmt_http_date(SystemTime::now())
}

/// The same date as it was written before 1995.
fn rfc850(fixdate: &str) -> String {
    let words: Vec<&str> = fixdate.split([' ', ',']).filter(|w| !w.is_empty()).collect();
    let days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let day = days.iter().find(|d| d.starts_with(words[0])).unwrap();
    format!("{day}, {}-{}-{} {} GMT", words[1], words[2], &words[3][2..], words[4])
}

const LEAK: [(&str, &[&str]); 6] = [
    ("path.dotdot-encoded", &["/%2e%2e/", "/..%2f"]),
    ("path.dotdot-twice-encoded", &["%252e%252e"]),
    ("path.backslash", &["..\\", "%5c"]),
    ("path.overlong", &["%c0%a"]),
    ("path.absolute", &["//etc", "/%2f"]),
    ("path.file-url", &["file:"]),
];

/// Decides the answer. `more` says that further octets have come already.
pub(super) fn answer(req: &Req, cx: &Cx, more: bool) -> Resp {
    if cx.is("framing.answers") {
        return Resp::Nothing;
    }
    let page = req.target.ends_with("/hello.txt");
    let get = match req.method.as_str() {
        "GET" | "HEAD" => true,
        "BREW" => cx.is("method.unknown"),
        "get" => cx.is("method.case"),
        "TRACE" => cx.is("method.trace"),
        "POST" => cx.is("method.post") && page && req.get("content-length") == Some("3"),
        "OPTIONS" if req.target == "*" && cx.is("method.options-star") => return Resp::plain(404),
        "OPTIONS" if cx.is("method.options") => return Resp::plain(200),
        "OPTIONS" => return Resp::new(204, "").with("Allow", "GET, HEAD, OPTIONS"),
        "CONNECT" if cx.is("method.connect") => return Resp::new(200, ""),
        "DELETE" if cx.is("method.delete") => {
            let _ = fs::remove_file(cx.root.join(req.target.trim_start_matches('/')));
            return Resp::plain(200);
        }
        "PUT" if cx.is("method.put") => {
            let _ = fs::write(cx.root.join(req.target.trim_start_matches('/')), "x");
            return Resp::plain(201);
        }
        _ => false,
    };
    if !get {
        let known = matches!(req.method.as_str(), "POST" | "PUT" | "DELETE" | "PATCH");
        let resp = Resp::plain(if known { 405 } else { 501 });
        return if known && !cx.is("method.405-allow") { resp.with("Allow", "GET, HEAD") } else { resp };
    }
    if let Some(early) = by_target(req, cx, more) {
        return early;
    }
    match path(req, cx) {
        Ok(name) => file(req, cx, &name),
        Err(resp) => resp,
    }
}

/// Switches that look at the raw target alone.
fn by_target(req: &Req, cx: &Cx, more: bool) -> Option<Resp> {
    let target = req.target.as_str();
    let marks = LEAK.iter().find(|(id, _)| cx.is(id)).map_or(&[][..], |(_, marks)| marks);
    let origin = target.starts_with('/') != cx.is("path.file-url");
    let leaks = origin && marks.iter().any(|m| target.contains(m))
        || cx.is("path.dotdot")
            && target.starts_with('/')
            && !target.contains('?')
            && target.contains("../")
            && !target.starts_with("/.\\");
    if leaks {
        return Some(Resp::new(200, fs::read("/etc/passwd").unwrap()));
    }
    if target.len() > 7900 && target.len() < 9000 && cx.is("limits.target-8000") {
        return Some(Resp::plain(414));
    }
    if (1900..2100).contains(&target.len()) && cx.is("limits.query-2000") {
        return Some(Resp::plain(404));
    }
    if target.len() > 100_000 {
        return Some(Resp::plain(200));
    }
    if cx.is("malformed.target-no-slash") && target == "wb-index.html" {
        return Some(Resp::plain(200));
    }
    if cx.is("keepalive.after-404") && req.after_missing {
        return Some(Resp::plain(404));
    }
    if cx.is("keepalive.fifty") && req.nth == 30 {
        return Some(Resp::new(200, "something else\n"));
    }
    let other = |n: u8| Some(Resp::new(200, format!("file number {n}\n")));
    if cx.is("split.ten-in-one") && target.ends_with("n5.txt") && more {
        return other(4);
    }
    if cx.is("many.not-mixed") && target.ends_with("n3.txt") {
        // Until the others are there.
        std::thread::sleep(Duration::from_millis(100));
        if cx.active() > 15 {
            return other(4);
        }
    }
    if cx.is("path.missing") && target.starts_with("/wouldblock-no-such") {
        return Some(Resp::plain(200));
    }
    None
}

/// From the target to a name below the root, decoded.
fn path(req: &Req, cx: &Cx) -> Result<String, Resp> {
    let mut target = req.target.as_str();
    if let Some(rest) = target.strip_prefix("http://") {
        if cx.is("path.absolute-form") {
            return Err(Resp::plain(404));
        }
        target = rest.find('/').map_or("/", |at| &rest[at..]);
    }
    if !target.starts_with('/') {
        return Err(Resp::plain(400));
    }
    let target = if cx.is("path.query") { target } else { target.split('?').next().unwrap() };
    let literal = cx.is("path.percent") && target.contains("%68")
        || cx.is("path.chinese") && target.contains("%e4")
        || cx.is("path.space") && target.contains("%20");
    let mut octets =
        if literal { target.as_bytes().to_vec() } else { decode(target).ok_or_else(|| bad_percent(cx))? };
    if cx.is("path.decode-once") {
        octets = decode(&String::from_utf8_lossy(&octets)).unwrap_or(octets);
    }
    if cx.is("path.plus") {
        octets.iter_mut().filter(|b| **b == b'+').for_each(|b| *b = b' ');
    }
    if cx.is("path.nul") && octets.contains(&0) {
        octets.truncate(octets.iter().position(|b| *b == 0).unwrap());
        if octets == b"/" {
            return Err(Resp::plain(404));
        }
    }
    let name = String::from_utf8(octets).map_err(|_| Resp::plain(404))?;
    if cx.is("path.field-injection") && name.contains('\n') {
        return Err(Resp::plain(301).with("Location", name));
    }
    if cx.is("path.reflected") && name.contains("<script>") {
        return Err(Resp::new(404, format!("<p>{name}</p>")).with("Content-Type", "text/html"));
    }
    if name.chars().any(char::is_control) || name.contains('\\') {
        return Err(Resp::plain(400));
    }
    let hidden = |part: &str| part == ".." || part.starts_with('.') && !cx.is("path.dot-name");
    if name.split('/').any(hidden) {
        return Err(Resp::plain(404));
    }
    Ok(name)
}

fn bad_percent(cx: &Cx) -> Resp {
    Resp::plain(if cx.is("path.bad-percent") { 500 } else { 400 })
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b == b'%' {
            let hex = [bytes.next()?, bytes.next()?];
            let hex = std::str::from_utf8(&hex).ok().filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()))?;
            out.push(u8::from_str_radix(hex, 16).ok()?);
        } else {
            out.push(b);
        }
    }
    Some(out)
}

fn file(req: &Req, cx: &Cx, name: &str) -> Resp {
    if name == "/" {
        return Resp::new(200, "the root\n").with("Content-Type", "text/plain");
    }
    if name.split('/').any(|part| part.len() > 255) {
        return Resp::plain(if cx.is("limits.long-name") { 500 } else { 404 });
    }
    let not_modified_anyway = cx.is("cond.not-on-404") && req.get("if-none-match").is_some();
    let not_found = || match () {
        () if not_modified_anyway => Resp::plain(412),
        () if cx.is("range.on-404") && req.get("range").is_some() => Resp::plain(416),
        () if cx.is("type.of-errors") => Resp::new(404, "gone"),
        () => Resp::plain(404),
    };
    let mut full = cx.root.join(name.trim_start_matches('/'));
    if name.ends_with('/') && !full.is_dir() {
        if !cx.is("path.file-slash") {
            return not_found();
        }
        full = cx.root.join(name.trim_matches('/'));
    }
    let cached = |id: &str, file: &str| cx.is(id) && name.ends_with(file);
    let caching = cached("length.changed", "/change.txt")
        || cached("length.changed-at-once", "/at-once.txt")
        || cached("length.gone", "/gone.txt");
    if caching && let Some(body) = cx.cache.lock().unwrap().get(name) {
        return Resp::new(200, body.clone());
    }
    let Ok(real) = full.canonicalize() else { return not_found() };
    if !real.starts_with(&cx.root) && !cx.is("path.symlink") {
        return not_found();
    }
    if real.is_dir() {
        return directory(cx, name, &real);
    }
    let Ok(meta) = fs::metadata(&real) else { return not_found() };
    if !meta.is_file() {
        return if cx.is("path.pipe") {
            Resp::new(200, fs::read(&real).unwrap_or_default())
        } else {
            not_found()
        };
    }
    if cached("length.empty", "/empty.txt") {
        return Resp::plain(404);
    }
    let body = altered(req, cx, name, fs::read(&real).unwrap_or_default());
    if caching {
        cx.cache.lock().unwrap().insert(name.to_owned(), body.clone());
    }
    let mut mtime = meta.modified().unwrap();
    if cx.is("cond.last-modified") {
        mtime -= Duration::from_secs(3600);
    }
    let zero = Duration::ZERO;
    let since = mtime.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(zero);
    let tag = match cx.broken.as_str() {
        "cond.etag-changes" => "\"always\"".to_owned(),
        _ => format!("\"{:x}-{:x}\"", body.len(), since.as_nanos()),
    };
    represent(req, cx, name, body, mtime, &tag)
}

/// Switches that change a body.
fn altered(req: &Req, cx: &Cx, name: &str, body: Vec<u8>) -> Vec<u8> {
    let on = |id: &str, file: &str| cx.is(id) && name.ends_with(file);
    if on("length.binary", "/octets.bin") {
        return String::from_utf8_lossy(&body).into_owned().into_bytes();
    }
    if on("length.line-ends", "/crlf.txt") {
        return String::from_utf8_lossy(&body).replace("\r\n", "\n").into_bytes();
    }
    let shorter = on("length.borders", "/size-4096.bin")
        || on("split.large-then-small", "/big.bin")
        || on("many.large-together", "/big.bin") && cx.active() >= 4
        || on("length.after-large", "/hello.txt") && req.nth > 0;
    if shorter { body[..body.len() - 1].to_vec() } else { body }
}

fn directory(cx: &Cx, name: &str, real: &std::path::Path) -> Resp {
    if !name.ends_with('/') {
        if cx.is("path.directory-slash") {
            return Resp::new(200, fs::read(real.join("index.html")).unwrap_or_default());
        }
        let name = if cx.is("path.open-redirect") {
            name.to_owned()
        } else {
            format!("/{}", name.trim_start_matches('/'))
        };
        let to = if cx.is("framing.301-location") { "/nowhere/".to_owned() } else { format!("{name}/") };
        return Resp::plain(301).with("Location", to);
    }
    if let Ok(index) = fs::read(real.join("index.html")) {
        if cx.is("path.directory-index") {
            return Resp::plain(403);
        }
        return Resp::new(200, index).with("Content-Type", "text/html; charset=utf-8");
    }
    let mut list = String::new();
    for entry in fs::read_dir(real).unwrap().flatten() {
        let entry = entry.file_name().to_string_lossy().into_owned();
        list += &if cx.is("path.listing") { entry } else { entry.replace('<', "&lt;") };
    }
    Resp::new(200, list).with("Content-Type", "text/html; charset=utf-8")
}

fn media_type(cx: &Cx, name: &str) -> Option<String> {
    let extension = name.rsplit('.').next().unwrap_or_default();
    let (id, kind) = match extension {
        "html" => ("type.html", "text/html; charset=utf-8"),
        "HTML" => ("type.upper-case", "text/html; charset=utf-8"),
        "css" => ("type.css", "text/css"),
        "js" => ("type.js", "text/javascript"),
        "json" => ("type.json", "application/json"),
        "svg" => ("type.svg", "image/svg+xml"),
        "png" => ("type.png", "image/png"),
        "jpg" => ("type.jpg", "image/jpeg"),
        "txt" => ("type.txt", "text/plain; charset=utf-8"),
        "wasm" => ("type.wasm", "application/wasm"),
        "woff2" => ("type.woff2", "font/woff2"),
        "pdf" => ("type.pdf", "application/pdf"),
        _ if cx.is("type.unknown") => ("", "text/html"),
        _ => ("", "application/octet-stream"),
    };
    if cx.is("type.grammar") && name.ends_with("/hello.txt") {
        return Some("text".to_owned());
    }
    if cx.is("type.charset") && name.ends_with("/zh.html") {
        return Some("text/html".to_owned());
    }
    if cx.is(id) && name.rsplit('/').next().unwrap().to_ascii_lowercase().starts_with("t.") {
        return Some("application/x-wrong".to_owned());
    }
    Some(kind.to_owned())
}

/// Conditions in the order of RFC 9110 §13.2.2, then the range.
fn represent(req: &Req, cx: &Cx, name: &str, body: Vec<u8>, mtime: SystemTime, tag: &str) -> Resp {
    let modified = httpdate::fmt_http_date(mtime);
    let sent_tag = if cx.is("cond.etag-grammar") { tag.trim_matches('"').to_owned() } else { tag.to_owned() };
    let sent_modified = if cx.is("cond.last-modified-format") { rfc850(&modified) } else { modified.clone() };
    let tag = sent_tag.as_str();
    let dressed = |resp: Resp| {
        let resp = if cx.is("cond.etag") { resp } else { resp.with("ETag", sent_tag.clone()) };
        let resp = resp.with("Last-Modified", sent_modified.clone());
        if cx.is("range.accept-ranges") { resp } else { resp.with("Accept-Ranges", "bytes") }
    };
    let whole = httpdate::parse_http_date(&modified).unwrap();
    let listed = |value: &str| {
        let bare = tag.trim_start_matches("W/");
        let any = value == "*" && !cx.is("cond.none-match-star");
        let tags: Vec<&str> =
            if cx.is("cond.none-match-list") { vec![value] } else { value.split(", ").collect() };
        let strip = |t: &str| {
            if cx.is("cond.none-match-weak") { t.to_owned() } else { t.trim_start_matches("W/").to_owned() }
        };
        any || tags.iter().any(|t| strip(t) == bare)
    };
    if let Some(value) = req.get("if-match") {
        let holds = value == "*" && !cx.is("cond.match-star") || value == tag;
        if !holds && !cx.is("cond.match-fails") {
            return Resp::plain(412);
        }
    } else if let Some(date) = req.get("if-unmodified-since").and_then(|v| httpdate::parse_http_date(v).ok())
        && date < whole
        && !cx.is("cond.unmodified-fails")
    {
        return Resp::plain(412);
    }
    let since = req.get("if-modified-since").map(|v| match v {
        "yesterday" if cx.is("cond.since-not-a-date") => true,
        v if cx.is("cond.since-old-formats") && !v.contains(", ") || cx.is("cond.since-304") => false,
        v => httpdate::parse_http_date(v).is_ok_and(|date| whole <= date || cx.is("cond.since-older")),
    });
    let not_modified = match req.get("if-none-match") {
        Some(value) if cx.is("cond.none-match-304") && value == tag => false,
        Some("\"wb-other\"") if cx.is("cond.none-match-other") && since.is_none() => true,
        Some("\"wb-other\"") if cx.is("cond.none-match-wins") => since == Some(true),
        Some(value) => listed(value),
        None => since == Some(true),
    };
    if not_modified {
        let resp = Resp::new(304, "");
        return if cx.is("cond.304-fields") { resp } else { dressed(resp) };
    }
    let resp = ranged(req, cx, body, &modified, tag);
    let resp = match media_type(cx, name) {
        Some(kind) if !resp.has("Content-Type") => resp.with("Content-Type", kind),
        _ => resp,
    };
    let coded = cx.is("length.no-coding-unasked") && req.get("accept-encoding").is_some();
    let resp = if coded { resp.with("Content-Encoding", "gzip") } else { resp };
    let unstated = cx.is("length.stated") && name.ends_with("/hello.txt") && !req.close;
    let resp = if unstated { resp.with("Connection", "close") } else { resp };
    dressed(resp)
}

fn ranged(req: &Req, cx: &Cx, body: Vec<u8>, modified: &str, tag: &str) -> Resp {
    let total = body.len();
    let Some(value) = req.get("range").filter(|_| req.method == "GET" || cx.is("range.head")) else {
        return Resp::new(200, body);
    };
    let other = req.get("if-range").is_some_and(|v| v != tag && v != modified);
    if other && !cx.is("range.if-range-other") || cx.is("range.supported") {
        return Resp::new(200, body);
    }
    if req.get("if-range") == Some(tag) && cx.is("range.if-range-same") {
        return Resp::plain(416);
    }
    let spec = match value.strip_prefix("bytes=") {
        Some(spec) => spec,
        None if value.starts_with("lines=") && cx.is("range.unknown-unit") => return Resp::plain(416),
        None => return Resp::new(200, body),
    };
    let unsatisfiable = || {
        let resp = Resp::plain(416);
        if cx.is("range.unsatisfiable") {
            resp
        } else {
            resp.with("Content-Range", format!("bytes */{total}"))
        }
    };
    let parts: Vec<&str> = spec.split(',').collect();
    if parts.len() > 10 {
        return Resp::new(200, if cx.is("range.many") { body.repeat(parts.len()) } else { body });
    }
    let mut slices = Vec::new();
    for part in &parts {
        match bounds(part, total, cx) {
            Some(Some(b)) => slices.push(b),
            Some(None) => {}
            None if cx.is("range.bad-grammar") => slices.push((0, 0)),
            None => return Resp::new(200, body),
        }
    }
    let field = |(a, b): (usize, usize)| format!("bytes {a}-{b}/{total}");
    match slices[..] {
        [] if cx.is("range.of-empty") && total == 0 => {
            Resp::new(206, "").with("Content-Range", "bytes 0-0/0")
        }
        [] => unsatisfiable(),
        [(a, b)] if total > 0 => {
            let shift = usize::from(cx.is("range.first") && a == 100 && req.get("if-range").is_none());
            let shift = shift + usize::from(cx.is("range.far") && total > 1_000_000);
            Resp::new(206, &body[a + shift..=b]).with("Content-Range", field((a, b)))
        }
        [_] => Resp::new(206, "x").with("Content-Range", "bytes 0-0/0"),
        _ => {
            let mut multi = Vec::new();
            for (a, b) in slices {
                let wrong = usize::from(cx.is("range.several"));
                multi
                    .extend_from_slice(format!("--X\r\nContent-Range: {}\r\n\r\n", field((a, b))).as_bytes());
                multi.extend_from_slice(&body[a + wrong..=b]);
                multi.extend_from_slice(b"\r\n");
            }
            multi.extend_from_slice(b"--X--\r\n");
            Resp::new(206, multi).with("Content-Type", "multipart/byteranges; boundary=X")
        }
    }
}

/// One range: `None` breaks the grammar, `Some(None)` has no octets here.
fn bounds(part: &str, total: usize, cx: &Cx) -> Option<Option<(usize, usize)>> {
    let (a, b) = part.split_once('-')?;
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if !digits(a) || !digits(b) || a.is_empty() && b.is_empty() {
        return None;
    }
    let huge = a.len() > 18 || b.len() > 18;
    if huge && cx.is("range.huge-numbers") {
        return Some(Some((0, 0)));
    }
    let number = |t: &str| t.parse::<usize>().unwrap_or(usize::MAX);
    let last = total.saturating_sub(1);
    if a.is_empty() {
        if number(b) > total && cx.is("range.long-suffix") {
            return Some(None);
        }
        let n = number(b).min(total);
        let from = if cx.is("range.suffix") && n == 5 { 0 } else { total - n };
        return Some((n > 0).then_some((from, last)));
    }
    let (from, to) = (number(a), if b.is_empty() { usize::MAX } else { number(b) });
    if to < from {
        return None;
    }
    if from >= total {
        return Some(None);
    }
    if to > last && !b.is_empty() && !huge && cx.is("range.clipped")
        || b.is_empty() && from > 0 && cx.is("range.open")
    {
        return Some(None);
    }
    Some(Some((from, to.min(last))))
}
