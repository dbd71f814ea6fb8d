//! The order of a run: gentle rules side by side, rough ones alone with a look at the server's health after
//! each, crowds, and at last those that only wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::probe::{Env, Probe, Stop, seen};
use super::rule::{Finding, Kind, Needs, Rule, Test};
use super::survey::{baseline, choose, is_serial, lay, reach, unlay};
use super::target::Target;
use super::wire::{Conn, Exchange, Lack, Log};
use super::{CannotRun, Judged, Options, Outcome, Report, rules};

/// Gentle rules at once: enough to hide waiting, little enough to be no load.
const JOBS: usize = 8;

/// Runs the chosen rules. `progress` is told how many are decided, of how many, and which was the last.
///
/// # Errors
///
/// [`CannotRun`] if the server cannot be reached, must not be tested, or the files cannot be laid.
pub fn run(options: &Options, progress: &(dyn Fn(usize, usize, &str) + Sync)) -> Result<Report, CannotRun> {
    let begun = Instant::now();
    let chosen = choose(options)?;
    let target = Target::parse(&options.url, options.own)?;
    let addr = reach(&target, &options.url)?;
    let mut notes = Vec::new();
    let files = lay(options, &target)?;
    if files.is_none() {
        notes.push(seen!(
            "没有 --root：文件内容、范围、类型、条件请求等规则都没有查",
            "without --root the rules on file contents, ranges, types and conditions were left out"
        ));
    }
    let mut env = Env {
        addr: Mutex::new(addr),
        host: target.host.clone(),
        page: target.path.clone(),
        status: 0,
        body: None,
        plain: false,
        files,
        patience: options.patience,
        watch: options.watch,
        idle_limit: options.idle_limit,
        unending: AtomicBool::new(false),
        stop: options.stop.clone(),
    };
    let server = baseline(&mut env, &mut notes);
    let serial = server.is_some() && options.jobs == 0 && is_serial(&env);
    if serial && env.watch < env.idle_limit {
        // One after another instead of side by side: less of each, or the run takes a minute.
        env.watch /= 8;
    }
    let env = env;
    let mut run = Run {
        env: &env,
        options,
        progress,
        total: chosen.len(),
        done: AtomicUsize::new(0),
        until: begun + options.time,
        judged: Mutex::new(Vec::new()),
        culprits: Vec::new(),
        gone: None,
    };
    match server {
        Some(_) => run.phases(&chosen, if serial { 1 } else { options.jobs }),
        None => run.silent(&chosen),
    }
    let mut judged = run.judged.into_inner().unwrap_or_else(PoisonError::into_inner);
    notes.extend(verdict_on_survival(&mut judged, &run.culprits));
    let survived = run.culprits.is_empty();
    notes.extend(unlay(env.files));
    if options.stop.load(Ordering::Relaxed) {
        notes.push(seen!(
            "已中断：没轮到的规则都没有查",
            "interrupted: the rules whose turn had not come were left out"
        ));
    }
    judged.sort_by_key(|j| rules::all().position(|r| r.id == j.rule.id));
    Ok(Report {
        url: options.url.clone(),
        server: server.unwrap_or_default(),
        rules: judged,
        survived,
        notes,
        time: begun.elapsed(),
    })
}

/// Whether the server can still be used.
enum Health {
    Fine,
    Ended,
    Hangs,
}

struct Run<'a> {
    env: &'a Env,
    options: &'a Options,
    progress: &'a (dyn Fn(usize, usize, &str) + Sync),
    total: usize,
    done: AtomicUsize,
    until: Instant,
    judged: Mutex<Vec<Judged>>,
    /// Rules after which the server was gone.
    culprits: Vec<&'static str>,
    /// Since which rule it stays gone.
    gone: Option<&'static str>,
}

impl Run<'_> {
    fn phases(&mut self, chosen: &[&'static Rule], jobs: usize) {
        let of = |kind: Kind| chosen.iter().copied().filter(|r| r.kind == kind).collect::<Vec<_>>();
        let jobs = if jobs == 0 { JOBS } else { jobs };
        if jobs == 1 {
            self.alone(&of(Kind::Gentle));
        } else {
            self.together(&of(Kind::Gentle), jobs);
        }
        self.alone(&of(Kind::Rough));
        self.alone(&of(Kind::Crowd));
        if jobs == 1 {
            self.alone(&of(Kind::Slow));
        } else {
            let slow = of(Kind::Slow);
            self.together(&slow, slow.len());
        }
    }

    /// The server accepts connections and says nothing, or never ends: one red rule, and nothing else can be known.
    fn silent(&mut self, chosen: &[&'static Rule]) {
        for rule in chosen {
            if rule.id == rules::ANSWERS || self.stopped() {
                let judged = self.judge(rule);
                self.keep(judged);
            } else {
                let why = seen!(
                    "一个普通的 GET 没有得到完整的应答，见 framing.answers",
                    "a plain GET got no whole answer, see framing.answers"
                );
                self.keep(unjudged(rule, Outcome::Undecided(why)));
            }
        }
    }

    /// Several at once; then one look at the server.
    fn together(&mut self, rules: &[&'static Rule], jobs: usize) {
        if rules.is_empty() {
            return;
        }
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::new());
        let this = &*self;
        std::thread::scope(|scope| {
            for _ in 0..jobs.min(rules.len()) {
                scope.spawn(|| {
                    while let Some(rule) = rules.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let judged = this.judge(rule);
                        this.tell(rule);
                        results.lock().unwrap_or_else(PoisonError::into_inner).push(judged);
                    }
                });
            }
        });
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        if self.gone.is_some() || self.stopped() || matches!(self.health(), Health::Fine) {
            results.into_iter().for_each(|j| self.keep(j));
            return;
        }
        // Which of them it was cannot be told: once more, one by one, if the server comes back.
        if self.comes_back() {
            self.done.fetch_sub(rules.len(), Ordering::Relaxed);
            self.alone(rules);
            return;
        }
        self.gone = rules.first().map(|r| r.id);
        self.culprits.extend(rules.iter().map(|r| r.id));
        results.into_iter().for_each(|j| self.keep(j));
    }

    /// One at a time, with a look at the server after each.
    fn alone(&mut self, rules: &[&'static Rule]) {
        for rule in rules {
            let mut judged = self.judge(rule);
            self.tell(rule);
            if self.gone.is_none() && !self.stopped() {
                match self.health() {
                    Health::Fine => {}
                    Health::Ended => self.blame(
                        &mut judged,
                        seen!(
                            "此后服务器不在了（拒绝连接）",
                            "after this the server was gone (connections refused)"
                        ),
                    ),
                    Health::Hangs => self.blame(
                        &mut judged,
                        seen!("此后服务器不再回答任何人", "after this the server answered nobody"),
                    ),
                }
            }
            self.keep(judged);
        }
    }

    fn blame(&mut self, judged: &mut Judged, what: Finding) {
        self.culprits.push(judged.rule.id);
        judged.outcome = Outcome::Fail(match &judged.outcome {
            Outcome::Fail(before) => Finding {
                zh: format!("{}；{}", before.zh, what.zh),
                en: format!("{}; {}", before.en, what.en),
            },
            _ => what,
        });
        if !self.comes_back() {
            self.gone = Some(judged.rule.id);
        }
    }

    /// Starts the server again, or gives it the time to recover by itself.
    fn comes_back(&self) -> bool {
        if let Some(addr) = self.options.revive.as_ref().and_then(|revive| revive()) {
            *self.env.addr.lock().unwrap_or_else(PoisonError::into_inner) = addr;
        }
        let until = Instant::now() + Duration::from_secs(if self.options.revive.is_some() { 10 } else { 2 });
        loop {
            if matches!(self.glance(), Health::Fine) {
                return true;
            }
            if Instant::now() >= until || self.stopped() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A plain request; a second try before anything bad is said.
    fn health(&self) -> Health {
        match self.glance() {
            Health::Fine => Health::Fine,
            _ => {
                std::thread::sleep(Duration::from_millis(100));
                self.glance()
            }
        }
    }

    fn glance(&self) -> Health {
        let until = Instant::now() + self.env.patience * 2;
        let Ok(mut conn) = Conn::open(self.env.addr(), self.env.patience, until, Log::default()) else {
            return Health::Ended;
        };
        let probe = Probe::new(self.env, Duration::ZERO);
        conn.send(&probe.page().close().bytes());
        match conn.head() {
            Ok(_) | Err(Lack::NotHttp | Lack::LongHead | Lack::Misframed) => Health::Fine,
            Err(Lack::Silence(_) | Lack::OutOfTime) => Health::Hangs,
            Err(Lack::Ended(_)) => Health::Ended,
        }
    }

    fn judge(&self, rule: &'static Rule) -> Judged {
        if let Some(since) = self.gone {
            let why = seen!("服务器自 {since} 之后就不在了", "the server is gone since {since}");
            return unjudged(rule, Outcome::Undecided(why));
        }
        if self.stopped() {
            return unjudged(rule, Outcome::Undecided(seen!("已中断", "interrupted")));
        }
        if Instant::now() >= self.until {
            return unjudged(
                rule,
                Outcome::Undecided(seen!("总时限已到", "the time for the whole run is over")),
            );
        }
        if rule.needs == Needs::Files && self.env.files.is_none() {
            let why = seen!("需要 --root", "needs --root");
            return unjudged(rule, Outcome::Skipped(why));
        }
        let begun = Instant::now();
        let extra = if rule.kind == Kind::Slow { self.env.watch } else { Duration::ZERO };
        let mut probe = Probe::new(self.env, extra);
        let verdict = catch_unwind(AssertUnwindSafe(|| match &rule.test {
            Test::Run(test) => test(&mut probe),
            Test::Refuse(refusal) => probe.refuses(refusal),
        }));
        let outcome = match verdict {
            Ok(Ok(())) => Outcome::Pass,
            // A connection that breaks because the run is being stopped proves nothing.
            Ok(Err(_)) if self.stopped() => Outcome::Undecided(seen!("已中断", "interrupted")),
            Ok(Err(Stop::Fail(f))) => Outcome::Fail(f),
            Ok(Err(Stop::Undecided(f))) => Outcome::Undecided(f),
            Ok(Err(Stop::NotApplicable(f))) => Outcome::Skipped(f),
            Err(_) => Outcome::Undecided(seen!(
                "检查器自己出错了，请报告",
                "the checker itself failed; please report it"
            )),
        };
        let last = probe.exchanges().pop().unwrap_or_default();
        Judged { rule, outcome, sent: show(&last, true), came: show(&last, false), time: begun.elapsed() }
    }

    fn tell(&self, rule: &Rule) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        (self.progress)(done, self.total, rule.id);
    }

    fn keep(&self, judged: Judged) {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner).push(judged);
    }

    fn stopped(&self) -> bool {
        self.options.stop.load(Ordering::Relaxed)
    }
}

fn unjudged(rule: &'static Rule, outcome: Outcome) -> Judged {
    Judged { rule, outcome, sent: String::new(), came: String::new(), time: Duration::ZERO }
}

/// `close.survives` is red if the server was gone at any time. Where nobody asked for it, a note says so.
fn verdict_on_survival(judged: &mut [Judged], culprits: &[&str]) -> Option<Finding> {
    if culprits.is_empty() {
        return None;
    }
    let ids = culprits.join(", ");
    let what = seen!("服务器没撑过：{ids}", "the server did not survive: {ids}");
    match judged.iter_mut().find(|j| j.rule.id == rules::SURVIVES) {
        Some(j) => {
            j.outcome = Outcome::Fail(what);
            None
        }
        None => Some(what),
    }
}

/// One direction of an exchange, escaped so that it can be printed.
fn show(exchange: &Exchange, sent: bool) -> String {
    let (bytes, total) =
        if sent { (&exchange.sent, exchange.sent_total) } else { (&exchange.came, exchange.came_total) };
    let mut out = String::new();
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        match std::str::from_utf8(line) {
            Ok(text) => {
                for c in text.chars() {
                    match c {
                        '\r' => out.push_str("\\r"),
                        '\n' => out.push_str("\\n\n"),
                        c if c.is_control() => out.extend(c.escape_default()),
                        c => out.push(c),
                    }
                }
            }
            Err(_) => {
                out.push_str(&line.escape_ascii().to_string());
                if line.ends_with(b"\n") {
                    out.push('\n');
                }
            }
        }
    }
    if total > bytes.len() {
        out.push_str(&format!("… ({total})"));
    }
    out
}
