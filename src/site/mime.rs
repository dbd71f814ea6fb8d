//! Which media type a file has, by its extension and, for text, by whether it is UTF-8.
//!
//! Types are sent with `X-Content-Type-Options: nosniff`, so a wrong one is not put right by the browser.

use super::options::{SiteError, is_token};

/// A media type and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Media {
    /// The value of Content-Type, without a charset.
    pub(super) kind: String,
    /// Whether a charset belongs after it, if the octets are UTF-8.
    pub(super) text: bool,
    /// Whether compression may pay: not an image, a film or an archive, which are compressed already.
    pub(super) compressible: bool,
    /// Whether the type is a guess of last resort that the octets may improve.
    unknown: bool,
}

/// The operator's own types.
#[derive(Debug, Default)]
pub(super) struct Types {
    own: Vec<(String, String)>,
}

impl Types {
    /// Checks (extension, type) pairs.
    pub(super) fn new(own: &[(String, String)]) -> Result<Self, SiteError> {
        let mut types = Self::default();
        for (extension, kind) in own {
            let essence = kind.split(';').next().unwrap_or_default().trim();
            let valid = essence.split_once('/').is_some_and(|(major, minor)| {
                !major.is_empty() && !minor.is_empty() && major.bytes().chain(minor.bytes()).all(is_token)
            });
            let printable = kind.bytes().all(|octet| matches!(octet, b' '..=b'~'));
            let plain = !extension.is_empty() && !extension.contains(['.', '/']);
            if !(valid && printable && plain) {
                return Err(SiteError::Mime(extension.clone(), kind.clone()));
            }
            types.own.push((extension.to_lowercase(), kind.clone()));
        }
        Ok(types)
    }

    /// The type of a file of this name.
    pub(super) fn of(&self, name: &str) -> Media {
        let file = name.rsplit('/').next().unwrap_or(name);
        let extension = file.rsplit_once('.').map_or("", |(_, extension)| extension).to_lowercase();
        // The last word is the operator's.
        if let Some((_, kind)) = self.own.iter().rev().find(|(own, _)| *own == extension) {
            let text = is_text(kind) && !kind.contains(';');
            let compressible = is_compressible(kind);
            return Media { kind: kind.clone(), text, compressible, unknown: false };
        }
        let known = corrected(&extension)
            .map(str::to_owned)
            .or_else(|| mime_guess::from_ext(&extension).first_raw().map(str::to_owned));
        let unknown = known.is_none();
        let kind = known.unwrap_or_else(|| "application/octet-stream".to_owned());
        Media { text: is_text(&kind), compressible: is_compressible(&kind), kind, unknown }
    }
}

impl Media {
    /// The whole value of Content-Type. `utf8` says what the file's octets (or their beginning) look like.
    ///
    /// Text that is not UTF-8 gets no charset: its own `<meta charset>` or byte order mark then counts. A file
    /// without a known extension that reads as text (`LICENSE`, `Makefile`) is shown and not downloaded.
    pub(super) fn content_type(&self, utf8: bool) -> String {
        match self {
            Self { unknown: true, .. } if utf8 => "text/plain; charset=utf-8".to_owned(),
            Self { text: true, .. } if utf8 => format!("{}; charset=utf-8", self.kind),
            _ => self.kind.clone(),
        }
    }
}

/// Whether octets are UTF-8 text: no control characters but white space. A character cut off at the end is none
/// of our business, for only the beginning of a large file is looked at.
pub(super) fn is_utf8_text(octets: &[u8]) -> bool {
    let valid = match std::str::from_utf8(octets) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    valid && !octets.iter().any(|octet| matches!(octet, 0..=8 | 11 | 14..=26 | 28..=31 | 127))
}

/// Where the table of mime_guess is silent, dated, or thinks of something else than a web folder has.
fn corrected(extension: &str) -> Option<&'static str> {
    Some(match extension {
        // RFC 9239: text/javascript is the one name for it.
        "js" | "mjs" | "cjs" => "text/javascript",
        "md" | "markdown" => "text/markdown",
        "wasm" => "application/wasm",
        "webmanifest" => "application/manifest+json",
        "map" | "jsonl" | "ndjson" => "application/json",
        // RFC 9512.
        "yaml" | "yml" => "application/yaml",
        "gz" | "tgz" => "application/gzip",
        "zst" => "application/zstd",
        "br" => "application/octet-stream",
        "ico" => "image/x-icon",
        "opus" => "audio/ogg",
        "flac" => "audio/flac",
        "m4a" => "audio/mp4",
        "mkv" => "video/x-matroska",
        "vtt" => "text/vtt",
        "ts" => "video/mp2t",
        "m3u8" => "application/vnd.apple.mpegurl",
        // Sources are to be read, not to be run or saved.
        "rs" | "toml" | "lock" | "c" | "h" | "cc" | "cpp" | "hpp" | "go" | "py" | "rb" | "java" | "sh"
        | "tsx" | "jsx" | "vue" | "log" | "ini" | "cfg" | "conf" | "diff" | "patch" | "tex" | "adoc"
        | "rst" | "org" => "text/plain",
        _ => return None,
    })
}

/// Types whose charset is said outside of them. JSON, XML and SVG say theirs themselves (RFC 8259 §11, RFC 7303).
fn is_text(kind: &str) -> bool {
    kind.starts_with("text/") && !kind.starts_with("text/xml")
}

fn is_compressible(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or(kind).trim();
    kind.starts_with("text/")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || matches!(
            kind,
            "application/json"
                | "application/xml"
                | "application/yaml"
                | "application/javascript"
                | "application/wasm"
                | "application/rtf"
                | "application/octet-stream"
                | "image/svg+xml"
                | "image/x-icon"
                | "image/bmp"
                | "font/ttf"
                | "font/otf"
                | "application/vnd.ms-fontobject"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_what_a_browser_wants() {
        let types = Types::new(&[
            ("foo".into(), "text/x-foo".into()),
            ("TXT".into(), "text/plain; charset=gbk".into()),
        ])
        .unwrap();
        for (name, utf8, expected) in [
            ("index.html", true, "text/html; charset=utf-8"),
            ("index.html", false, "text/html"),
            ("a.htm", true, "text/html; charset=utf-8"),
            ("a.css", true, "text/css; charset=utf-8"),
            ("a.js", true, "text/javascript; charset=utf-8"),
            ("a.MJS", true, "text/javascript; charset=utf-8"),
            ("a.json", true, "application/json"),
            ("a.svg", true, "image/svg+xml"),
            ("a.xml", true, "text/xml"),
            ("a.wasm", false, "application/wasm"),
            ("a.md", true, "text/markdown; charset=utf-8"),
            ("a.png", false, "image/png"),
            ("a.webp", false, "image/webp"),
            ("a.avif", false, "image/avif"),
            ("a.woff2", false, "font/woff2"),
            ("a.mp4", false, "video/mp4"),
            ("a.pdf", false, "application/pdf"),
            ("a.tar.gz", false, "application/gzip"),
            ("LICENSE", true, "text/plain; charset=utf-8"),
            ("LICENSE", false, "application/octet-stream"),
            ("dir.html/LICENSE", false, "application/octet-stream"),
            ("a.foo", true, "text/x-foo; charset=utf-8"),
            ("a.txt", true, "text/plain; charset=gbk"),
            ("main.rs", true, "text/plain; charset=utf-8"),
        ] {
            assert_eq!(types.of(name).content_type(utf8), expected, "{name}");
        }
    }

    #[test]
    fn types_that_cannot_be_sent_are_refused() {
        for (extension, kind) in [
            ("x", "text"),
            ("x", "text/"),
            ("x", "/x"),
            ("x", "a/b\r\nc: d"),
            (".x", "a/b"),
            ("", "a/b"),
            ("x", "a b/c"),
        ] {
            assert!(Types::new(&[(extension.into(), kind.into())]).is_err(), "{extension} {kind}");
        }
    }

    #[test]
    fn text_is_told_from_octets() {
        assert!(is_utf8_text("中文\r\n\tx".as_bytes()));
        assert!(is_utf8_text(&"中".as_bytes()[..2]));
        assert!(is_utf8_text(b""));
        assert!(!is_utf8_text(b"\xd6\xd0\xce\xc4 GBK"));
        assert!(!is_utf8_text(b"\x7fELF\0"));
    }
}
