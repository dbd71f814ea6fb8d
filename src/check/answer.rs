//! Answers as the checker has them: read leniently, kept as they came.

/// How a connection ended, as seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// End of file.
    Closed,
    /// ECONNRESET or EPIPE.
    Reset,
}

/// How the end of a body was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyEnd {
    /// The message can have no body (HEAD, 1xx, 204, 304).
    NoBody,
    /// Content-Length octets came.
    Length,
    /// The last chunk came.
    Chunked,
    /// The connection was closed and nothing else marked the end.
    Close,
    /// The connection ended early.
    Cut(End),
    /// It never came.
    Waiting,
    /// The rule's own time was over: says nothing about the server.
    OutOfTime,
    /// Chunked, but not by the grammar.
    BadChunk,
}

/// The status line and the fields.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) status: u16,
    /// First line without its line end.
    pub(super) line: Vec<u8>,
    /// Lines after the first, without line ends, as they came.
    pub(super) lines: Vec<Vec<u8>>,
    /// Names in lower case, values trimmed.
    pub(super) fields: Vec<(String, String)>,
    /// Everything up to and including the blank line.
    pub(super) raw: Vec<u8>,
}

impl Head {
    /// The first value of a field.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// All values of a field.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether a comma-separated field holds a token, in any case.
    pub(super) fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name).flat_map(|v| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case(token))
    }

    /// Whether the status line names HTTP/1.1, leniently.
    pub(super) fn is_11(&self) -> bool {
        self.line.split(|b| *b == b' ').next().is_some_and(|v| v.ends_with(b"1.1"))
    }

    /// What the fields say about the connection: `true` if it will be kept open.
    pub(super) fn says_keep(&self) -> bool {
        if self.has_token("connection", "close") {
            return false;
        }
        self.is_11() || self.has_token("connection", "keep-alive")
    }

    /// Content-Length, if it is a number.
    pub(super) fn length(&self) -> Option<u64> {
        self.get("content-length").and_then(|v| v.parse().ok())
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
    pub(super) end: BodyEnd,
    /// The 1xx answers that came before.
    pub(super) interim: Vec<u16>,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.head.status
    }

    /// Whether the body had no end at all: neither a length, nor chunks, nor the end of the connection.
    pub(super) fn is_unending(&self) -> bool {
        self.end == BodyEnd::Waiting
            && self.head.length().is_none()
            && !self.head.has_token("transfer-encoding", "chunked")
    }

    /// Whether the body came to the end that the head promised.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.end, BodyEnd::NoBody | BodyEnd::Length | BodyEnd::Chunked | BodyEnd::Close)
    }
}

/// Where the head ends: after CRLFCRLF or, leniently, LFLF and CRLF LF.
pub(super) fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let from = from.min(bytes.len());
    let tail = bytes.get(from..)?;
    let mut at = 0;
    while let Some(lf) = tail.get(at..)?.iter().position(|b| *b == b'\n') {
        let after = at + lf + 1;
        let rest = tail.get(after..)?;
        if rest.starts_with(b"\r\n") {
            return Some(from + after + 2);
        }
        if rest.starts_with(b"\n") {
            return Some(from + after + 1);
        }
        at = after;
    }
    None
}

/// Reads a head leniently; `None` if no status code can be found in its first line.
pub(super) fn parse_head(raw: Vec<u8>) -> Option<Head> {
    let mut lines = raw.split(|b| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l).to_vec());
    let line = lines.next()?;
    if !line.starts_with(b"HTTP") {
        return None;
    }
    let code =
        line.split(|b| *b == b' ').find(|t| !t.is_empty() && !t.starts_with(b"HTTP") && t[0] != b'/')?;
    let status: u16 = std::str::from_utf8(code).ok()?.parse().ok()?;
    if !(100..1000).contains(&status) {
        return None;
    }
    let lines: Vec<Vec<u8>> = lines.take_while(|l| !l.is_empty()).collect();
    let fields = lines
        .iter()
        .filter_map(|l| {
            let text = String::from_utf8_lossy(l);
            let (name, value) = text.split_once(':')?;
            Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect();
    Some(Head { status, line, lines, fields, raw })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_at_the_first_blank_line_however_it_is_written() {
        assert_eq!(head_end(b"a\r\n\r\nb", 0), Some(5));
        assert_eq!(head_end(b"a\n\nb", 0), Some(3));
        assert_eq!(head_end(b"a\r\n\nb", 0), Some(4));
        assert_eq!(head_end(b"a\r\nb\r\n", 0), None);
        assert_eq!(head_end(b"aaaa\r\n\r\n", 4), Some(8));
    }

    #[test]
    fn a_flawed_status_line_is_still_read() {
        let head = parse_head(b"HTTP:/1.1 200 OK\r\nA : b\r\n\r\n".to_vec()).expect("readable");
        assert_eq!(head.status, 200);
        assert_eq!(head.get("a"), Some("b"));
        assert!(parse_head(b"<html>\r\n\r\n".to_vec()).is_none());
        assert!(parse_head(b"HTTP/1.1 OK\r\n\r\n".to_vec()).is_none());
    }

    #[test]
    fn persistence_follows_version_and_connection() {
        let head = |raw: &[u8]| parse_head(raw.to_vec()).expect("readable");
        assert!(head(b"HTTP/1.1 200 OK\r\n\r\n").says_keep());
        assert!(!head(b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\n\r\n").says_keep());
        assert!(!head(b"HTTP/1.0 200 OK\r\n\r\n").says_keep());
        assert!(head(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n").says_keep());
    }
}
