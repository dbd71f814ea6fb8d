//! What can be wrong with a request: each with its status and a sentence for whoever sent it.

use super::response::Status;

/// What is wrong with a request; says which status it deserves. After any of these the connection is closed:
/// where the next request begins is no longer certain.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum RequestError {
    /// Not `method SP target SP version` (RFC 9112 §3).
    BadRequestLine,
    /// A line that does not end in CRLF (RFC 9112 §2.2).
    BareLineFeed,
    /// A field line that is not `name: value` (RFC 9112 §5), among them obs-fold and a space before the colon.
    BadHeader,
    /// A target in none of the four forms, or with octets that must be percent-encoded (RFC 9112 §3.2).
    BadTarget,
    /// No Host in HTTP/1.1, several, or one that is no host (RFC 9112 §3.2).
    BadHost,
    /// A Content-Length that is not a number (RFC 9112 §6.3).
    BadContentLength,
    /// Two Content-Lengths that differ (RFC 9112 §6.3).
    DifferingLengths,
    /// Content-Length and Transfer-Encoding together (RFC 9112 §6.1).
    LengthAndCoding,
    /// Transfer-Encoding in HTTP/1.0 (RFC 9112 §6.1).
    CodingInOldVersion,
    /// `chunked` not last, or twice (RFC 9112 §6.1).
    ChunkedNotLast,
    /// A transfer coding other than `chunked` (RFC 9112 §6.1).
    UnknownCoding,
    /// A chunk that is not what RFC 9112 §7.1 says.
    BadChunk,
    /// A body longer than [`Limits::body_bytes`](super::Limits::body_bytes).
    BodyTooLarge,
    /// A target longer than [`Limits::target_bytes`](super::Limits::target_bytes).
    TargetTooLong,
    /// A header section longer than [`Limits::head_bytes`](super::Limits::head_bytes).
    HeadTooLarge,
    /// More fields than [`Limits::header_count`](super::Limits::header_count).
    TooManyHeaders,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// An expectation other than `100-continue` (RFC 9110 §10.1.1).
    UnknownExpectation,
    /// The head took longer than [`Limits::header_timeout`](super::Limits::header_timeout).
    HeadTimeout,
    /// The body came more slowly than [`Limits::min_rate`](super::Limits::min_rate).
    BodyTimeout,
}

impl RequestError {
    /// The status code to answer with.
    pub const fn status(self) -> Status {
        match self {
            Self::BodyTooLarge => Status::CONTENT_TOO_LARGE,
            Self::TargetTooLong => Status::URI_TOO_LONG,
            Self::HeadTooLarge | Self::TooManyHeaders => Status::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Version => Status::HTTP_VERSION_NOT_SUPPORTED,
            Self::UnknownCoding => Status::NOT_IMPLEMENTED,
            Self::UnknownExpectation => Status::EXPECTATION_FAILED,
            Self::HeadTimeout | Self::BodyTimeout => Status::REQUEST_TIMEOUT,
            _ => Status::BAD_REQUEST,
        }
    }

    /// One sentence for the person who sent it.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::BadRequestLine => "The request line is not \"method target HTTP/1.1\" with single spaces.",
            Self::BareLineFeed => "A line ends in LF alone; HTTP lines end in CRLF.",
            Self::BadHeader => "A header line is not \"Name: value\".",
            Self::BadTarget => {
                "The request target is malformed or holds octets that must be percent-encoded."
            }
            Self::BadHost => "HTTP/1.1 needs exactly one valid Host field.",
            Self::BadContentLength => "Content-Length is not a number.",
            Self::DifferingLengths => "There are several Content-Lengths and they differ.",
            Self::LengthAndCoding => "Content-Length and Transfer-Encoding exclude each other.",
            Self::CodingInOldVersion => "HTTP/1.0 has no Transfer-Encoding.",
            Self::ChunkedNotLast => "\"chunked\" must be the last transfer coding, once.",
            Self::UnknownCoding => "The only transfer coding known here is \"chunked\".",
            Self::BadChunk => "A chunk of the body is malformed.",
            Self::BodyTooLarge => "The request body is larger than this server reads.",
            Self::TargetTooLong => "The request target is longer than this server reads.",
            Self::HeadTooLarge => "The header section is larger than this server reads.",
            Self::TooManyHeaders => "There are more header fields than this server reads.",
            Self::Version => "This server speaks HTTP/1.0 and HTTP/1.1.",
            Self::UnknownExpectation => "The only expectation known here is \"100-continue\".",
            Self::HeadTimeout => "The request did not arrive in time.",
            Self::BodyTimeout => "The request body came too slowly.",
        }
    }
}

impl std::fmt::Display for RequestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.explain())
    }
}

impl std::error::Error for RequestError {}
