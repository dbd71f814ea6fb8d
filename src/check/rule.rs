//! What a rule is: data, two sentences in two languages, and one test. No rule lives here; they are in
//! [`super::rules`], one file per group.

use super::probe::{Probe, Verdict};

/// The language of everything that is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lang {
    /// Simplified Chinese.
    Zh,
    /// English.
    En,
}

/// One text in both languages.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    /// Simplified Chinese.
    pub zh: &'static str,
    /// English.
    pub en: &'static str,
}

impl Text {
    /// The text in one language.
    pub fn in_lang(&self, lang: Lang) -> &'static str {
        match lang {
            Lang::Zh => self.zh,
            Lang::En => self.en,
        }
    }
}

/// What a rule saw, in both languages: built when a rule goes red or cannot be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Simplified Chinese.
    pub zh: String,
    /// English.
    pub en: String,
}

impl Finding {
    /// The finding in one language.
    pub fn in_lang(&self, lang: Lang) -> &str {
        match lang {
            Lang::Zh => &self.zh,
            Lang::En => &self.en,
        }
    }
}

/// How much a red rule weighs. Only `Must` decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The RFC says MUST, or the server breaks (dies, hangs, leaks files, loses bytes).
    Must,
    /// The RFC says SHOULD, or common clients suffer.
    Should,
    /// No standard asks for it; people do.
    Good,
}

impl Severity {
    /// The stable English word that `--json` and `--junit` use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::Good => "good",
        }
    }
}

/// What a rule needs to be decidable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// A bare URL.
    Url,
    /// Files laid into the served folder (`--root`).
    Files,
}

/// How a rule may be run beside others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Plain, well-formed requests, each in one piece: may run beside others.
    Gentle,
    /// May end or hang a weak server: alone, with a look at the server's health afterwards.
    Rough,
    /// Many connections: alone.
    Crowd,
    /// Mostly waits: beside the other waiting rules.
    Slow,
}

/// How a rule is decided.
#[derive(Debug, Clone, Copy)]
pub(super) enum Test {
    /// Code that talks to the server.
    Run(fn(&mut Probe<'_>) -> Verdict),
    /// One malformed request that must be refused.
    Refuse(Refusal),
}

/// A malformed request and the answers that refuse it.
///
/// In `send`, `{page}` and `{host}` are replaced. Closing without an answer passes where `or_close` says so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    /// The octets to send, as a template.
    pub(super) send: &'static [u8],
    /// The status codes that refuse it properly.
    pub(super) with: &'static [u16],
    /// Whether closing the connection without an answer is allowed as well.
    pub(super) or_close: bool,
    /// Whether the connection must be closed after the refusal, because framing is lost.
    pub(super) then_closes: bool,
}

/// One rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Stable: `group.name`.
    pub id: &'static str,
    /// How much it weighs.
    pub severity: Severity,
    /// Where it is written.
    pub rfc: &'static str,
    /// What it needs.
    pub needs: Needs,
    /// How it may be run.
    pub kind: Kind,
    /// What is expected, as one sentence that is true of a good server.
    pub want: Text,
    /// Why it matters and how to repair it.
    pub why: Text,
    pub(super) test: Test,
}

impl Rule {
    /// The group: the part of the id before the dot.
    pub fn group(&self) -> &'static str {
        self.id.split('.').next().unwrap_or(self.id)
    }
}
