//! Range requests (RFC 9110 §14): which octets are asked for, and the answer that has them.

use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::config::Config;
use super::pages;
use super::representation::Representation;
use crate::http::{Headers, Status, list_members};
use crate::service::{Content, Response};

/// Most ranges in one request; with more the whole file is sent, as RFC 9110 §14.2 allows for "many small
/// ranges". Readers of PDF ask for a dozen.
const RANGES_MAX: usize = 32;
/// Ranges closer than this are sent as one: the head of a part is about as long (§15.3.7.2).
const GAP: u64 = 80;

/// What a Range field asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Selection {
    /// Everything: no Range, one that is not understood, or one that is not worth following.
    Whole,
    /// One piece.
    One(Range<u64>),
    /// Several, none overlapping or touching another.
    Several(Vec<Range<u64>>),
    /// Nothing that exists: 416.
    None,
}

impl Selection {
    /// Reads the Range field for a representation of so many octets.
    pub(super) fn read(headers: Headers<'_>, length: u64) -> Self {
        let mut fields = headers.all("range");
        // Range is no list field: twice is a mistake, and mistakes are ignored.
        let (Some(value), None) = (fields.next(), fields.next()) else { return Self::Whole };
        let Some(set) = strip_unit(value) else { return Self::Whole };
        let mut ranges = Vec::new();
        let mut count = 0;
        for member in list_members(set) {
            count += 1;
            let Some(spec) = Spec::parse(member).filter(|_| count <= RANGES_MAX) else { return Self::Whole };
            ranges.extend(spec.within(length));
        }
        if count == 0 {
            return Self::Whole;
        }
        let ranges = join(ranges);
        match ranges.as_slice() {
            [] => Self::None,
            // The last octets of nothing: satisfiable, but no Content-Range can say so.
            [range] if range.is_empty() => Self::Whole,
            [range] => Self::One(range.clone()),
            _ => Self::Several(ranges),
        }
    }
}

/// `bytes=` in any case (RFC 9110 §14.1: range units are case-insensitive).
fn strip_unit(value: &[u8]) -> Option<&[u8]> {
    let (unit, set) = value.split_at_checked(b"bytes=".len())?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(set)
}

/// One member of the set (RFC 9110 §14.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spec {
    /// `first-` and `first-last`; the last is included.
    From(u64, Option<u64>),
    /// `-length`
    Suffix(u64),
}

impl Spec {
    fn parse(member: &[u8]) -> Option<Self> {
        let dash = member.iter().position(|&octet| octet == b'-')?;
        let (first, last) = (member.get(..dash)?, member.get(dash + 1..)?);
        match (first, last) {
            ([], []) => None,
            ([], length) => Some(Self::Suffix(number(length)?)),
            (first, []) => Some(Self::From(number(first)?, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::From(first, Some(last)))
            }
        }
    }

    /// The octets that exist; `None` if there are none (unsatisfiable).
    fn within(self, length: u64) -> Option<Range<u64>> {
        match self {
            Self::From(first, _) if first >= length => None,
            Self::From(first, last) => {
                Some(first..last.map_or(length, |last| last.saturating_add(1).min(length)))
            }
            Self::Suffix(0) => None,
            Self::Suffix(suffix) => Some(length.saturating_sub(suffix)..length),
        }
    }
}

/// Digits; what does not fit is as good as the largest number.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        digit.is_ascii_digit().then(|| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    })
}

/// Joins ranges that overlap, touch, or nearly do. The order of the request is kept if nothing needs joining.
fn join(ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut sorted = ranges.clone();
    sorted.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP) => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    if joined.len() == ranges.len() { ranges } else { joined }
}

/// The 206 or 416 for a selection, `None` for all of it.
pub(super) fn answer(selection: Selection, whole: &Representation, config: &Config) -> Option<Response> {
    let length = whole.content.len();
    match selection {
        Selection::Whole => None,
        Selection::None => {
            let fields = format!("Content-Range: bytes */{length}\r\nAccept-Ranges: bytes\r\n");
            let why = format!("The file has {length} octets, and none of those that were asked for.");
            Some(pages::error(config, Status::RANGE_NOT_SATISFIABLE, &why, &fields))
        }
        Selection::One(range) => {
            let mut fields = whole.fields.to_vec();
            fields.extend_from_slice(content_range(&range, length).as_bytes());
            let content = slice(&whole.content, range)?;
            Some(Response { status: Status::PARTIAL_CONTENT, fields: fields.into(), content })
        }
        // With a coding it is not agreed whether the parts are coded or what holds them: send all of it.
        Selection::Several(_) if whole.coding.is_some() => None,
        Selection::Several(ranges) => several(&ranges, whole),
    }
}

/// multipart/byteranges (RFC 9110 §14.6). The heads of the parts stand in one piece of memory.
fn several(ranges: &[Range<u64>], whole: &Representation) -> Option<Response> {
    let boundary = boundary();
    let mut heads = String::new();
    let mut cuts = Vec::with_capacity(ranges.len() + 1);
    for (number, range) in ranges.iter().enumerate() {
        let start = heads.len();
        let before = if number == 0 { "" } else { "\r\n" };
        let _ = write!(
            heads,
            "{before}--{boundary}\r\nContent-Type: {}\r\n{}\r\n",
            whole.content_type,
            content_range(range, whole.content.len())
        );
        cuts.push(start..heads.len());
    }
    let start = heads.len();
    let _ = write!(heads, "\r\n--{boundary}--\r\n");
    cuts.push(start..heads.len());
    let heads: Arc<[u8]> = heads.into_bytes().into();
    let mut parts = Vec::with_capacity(2 * ranges.len() + 1);
    let mut cuts = cuts.into_iter();
    for (range, cut) in ranges.iter().zip(cuts.by_ref()) {
        parts.push(Content::Bytes(heads.clone(), cut));
        parts.push(slice(&whole.content, range.clone())?);
    }
    parts.extend(cuts.map(|cut| Content::Bytes(heads.clone(), cut)));
    // Ours begins with the file's own Content-Type, which the parts have now.
    let rest = whole.fields.iter().position(|&octet| octet == b'\n').map_or(0, |end| end + 1);
    let mut fields = format!("Content-Type: multipart/byteranges; boundary={boundary}\r\n").into_bytes();
    fields.extend_from_slice(whole.fields.get(rest..).unwrap_or_default());
    Some(Response {
        status: Status::PARTIAL_CONTENT,
        fields: fields.into(),
        content: Content::Parts(parts.into()),
    })
}

fn content_range(range: &Range<u64>, length: u64) -> String {
    format!("Content-Range: bytes {}-{}/{length}\r\n", range.start, range.end.saturating_sub(1))
}

/// A piece of a whole. `None` cannot be, for a range was cut to the length before.
fn slice(whole: &Content, range: Range<u64>) -> Option<Content> {
    Some(match whole {
        Content::Bytes(bytes, own) => {
            let start = own.start.checked_add(usize::try_from(range.start).ok()?)?;
            let end = own.start.checked_add(usize::try_from(range.end).ok()?)?;
            (end <= own.end).then(|| Content::Bytes(bytes.clone(), start..end))?
        }
        Content::File(file, own) => {
            let (start, end) = (own.start.checked_add(range.start)?, own.start.checked_add(range.end)?);
            (end <= own.end).then(|| Content::File(file.clone(), start..end))?
        }
        Content::Empty | Content::Parts(_) => return None,
    })
}

/// A line that is in no file but by a chance of 2^-128, and that nobody can put into one beforehand.
fn boundary() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}{:016x}", RandomState::new().hash_one(number), RandomState::new().hash_one(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn select(value: &str, length: u64) -> Selection {
        let fields = [httparse::Header { name: "Range", value: value.as_bytes() }];
        Selection::read(Headers::new(&fields), length)
    }

    #[test]
    fn ranges_are_what_the_standard_says() {
        use Selection::{None, Several, Whole};
        let one = Selection::One;
        let max = u64::MAX;
        let far = format!("bytes={max}-{max}");
        let beyond = "bytes=0-99999999999999999999999999";
        let many =
            format!("bytes={}", (0..33).map(|at| format!("{0}-{0}", at * 200)).collect::<Vec<_>>().join(","));
        let cases: &[(&str, u64, Selection)] = &[
            ("bytes=0-0", 1000, one(0..1)),
            ("bytes=0-499", 1000, one(0..500)),
            ("bytes=500-", 1000, one(500..1000)),
            ("bytes=-1", 1000, one(999..1000)),
            ("bytes=-2000", 1000, one(0..1000)),
            ("bytes=999-2000", 1000, one(999..1000)),
            ("BYTES=0-0", 1000, one(0..1)),
            ("bytes= 0-0 , ", 1000, one(0..1)),
            (beyond, 1000, one(0..1000)),
            // None of it exists.
            ("bytes=1000-", 1000, None),
            ("bytes=1000-1001", 1000, None),
            ("bytes=-0", 1000, None),
            (&far, 1000, None),
            (&far, max, None),
            ("bytes=0-", 0, None),
            ("bytes=-5", 0, Whole),
            // Several.
            ("bytes=0-0,500-500", 1000, Several(vec![0..1, 500..501])),
            ("bytes=500-500,0-0", 1000, Several(vec![500..501, 0..1])),
            ("bytes=0-0,-1", 1000, Several(vec![0..1, 999..1000])),
            ("bytes=0-0,2000-", 1000, one(0..1)),
            // Overlapping, touching or near ones are one.
            ("bytes=0-99,50-149", 1000, one(0..150)),
            ("bytes=0-99,100-199", 1000, one(0..200)),
            ("bytes=0-99,150-199", 1000, one(0..200)),
            ("bytes=0-,0-,0-,0-,0-", 1000, one(0..1000)),
            ("bytes=900-,0-0,950-", 1000, Several(vec![0..1, 900..1000])),
            // What is not understood is ignored.
            ("", 1000, Whole),
            ("bytes", 1000, Whole),
            ("bytes=", 1000, Whole),
            ("bytes=,", 1000, Whole),
            ("bytes=-", 1000, Whole),
            ("bytes=a-b", 1000, Whole),
            ("bytes=1-0", 1000, Whole),
            ("bytes=0-0,5-4", 1000, Whole),
            ("bytes=+1-2", 1000, Whole),
            ("bytes=1 - 2", 1000, Whole),
            ("bytes=1-2-3", 1000, Whole),
            ("bytes=--1", 1000, Whole),
            ("bytes=0x1-2", 1000, Whole),
            ("lines=0-1", 1000, Whole),
            ("bytes 0-1", 1000, Whole),
            (&many, 10_000, Whole),
        ];
        for (value, length, expected) in cases {
            assert_eq!(select(value, *length), *expected, "{value} of {length}");
        }
        let twice = [("Range", "bytes=0-0"), ("Range", "bytes=1-1")]
            .map(|(name, value)| httparse::Header { name, value: value.as_bytes() });
        assert_eq!(Selection::read(Headers::new(&twice), 10), Selection::Whole);
    }

    proptest! {
        #[test]
        fn what_is_selected_exists_and_is_never_sent_twice(
            value in "bytes=((0|[1-9][0-9]{0,20})?-([0-9]{0,21})?,?){0,40}",
            length in prop_oneof![0..2000_u64, Just(u64::MAX), any::<u64>()],
        ) {
            let ranges = match select(&value, length) {
                Selection::Whole | Selection::None => Vec::new(),
                Selection::One(range) => vec![range],
                Selection::Several(ranges) => ranges,
            };
            prop_assert!(ranges.len() <= RANGES_MAX);
            for (at, range) in ranges.iter().enumerate() {
                prop_assert!(range.start < range.end && range.end <= length);
                for other in &ranges[at + 1..] {
                    prop_assert!(range.end <= other.start || other.end <= range.start);
                }
            }
        }

        #[test]
        fn one_plain_range_is_exactly_the_octets_it_names(first in 0..3000_u64, more in 0..3000_u64, length in 0..3000_u64) {
            let last = first + more;
            let expected = if first >= length { Selection::None } else { Selection::One(first..length.min(last + 1)) };
            prop_assert_eq!(select(&format!("bytes={first}-{last}"), length), expected);
        }
    }
}
