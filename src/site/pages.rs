//! Small pages for what is not a file: errors and redirects.

use std::fmt::Write;

use super::config::Config;
use crate::http::Status;
use crate::service::{Content, Response};

/// What our own pages look like: the reader's fonts and the reader's choice of light or dark.
pub(super) const STYLE: &str = ":root{color-scheme:light dark}\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:3rem auto;padding:0 1rem}\
h1{font-size:1.4rem;font-weight:600}a{color:LinkText}";

/// Nothing on our own pages may load or run anything, whatever name a file has.
pub(super) const POLICY: &str = "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n";

/// A page that says the status, its reason phrase, and why in one sentence. `fields` are more field lines.
pub(super) fn error(config: &Config, status: Status, why: &str, fields: &str) -> Response {
    let mut body = String::with_capacity(700);
    let _ = write!(
        body,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{status}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{status}</h1>\n<p>{}</p>\n</body>\n</html>\n",
        escape(why)
    );
    page(config, status, body, fields)
}

/// A page of HTML made here.
pub(super) fn page(config: &Config, status: Status, body: String, fields: &str) -> Response {
    let fields = format!("Content-Type: text/html; charset=utf-8\r\n{POLICY}{fields}{}", config.common);
    Response { status, fields: fields.into_bytes().into(), content: Content::from_bytes(body.into_bytes()) }
}

/// Text made harmless in HTML, in content and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Controls are not allowed in HTML, and bidirectional overrides make a name look like another.
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push(char::REPLACEMENT_CHARACTER);
            }
            _ => out.push(character),
        }
    }
    out
}
