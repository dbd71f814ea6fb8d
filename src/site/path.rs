//! From the path of a request target to a name beneath the root, checked.
//!
//! The path is percent-decoded exactly once, and what comes out is judged, not what went in: `%2e%2e` is `..`,
//! and `%252e` is a file whose name has a percent sign in it. What cannot be a name at all is 400; what could be
//! one, but is not shown here, is 404, so that the answer does not tell whether it exists.
//!
//! This module never touches the disk.

use std::fmt;

/// The longest name of one file, in octets (NAME_MAX of every file system Linux has).
const NAME_MAX: usize = 255;

/// Why a path names nothing here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PathError {
    /// A `%` that is not followed by two hexadecimal digits (RFC 3986 §2.1).
    BadEscape,
    /// NUL or another control octet.
    Control,
    /// A backslash, `\` or `%5c`: to some systems a slash.
    Separator,
    /// A slash that hides in a segment, `%2f`: no file's name has one.
    EncodedSlash,
    /// `.` or `..`: a client resolves these before it asks (RFC 3986 §5.2.4).
    DotSegment,
    /// Not UTF-8 after decoding, overlong forms and surrogates among it.
    NotUtf8,
    /// Two slashes in a row. Served, `//` would give each file many addresses and relative links a wrong base.
    EmptySegment,
    /// A name that begins with a dot.
    Hidden,
    /// A name longer than any file system allows.
    TooLong,
}

impl fmt::Display for PathError {
    /// A sentence for whoever sent the path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadEscape => "The path has a % that is not followed by two hexadecimal digits.",
            Self::Control => "The path has a control character in it.",
            Self::Separator | Self::EncodedSlash => "The path has an encoded slash or a backslash in it.",
            Self::DotSegment => "The path has a \".\" or \"..\" segment in it.",
            Self::NotUtf8 => "The path is not UTF-8 after percent-decoding.",
            Self::EmptySegment | Self::Hidden | Self::TooLong => "There is nothing at this address.",
        })
    }
}

/// Decodes `path` (which begins with `/`) into `name`, which is emptied first: the name relative to the root,
/// without the first slash, with its last one if it had any. `name` is lent so that a request allocates nothing.
///
/// An error other than for an octet leaves all of the path decoded, for whoever can make something of it.
///
/// What comes out is UTF-8, has no empty, `.` or `..` segment, no backslash and no control octet, and is relative.
pub(super) fn decode(path: &str, hidden: bool, name: &mut Vec<u8>) -> Result<(), PathError> {
    name.clear();
    // Anything else would be an absolute form's authority gone astray; the protocol never hands it on.
    let Some(rest) = path.strip_prefix('/') else { return Err(PathError::DotSegment) };
    let mut octets = rest.bytes();
    let (mut ascii, mut encoded_slash) = (true, false);
    while let Some(octet) = octets.next() {
        let octet = match octet {
            b'%' => match (octets.next().and_then(hex), octets.next().and_then(hex)) {
                (Some(high), Some(low)) => {
                    let octet = high << 4 | low;
                    encoded_slash |= octet == b'/';
                    octet
                }
                _ => return Err(PathError::BadEscape),
            },
            octet => octet,
        };
        match octet {
            b'\\' => return Err(PathError::Separator),
            0..0x20 | 0x7f => return Err(PathError::Control),
            _ => ascii &= octet.is_ascii(),
        }
        name.push(octet);
    }
    if !ascii && std::str::from_utf8(name).is_err() {
        return Err(PathError::NotUtf8);
    }
    if name.is_empty() {
        return Ok(());
    }
    let segments = name.strip_suffix(b"/").unwrap_or(name);
    let mut checks = segments.split(|&octet| octet == b'/').enumerate();
    let checked = checks.try_for_each(|(at, segment)| check_segment(segment, at == 0, hidden));
    match checked {
        // A dot name stays one, however its slashes are written.
        Ok(()) | Err(PathError::EmptySegment | PathError::TooLong) if encoded_slash => {
            Err(PathError::EncodedSlash)
        }
        checked => checked,
    }
}

fn check_segment(segment: &[u8], first: bool, hidden: bool) -> Result<(), PathError> {
    match segment {
        [] => Err(PathError::EmptySegment),
        b"." | b".." => Err(PathError::DotSegment),
        // RFC 8615: the one dot name that exists to be asked for, and only at the top.
        b".well-known" if first => Ok(()),
        [b'.', ..] if !hidden => Err(PathError::Hidden),
        _ if segment.len() > NAME_MAX => Err(PathError::TooLong),
        _ => Ok(()),
    }
}

/// Whether a name found in a directory can be asked for, so that a listing shows no link that leads nowhere.
/// `top` says that the directory is the root.
pub(super) fn is_servable(name: &str, top: bool, hidden: bool) -> bool {
    check_segment(name.as_bytes(), top, hidden).is_ok()
        && !name.bytes().any(|octet| matches!(octet, 0..0x20 | 0x7f | b'\\' | b'/'))
}

/// Appends the percent-encoded form of a decoded name: slashes stay, and so does what RFC 3986 §2.3 calls
/// unreserved. The result has no character that means anything in a URL, in HTML or in a header field.
pub(super) fn encode(name: &[u8], out: &mut String) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let digit = |value: u8| HEX.get(usize::from(value & 15)).copied().unwrap_or('0');
    for &octet in name {
        if octet.is_ascii_alphanumeric() || b"-._~/".contains(&octet) {
            out.push(char::from(octet));
        } else {
            out.extend(['%', digit(octet >> 4), digit(octet)]);
        }
    }
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(path: &str) -> Result<String, PathError> {
        let mut name = b"left over".to_vec();
        decode(path, false, &mut name).map(|()| String::from_utf8(name).unwrap())
    }

    #[test]
    fn a_path_is_decoded_once_and_judged_by_what_comes_out() {
        let good = [
            ("/", ""),
            ("/a", "a"),
            ("/a/", "a/"),
            ("/a/b.txt", "a/b.txt"),
            ("/%61", "a"),
            ("/a%20b", "a b"),
            ("/a+b", "a+b"),
            ("/%e4%b8%ad%E6%96%87.html", "中文.html"),
            ("/a%252fb", "a%2fb"),
            ("/%25", "%"),
            ("/a:b", "a:b"),
            ("/a..b", "a..b"),
            ("/.well-known/acme-challenge/x", ".well-known/acme-challenge/x"),
            ("/.well-known/", ".well-known/"),
            ("/a%3Fb%23c", "a?b#c"),
            ("/C:", "C:"),
        ];
        for (path, name) in good {
            assert_eq!(decoded(path).as_deref(), Ok(name), "{path}");
        }
        let bad = [
            ("", PathError::DotSegment),
            ("a", PathError::DotSegment),
            ("/%", PathError::BadEscape),
            ("/%4", PathError::BadEscape),
            ("/%zz", PathError::BadEscape),
            ("/%4%31", PathError::BadEscape),
            ("/%+1", PathError::BadEscape),
            ("/..", PathError::DotSegment),
            ("/../etc/passwd", PathError::DotSegment),
            ("/a/../b", PathError::DotSegment),
            ("/a/..", PathError::DotSegment),
            ("/%2e%2e/b", PathError::DotSegment),
            ("/.%2E/b", PathError::DotSegment),
            ("/./a", PathError::DotSegment),
            ("/a/.", PathError::DotSegment),
            ("/..%2fa", PathError::DotSegment),
            ("/.git%2fconfig", PathError::Hidden),
            ("/a%2fb", PathError::EncodedSlash),
            ("/%2fevil.example", PathError::EncodedSlash),
            ("/a%2f%00", PathError::Control),
            ("/a%5cb", PathError::Separator),
            ("/..\\a", PathError::Separator),
            ("/a%00", PathError::Control),
            ("/a%0d%0ab", PathError::Control),
            ("/%7f", PathError::Control),
            ("/%c0%ae%c0%ae/", PathError::NotUtf8),
            ("/%e0%80%af", PathError::NotUtf8),
            ("/%ed%a0%80", PathError::NotUtf8),
            ("/%ff", PathError::NotUtf8),
            ("//", PathError::EmptySegment),
            ("//evil.example/", PathError::EmptySegment),
            ("/a//b", PathError::EmptySegment),
            ("/a//", PathError::EmptySegment),
            ("/.git/config", PathError::Hidden),
            ("/a/.htpasswd", PathError::Hidden),
            ("/%2egit/config", PathError::Hidden),
            ("/a/.well-known/x", PathError::Hidden),
            ("/.well-known/.x", PathError::Hidden),
            ("/.well-known2", PathError::Hidden),
            ("/...", PathError::Hidden),
        ];
        for (path, error) in bad {
            assert_eq!(decoded(path), Err(error), "{path}");
        }
        assert_eq!(decoded(&format!("/{}", "x".repeat(256))), Err(PathError::TooLong));
    }

    #[test]
    fn dot_names_are_given_out_only_when_asked_for_at_the_start() {
        let mut name = Vec::new();
        assert_eq!(decode("/.git/config", true, &mut name), Ok(()));
        assert_eq!(decode("/../config", true, &mut name), Err(PathError::DotSegment));
    }

    proptest! {
        #[test]
        fn no_path_leads_out_of_the_root(path in "/(\\.|/|%2e|%2F|%5c|\\\\|%00|%c0%ae|[a-c%]|%e4%b8%ad){0,12}") {
            for hidden in [false, true] {
                let mut name = Vec::new();
                if decode(&path, hidden, &mut name).is_ok() {
                    let text = std::str::from_utf8(&name).unwrap();
                    let relative = std::path::Path::new(text);
                    prop_assert!(relative.components().all(|part| matches!(part, std::path::Component::Normal(_))));
                    prop_assert!(!text.contains("//") && !text.starts_with('/') && !text.contains(['\0', '\\']));
                }
            }
        }

        #[test]
        fn encoding_and_decoding_a_name_gives_it_back(name in "[^./\\\\\\x00-\\x1f\\x7f][^/\\\\\\x00-\\x1f\\x7f]{0,40}") {
            let mut path = String::from("/");
            encode(name.as_bytes(), &mut path);
            prop_assert!(path.is_ascii());
            let mut back = Vec::new();
            prop_assert_eq!(decode(&path, false, &mut back), Ok(()));
            prop_assert_eq!(back, name.as_bytes());
            prop_assert!(is_servable(&name, false, false));
        }

        #[test]
        fn any_text_at_all_is_answered(path in ".*") {
            let _ = decode(&path, false, &mut Vec::new());
        }
    }
}
