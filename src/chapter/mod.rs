//! The chapter, carried in the binary, so that `wouldblock --chapter` serves it where there is no repository.
//!
//! The files stand in a table of `include_bytes!` lines that the authoring test writes: nothing runs at build
//! time, nothing is read at run time, and the compiler sees to it that every file exists.

mod files;

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use crate::http::{Method, Request, Status, Target};
use crate::service::{Content, Context, Response, Service};

/// A file, ready to be sent.
#[derive(Debug)]
struct Entry {
    name: &'static str,
    tag: String,
    fields: Arc<[u8]>,
    content: Content,
}

/// The chapter as a service: GET and HEAD of its files, revalidation by entity tag, nothing else.
#[derive(Debug)]
pub struct Chapter {
    /// Sorted by name.
    entries: Vec<Entry>,
}

impl Default for Chapter {
    fn default() -> Self {
        Self::new()
    }
}

impl Chapter {
    /// All of it.
    pub fn new() -> Self {
        let mut entries: Vec<_> = files::FILES.iter().map(|&(name, bytes)| Entry::new(name, bytes)).collect();
        entries.sort_by_key(|entry| entry.name);
        Self { entries }
    }

    /// Every file by its path below the root, with its octets.
    pub fn files() -> impl Iterator<Item = (&'static str, &'static [u8])> {
        files::FILES.iter().copied()
    }

    fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.binary_search_by(|entry| entry.name.cmp(name)).ok().and_then(|at| self.entries.get(at))
    }

    fn get(&self, path: &str, if_none_match: Option<&[u8]>) -> Response {
        let name = path.trim_start_matches('/');
        let index = format!("{name}index.html");
        let found = self.find(if name.is_empty() || name.ends_with('/') { &index } else { name });
        let Some(entry) = found else {
            if self.find(&format!("{name}/index.html")).is_some() {
                let fields = format!("Location: /{name}/\r\n").into_bytes();
                return Response {
                    status: Status::MOVED_PERMANENTLY,
                    fields: fields.into(),
                    content: Content::Empty,
                };
            }
            return plain(Status::NOT_FOUND, "这里没有这一页。 There is no such page.\n");
        };
        let status = if if_none_match.is_some_and(|tags| matches(tags, &entry.tag)) {
            Status::NOT_MODIFIED
        } else {
            Status::OK
        };
        let content = if status == Status::OK { entry.content.clone() } else { Content::Empty };
        Response { status, fields: entry.fields.clone(), content }
    }
}

impl Entry {
    fn new(name: &'static str, bytes: &'static [u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        let tag = format!("\"{:016x}\"", hasher.finish());
        // no-cache: kept, but asked for anew each time, since the next version has the same addresses.
        let fields = format!(
            "Content-Type: {}\r\nETag: {tag}\r\nCache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n",
            media_type(name)
        );
        Self { name, tag, fields: fields.into_bytes().into(), content: Content::from_bytes(bytes) }
    }
}

impl Service for Chapter {
    fn respond(&mut self, request: &Request<'_>, _: &Context<'_>) -> Option<Response> {
        let Target::Origin { path, .. } = request.target else {
            return Some(Response {
                status: Status::NO_CONTENT,
                fields: Arc::from(&b"Allow: GET, HEAD, OPTIONS\r\n"[..]),
                content: Content::Empty,
            });
        };
        Some(match request.method {
            Method::Get | Method::Head => self.get(path, request.headers.get("if-none-match")),
            Method::Unknown(_) => plain(Status::NOT_IMPLEMENTED, "This server does not know that method.\n"),
            _ => Response {
                status: if request.method == Method::Options {
                    Status::NO_CONTENT
                } else {
                    Status::METHOD_NOT_ALLOWED
                },
                fields: Arc::from(&b"Allow: GET, HEAD, OPTIONS\r\n"[..]),
                content: Content::Empty,
            },
        })
    }

    fn refuse(&mut self, status: Status, why: &str) -> Response {
        plain(status, &format!("{why}\n"))
    }
}

fn plain(status: Status, text: &str) -> Response {
    Response {
        status,
        fields: Arc::from(
            &b"Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"[..],
        ),
        content: Content::from_bytes(text.as_bytes()),
    }
}

/// Weak comparison (RFC 9110 §13.1.2); our own tags hold no comma.
fn matches(tags: &[u8], tag: &str) -> bool {
    tags.split(|&octet| octet == b',')
        .map(<[u8]>::trim_ascii)
        .any(|other| other == b"*" || other.strip_prefix(b"W/").unwrap_or(other) == tag.as_bytes())
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("py" | "txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found_under_their_folders() {
        let chapter = Chapter::new();
        let status = |path: &str| chapter.get(path, None).status;
        assert_eq!(status("/"), Status::OK);
        assert_eq!(status("/index.html"), Status::OK);
        assert_eq!(status("/en/"), Status::OK);
        assert_eq!(status("/en"), Status::MOVED_PERMANENTLY);
        assert_eq!(status("/assets/style.css"), Status::OK);
        assert_eq!(status("/absent"), Status::NOT_FOUND);
        assert_eq!(status("/../Cargo.toml"), Status::NOT_FOUND);
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        let chapter = Chapter::new();
        let tag = chapter.find("index.html").unwrap().tag.clone();
        for tags in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".into()] {
            assert_eq!(chapter.get("/", Some(tags.as_bytes())).status, Status::NOT_MODIFIED, "{tags}");
        }
        assert_eq!(chapter.get("/", Some(b"\"x\"")).status, Status::OK);
    }

    #[test]
    fn every_file_has_a_type() {
        for entry in Chapter::new().entries {
            assert_ne!(media_type(entry.name), "application/octet-stream", "{}", entry.name);
        }
    }
}
