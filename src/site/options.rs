//! What an operator may choose about the content, and the check of it.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Everything that can be chosen. Plain data; [`super::Site::open`] checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The folder to serve. Should another take its place (built anew, or a link switched), that one is served within
    /// a second.
    pub root: PathBuf,
    /// What a directory answers with, the first that exists. Default: `index.html`.
    pub index: Vec<String>,
    /// Answer addresses that do not exist with the root's index, for programs that route in the browser. Only
    /// where a page can be meant: the last segment has no dot, or the client names `text/html` in Accept, so
    /// that a missing script stays a 404. Default: off.
    pub spa: bool,
    /// List a directory that has no index. Off: it is 404, as if it did not exist. Default: on.
    pub listing: bool,
    /// Most names of one directory that a listing shows; it says so when there are more. Default 2,000, which
    /// takes about 4 ms, while every client waits.
    pub listing_entries: usize,
    /// Serve names that begin with a dot; `/.well-known/` is always served (RFC 8615). Default: off.
    pub hidden: bool,
    /// Follow symbolic links out of the root. Default: off; links that stay inside are always followed.
    pub follow_symlinks: bool,
    /// Serve `name.br`, `name.zst`, `name.gz` in place of `name` to clients that accept them. Default: on.
    pub precompressed: bool,
    /// Compress text with gzip, once per file version, for clients that accept it. Default: on.
    pub compress: bool,
    /// Fields for every answer, each `Name: value`. Default: none.
    pub headers: Vec<String>,
    /// The origin that other sites' scripts may read from here (`*` for any). Default: none.
    pub cors: Option<String>,
    /// The value of Cache-Control on files. Default: none; caches then ask again, by the validators.
    pub cache_control: Option<String>,
    /// Media types that differ from the usual: (extension without its dot, type).
    pub mime: Vec<(String, String)>,
    /// What the cache may hold.
    pub cache: CacheLimits,
    /// Let the kernel tell what changes (Linux, inotify(7)) instead of looking at each file for each request. Off where
    /// a site is copied by fork(2): each copy would need what a user has 128 of. Default: on.
    pub watch: bool,
}

impl Options {
    /// The defaults, for this folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            index: vec!["index.html".to_owned()],
            spa: false,
            listing: true,
            listing_entries: 2_000,
            hidden: false,
            follow_symlinks: false,
            precompressed: true,
            compress: true,
            headers: Vec::new(),
            cors: None,
            cache_control: None,
            mime: Vec::new(),
            cache: CacheLimits::default(),
            watch: true,
        }
    }
}

/// What the cache may hold. Answers still on their way hold what they send besides: at most one file each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Octets of file contents, fields and names. Default 64 MiB: a large site's pages and scripts. 0 turns the
    /// cache off.
    pub memory_bytes: usize,
    /// Largest file kept in memory; larger ones are kept as open handles. Default 64 KiB: a file of that size is
    /// read in about 20 µs, and sent in one write. At most [`CacheLimits::FILE_BYTES_MAX`].
    pub file_bytes: usize,
    /// Files. Default 4,096; each costs about 1 KiB besides its content.
    pub entries: usize,
    /// Open handles. Default 128, an eighth of the 1,024 descriptors that a process usually gets: the rest is for
    /// connections.
    pub handles: usize,
}

impl CacheLimits {
    /// The most that [`CacheLimits::file_bytes`] may be: a file is read in one go while every client waits, and
    /// 1 MiB takes about 0.3 ms.
    pub const FILE_BYTES_MAX: usize = 1024 * 1024;
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { memory_bytes: 64 * 1024 * 1024, file_bytes: 64 * 1024, entries: 4_096, handles: 128 }
    }
}

/// Why a site could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum SiteError {
    /// The folder cannot be opened.
    Root(PathBuf, io::Error),
    /// It is something else than a folder.
    NotADirectory(PathBuf),
    /// An extra field cannot be sent; with the reason.
    Header(String, &'static str),
    /// An index name that is a path, hidden or empty.
    Index(String),
    /// An extension or media type that cannot be sent.
    Mime(String, String),
    /// A cache limit that would stop the loop.
    FileBytes(usize),
}

impl fmt::Display for SiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(path, error) => {
                write!(f, "cannot open the folder {}: {error}", path.display())?;
                if error.kind() == io::ErrorKind::NotFound {
                    f.write_str(" (give the folder to serve as the argument)")?;
                }
                Ok(())
            }
            Self::NotADirectory(path) => {
                write!(f, "{} is not a folder; give the folder that holds it", path.display())
            }
            Self::Header(line, why) => write!(f, "cannot send the header {line:?}: {why}"),
            Self::Index(name) => {
                write!(f, "{name:?} cannot be an index: it must be the plain name of a file")
            }
            Self::Mime(extension, kind) => write!(
                f,
                "cannot use the media type {kind:?} for {extension:?}: write it as ext=type/subtype, without the dot"
            ),
            Self::FileBytes(bytes) => write!(
                f,
                "files of {bytes} bytes cannot be kept in memory: the most is {} bytes, or the loop would stand still",
                CacheLimits::FILE_BYTES_MAX
            ),
        }
    }
}

impl std::error::Error for SiteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Root(_, error) => Some(error),
            _ => None,
        }
    }
}

/// Fields that the server must write itself, because they say how the message is cut or what it is.
const OWN: [&str; 16] = [
    "accept-ranges",
    "allow",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "date",
    "etag",
    "keep-alive",
    "last-modified",
    "location",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
];

/// Reads `Name: value` (RFC 9110 §5.1, §5.5): a token, a colon, and text without control characters.
pub(super) fn parse_header(line: &str) -> Result<(&str, &str), SiteError> {
    let refuse = |why| Err(SiteError::Header(line.to_owned(), why));
    let Some((name, value)) = line.split_once(':') else {
        return refuse("write it as \"Name: value\"");
    };
    let value = value.trim_matches([' ', '\t']);
    if name.is_empty() || !name.bytes().all(is_token) {
        return refuse("a name has letters, digits and hyphens, and no space before the colon");
    }
    if !is_field_value(value) {
        return refuse("a value is one line without control characters");
    }
    let lower = name.to_ascii_lowercase();
    if OWN.contains(&lower.as_str()) {
        return refuse("the server writes this field itself");
    }
    match lower.as_str() {
        "content-type" => refuse("it would be wrong for most files; use --mime"),
        "cache-control" => refuse("use --cache-control, which leaves error pages alone"),
        name if name.starts_with("access-control-") => refuse("use --cors"),
        _ => Ok((name, value)),
    }
}

/// Whether this may stand in a field as its value: visible ASCII, spaces, tabs, and UTF-8 as obs-text.
pub(super) fn is_field_value(value: &str) -> bool {
    !value.is_empty() && !value.bytes().any(|octet| matches!(octet, 0..=8 | 10..=31 | 127))
}

/// RFC 9110 §5.6.2.
pub(super) const fn is_token(octet: u8) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_would_break_a_message_are_refused() {
        assert!(matches!(parse_header("X-A: b"), Ok(("X-A", "b"))));
        assert!(matches!(parse_header("X-A:b"), Ok(("X-A", "b"))));
        for line in [
            "X-A",
            ": b",
            "X A: b",
            "X-A : b",
            "X-A: ",
            "X-A: b\r\nSet-Cookie: c",
            "X-A: b\nc",
            "X\r\n-A: b",
            "X-A: \0",
            "Content-Length: 5",
            "transfer-encoding: chunked",
            "Content-Type: text/html",
            "Cache-Control: no-store",
            "Access-Control-Allow-Origin: *",
            "é: b",
        ] {
            let error = parse_header(line).unwrap_err().to_string();
            assert!(error.starts_with("cannot send the header"), "{line}: {error}");
        }
    }
}
