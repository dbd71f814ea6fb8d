//! The head of an answer: status line, Date, Content-Length, Connection, and the service's own fields.

use std::time::{Duration, UNIX_EPOCH};

/// A status code (RFC 9110 §15).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Status(pub u16);

#[expect(missing_docs, reason = "each name is the reason phrase of RFC 9110")]
impl Status {
    pub const CONTINUE: Self = Self(100);
    pub const OK: Self = Self(200);
    pub const NO_CONTENT: Self = Self(204);
    pub const PARTIAL_CONTENT: Self = Self(206);
    pub const MOVED_PERMANENTLY: Self = Self(301);
    pub const NOT_MODIFIED: Self = Self(304);
    pub const PERMANENT_REDIRECT: Self = Self(308);
    pub const BAD_REQUEST: Self = Self(400);
    pub const UNAUTHORIZED: Self = Self(401);
    pub const FORBIDDEN: Self = Self(403);
    pub const NOT_FOUND: Self = Self(404);
    pub const METHOD_NOT_ALLOWED: Self = Self(405);
    pub const REQUEST_TIMEOUT: Self = Self(408);
    pub const PRECONDITION_FAILED: Self = Self(412);
    pub const CONTENT_TOO_LARGE: Self = Self(413);
    pub const URI_TOO_LONG: Self = Self(414);
    pub const RANGE_NOT_SATISFIABLE: Self = Self(416);
    pub const EXPECTATION_FAILED: Self = Self(417);
    pub const MISDIRECTED_REQUEST: Self = Self(421);
    pub const REQUEST_HEADER_FIELDS_TOO_LARGE: Self = Self(431);
    pub const INTERNAL_SERVER_ERROR: Self = Self(500);
    pub const NOT_IMPLEMENTED: Self = Self(501);
    pub const SERVICE_UNAVAILABLE: Self = Self(503);
    pub const HTTP_VERSION_NOT_SUPPORTED: Self = Self(505);
}

impl Status {
    /// The reason phrase (RFC 9110 §15), empty for a code that is not listed here.
    pub const fn reason(self) -> &'static str {
        match self.0 {
            100 => "Continue",
            200 => "OK",
            204 => "No Content",
            206 => "Partial Content",
            301 => "Moved Permanently",
            304 => "Not Modified",
            308 => "Permanent Redirect",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            412 => "Precondition Failed",
            413 => "Content Too Large",
            414 => "URI Too Long",
            416 => "Range Not Satisfiable",
            417 => "Expectation Failed",
            421 => "Misdirected Request",
            431 => "Request Header Fields Too Large",
            500 => "Internal Server Error",
            501 => "Not Implemented",
            503 => "Service Unavailable",
            505 => "HTTP Version Not Supported",
            _ => "",
        }
    }

    /// Whether an answer with this status never has a body, nor a Content-Length that would promise one
    /// (RFC 9112 §6.3 rule 1: 1xx, 204, 304).
    pub const fn forbids_body(self) -> bool {
        matches!(self.0, 100..=199 | 204 | 304)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.0, self.reason())
    }
}

/// What the service says of an answer before its body. The connection adds Date, Content-Length and Connection
/// itself: they depend on the request, the version and the framing, of which a service knows nothing.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The status code.
    pub status: Status,
    /// Complete field lines, each ended by CRLF: `Name: value\r\n…`. Must not contain Date, Content-Length,
    /// Connection or Transfer-Encoding.
    pub fields: &'a [u8],
}

/// The 29 octets of an IMF-fixdate (RFC 9110 §5.6.7), rendered once a second and copied into every head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HttpDate {
    seconds: u64,
    text: [u8; 29],
}

impl HttpDate {
    /// The date of so many seconds after the Unix epoch. Years past 9999, which the format cannot hold, are cut
    /// to the last second of 9999: a file from the far future must not end the server.
    pub fn from_unix(seconds: u64) -> Self {
        const END_OF_9999: u64 = 253_402_300_799;
        let seconds = seconds.min(END_OF_9999);
        let mut text = [b' '; 29];
        let date = httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
        for (to, from) in text.iter_mut().zip(date.bytes()) {
            *to = from;
        }
        Self { seconds, text }
    }

    /// Seconds after the Unix epoch.
    pub const fn seconds(&self) -> u64 {
        self.seconds
    }

    /// `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub const fn as_bytes(&self) -> &[u8; 29] {
        &self.text
    }

    /// Reads any of the three formats of RFC 9110 §5.6.7. `None` if it is none of them.
    pub fn parse(value: &[u8]) -> Option<u64> {
        let time = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
        Some(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

/// Appends a decimal number; the standard formatter costs several times as much.
#[expect(clippy::indexing_slicing, reason = "a u64 has at most 20 digits")]
pub(super) fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a whole head, blank line included. `content_length` is `None` where the status forbids it.
pub(super) fn push_head(
    out: &mut Vec<u8>,
    head: &ResponseHead<'_>,
    date: &HttpDate,
    content_length: Option<u64>,
    connection: Option<&'static str>,
) {
    if head.status.0 == 200 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\nDate: ");
    } else {
        out.extend_from_slice(b"HTTP/1.1 ");
        push_decimal(out, u64::from(head.status.0));
        out.push(b' ');
        out.extend_from_slice(head.status.reason().as_bytes());
        out.extend_from_slice(b"\r\nDate: ");
    }
    out.extend_from_slice(date.as_bytes());
    if let Some(length) = content_length {
        out.extend_from_slice(b"\r\nContent-Length: ");
        push_decimal(out, length);
    }
    if let Some(connection) = connection {
        out.extend_from_slice(b"\r\nConnection: ");
        out.extend_from_slice(connection.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(head.fields);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_from_the_far_future_is_cut_not_a_panic() {
        assert_eq!(HttpDate::from_unix(u64::MAX).as_bytes(), b"Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(HttpDate::from_unix(784_111_777).as_bytes(), b"Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn all_three_date_formats_are_read() {
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(HttpDate::parse(text.as_bytes()), Some(784_111_777), "{text}");
        }
        assert_eq!(HttpDate::parse(b"yesterday"), None);
    }

    #[test]
    fn decimals_are_what_the_formatter_writes() {
        for number in [0, 9, 10, 99, 100, 12_345, u64::MAX] {
            let mut out = Vec::new();
            push_decimal(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
