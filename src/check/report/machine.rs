//! For programs: JSON and JUnit XML.

use serde_json::{Value, json};

use crate::check::{Judged, Lang, Outcome, Report};

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Fail(_) => "fail",
        Outcome::Undecided(_) => "undecided",
        Outcome::Skipped(_) => "skipped",
    }
}

fn finding(outcome: &Outcome, lang: Lang) -> Option<&str> {
    match outcome {
        Outcome::Pass => None,
        Outcome::Fail(f) | Outcome::Undecided(f) | Outcome::Skipped(f) => Some(f.in_lang(lang)),
    }
}

/// The report as one JSON object. The field names and words are stable; `schema` counts incompatible changes.
pub fn json(report: &Report, lang: Lang) -> String {
    let rules: Vec<Value> = report
        .rules
        .iter()
        .map(|j| {
            json!({
                "id": j.rule.id,
                "group": j.rule.group(),
                "severity": j.rule.severity.word(),
                "rfc": j.rule.rfc,
                "outcome": word(&j.outcome),
                "expected": j.rule.want.in_lang(lang),
                "finding": finding(&j.outcome, lang),
                "sent": j.sent,
                "came": j.came,
                "ms": u64::try_from(j.time.as_millis()).unwrap_or(u64::MAX),
            })
        })
        .collect();
    let notes: Vec<&str> = report.notes.iter().map(|n| n.in_lang(lang)).collect();
    let first: Vec<&str> = report.first_to_fix().iter().map(|j| j.rule.id).collect();
    let whole = json!({
        "schema": 1,
        "url": report.url,
        "server": report.server,
        "passed": report.passed(),
        "score": report.score(),
        "fix_first": first,
        "notes": notes,
        "ms": u64::try_from(report.time.as_millis()).unwrap_or(u64::MAX),
        "rules": rules,
    });
    format!("{whole:#}\n")
}

/// The report as JUnit XML: a suite per group, a case per rule. Red `must` and `should` are failures; a red `good`
/// is written to the case's output, since no standard asks for it.
pub fn junit(report: &Report, lang: Lang) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let fails =
        |j: &Judged| matches!(j.outcome, Outcome::Fail(_)) && j.rule.severity != crate::check::Severity::Good;
    let failures = report.rules.iter().filter(|j| fails(j)).count();
    out.push_str(&format!(
        "<testsuites name=\"wouldblock check\" tests=\"{}\" failures=\"{failures}\" time=\"{:.3}\">\n",
        report.rules.len(),
        report.time.as_secs_f64()
    ));
    for group in crate::check::GROUPS {
        let cases: Vec<&Judged> = report.rules.iter().filter(|j| j.rule.group() == group.id).collect();
        if cases.is_empty() {
            continue;
        }
        let skipped =
            cases.iter().filter(|j| matches!(j.outcome, Outcome::Skipped(_) | Outcome::Undecided(_))).count();
        out.push_str(&format!(
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{skipped}\">\n",
            group.id,
            cases.len(),
            cases.iter().filter(|j| fails(j)).count()
        ));
        for j in cases {
            out.push_str(&format!(
                "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\">",
                group.id,
                j.rule.id,
                j.time.as_secs_f64()
            ));
            let text = xml(finding(&j.outcome, lang).unwrap_or_default());
            match &j.outcome {
                Outcome::Pass => {}
                Outcome::Fail(_) if fails(j) => out.push_str(&format!(
                    "<failure type=\"{}\" message=\"{text}\">{}</failure>",
                    j.rule.severity.word(),
                    xml(&format!(
                        "{} ({})\n> {}\n< {}",
                        j.rule.want.in_lang(lang),
                        j.rule.rfc,
                        j.sent,
                        j.came
                    ))
                )),
                Outcome::Fail(_) => out.push_str(&format!("<system-out>{text}</system-out>")),
                Outcome::Undecided(_) | Outcome::Skipped(_) => {
                    out.push_str(&format!("<skipped message=\"{text}\"/>"));
                }
            }
            out.push_str("</testcase>\n");
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

/// Escapes for XML 1.0, which has no way to write most control characters.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_never_contains_what_xml_cannot_hold() {
        assert_eq!(xml("a<b>&\"\n\0"), "a&lt;b&gt;&amp;&quot;&#10;\u{fffd}");
    }
}
