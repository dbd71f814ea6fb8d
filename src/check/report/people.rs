//! For people: grouped, the red rules in full, a score, and where to begin.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::check::{Finding, GROUPS, Judged, Lang, Needs, Outcome, Report, Rule, Severity, all_rules};

/// The few words around the rules.
struct Words {
    severity: [&'static str; 3],
    sent: &'static str,
    came: &'static str,
    nothing: &'static str,
    expected: &'static str,
    score: &'static str,
    counts: [&'static str; 4],
    first: &'static str,
    explain: &'static str,
    all_green: &'static str,
    undecided: &'static str,
    fix: &'static str,
    needs_root: &'static str,
}

const ZH: Words = Words {
    severity: ["必须", "应当", "更好"],
    sent: "发了",
    came: "来了",
    nothing: "（什么也没有）",
    expected: "期望",
    score: "得分",
    counts: ["通过", "未通过", "未判定", "跳过"],
    first: "先改这几处",
    explain: "详细解释：--explain 规则名",
    all_green: "能查的都通过了",
    undecided: "未判定：",
    fix: "为什么，怎么改",
    needs_root: "需要 --root",
};

const EN: Words = Words {
    severity: ["must", "should", "good"],
    sent: "sent",
    came: "came",
    nothing: "(nothing)",
    expected: "expected",
    score: "score",
    counts: ["passed", "failed", "undecided", "skipped"],
    first: "Fix these first",
    explain: "For an explanation: --explain ID",
    all_green: "all that could be checked is in order",
    undecided: "undecided: ",
    fix: "Why, and how to repair it",
    needs_root: "needs --root",
};

fn words(lang: Lang) -> &'static Words {
    match lang {
        Lang::Zh => &ZH,
        Lang::En => &EN,
    }
}

fn severity(words: &Words, severity: Severity) -> &'static str {
    match severity {
        Severity::Must => words.severity[0],
        Severity::Should => words.severity[1],
        Severity::Good => words.severity[2],
    }
}

/// Text with or without ANSI colours.
struct Paint(bool);

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn red(&self, text: &str) -> String {
        self.with("1;31", text)
    }

    fn yellow(&self, text: &str) -> String {
        self.with("33", text)
    }

    fn green(&self, text: &str) -> String {
        self.with("32", text)
    }

    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }

    fn dim(&self, text: &str) -> String {
        self.with("2", text)
    }

    fn by(&self, s: Severity, text: &str) -> String {
        match s {
            Severity::Must => self.red(text),
            Severity::Should => self.yellow(text),
            Severity::Good => self.bold(text),
        }
    }
}

/// The report for a terminal or a file. With `verbose` green and skipped rules are listed, too.
pub fn text(report: &Report, lang: Lang, colour: bool, verbose: bool) -> String {
    let (w, paint) = (words(lang), Paint(colour));
    let mut out = String::new();
    let server =
        if report.server.is_empty() { String::new() } else { format!("  ({})", tame(&report.server)) };
    let _ = writeln!(out, "{}{server}\n", paint.bold(&report.url));
    // What is undecided for one reason everywhere is said once.
    let mut many: BTreeMap<&str, usize> = BTreeMap::new();
    for j in &report.rules {
        *many.entry(reason(j, lang)).or_default() += 1;
    }
    many.retain(|why, count| !why.is_empty() && *count > 5);
    for group in GROUPS {
        let of: Vec<&Judged> = report.rules.iter().filter(|j| j.rule.group() == group.id).collect();
        if of.is_empty() {
            continue;
        }
        let green = of.iter().filter(|j| j.outcome == Outcome::Pass).count();
        let red = of.iter().filter(|j| matches!(j.outcome, Outcome::Fail(_))).count();
        let count = format!("{green}/{}", green + red);
        let count = if red == 0 { paint.green(&count) } else { paint.red(&count) };
        let open = of.len() - green - red;
        let open = if open == 0 { String::new() } else { paint.dim(&format!("  +{open}")) };
        let _ = writeln!(out, "{:<10} {}  {count}{open}", group.id, group.title.in_lang(lang));
        for j in of.into_iter().filter(|j| verbose || !many.contains_key(reason(j, lang))) {
            one(&mut out, j, w, &paint, lang, verbose);
        }
    }
    out.push('\n');
    for (why, count) in many.iter().filter(|_| !verbose) {
        let _ = writeln!(out, "{}", paint.dim(&format!("? {count}  {}{}", w.undecided, tame(why))));
    }
    tail(&mut out, report, w, &paint, lang);
    out
}

/// Control characters escaped: what a server puts into its fields must not command the terminal.
fn tame(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escaped).collect())
}

/// Why a rule is undecided; empty if it is not.
fn reason(j: &Judged, lang: Lang) -> &str {
    match &j.outcome {
        Outcome::Undecided(why) => why.in_lang(lang),
        _ => "",
    }
}

fn one(out: &mut String, j: &Judged, w: &Words, paint: &Paint, lang: Lang, verbose: bool) {
    let (id, want) = (j.rule.id, j.rule.want.in_lang(lang));
    match &j.outcome {
        Outcome::Pass if verbose => {
            let _ = writeln!(out, "  {} {id}  {want}", paint.green("✓"));
        }
        Outcome::Skipped(why) if verbose => {
            let _ = writeln!(out, "  {}", paint.dim(&format!("- {id}  {}", tame(why.in_lang(lang)))));
        }
        Outcome::Pass | Outcome::Skipped(_) => {}
        Outcome::Undecided(why) => {
            let why = tame(why.in_lang(lang));
            let _ = writeln!(out, "  {}", paint.dim(&format!("? {id}  {}{why}", w.undecided)));
        }
        Outcome::Fail(what) => {
            let s = j.rule.severity;
            let mark = paint.by(s, &format!("✗ {}", severity(w, s)));
            let _ = writeln!(out, "  {mark}  {}  {}", paint.bold(id), paint.dim(j.rule.rfc));
            let pad = |text: &str| text.trim_end().replace('\n', "\n            ");
            let _ = writeln!(out, "      {}  {}", w.expected, want);
            let sent = if j.sent.is_empty() { w.nothing.to_owned() } else { pad(&j.sent) };
            let came = if j.came.is_empty() { w.nothing.to_owned() } else { pad(&shorten(&j.came)) };
            let _ = writeln!(out, "      {}  {}", w.sent, paint.dim(&shorten(&sent)));
            let _ = writeln!(out, "      {}  {}", w.came, paint.dim(&came));
            let _ = writeln!(out, "      {} {}", paint.by(s, "→"), tame(what.in_lang(lang)));
        }
    }
}

/// At most six lines and some hundred characters.
fn shorten(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .take(6)
        .map(|l| {
            if l.chars().count() > 100 {
                l.chars().take(100).chain("…".chars()).collect()
            } else {
                l.to_owned()
            }
        })
        .collect();
    let more = if text.lines().count() > 6 { "\n…" } else { "" };
    format!("{}{more}", lines.join("\n"))
}

fn tail(out: &mut String, report: &Report, w: &Words, paint: &Paint, lang: Lang) {
    let count = |f: fn(&Outcome) -> bool| report.rules.iter().filter(|j| f(&j.outcome)).count();
    let numbers = [
        count(|o| matches!(o, Outcome::Pass)),
        count(|o| matches!(o, Outcome::Fail(_))),
        count(|o| matches!(o, Outcome::Undecided(_))),
        count(|o| matches!(o, Outcome::Skipped(_))),
    ];
    let numbers: Vec<String> = numbers.iter().zip(w.counts).map(|(n, word)| format!("{word} {n}")).collect();
    let score = format!("{} {}/100", w.score, report.score());
    let score = if report.passed() { paint.green(&score) } else { paint.red(&score) };
    let _ = writeln!(out, "{score}  {}  {:.1} s", numbers.join("  "), report.time.as_secs_f32());
    for Finding { zh, en } in &report.notes {
        let _ = writeln!(out, "{}", paint.yellow(&tame(if lang == Lang::Zh { zh } else { en })));
    }
    let first = report.first_to_fix();
    if first.is_empty() {
        if report.passed() {
            let _ = writeln!(out, "{}", paint.green(w.all_green));
        }
        return;
    }
    let _ = writeln!(out, "\n{}", paint.bold(w.first));
    for (n, j) in first.iter().enumerate() {
        let _ = writeln!(out, "{}. {}  {}", n + 1, paint.bold(j.rule.id), j.rule.want.in_lang(lang));
        let _ = writeln!(out, "   {}", j.rule.why.in_lang(lang));
    }
    let _ = writeln!(out, "\n{}", paint.dim(w.explain));
}

/// Every rule, one line each.
pub fn list(lang: Lang) -> String {
    let w = words(lang);
    let mut out = String::new();
    for group in GROUPS {
        let _ = writeln!(out, "{}  {}", group.id, group.title.in_lang(lang));
        for rule in group.rules {
            let root =
                if rule.needs == Needs::Files { format!("  ({})", w.needs_root) } else { String::new() };
            let s = severity(w, rule.severity);
            let _ = writeln!(out, "  {:<34} {s:<6} {}{root}", rule.id, rule.want.in_lang(lang));
        }
    }
    let _ = writeln!(out, "\n{}", all_rules().count());
    out
}

/// One rule in full.
pub fn explain(rule: &Rule, lang: Lang) -> String {
    let w = words(lang);
    let root = if rule.needs == Needs::Files { format!("  ({})", w.needs_root) } else { String::new() };
    format!(
        "{}  [{}]  {}{root}\n\n{}: {}\n\n{}:\n{}\n",
        rule.id,
        severity(w, rule.severity),
        rule.rfc,
        w.expected,
        rule.want.in_lang(lang),
        w.fix,
        rule.why.in_lang(lang)
    )
}
