//! What a line looks like. Whatever a client sends, it can neither forge a second line nor talk to a terminal: octets
//! that are not printable are written as escapes.

use std::io::Write;
use std::str::FromStr;

use crate::http::{HttpDate, Request};
use crate::service::Peer;

/// The shape of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// NCSA common log format with Referer and User-Agent behind, as Apache's `combined` and nginx write it.
    #[default]
    Combined,
    /// NCSA common log format.
    Clf,
    /// One JSON object a line: `time` (RFC 3339), `peer`, `method`, `target`, `version`, `status`, `bytes`, `referer`,
    /// `user_agent`; `null` for what was not there. The request's three are `null` where it could not be read.
    Json,
}

impl std::fmt::Display for LogFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Combined => "combined",
            Self::Clf => "clf",
            Self::Json => "json",
        })
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "combined" => Ok(Self::Combined),
            "clf" | "common" => Ok(Self::Clf),
            "json" => Ok(Self::Json),
            _ => Err("expected combined, clf or json".to_owned()),
        }
    }
}

impl LogFormat {
    /// The time as this format has it, from "Sun, 06 Nov 1994 08:49:37 GMT".
    pub(super) fn push_time(self, out: &mut Vec<u8>, date: &HttpDate) {
        let text = date.as_bytes();
        let (day, month, year, time) = (&text[5..7], &text[8..11], &text[12..16], &text[17..25]);
        if self == Self::Json {
            const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
            let number = MONTHS.chunks(3).position(|name| name == month).unwrap_or_default() + 1;
            out.extend_from_slice(year);
            let _ = write!(out, "-{number:02}-");
            out.extend_from_slice(day);
            out.push(b'T');
            out.extend_from_slice(time);
            out.push(b'Z');
            return;
        }
        for (piece, after) in [(day, &b"/"[..]), (month, b"/"), (year, b":"), (time, b" +0000")] {
            out.extend_from_slice(piece);
            out.extend_from_slice(after);
        }
    }

    /// Everything before the count of octets.
    pub(super) fn push_before(
        self,
        out: &mut Vec<u8>,
        time: &[u8],
        peer: &Peer,
        request: Option<&Request<'_>>,
        status: u16,
    ) {
        if self == Self::Json {
            out.extend_from_slice(b"{\"time\":\"");
            out.extend_from_slice(time);
            let _ = write!(out, "\",\"peer\":\"{peer}\"");
            let request = request.map(|it| [it.method.as_str(), it.raw_target, it.version.as_str()]);
            for (at, name) in ["method", "target", "version"].into_iter().enumerate() {
                let value = request.and_then(|three| three.get(at).map(|text| text.as_bytes()));
                push_member(out, name, value);
            }
            let _ = write!(out, ",\"status\":{status},\"bytes\":");
            return;
        }
        let _ = write!(out, "{peer} - - [");
        out.extend_from_slice(time);
        out.extend_from_slice(b"] \"");
        match request {
            Some(request) => {
                push_escaped(out, request.method.as_str().as_bytes());
                out.push(b' ');
                push_escaped(out, request.raw_target.as_bytes());
                out.push(b' ');
                out.extend_from_slice(request.version.as_str().as_bytes());
            }
            None => out.push(b'-'),
        }
        let _ = write!(out, "\" {status} ");
    }

    /// The count of octets: `-` for none, but a number in JSON.
    pub(super) fn push_bytes(self, out: &mut Vec<u8>, bytes: u64) {
        if bytes == 0 && self != Self::Json {
            out.push(b'-');
        } else {
            let _ = write!(out, "{bytes}");
        }
    }

    /// Everything behind the count of octets, and the end of the line.
    pub(super) fn push_after(self, out: &mut Vec<u8>, request: Option<&Request<'_>>) {
        let field = |name| request.and_then(|request| request.headers.get(name));
        match self {
            Self::Clf => {}
            Self::Combined => {
                for name in ["referer", "user-agent"] {
                    out.extend_from_slice(b" \"");
                    push_escaped(out, field(name).unwrap_or(b"-"));
                    out.push(b'"');
                }
            }
            Self::Json => {
                push_member(out, "referer", field("referer"));
                push_member(out, "user_agent", field("user-agent"));
                out.push(b'}');
            }
        }
        out.push(b'\n');
    }
}

fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    for &octet in text {
        match octet {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', octet]),
            b' '..=b'~' => out.push(octet),
            _ => {
                let _ = write!(out, "\\x{octet:02x}");
            }
        }
    }
}

/// A member behind others. JSON has no octets, only characters: UTF-8 is written as what it says, escaped beyond ASCII;
/// anything else as if it were ISO 8859-1, as field values once were (RFC 9110 §5.5).
fn push_member(out: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    let _ = write!(out, ",\"{name}\":");
    let Some(value) = value else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'"');
    match std::str::from_utf8(value) {
        Ok(text) => text.chars().for_each(|char| push_char(out, char)),
        Err(_) => value.iter().for_each(|&octet| push_char(out, char::from(octet))),
    }
    out.push(b'"');
}

fn push_char(out: &mut Vec<u8>, char: char) {
    match char {
        '"' | '\\' => out.extend_from_slice(&[b'\\', char as u8]),
        ' '..='~' => out.push(char as u8),
        _ => {
            for unit in char.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_as_they_are_written() {
        for format in [LogFormat::Combined, LogFormat::Clf, LogFormat::Json] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("xml".parse::<LogFormat>().is_err());
    }

    #[test]
    fn times_of_every_month() {
        for (seconds, combined, json) in [
            (0, "01/Jan/1970:00:00:00 +0000", "1970-01-01T00:00:00Z"),
            (784_111_777, "06/Nov/1994:08:49:37 +0000", "1994-11-06T08:49:37Z"),
            (1_709_208_000, "29/Feb/2024:12:00:00 +0000", "2024-02-29T12:00:00Z"),
            (1_735_689_599, "31/Dec/2024:23:59:59 +0000", "2024-12-31T23:59:59Z"),
        ] {
            let date = HttpDate::from_unix(seconds);
            for (format, expected) in [(LogFormat::Clf, combined), (LogFormat::Json, json)] {
                let mut out = Vec::new();
                format.push_time(&mut out, &date);
                assert_eq!(String::from_utf8(out).unwrap(), expected);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_octets_make_one_json_string_of_ascii(value: Vec<u8>) {
            let mut out = b"{\"a\":1".to_vec();
            push_member(&mut out, "b", Some(&value));
            out.push(b'}');
            proptest::prop_assert!(out.iter().all(|octet| (b' '..=b'~').contains(octet)));
            let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
            let expected = std::str::from_utf8(&value)
                .map_or_else(|_| value.iter().map(|&octet| char::from(octet)).collect(), str::to_owned);
            proptest::prop_assert_eq!(read["b"].as_str(), Some(expected.as_str()));
        }
    }
}
