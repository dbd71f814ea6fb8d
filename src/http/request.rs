//! The request: its line and its framing (RFC 9112 §2, §3, §6).
//!
//! httparse splits lines and names; everything that decides where a message ends is decided here, strictly: a
//! message that two recipients could cut differently is refused (RFC 9112 §11.2, request smuggling).

use core::net::Ipv6Addr; // an address; sockets are not for this place

use super::headers::{HEADERS_MAX, HeaderStorage, Headers, list_members};
use super::limits::Limits;
use super::request_error::RequestError;

/// A request method (RFC 9110 §9.3). Names are case-sensitive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method<'a> {
    /// GET
    Get,
    /// HEAD
    Head,
    /// OPTIONS
    Options,
    /// A method that RFC 9110 or 5789 defines, but that a file does not have: 405.
    Known(&'a str),
    /// A method nobody has told us about: 501.
    Unknown(&'a str),
}

impl<'a> Method<'a> {
    fn parse(name: &'a str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "OPTIONS" => Self::Options,
            "POST" | "PUT" | "DELETE" | "CONNECT" | "TRACE" | "PATCH" => Self::Known(name),
            _ => Self::Unknown(name),
        }
    }

    /// The name as it came.
    pub const fn as_str(&self) -> &'a str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Known(name) | Self::Unknown(name) => name,
        }
    }
}

/// The protocol version of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// HTTP/1.0: closes after the answer unless `Connection: keep-alive` was asked for.
    Http10,
    /// HTTP/1.1: persistent unless `Connection: close`.
    Http11,
}

impl Version {
    /// `HTTP/1.0` or `HTTP/1.1`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

/// The request target in its four forms (RFC 9112 §3.2). Path and query are as they came: not decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target<'a> {
    /// `/path?query`, also what is left of an absolute form without its scheme and authority.
    Origin {
        /// Begins with `/`.
        path: &'a str,
        /// What follows the first `?`, without it.
        query: Option<&'a str>,
    },
    /// `*`, for OPTIONS only.
    Asterisk,
    /// `host:port`, for CONNECT only.
    Authority(&'a str),
}

impl<'a> Target<'a> {
    fn parse(text: &'a str, method: Method<'_>) -> Result<Self, RequestError> {
        // Without an early exit this compiles to vector code; targets are short.
        if !text.bytes().fold(true, |good, octet| good & is_target_octet(octet)) {
            return Err(RequestError::BadTarget);
        }
        if method.as_str() == "CONNECT" {
            return if is_authority(text.as_bytes()) && text.contains(':') && !text.starts_with(':') {
                Ok(Self::Authority(text))
            } else {
                Err(RequestError::BadTarget)
            };
        }
        if text.starts_with('/') {
            return Ok(Self::origin(text));
        }
        if text == "*" {
            return if method == Method::Options { Ok(Self::Asterisk) } else { Err(RequestError::BadTarget) };
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(RequestError::BadTarget);
        };
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(RequestError::BadTarget);
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        // RFC 9110 §4.2.1: a host that is empty names nobody.
        if authority.is_empty() || authority.starts_with(':') || !is_authority(authority.as_bytes()) {
            return Err(RequestError::BadTarget);
        }
        Ok(match path {
            // RFC 9112 §3.2.4: OPTIONS on an absolute form without a path means the server as a whole.
            "" if method == Method::Options => Self::Asterisk,
            "" => Self::Origin { path: "/", query: None },
            _ if path.starts_with('?') => Self::Origin { path: "/", query: path.get(1..) },
            _ => Self::origin(path),
        })
    }

    fn origin(text: &'a str) -> Self {
        match memchr::memchr(b'?', text.as_bytes()) {
            Some(at) => Self::Origin { path: text.get(..at).unwrap_or_default(), query: text.get(at + 1..) },
            None => Self::Origin { path: text, query: None },
        }
    }
}

/// One request, borrowed from the connection's buffer.
#[derive(Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: Method<'a>,
    /// The target, taken apart.
    pub target: Target<'a>,
    /// The target as it came, for logs.
    pub raw_target: &'a str,
    /// The version.
    pub version: Version,
    /// The header fields.
    pub headers: Headers<'a>,
}

impl Request<'_> {
    /// Whether it asks for an https resource, which is not to be had in the clear (RFC 9110 §7.4).
    pub fn is_for_tls(&self) -> bool {
        !self.raw_target.starts_with('/')
            && self.raw_target.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
    }
}

/// Where a request's body ends (RFC 9112 §6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Body {
    /// So many octets follow; 0 for a request without one.
    Length(u64),
    /// Chunks follow (RFC 9112 §7.1).
    Chunked,
}

/// What the connection must know to go on after this request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Framing {
    pub(super) head_bytes: usize,
    pub(super) body: Body,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
    pub(super) version: Version,
}

/// Parses a complete head: `bytes` begins with the request line (no leading empty lines) and contains the blank
/// line. Every line of it is known to end in CRLF.
pub(super) fn parse<'b>(
    bytes: &'b [u8],
    storage: &'b mut HeaderStorage<'b>,
    limits: &Limits,
) -> Result<(Request<'b>, Framing), RequestError> {
    let mut parsed = httparse::Request::new(&mut []);
    let head_bytes = match parsed.parse_with_uninit_headers(bytes, &mut storage.0) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Err(RequestError::BadRequestLine),
        Err(error) => return Err(explain(bytes, error)),
    };
    let (Some(method), Some(raw_target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(RequestError::BadRequestLine);
    };
    if raw_target.len() > limits.target_bytes {
        return Err(RequestError::TargetTooLong);
    }
    let fields: &'b [httparse::Header<'b>] = parsed.headers;
    if fields.len() > limits.header_count.min(HEADERS_MAX) {
        return Err(RequestError::TooManyHeaders);
    }
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let headers = Headers::new(fields);
    let method = Method::parse(method);
    let framing = framing(headers, version, head_bytes, limits)?;
    let target = Target::parse(raw_target, method)?;
    Ok((Request { method, target, raw_target, version, headers }, framing))
}

/// One pass over the fields: Host, Content-Length, Transfer-Encoding, Connection, Expect.
fn framing(
    headers: Headers<'_>,
    version: Version,
    head_bytes: usize,
    limits: &Limits,
) -> Result<Framing, RequestError> {
    let mut hosts = 0;
    let mut length: Option<u64> = None;
    let mut codings = TransferCodings::default();
    let (mut close, mut keep_alive, mut expects_continue) = (false, false, false);
    for (name, value) in headers.iter() {
        // By length first: most fields of a browser match none of these and cost one comparison.
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => {
                hosts += 1;
                if !is_authority(value) {
                    return Err(RequestError::BadHost);
                }
            }
            14 if name.eq_ignore_ascii_case("content-length") => content_length(value, &mut length)?,
            17 if name.eq_ignore_ascii_case("transfer-encoding") => codings.add(value)?,
            10 if name.eq_ignore_ascii_case("connection") => {
                for option in list_members(value) {
                    close |= option.eq_ignore_ascii_case(b"close");
                    keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            6 if name.eq_ignore_ascii_case("expect") && version == Version::Http11 => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(RequestError::UnknownExpectation);
                }
                expects_continue = true;
            }
            _ => {}
        }
    }
    // RFC 9112 §3.2: exactly one Host in 1.1; 1.0 had none, but two are two answers to one question.
    if hosts > 1 || (hosts == 0 && version == Version::Http11) {
        return Err(RequestError::BadHost);
    }
    let body = match (codings.count, length) {
        (0, None) => Body::Length(0),
        (0, Some(length)) if length > limits.body_bytes => return Err(RequestError::BodyTooLarge),
        (0, Some(length)) => Body::Length(length),
        // RFC 9112 §6.1: the two together, or chunks in 1.0, are how requests are smuggled.
        (_, Some(_)) => return Err(RequestError::LengthAndCoding),
        (_, None) if version == Version::Http10 => return Err(RequestError::CodingInOldVersion),
        (_, None) => codings.body()?,
    };
    let keep_alive = !close && (version == Version::Http11 || keep_alive);
    Ok(Framing { head_bytes, body, keep_alive, expects_continue, version })
}

/// RFC 9112 §6.3 rule 5: a list of equal numbers is that number; anything else cannot be framed.
fn content_length(value: &[u8], length: &mut Option<u64>) -> Result<(), RequestError> {
    let mut members = 0;
    for member in value.split(|&octet| octet == b',') {
        let member = member.trim_ascii();
        if member.is_empty() || !member.iter().all(u8::is_ascii_digit) {
            return Err(RequestError::BadContentLength);
        }
        // More digits than a u64 holds is a well-formed number that is too large.
        let number = member
            .iter()
            .try_fold(0u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
            .unwrap_or(u64::MAX);
        if length.is_some_and(|earlier| earlier != number) {
            return Err(RequestError::DifferingLengths);
        }
        *length = Some(number);
        members += 1;
    }
    debug_assert!(members > 0);
    Ok(())
}

/// The members of Transfer-Encoding, over all its fields.
#[derive(Default)]
struct TransferCodings {
    count: usize,
    chunked: usize,
    last_is_chunked: bool,
}

impl TransferCodings {
    fn add(&mut self, value: &[u8]) -> Result<(), RequestError> {
        let before = self.count;
        for coding in list_members(value) {
            self.count += 1;
            self.last_is_chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.chunked += usize::from(self.last_is_chunked);
        }
        // An empty field still says "there is a coding", and nobody knows which.
        if self.count == before { Err(RequestError::ChunkedNotLast) } else { Ok(()) }
    }

    fn body(&self) -> Result<Body, RequestError> {
        match (self.chunked, self.last_is_chunked) {
            (1, true) if self.count == 1 => Ok(Body::Chunked),
            (0, _) | (1, true) => Err(RequestError::UnknownCoding),
            _ => Err(RequestError::ChunkedNotLast),
        }
    }
}

/// Octets of a request target: RFC 3986 characters, and those that browsers leave as they are in a query
/// (`"<>[]\^`{|}`). Never controls, spaces or anything beyond ASCII, which must be percent-encoded.
const fn is_target_octet(octet: u8) -> bool {
    matches!(octet, 0x21..=0x7e) && octet != b'#'
}

/// `uri-host [":" port]` (RFC 3986 §3.2.2), possibly empty; no user information.
#[expect(clippy::indexing_slicing, reason = "an octet is always less than 256")]
fn is_authority(text: &[u8]) -> bool {
    if let Some(rest) = text.strip_prefix(b"[") {
        return is_in_brackets(rest);
    }
    let colon = text.iter().position(|&octet| octet == b':').unwrap_or(text.len());
    let (host, port) = text.split_at(colon);
    let port = port.get(1..).unwrap_or_default();
    port.iter().all(u8::is_ascii_digit)
        && (host.iter().all(|&octet| HOST[usize::from(octet)]) || is_encoded_name(host))
}

/// What follows `[`: an IPv6 address, or one of a kind yet to come (`v1.…`), and what follows that can only be a port.
/// Zones (`%25eth0`) mean something on one machine only; no name of a server has them.
#[cold]
fn is_in_brackets(text: &[u8]) -> bool {
    let mut halves = text.splitn(2, |&octet| octet == b']');
    let (Some(address), Some(rest)) = (halves.next(), halves.next()) else { return false };
    let port = match rest {
        [] => rest,
        [b':', port @ ..] => port,
        _ => return false,
    };
    let is_address = match address {
        [b'v' | b'V', future @ ..] => is_future_address(future),
        _ => str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok()),
    };
    is_address && port.iter().all(u8::is_ascii_digit)
}

#[expect(clippy::indexing_slicing, reason = "an octet is always less than 256")]
fn is_future_address(text: &[u8]) -> bool {
    let mut halves = text.splitn(2, |&octet| octet == b'.');
    let (Some(version), Some(address)) = (halves.next(), halves.next()) else { return false };
    let is_octet = |&octet: &u8| octet == b':' || HOST[usize::from(octet)];
    !version.is_empty()
        && version.iter().all(u8::is_ascii_hexdigit)
        && !address.is_empty()
        && address.iter().all(is_octet)
}

/// A reg-name with octets that are percent-encoded.
#[cold]
#[expect(clippy::indexing_slicing, reason = "an octet is always less than 256")]
fn is_encoded_name(mut name: &[u8]) -> bool {
    loop {
        name = match name {
            [] => return true,
            [b'%', one, two, rest @ ..] if one.is_ascii_hexdigit() && two.is_ascii_hexdigit() => rest,
            [octet, rest @ ..] if HOST[usize::from(*octet)] => rest,
            _ => return false,
        }
    }
}

/// The octets of a reg-name as they are (RFC 3986 §3.2.2), looked up because every request has them.
#[expect(clippy::indexing_slicing, reason = "made by the compiler; it would not build")]
static HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = (octet as u8).is_ascii_alphanumeric()
            || matches!(
                octet as u8,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b','
                    | b';'
                    | b'='
            );
        octet += 1;
    }
    table
};

/// What httparse could not read, for the person who sent it: it says where it stopped, not what stood there.
fn explain(bytes: &[u8], error: httparse::Error) -> RequestError {
    let line = bytes.split(|&octet| octet == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&octet| octet == b' ');
    let (Some(_), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return RequestError::BadRequestLine;
    };
    let [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] = version else {
        return RequestError::BadRequestLine;
    };
    match error {
        httparse::Error::TooManyHeaders => RequestError::TooManyHeaders,
        httparse::Error::Version => RequestError::Version,
        httparse::Error::Token if !target.iter().copied().all(is_target_octet) => RequestError::BadTarget,
        httparse::Error::Token => RequestError::BadRequestLine,
        _ => RequestError::BadHeader,
    }
}
