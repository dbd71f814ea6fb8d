//! Reading past a request body: by length or by chunks (RFC 9112 §6.3, §7.1).
//!
//! A file server has no use for bodies; it must know exactly where they end, or the next request on the
//! connection would begin in the wrong place. The octets are looked at once and never kept.

use super::limits::Limits;
use super::request::Body;
use super::request_error::RequestError;

/// Where in a body the next octet belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BodyReader {
    /// So many octets to go.
    Length(u64),
    /// In chunks: what is expected next, and what has been spent of the limits.
    Chunked { expect: Expect, data: u64, overhead: usize },
}

/// The grammar of RFC 9112 §7.1, one octet at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expect {
    /// A hexadecimal digit of a chunk size; how many came already.
    Size {
        size: u64,
        digits: u8,
    },
    /// White space before a `;`.
    BeforeExtension {
        size: u64,
    },
    /// Extensions, which are read past.
    Extension {
        size: u64,
    },
    SizeLineFeed {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataReturn,
    DataLineFeed,
    /// The first octet of a trailer line, or of the empty line that ends it all.
    TrailerLine,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    LastLineFeed,
}

impl BodyReader {
    pub(super) const fn new(body: Body) -> Self {
        match body {
            Body::Length(length) => Self::Length(length),
            Body::Chunked => {
                Self::Chunked { expect: Expect::Size { size: 0, digits: 0 }, data: 0, overhead: 0 }
            }
        }
    }

    /// Reads past `bytes`. `Ok(Some(n))`: the body ends after the first `n` of them. `Ok(None)`: all of them
    /// belong to it and more is to come.
    pub(super) fn feed(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, RequestError> {
        match self {
            Self::Length(left) => {
                let here = (*left).min(bytes.len() as u64);
                *left -= here;
                Ok((*left == 0).then_some(here as usize))
            }
            Self::Chunked { expect, data, overhead } => {
                let mut at = 0;
                while let Some(&octet) = bytes.get(at) {
                    if let Expect::Data { left } = expect {
                        let here = (*left).min((bytes.len() - at) as u64);
                        *left -= here;
                        at += here as usize;
                        if *left == 0 {
                            *expect = Expect::DataReturn;
                        }
                        continue;
                    }
                    at += 1;
                    *overhead += 1;
                    match expect.next(octet)? {
                        None => return Ok(Some(at)),
                        Some(Expect::Data { left }) => {
                            // A chunk announces its size: refuse before reading it. Its framing is paid for.
                            *data = data.saturating_add(left);
                            *overhead = 0;
                            if *data > limits.body_bytes {
                                return Err(RequestError::BodyTooLarge);
                            }
                            *expect = Expect::Data { left };
                        }
                        Some(next) => *expect = next,
                    }
                    // Extensions and trailers are octets that somebody can make us read for nothing.
                    if *overhead > limits.head_bytes {
                        return Err(RequestError::HeadTooLarge);
                    }
                }
                Ok(None)
            }
        }
    }
}

impl Expect {
    /// The state after this octet; `None` when it was the last of the body.
    fn next(self, octet: u8) -> Result<Option<Self>, RequestError> {
        Ok(Some(match (self, octet) {
            (Self::Size { size, digits }, _) if octet.is_ascii_hexdigit() && digits < 16 => {
                let digit = (octet as char).to_digit(16).map_or(0, u64::from);
                Self::Size { size: size << 4 | digit, digits: digits + 1 }
            }
            (Self::Size { size, digits: 1.. } | Self::Extension { size }, b'\r') => {
                Self::SizeLineFeed { size }
            }
            (Self::Size { size, digits: 1.. } | Self::BeforeExtension { size }, b';') => {
                Self::Extension { size }
            }
            (Self::Size { size, digits: 1.. } | Self::BeforeExtension { size }, b' ' | b'\t') => {
                Self::BeforeExtension { size }
            }
            (Self::Extension { size }, _) if is_text(octet) => Self::Extension { size },
            (Self::SizeLineFeed { size: 0 }, b'\n') => Self::TrailerLine,
            (Self::SizeLineFeed { size }, b'\n') => Self::Data { left: size },
            (Self::DataReturn, b'\r') => Self::DataLineFeed,
            (Self::DataLineFeed, b'\n') => Self::Size { size: 0, digits: 0 },
            (Self::TrailerLine, b'\r') => Self::LastLineFeed,
            (Self::TrailerLine | Self::TrailerName, _) if is_token(octet) => Self::TrailerName,
            (Self::TrailerName, b':') => Self::TrailerValue,
            (Self::TrailerValue, b'\r') => Self::TrailerLineFeed,
            (Self::TrailerValue, _) if is_text(octet) => Self::TrailerValue,
            (Self::TrailerLineFeed, b'\n') => Self::TrailerLine,
            (Self::LastLineFeed, b'\n') => return Ok(None),
            _ => return Err(RequestError::BadChunk),
        }))
    }
}

/// `tchar` (RFC 9110 §5.6.2).
const fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || matches!(
            octet,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Visible, blank or beyond ASCII: what may stand in a value.
const fn is_text(octet: u8) -> bool {
    octet == b'\t' || (octet >= b' ' && octet != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds whole and octet by octet; both must agree.
    fn read(bytes: &[u8], limits: &Limits) -> Result<Option<usize>, RequestError> {
        let whole = BodyReader::new(Body::Chunked).feed(bytes, limits);
        let mut reader = BodyReader::new(Body::Chunked);
        let mut dribbled = Ok(None);
        for at in 0..bytes.len() {
            dribbled = reader.feed(&bytes[at..=at], limits).map(|end| end.map(|n| at + n));
            if dribbled != Ok(None) {
                break;
            }
        }
        assert_eq!(whole, dribbled, "{}", bytes.escape_ascii());
        whole
    }

    #[test]
    fn chunks_end_where_the_grammar_says() {
        let limits = Limits::default();
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "00005\r\nhello\r\n000\r\n\r\n",
            "A;name=value;other=\"x;y\"\r\n0123456789\r\n0\r\n\r\n",
            "3 ;x\r\nabc\r\n0\r\nTrailer: value\r\nX:\r\n\r\n",
        ] {
            assert_eq!(read(body.as_bytes(), &limits), Ok(Some(body.len())), "{body:?}");
            let glued = format!("{body}GET / HTTP/1.1\r\n");
            assert_eq!(read(glued.as_bytes(), &limits), Ok(Some(body.len())), "{glued:?}");
        }
    }

    #[test]
    fn malformed_chunks_are_refused() {
        let limits = Limits::default();
        for body in [
            "\r\n",
            "x\r\n",
            "5\nhello",
            "5\r\nhelloX",
            "5\r\nhello\n",
            "-1\r\n",
            "0x5\r\n",
            "5 \r\n",
            ";x\r\n",
            "11111111111111111\r\n",
            "0\r\n\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\n folded: x\r\n\r\n",
            "5;a\nb\r\n",
        ] {
            assert_eq!(read(body.as_bytes(), &limits), Err(RequestError::BadChunk), "{body:?}");
        }
    }

    #[test]
    fn chunked_bodies_are_bounded_in_data_and_in_framing() {
        let limits = Limits { body_bytes: 10, head_bytes: 64, ..Limits::default() };
        assert_eq!(read(b"b\r\n", &limits), Err(RequestError::BodyTooLarge));
        assert_eq!(read(b"6\r\n123456\r\n5\r\n", &limits), Err(RequestError::BodyTooLarge));
        assert_eq!(read(b"ffffffffffffffff\r\n", &limits), Err(RequestError::BodyTooLarge));
        let endless = format!("1;{}", "x".repeat(100));
        assert_eq!(read(endless.as_bytes(), &limits), Err(RequestError::HeadTooLarge));
        let trailers = format!("0\r\n{}", "A: b\r\n".repeat(100));
        assert_eq!(read(trailers.as_bytes(), &limits), Err(RequestError::HeadTooLarge));
    }

    #[test]
    fn a_length_is_counted_not_trusted() {
        let limits = Limits::default();
        let mut reader = BodyReader::new(Body::Length(5));
        assert_eq!(reader.feed(b"abc", &limits), Ok(None));
        assert_eq!(reader.feed(b"deGET", &limits), Ok(Some(2)));
        assert_eq!(BodyReader::new(Body::Length(0)).feed(b"", &limits), Ok(Some(0)));
    }
}
