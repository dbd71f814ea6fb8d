//! The options, checked, and what can be rendered of them in advance.

use std::fmt::Write;

use super::mime::Types;
use super::options::{CacheLimits, Options, SiteError, is_field_value, parse_header};
use super::path;

/// Checked options.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) options: Options,
    pub(super) types: Types,
    /// Field lines that every answer has: nosniff, CORS, the operator's own.
    pub(super) common: String,
}

/// The fields of an answer that scripts of another origin may read, beyond the few that they always may.
const EXPOSED: &str = "Accept-Ranges, Content-Encoding, Content-Length, Content-Range, Date, ETag, Location";

impl Config {
    pub(super) fn new(options: Options) -> Result<Self, SiteError> {
        for name in &options.index {
            if !path::is_servable(name, false, options.hidden) {
                return Err(SiteError::Index(name.clone()));
            }
        }
        if options.cache.file_bytes > CacheLimits::FILE_BYTES_MAX {
            return Err(SiteError::FileBytes(options.cache.file_bytes));
        }
        if let Some(value) = &options.cache_control {
            check_value("Cache-Control", value)?;
        }
        let types = Types::new(&options.mime)?;
        let mut common = String::new();
        let mut sniff = true;
        for line in &options.headers {
            let (name, value) = parse_header(line)?;
            sniff &= !name.eq_ignore_ascii_case("x-content-type-options");
            let _ = write!(common, "{name}: {value}\r\n");
        }
        if sniff {
            common.push_str("X-Content-Type-Options: nosniff\r\n");
        }
        if let Some(origin) = &options.cors {
            check_value("Access-Control-Allow-Origin", origin)?;
            let _ = write!(
                common,
                "Access-Control-Allow-Origin: {origin}\r\nAccess-Control-Expose-Headers: {EXPOSED}\r\n"
            );
        }
        Ok(Self { options, types, common })
    }
}

fn check_value(name: &str, value: &str) -> Result<(), SiteError> {
    if is_field_value(value) {
        return Ok(());
    }
    Err(SiteError::Header(format!("{name}: {value}"), "a value is one line without control characters"))
}
