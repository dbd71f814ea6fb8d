//! One representation of a file (RFC 9110 §3.2): its octets under one content coding, with the fields that
//! describe them, rendered once and shared by every answer.

use std::fmt::Write;
use std::sync::Arc;

use super::conditional::Validators;
use super::config::Config;
use super::negotiation::Coding;
use crate::http::HttpDate;
use crate::service::Content;

/// What is sent for a file.
#[derive(Debug)]
pub(super) struct Representation {
    /// All of its octets.
    pub(super) content: Content,
    /// The value of Content-Type, for the parts of a multipart answer.
    pub(super) content_type: String,
    /// The entity tag with its quotes.
    pub(super) etag: Option<String>,
    /// Last-Modified in seconds since the epoch.
    pub(super) modified: u64,
    /// Whether other codings of the same file may be sent to other clients.
    negotiable: bool,
    /// Its content coding.
    pub(super) coding: Option<Coding>,
    /// The fields of a 200. Content-Type comes first.
    pub(super) fields: Arc<[u8]>,
    /// The fields of a 304 (RFC 9110 §15.4.5): those that a cache needs, and none that describe a body.
    pub(super) not_modified: Arc<[u8]>,
}

/// What the fields are made of.
#[derive(Debug)]
pub(super) struct Description<'a> {
    pub(super) content_type: String,
    /// Without quotes and without the coding.
    pub(super) tag: Option<&'a str>,
    /// The time of the file that has these octets, or of which they were made, in seconds since the epoch.
    pub(super) modified: i64,
    pub(super) coding: Option<Coding>,
    /// Whether other codings of the same file may be sent to other clients.
    pub(super) vary: bool,
}

impl Representation {
    /// Renders the fields. `now` is in seconds since the epoch.
    pub(super) fn new(content: Content, about: Description<'_>, config: &Config, now: u64) -> Self {
        let Description { content_type, tag, modified, coding, vary } = about;
        // RFC 9110 §8.8.2.1: never later than the clock; a time before 1970 is 1970.
        let modified = u64::try_from(modified).unwrap_or(0).min(now);
        // Two codings are two representations, and a strong tag tells them apart (RFC 9110 §8.8.3.3).
        let etag = tag.map(|tag| match coding {
            Some(coding) => format!("\"{tag}-{}\"", coding.name()),
            None => format!("\"{tag}\""),
        });
        // Writing to a String does not fail.
        let mut shared = String::new();
        if let Some(etag) = &etag {
            let _ = write!(shared, "ETag: {etag}\r\n");
        }
        if vary {
            shared.push_str("Vary: Accept-Encoding\r\n");
        }
        if let Some(value) = &config.options.cache_control {
            let _ = write!(shared, "Cache-Control: {value}\r\n");
        }
        shared.push_str(&config.common);
        let date = HttpDate::from_unix(modified);
        let last_modified =
            format!("Last-Modified: {}\r\n", std::str::from_utf8(date.as_bytes()).unwrap_or_default());
        let mut fields = format!("Content-Type: {content_type}\r\n");
        if let Some(coding) = coding {
            let _ = write!(fields, "Content-Encoding: {}\r\n", coding.name());
        }
        fields.push_str("Accept-Ranges: bytes\r\n");
        fields.push_str(&last_modified);
        fields.push_str(&shared);
        Self {
            content,
            content_type,
            etag,
            modified,
            negotiable: vary,
            coding,
            fields: fields.into_bytes().into(),
            not_modified: (last_modified + &shared).into_bytes().into(),
        }
    }

    /// What conditions compare.
    pub(super) fn validators(&self) -> Validators<'_> {
        Validators { etag: self.etag.as_deref(), modified: Some(self.modified), negotiable: self.negotiable }
    }

    /// Roughly how many octets of memory it holds, and how many open files.
    pub(super) fn weight(&self) -> (usize, usize) {
        let own = self.fields.len() + self.not_modified.len() + self.content_type.len() + size_of::<Self>();
        match &self.content {
            Content::Bytes(bytes, _) => (own + bytes.len(), 0),
            Content::File(..) => (own, 1),
            Content::Empty | Content::Parts(_) => (own, 0),
        }
    }
}
