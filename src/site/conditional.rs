//! Conditional requests (RFC 9110 §13): is the answer needed, and may it be given?

use crate::http::{Headers, HttpDate, Status, tag_members};

/// What a representation is compared by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validators<'a> {
    /// The entity tag with its quotes; always strong here.
    pub(super) etag: Option<&'a str>,
    /// Last-Modified, in seconds since the epoch, if it has one.
    pub(super) modified: Option<u64>,
    /// Whether another coding of the same file may have the same date.
    pub(super) negotiable: bool,
}

impl Validators<'_> {
    /// Of what is made anew for each answer: it exists, and that is all.
    pub(super) const NONE: Self = Self { etag: None, modified: None, negotiable: true };
}

/// What the preconditions say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Answer as if there were none.
    Proceed,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

impl Verdict {
    /// The status of an answer that is only this; `None` if it is the usual one.
    pub(super) const fn status(self) -> Option<Status> {
        match self {
            Self::Proceed => None,
            Self::NotModified => Some(Status::NOT_MODIFIED),
            Self::Failed => Some(Status::PRECONDITION_FAILED),
        }
    }
}

/// Goes through the preconditions of a GET or HEAD in the order of RFC 9110 §13.2.2. Only to be asked if the
/// answer without them were 200.
pub(super) fn evaluate(headers: Headers<'_>, validators: Validators<'_>) -> Verdict {
    let date = |name| single(headers, name).and_then(HttpDate::parse);
    // 1 and 2. If-Match compares strongly, for it guards against acting on another version.
    if headers.get("if-match").is_some() {
        if !matches(headers, "if-match", validators, Comparison::Strong) {
            return Verdict::Failed;
        }
    } else if date("if-unmodified-since").zip(validators.modified).is_some_and(|(date, own)| own > date) {
        return Verdict::Failed;
    }
    // 3 and 4. If-None-Match compares weakly, for it asks whether what the cache has will do.
    if headers.get("if-none-match").is_some() {
        if matches(headers, "if-none-match", validators, Comparison::Weak) {
            return Verdict::NotModified;
        }
    } else if date("if-modified-since").zip(validators.modified).is_some_and(|(date, own)| own <= date) {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// The value of a field that is no list. Two of them are a mistake, and go unheard (RFC 9110 §13.1.3, §13.1.4).
fn single<'a>(headers: Headers<'a>, name: &str) -> Option<&'a [u8]> {
    let mut fields = headers.all(name);
    fields.next().filter(|_| fields.next().is_none())
}

/// Whether If-Range (RFC 9110 §13.1.5) allows a part: true if it is absent, or names this very version. `now` in
/// seconds: a date is a strong validator only once its second is over (§8.8.2.2), and never where it may name another
/// coding as well: a part of one in the other is neither.
pub(super) fn allows_part(headers: Headers<'_>, validators: Validators<'_>, now: u64) -> bool {
    let Some(value) = headers.get("if-range") else { return true };
    let value = value.trim_ascii();
    if value.starts_with(b"\"") || value.starts_with(b"W/") {
        return validators.etag.is_some_and(|etag| same(value, etag, Comparison::Strong));
    }
    HttpDate::parse(value)
        .is_some_and(|date| !validators.negotiable && validators.modified == Some(date) && date < now)
}

/// RFC 9110 §8.8.3.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether any member of all fields of that name is `*` or names the representation.
fn matches(headers: Headers<'_>, name: &str, validators: Validators<'_>, how: Comparison) -> bool {
    headers
        .all(name)
        .flat_map(tag_members)
        .any(|member| member == b"*" || validators.etag.is_some_and(|etag| same(member, etag, how)))
}

/// Compares a tag that was sent with one of ours, which is strong.
fn same(sent: &[u8], own: &str, how: Comparison) -> bool {
    let opaque = match sent.strip_prefix(b"W/") {
        Some(_) if how == Comparison::Strong => return false,
        Some(opaque) => opaque,
        None => sent,
    };
    opaque == own.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Failed, NotModified, Proceed};

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const DATE: u64 = 784_111_777;
    const VALIDATORS: Validators<'_> =
        Validators { etag: Some("\"a\""), modified: Some(DATE), negotiable: false };

    fn with<T>(fields: &[(&str, &str)], test: impl FnOnce(Headers<'_>) -> T) -> T {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| httparse::Header { name, value: value.as_bytes() }).collect();
        test(Headers::new(&fields))
    }

    #[test]
    fn preconditions_are_weighed_in_the_order_of_the_standard() {
        let cases: &[(&[(&str, &str)], Verdict)] = &[
            (&[], Proceed),
            (&[("If-Match", "\"a\"")], Proceed),
            (&[("If-Match", "*")], Proceed),
            (&[("If-Match", "\"b\", \"a\"")], Proceed),
            (&[("If-Match", "\"b\""), ("If-Match", "\"a\"")], Proceed),
            (&[("If-Match", "\"b\"")], Failed),
            (&[("If-Match", "W/\"a\"")], Failed),
            (&[("If-Match", "a")], Failed),
            (&[("If-Match", "")], Failed),
            // If-Match makes If-Unmodified-Since go unheard.
            (&[("If-Match", "\"a\""), ("If-Unmodified-Since", BEFORE)], Proceed),
            (&[("If-Unmodified-Since", BEFORE)], Failed),
            (&[("If-Unmodified-Since", SAME)], Proceed),
            (&[("If-Unmodified-Since", AFTER)], Proceed),
            (&[("If-Unmodified-Since", "soon")], Proceed),
            (&[("If-None-Match", "\"a\"")], NotModified),
            (&[("If-None-Match", "W/\"a\"")], NotModified),
            (&[("If-None-Match", "*")], NotModified),
            (&[("If-None-Match", "\"x,y\", W/\"z\" ,\"a\"")], NotModified),
            (&[("If-None-Match", "\"b\""), ("If-None-Match", "\"a\"")], NotModified),
            // A backslash in a tag is itself, and ends no quote later (§8.8.3).
            (&[("If-None-Match", r#""b\", "a""#)], NotModified),
            (&[("If-Match", r#""\b\", "a""#)], Proceed),
            (&[("If-None-Match", "\"b\"")], Proceed),
            (&[("If-None-Match", "a")], Proceed),
            (&[("If-None-Match", "")], Proceed),
            // If-None-Match makes If-Modified-Since go unheard.
            (&[("If-None-Match", "\"b\""), ("If-Modified-Since", AFTER)], Proceed),
            (&[("If-None-Match", "\"a\""), ("If-Modified-Since", BEFORE)], NotModified),
            (&[("If-Modified-Since", BEFORE)], Proceed),
            (&[("If-Modified-Since", SAME)], NotModified),
            (&[("If-Modified-Since", AFTER)], NotModified),
            (&[("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT")], NotModified),
            (&[("If-Modified-Since", "Sun Nov  6 08:49:37 1994")], NotModified),
            (&[("If-Modified-Since", "0")], Proceed),
            // Two dates are none (§13.1.3, §13.1.4).
            (&[("If-Modified-Since", SAME), ("If-Modified-Since", BEFORE)], Proceed),
            (&[("If-Unmodified-Since", BEFORE), ("If-Unmodified-Since", SAME)], Proceed),
            // 412 goes before 304.
            (&[("If-Match", "\"b\""), ("If-None-Match", "\"a\"")], Failed),
            (&[("If-Match", "\"a\""), ("If-None-Match", "\"a\"")], NotModified),
            (&[("If-Unmodified-Since", BEFORE), ("If-None-Match", "\"a\"")], Failed),
            (&[("If-Unmodified-Since", SAME), ("If-Modified-Since", SAME)], NotModified),
        ];
        for (fields, expected) in cases {
            assert_eq!(with(fields, |headers| evaluate(headers, VALIDATORS)), *expected, "{fields:?}");
        }
    }

    #[test]
    fn without_a_tag_only_the_star_matches() {
        let untagged = Validators { etag: None, ..VALIDATORS };
        for (value, verdict) in [("*", NotModified), ("\"a\"", Proceed)] {
            assert_eq!(with(&[("If-None-Match", value)], |headers| evaluate(headers, untagged)), verdict);
        }
        assert!(!with(&[("If-Range", "\"a\"")], |headers| allows_part(headers, untagged, 1 << 40)));
    }

    #[test]
    fn if_range_wants_exactly_this_version() {
        let now = DATE + 1;
        for (value, now, expected) in [
            ("\"a\"", now, true),
            ("\"b\"", now, false),
            ("W/\"a\"", now, false),
            ("\"a\", \"b\"", now, false),
            ("*", now, false),
            (SAME, now, true),
            (SAME, DATE, false),
            (BEFORE, now, false),
            (AFTER, now, false),
            ("a", now, false),
        ] {
            let allowed = with(&[("If-Range", value)], |headers| allows_part(headers, VALIDATORS, now));
            assert_eq!(allowed, expected, "{value}");
        }
        assert!(with(&[], |headers| allows_part(headers, VALIDATORS, now)));
        let negotiable = Validators { negotiable: true, ..VALIDATORS };
        for (value, expected) in [("\"a\"", true), (SAME, false)] {
            assert_eq!(
                with(&[("If-Range", value)], |headers| allows_part(headers, negotiable, now)),
                expected
            );
        }
    }
}
