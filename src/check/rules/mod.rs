//! The rules, one file per group, in the order in which they are reported. Each rule stands with its texts.

mod close;
mod conditional;
mod framing;
mod keepalive;
mod length;
mod limits;
mod malformed;
mod many;
mod method;
mod path;
mod range;
mod slow;
mod smuggling;
mod split;
mod types;

use super::rule::{Rule, Text};

pub(super) use close::SURVIVES;
pub(super) use framing::ANSWERS;

/// A group of rules.
pub struct Group {
    /// The part of its rules' ids before the dot.
    pub id: &'static str,
    /// Its title.
    pub title: Text,
    /// Its rules, in order.
    pub rules: &'static [Rule],
}

/// All groups.
pub static GROUPS: &[Group] = &[
    Group {
        id: "framing",
        title: Text { zh: "应答的写法", en: "How answers are written" },
        rules: framing::RULES,
    },
    Group { id: "keepalive", title: Text { zh: "长连接", en: "Keep-alive" }, rules: keepalive::RULES },
    Group {
        id: "split", title: Text { zh: "拆包与粘包", en: "Splitting and joining" }, rules: split::RULES
    },
    Group {
        id: "length",
        title: Text { zh: "长度与内容（按字节）", en: "Lengths and bodies, in octets" },
        rules: length::RULES,
    },
    Group { id: "type", title: Text { zh: "内容类型", en: "Content types" }, rules: types::RULES },
    Group { id: "method", title: Text { zh: "请求方法", en: "Methods" }, rules: method::RULES },
    Group {
        id: "cond",
        title: Text { zh: "条件请求", en: "Conditional requests" },
        rules: conditional::RULES,
    },
    Group { id: "range", title: Text { zh: "范围请求", en: "Ranges" }, rules: range::RULES },
    Group { id: "path", title: Text { zh: "路径与越界", en: "Paths and escapes" }, rules: path::RULES },
    Group {
        id: "malformed",
        title: Text { zh: "错误的请求", en: "Malformed input" },
        rules: malformed::RULES,
    },
    Group {
        id: "smuggling",
        title: Text { zh: "请求走私", en: "Request smuggling" },
        rules: smuggling::RULES,
    },
    Group {
        id: "slow",
        title: Text { zh: "慢的和沉默的对端", en: "Slow and silent peers" },
        rules: slow::RULES,
    },
    Group {
        id: "close",
        title: Text { zh: "半关闭与重置", en: "Half-close and resets" },
        rules: close::RULES,
    },
    Group {
        id: "many",
        title: Text { zh: "同时很多客户端", en: "Many clients at once" },
        rules: many::RULES,
    },
    Group { id: "limits", title: Text { zh: "上限", en: "Limits" }, rules: limits::RULES },
];

/// Every rule, in order.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    GROUPS.iter().flat_map(|g| g.rules)
}

/// What every group file uses.
mod prelude {
    pub(super) use std::time::{Duration, Instant};

    pub(super) use crate::check::answer::{Answer, BodyEnd, End, Head};
    pub(super) use crate::check::probe::{
        Probe, Stop, Verdict, ensure, lack, not_here, same_body, seen, status_in, undecided, whole,
    };
    pub(super) use crate::check::rule::Kind::{Crowd, Gentle, Rough, Slow};
    pub(super) use crate::check::rule::Needs::{Files, Url};
    pub(super) use crate::check::rule::Severity::{Good, Must, Should};
    pub(super) use crate::check::rule::Test::{Refuse, Run};
    pub(super) use crate::check::rule::{Refusal, Rule, Text};
    pub(super) use crate::check::wire::{Conn, Lack, Pull};
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn there_are_at_least_120_rules_with_distinct_well_formed_ids() {
        let mut ids = HashSet::new();
        for group in GROUPS {
            for rule in group.rules {
                assert_eq!(rule.group(), group.id, "{}", rule.id);
                assert!(ids.insert(rule.id), "{} twice", rule.id);
                let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
                assert!(rule.id.bytes().all(good), "{}", rule.id);
                assert_eq!(rule.id.matches('.').count(), 1, "{}", rule.id);
            }
        }
        assert!(ids.len() >= 120, "only {}", ids.len());
    }

    #[test]
    fn every_rule_is_explained_in_both_languages() {
        let chinese = |text: &str| text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
        for rule in all() {
            for text in [rule.want, rule.why] {
                assert!(chinese(text.zh), "{}: {}", rule.id, text.zh);
                assert!(!chinese(text.en.replace("你好", "").as_str()), "{}: {}", rule.id, text.en);
                assert!(text.en.len() > 15, "{}: {}", rule.id, text.en);
            }
            assert!(rule.why.zh.ends_with(['。', '）']), "{}: {}", rule.id, rule.why.zh);
            assert!(rule.why.en.ends_with(['.', ')']), "{}: {}", rule.id, rule.why.en);
            assert!(rule.rfc.chars().any(|c| c.is_ascii_digit()), "{}", rule.id);
        }
    }
}
