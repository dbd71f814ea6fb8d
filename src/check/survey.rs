//! What is learnt before the first rule: which rules are asked for, where the server is, what it answers and how.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::answer::{BodyEnd, Head};
use super::fixture::{Files, HELLO};
use super::probe::{Env, Probe, Stop, seen};
use super::rule::{Finding, Rule};
use super::target::Target;
use super::wire::{Conn, Lack, Log};
use super::{CannotRun, GROUPS, Options, rules};

/// A server may take this long for a plain request and is waited for; the rules then go by its pace.
const SLOWEST: Duration = Duration::from_secs(8);

/// The rules that `--only` and `--skip` leave.
pub(super) fn choose(options: &Options) -> Result<Vec<&'static Rule>, CannotRun> {
    let matches = |pattern: &str, rule: &Rule| {
        rule.id == pattern
            || rule.group() == pattern
            || pattern.strip_suffix('*').is_some_and(|p| rule.id.starts_with(p))
    };
    for pattern in options.only.iter().chain(&options.skip) {
        if !rules::all().any(|r| matches(pattern, r)) {
            let groups: Vec<&str> = GROUPS.iter().map(|g| g.id).collect();
            let groups = groups.join(", ");
            return Err(CannotRun::new(
                format!("没有叫「{pattern}」的规则或组；组有 {groups}，规则见 --list"),
                format!(
                    "there is no rule or group \"{pattern}\"; groups: {groups}; for the rules see --list"
                ),
            ));
        }
    }
    let chosen: Vec<&'static Rule> = rules::all()
        .filter(|r| options.only.is_empty() || options.only.iter().any(|p| matches(p, r)))
        .filter(|r| !options.skip.iter().any(|p| matches(p, r)))
        .collect();
    if chosen.is_empty() {
        return Err(CannotRun::new(
            "--only 与 --skip 合起来一条规则也没有留下".to_owned(),
            "--only and --skip together leave no rule".to_owned(),
        ));
    }
    Ok(chosen)
}

/// The first address at which somebody listens. Whoever connects also asks something: connections that come and
/// go without a word end some servers, and that is for a rule to find out.
pub(super) fn reach(target: &Target, url: &str) -> Result<SocketAddr, CannotRun> {
    let patience = Duration::from_secs(3);
    let mut why = None;
    for addr in &target.addrs {
        match Conn::open(*addr, patience, Instant::now() + patience, Log::default()) {
            Ok(mut conn) => {
                conn.shorten_lull(Duration::from_millis(500));
                let (path, host) = (&target.path, &target.host);
                conn.send(
                    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes(),
                );
                let _ = conn.answer(false);
                return Ok(*addr);
            }
            Err(e) => why = Some((addr, e)),
        }
    }
    let (addr, e) = why.map_or_else(Default::default, |(a, e)| (a.to_string(), e.to_string()));
    Err(CannotRun::new(
        format!("连不上 {url}（{addr}）：{e}；服务器启动了吗，端口对吗？"),
        format!("cannot reach {url} ({addr}): {e}; is the server running, is the port right?"),
    ))
}

pub(super) fn lay(options: &Options, target: &Target) -> Result<Option<Files>, CannotRun> {
    let Some(root) = &options.root else { return Ok(None) };
    match Files::lay(root, target.folder(), options.big) {
        Ok(files) => Ok(Some(files)),
        Err(e) => Err(CannotRun::new(
            format!("无法在 {} 里放测试文件：{e}；请给服务器所发布的、可写的文件夹", root.display()),
            format!("cannot lay files into {}: {e}; give the served folder, writable", root.display()),
        )),
    }
}

/// Removes the laid files; what to do by hand if that fails.
pub(super) fn unlay(files: Option<Files>) -> Option<Finding> {
    let (dir, e) = files?.remove().err()?;
    let dir = dir.display();
    Some(seen!("删不掉 {dir}：{e}；请手工删除", "cannot remove {dir}: {e}; remove it by hand"))
}

/// Learns what the page answers and whether the laid files are served. `None` if there is no answer, or no end of it.
pub(super) fn baseline(env: &mut Env, notes: &mut Vec<Finding>) -> Option<String> {
    let ask = |env: &Env, path: &str| {
        let mut probe = Probe::new(env, Duration::ZERO);
        let mut conn = probe.connect()?;
        conn.lengthen_patience(SLOWEST);
        probe.ask_on(&mut conn, &probe.req("GET", path).close())
    };
    if let Some(url) = env.files.as_ref().map(|f| f.url("hello.txt")) {
        let mut hello = ask(env, &url);
        // Without Accept-Encoding any coding is allowed (RFC 9110 §12.5.3), and the rules compare plain octets.
        if hello.as_ref().is_ok_and(|a| a.head.get("content-encoding").is_some()) {
            env.plain = true;
            hello = ask(env, &url);
        }
        match hello {
            Ok(answer) if answer.body == HELLO => env.page = url,
            // The end of the run says so; nothing is known of the folder.
            _ if env.stop.load(Ordering::Relaxed) => return None,
            other => {
                let got = other.map_or_else(|_| "-".to_owned(), |a| told(&a.head));
                notes.push(seen!(
                    "放进 --root 的文件取不到（{url}：{got}）：这个文件夹不是服务器所发布的，或服务器不按路径发文件；需要文件的规则都没有查",
                    "the files laid into --root are not served ({url}: {got}): not the served folder, or the server does not \
serve by path; the rules that need files were left out"
                ));
                notes.extend(unlay(env.files.take()));
            }
        }
    }
    let first = match ask(env, &env.page) {
        Ok(answer) if answer.end == BodyEnd::OutOfTime => return None,
        Ok(answer) => answer,
        // What cannot be read is still an answer: framing.status-line will say so.
        Err(Stop::Undecided(_)) => return Some(String::new()),
        Err(_) => return None,
    };
    // The best of three: what is wanted is the server's own pace, not that of a moment.
    if let Some(latency) = (0..3).filter_map(|_| latency(env)).min() {
        env.patience = env.patience.max((latency * 8).min(SLOWEST));
    }
    env.status = first.status();
    if let Ok(second) = ask(env, &env.page)
        && second.body == first.body
        && first.is_whole()
    {
        env.body = Some(first.body.clone());
    }
    Some(first.head.get("server").unwrap_or_default().to_owned())
}

/// The status code, and the coding if there is one.
fn told(head: &Head) -> String {
    let coding = head.get("content-encoding").map(|c| format!(", Content-Encoding: {c}"));
    format!("{}{}", head.status, coding.unwrap_or_default())
}

/// How long a plain request takes to its answer's head; not to the end, which may never come.
fn latency(env: &Env) -> Option<Duration> {
    let mut probe = Probe::new(env, Duration::ZERO);
    let begun = Instant::now();
    let mut conn = probe.connect().ok()?;
    conn.lengthen_patience(SLOWEST);
    conn.send(&probe.page().close().bytes());
    let head = conn.head().ok()?;
    let latency = begun.elapsed();
    // Left unread it would end some servers.
    let _ = conn.body(&head, false);
    Some(latency)
}

/// Whether a second client has to wait while a first has sent half of its request.
pub(super) fn is_serial(env: &Env) -> bool {
    let mut probe = Probe::new(env, Duration::ZERO);
    let bytes = probe.page().close().bytes();
    let (Ok(mut a), Ok(mut b)) = (probe.connect(), probe.connect()) else { return false };
    a.send(&bytes[..bytes.len() - 2]);
    probe.pause(Duration::from_millis(20));
    b.send(&bytes);
    // A slow server is not a serial one: half the patience is four times its pace.
    let enough = env.patience.min(Duration::from_secs(1)).max(env.patience / 2);
    let waits = matches!(b.next_head_within(enough), Err(Lack::Silence(_)));
    a.send(&bytes[bytes.len() - 2..]);
    let _ = a.answer(false);
    waits
}
