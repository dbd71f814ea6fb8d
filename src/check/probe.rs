//! What a rule has in its hands: connections that are recorded, requests, files, and the words for what it saw.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::answer::{Answer, BodyEnd, End, Head};
use super::fixture::Files;
use super::rule::{Finding, Refusal};
use super::wire::{Conn, Exchange, Lack, Log, MAX_HEAD};

/// Why a rule stopped before its end.
#[derive(Debug, Clone)]
pub(super) enum Stop {
    /// The server did something wrong.
    Fail(Finding),
    /// It cannot be known; never red.
    Undecided(Finding),
    /// The rule has no object here: the server does not offer what it judges, and need not.
    NotApplicable(Finding),
}

/// `Ok` is green.
pub(super) type Verdict = Result<(), Stop>;

/// Builds a [`Finding`] from a Chinese and an English format string.
macro_rules! seen {
    ($zh:literal, $en:literal $(,)?) => {
        $crate::check::rule::Finding { zh: format!($zh), en: format!($en) }
    };
}

/// Ends the rule red unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $zh:literal, $en:literal $(,)?) => {
        if !$holds {
            return Err($crate::check::probe::Stop::Fail(seen!($zh, $en)));
        }
    };
}

/// Ends the rule as "not applicable".
macro_rules! not_here {
    ($zh:literal, $en:literal $(,)?) => {
        return Err($crate::check::probe::Stop::NotApplicable(seen!($zh, $en)))
    };
}

/// Ends the rule as "undecided".
macro_rules! undecided {
    ($zh:literal, $en:literal $(,)?) => {
        return Err($crate::check::probe::Stop::Undecided(seen!($zh, $en)))
    };
}

pub(super) use {ensure, not_here, seen, undecided};

/// What every rule of a run shares.
pub(super) struct Env {
    /// Where the server listens; it may have moved when it was started again.
    pub(super) addr: Mutex<SocketAddr>,
    /// Value of the Host field.
    pub(super) host: String,
    /// Path of the page that plain requests ask for.
    pub(super) page: String,
    /// What the page answered at the start.
    pub(super) status: u16,
    /// Its body, if two requests brought the same.
    pub(super) body: Option<Vec<u8>>,
    /// Whether every request must say that it takes no coding, because the server compresses unasked.
    pub(super) plain: bool,
    pub(super) files: Option<Files>,
    /// How long a healthy server may take for anything.
    pub(super) patience: Duration,
    /// How long to watch connections that the server ought to close in the end.
    pub(super) watch: Duration,
    /// From when on "still open" is a verdict.
    pub(super) idle_limit: Duration,
    /// Set when an answer had no end. From then on such ends are waited for less, or a run would take minutes;
    /// framing.200-ends and framing.404-ends have said it.
    pub(super) unending: AtomicBool,
    /// Set by Ctrl-C.
    pub(super) stop: Arc<AtomicBool>,
}

impl Env {
    /// Where the server listens now.
    pub(super) fn addr(&self) -> SocketAddr {
        *self.addr.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Longest time for one rule beyond what it watches: a hanging server costs this much at most.
const RULE_TIME: Duration = Duration::from_secs(20);
/// Recorded connections per rule: the last ones are what the report shows.
const EXCHANGES: usize = 2;

/// One rule's view of the server.
pub(super) struct Probe<'a> {
    pub(super) env: &'a Env,
    exchanges: Vec<Log>,
    until: Instant,
}

/// A request in the making: no check at all, so that wrong ones can be made as well.
#[derive(Debug, Clone)]
pub(super) struct Req {
    method: String,
    target: String,
    version: &'static str,
    host: Option<String>,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    /// See [`Env::plain`]; what a rule itself says of codings goes first.
    plain: bool,
}

impl Req {
    pub(super) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub(super) fn close(self) -> Self {
        self.with("Connection", "close")
    }

    /// As HTTP/1.0.
    pub(super) fn old(mut self) -> Self {
        self.version = "HTTP/1.0";
        self
    }

    /// A body with its Content-Length.
    pub(super) fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self.with("Content-Length", body.len().to_string())
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = format!("{} {} {}\r\n", self.method, self.target, self.version).into_bytes();
        if let Some(host) = &self.host {
            out.extend_from_slice(format!("Host: {host}\r\n").as_bytes());
        }
        for (name, value) in &self.fields {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        if self.plain && self.fields.iter().all(|(name, _)| name != "Accept-Encoding") {
            out.extend_from_slice(b"Accept-Encoding: identity\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
        out
    }

    fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

impl<'a> Probe<'a> {
    pub(super) fn new(env: &'a Env, extra: Duration) -> Self {
        Self { env, exchanges: Vec::new(), until: Instant::now() + RULE_TIME + extra }
    }

    /// What the last connections carried.
    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        let copy = |log: &Log| log.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.exchanges.iter().map(copy).collect()
    }

    /// The files in the served folder. Rules that need them are not run without them.
    pub(super) fn files(&self) -> Result<&'a Files, Stop> {
        match &self.env.files {
            Some(files) => Ok(files),
            None => not_here!("没有 --root，无文件可查", "no files without --root"),
        }
    }

    pub(super) fn patience(&self) -> Duration {
        self.env.patience
    }

    /// Sleeps, unless the run is being stopped.
    pub(super) fn pause(&self, time: Duration) {
        let until = (Instant::now() + time).min(self.until);
        while !self.env.stop.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    /// Opens a connection and records it.
    pub(super) fn connect(&mut self) -> Result<Conn, Stop> {
        if self.env.stop.load(Ordering::Relaxed) {
            undecided!("已中断", "interrupted");
        }
        if Instant::now() >= self.until {
            undecided!("这条规则超时了，未能判定", "this rule ran out of time");
        }
        if self.exchanges.len() == EXCHANGES {
            self.exchanges.remove(0);
        }
        let log = Log::default();
        self.exchanges.push(Arc::clone(&log));
        match Conn::open(self.env.addr(), self.env.patience, self.until, log) {
            Ok(mut conn) => {
                if self.env.unending.load(Ordering::Relaxed) {
                    conn.shorten_lull(self.env.patience / 4);
                }
                Ok(conn)
            }
            Err(e) => Err(Stop::Fail(seen!("连不上：{e}", "cannot connect: {e}"))),
        }
    }

    pub(super) fn req(&self, method: &str, target: &str) -> Req {
        Req {
            method: method.to_owned(),
            target: target.to_owned(),
            version: "HTTP/1.1",
            host: Some(self.env.host.clone()),
            fields: Vec::new(),
            body: Vec::new(),
            plain: self.env.plain,
        }
    }

    /// `GET` of the page.
    pub(super) fn page(&self) -> Req {
        self.req("GET", &self.env.page)
    }

    /// `GET` of a laid file.
    pub(super) fn file(&self, name: &str) -> Result<Req, Stop> {
        Ok(self.req("GET", &self.files()?.url(name)))
    }

    /// Opens, sends, reads one whole answer, closes. Asks for the end of the connection.
    pub(super) fn ask(&mut self, req: Req) -> Result<Answer, Stop> {
        let mut conn = self.connect()?;
        self.ask_on(&mut conn, &req.close())
    }

    /// Sends on an open connection and reads one whole answer.
    pub(super) fn ask_on(&self, conn: &mut Conn, req: &Req) -> Result<Answer, Stop> {
        conn.send(&req.bytes());
        let answer = conn.answer(req.is_head()).map_err(lack)?;
        if answer.is_unending() {
            self.env.unending.store(true, Ordering::Relaxed);
        }
        Ok(answer)
    }

    /// The second request of a rule on one connection, where the server is free to have closed it after saying
    /// so: `None` then.
    pub(super) fn ask_again(
        &self,
        conn: &mut Conn,
        before: &Answer,
        req: &Req,
    ) -> Result<Option<Answer>, Stop> {
        whole(before)?;
        if !before.head.says_keep() {
            return Ok(None);
        }
        conn.send(&req.bytes());
        match conn.answer(req.is_head()) {
            Ok(answer) => Ok(Some(answer)),
            // Closed without a word: keepalive.close-announced says so; the rest cannot be judged by it.
            Err(Lack::Ended(_)) => Ok(None),
            Err(other) => Err(lack(other)),
        }
    }

    /// Sends raw octets on a connection of their own and reads the head of the final answer.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<(Conn, Result<Head, Lack>), Stop> {
        let mut conn = self.connect()?;
        conn.send(bytes);
        let head = conn.head();
        Ok((conn, head))
    }

    /// Fills `{page}` and `{host}` in.
    pub(super) fn fill(&self, template: &[u8]) -> Vec<u8> {
        let filled = replace(template, b"{page}", self.env.page.as_bytes());
        replace(&filled, b"{host}", self.env.host.as_bytes())
    }

    /// One malformed request that must be refused.
    pub(super) fn refuses(&mut self, refusal: &Refusal) -> Verdict {
        let bytes = self.fill(refusal.send);
        let (mut conn, head) = self.raw(&bytes)?;
        let head = match head {
            Ok(head) => head,
            // Text without a head is how some servers refuse what they take for HTTP/0.9.
            Err(Lack::Ended(_) | Lack::NotHttp) if refusal.or_close => return Ok(()),
            Err(other) => return Err(lack(other)),
        };
        let status = head.status;
        ensure!(refusal.with.contains(&status), "得到 {status}", "the answer was {status}");
        if refusal.then_closes {
            let _ = conn.body(&head, false);
            self.ends(&mut conn)?;
        }
        Ok(())
    }

    /// The server must end this connection, and say nothing more on it.
    pub(super) fn ends(&self, conn: &mut Conn) -> Verdict {
        let ended = conn.wait_end(self.env.patience);
        let more = conn.unread();
        ensure!(
            !more.starts_with(b"HTTP"),
            "连接没有就此结束：又来了一份应答",
            "the connection did not end there: another answer came"
        );
        let ms = self.env.patience.as_millis();
        ensure!(ended.is_some(), "{ms} 毫秒后连接仍未关闭", "the connection is still open after {ms} ms");
        Ok(())
    }

    /// The answer must be the page as it was at the start.
    pub(super) fn is_page(&self, answer: &Answer) -> Verdict {
        let (got, want) = (answer.status(), self.env.status);
        ensure!(got == want, "状态码 {got}，平时是 {want}", "status {got}, otherwise {want}");
        if let Some(body) = &self.env.body {
            same_body(answer, body)?;
        }
        Ok(())
    }
}

/// A finding for "no answer".
pub(super) fn lack(lack: Lack) -> Stop {
    match lack {
        Lack::Silence(time) => {
            let ms = time.as_millis();
            Stop::Fail(seen!("等了 {ms} 毫秒没有应答", "no answer within {ms} ms"))
        }
        Lack::Ended(End::Closed) => {
            Stop::Fail(seen!("没有应答，连接被关闭", "the connection was closed without an answer"))
        }
        Lack::Ended(End::Reset) => {
            Stop::Fail(seen!("没有应答，连接被重置", "the connection was reset without an answer"))
        }
        Lack::Misframed => Stop::Fail(seen!(
            "前一份应答之后来的不是应答：前面多发或少发了字节",
            "what follows the answer before is no answer: octets too many or too few"
        )),
        Lack::LongHead => Stop::Undecided(seen!(
            "应答的头超过 {MAX_HEAD} 字节，检查器不再往下读",
            "the head of the answer is longer than {MAX_HEAD} octets, and the checker reads no further"
        )),
        Lack::OutOfTime => Stop::Undecided(seen!("这条规则超时了，未能判定", "this rule ran out of time")),
        Lack::NotHttp => Stop::Undecided(seen!(
            "来的不是 HTTP 应答，见 framing.status-line",
            "what came is not an HTTP answer, see framing.status-line"
        )),
    }
}

/// The body must have come to its end.
pub(super) fn whole(answer: &Answer) -> Verdict {
    let got = answer.body.len();
    match answer.end {
        BodyEnd::Cut(end) => {
            let (zh, en) = match end {
                End::Closed => ("关闭", "closed"),
                End::Reset => ("重置", "reset"),
            };
            let want = answer.head.length().unwrap_or_default();
            ensure!(
                false,
                "应有 {want} 字节，来了 {got} 字节后连接被{zh}",
                "{want} octets announced, the connection was {en} after {got}"
            );
        }
        BodyEnd::Waiting if answer.head.length().is_none() => ensure!(
            false,
            "正文没有结尾：没有长度，连接也不关闭（已收到 {got} 字节）",
            "the body has no end: no length, and the connection stays open ({got} octets so far)"
        ),
        BodyEnd::Waiting => {
            let want = answer.head.length().unwrap_or_default();
            ensure!(
                false,
                "应有 {want} 字节，来了 {got} 字节后再无下文",
                "{want} octets announced, nothing more came after {got}"
            );
        }
        BodyEnd::OutOfTime => undecided!("这条规则超时了，未能判定", "this rule ran out of time"),
        BodyEnd::BadChunk => ensure!(false, "分块格式有误", "the chunks break the grammar"),
        BodyEnd::NoBody | BodyEnd::Length | BodyEnd::Chunked | BodyEnd::Close => {}
    }
    Ok(())
}

/// The body must be whole and exactly this.
pub(super) fn same_body(answer: &Answer, want: &[u8]) -> Verdict {
    whole(answer)?;
    let (got, len) = (answer.body.len(), want.len());
    if answer.body == want {
        return Ok(());
    }
    if let Some(at) = answer.body.iter().zip(want).position(|(a, b)| a != b) {
        ensure!(false, "正文从第 {at} 字节起不一样", "the body differs from octet {at} on");
    }
    ensure!(got == len, "正文 {got} 字节，应为 {len} 字节", "the body has {got} octets instead of {len}");
    Ok(())
}

/// The status must be one of these.
pub(super) fn status_in(answer: &Head, allowed: &[u16]) -> Verdict {
    let status = answer.status;
    ensure!(allowed.contains(&status), "状态码 {status}", "status {status}");
    Ok(())
}

fn replace(text: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(what.len()).position(|w| w == what) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(with);
        rest = &rest[at + what.len()..];
    }
    out.extend_from_slice(rest);
    out
}
