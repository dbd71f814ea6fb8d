//! What a directory without an index answers: its names, as a page or as JSON.
//!
//! A name is listed if and only if asking for it would not give 404 or 400: hidden names, FIFOs, links that lead out
//! and names that are not UTF-8 are left out here as they are refused there. What may not be read is listed: it is 403,
//! which tells as much. At most so many names are looked at in one go, for the loop stands still meanwhile; a longer
//! list is cut, and says so.

use std::cmp::Ordering;
use std::ffi::CStr;
use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, FileType};
use serde::Serialize;

use super::conditional::{self, Validators};
use super::config::Config;
use super::negotiation::media_weight;
use super::pages::{self, STYLE, escape};
use super::path;
use super::root::{Fault, Identity, Kind, Root, kind_of};
use crate::http::{Headers, Status};
use crate::service::{Content, Response};

/// The last second that a date of four digits can say.
const END_OF_9999: u64 = 253_402_300_799;

/// How many names are read for each that is looked at: one that is hidden is left out unseen.
const NAMES_PER_ITEM: usize = 10;

/// Lists the directory of this name, which is empty or ends in a slash.
pub(super) fn answer(
    root: &Root,
    name: &str,
    query: Option<&str>,
    headers: Headers<'_>,
    config: &Config,
) -> Result<Response, Fault> {
    let (mut items, cut) = read(root, name, config)?;
    let order = Order::read(query);
    items.sort_by(|one, other| order.compare(one, other));
    // No cache may keep it: there is nothing by which to ask whether it is still true.
    let fields = "Vary: Accept\r\nCache-Control: no-cache\r\n";
    if let Some(status) = conditional::evaluate(headers, Validators::NONE).status() {
        let fields = format!("{fields}{}", config.common).into_bytes().into();
        return Ok(Response { status, fields, content: Content::Empty });
    }
    if wants_json(headers) {
        let list = List { path: format!("/{name}"), complete: !cut, entries: items };
        let body = serde_json::to_vec(&list).map_err(|error| Fault::Broken(error.into()))?;
        let fields = format!("Content-Type: application/json\r\n{fields}{}", config.common);
        let content = Content::from_bytes(body);
        return Ok(Response { status: Status::OK, fields: fields.into_bytes().into(), content });
    }
    let body = html(name, &items, order, cut);
    Ok(pages::page(config, Status::OK, body, fields))
}

/// The JSON form.
#[derive(Serialize)]
struct List {
    path: String,
    /// `false` if there are more than were read.
    complete: bool,
    entries: Vec<Item>,
}

/// One name.
#[derive(Serialize, Debug)]
struct Item {
    name: String,
    /// The name without its case, to sort by.
    #[serde(skip)]
    folded: String,
    #[serde(rename = "type")]
    kind: ItemKind,
    /// In octets; absent for directories.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// RFC 3339, UTC.
    modified: String,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(rename_all = "lowercase")]
enum ItemKind {
    Directory,
    File,
}

/// Reads the names; `true` if there are more than it read.
fn read(root: &Root, name: &str, config: &Config) -> Result<(Vec<Item>, bool), Fault> {
    let directory = root.open_directory(name)?;
    let mut items = Vec::new();
    let mut left = config.options.listing_entries;
    let mut names_left = left.saturating_mul(NAMES_PER_ITEM);
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        if names_left == 0 {
            return Ok((items, true));
        }
        names_left -= 1;
        let Some(text) = servable(entry.file_name(), name, config) else { continue };
        if left == 0 {
            return Ok((items, true));
        }
        left -= 1;
        items.extend(item(root, &directory, name, text));
    }
    Ok((items, false))
}

/// The name, if it can be asked for.
fn servable<'a>(name: &'a CStr, parent: &str, config: &Config) -> Option<&'a str> {
    name.to_str().ok().filter(|text| path::is_servable(text, parent.is_empty(), config.options.hidden))
}

/// `None` if asking for it would give nothing.
fn item(root: &Root, directory: &std::fs::File, parent: &str, name: &str) -> Option<Item> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let (kind, identity) = match FileType::from_raw_mode(stat.st_mode) {
        // Where a link leads, and whether it may, the root knows.
        FileType::Symlink => root.look(&format!("{parent}{name}")).ok()?,
        _ => (kind_of(&stat), Identity::new(&stat)),
    };
    let (kind, size) = match kind {
        Kind::File => (ItemKind::File, Some(identity.size)),
        Kind::Directory => (ItemKind::Directory, None),
        Kind::Other => return None,
    };
    let seconds = u64::try_from(identity.modified.0).unwrap_or(0).min(END_OF_9999);
    let modified = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
    Some(Item { name: name.to_owned(), folded: name.to_lowercase(), kind, size, modified })
}

/// In which order; `?sort=name|size|date&order=asc|desc`. What is not understood is the default.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Order {
    by: Key,
    descending: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Key {
    Name,
    Size,
    Date,
}

impl Key {
    const ALL: [Self; 3] = [Self::Name, Self::Size, Self::Date];

    const fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Size => "size",
            Self::Date => "date",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Name => "Name",
            Self::Size => "Size",
            Self::Date => "Modified (UTC)",
        }
    }
}

impl Order {
    fn read(query: Option<&str>) -> Self {
        let mut order = Self { by: Key::Name, descending: false };
        for pair in query.unwrap_or_default().split('&') {
            match pair.split_once('=') {
                Some(("sort", word)) => {
                    order.by = Key::ALL.into_iter().find(|key| key.word() == word).unwrap_or(order.by);
                }
                Some(("order", word)) => order.descending = word == "desc",
                _ => {}
            }
        }
        order
    }

    /// Directories first, whichever way; equals by name.
    fn compare(self, one: &Item, other: &Item) -> Ordering {
        let by_name = || (&one.folded, &one.name).cmp(&(&other.folded, &other.name));
        let by_key = match self.by {
            Key::Name => by_name(),
            Key::Size => one.size.cmp(&other.size).then_with(by_name),
            // RFC 3339 in UTC sorts as text.
            Key::Date => one.modified.cmp(&other.modified).then_with(by_name),
        };
        one.kind.cmp(&other.kind).then(if self.descending { by_key.reverse() } else { by_key })
    }
}

/// Whether JSON is named in Accept and weighs more than HTML. A browser names HTML, curl neither.
fn wants_json(headers: Headers<'_>) -> bool {
    media_weight(headers, b"application/json") > media_weight(headers, b"text/html")
}

fn html(name: &str, items: &[Item], order: Order, cut: bool) -> String {
    let mut page = String::with_capacity(1024 + 200 * items.len());
    let title = escape(&format!("/{name}"));
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html>\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}\
         table{{width:100%;border-collapse:collapse}}td,th{{padding:.2rem .6rem;text-align:left;font-weight:400}}\
         td:first-child{{overflow-wrap:anywhere}}.n{{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}}\
         thead th{{border-bottom:1px solid GrayText}}tbody tr:hover{{background:rgb(128 128 128/.15)}}a{{text-decoration:none}}\
         a:hover{{text-decoration:underline}}</style>\n</head>\n<body>\n<h1>"
    );
    crumbs(&mut page, name);
    page.push_str("</h1>\n");
    if cut {
        let most = items.len();
        let _ = writeln!(
            page,
            "<p>There are more names in this folder; these are the first {most} that were read.</p>"
        );
    }
    page.push_str("<table>\n<thead><tr>");
    for key in Key::ALL {
        let current = order.by == key;
        let (direction, next) =
            if current && !order.descending { ("ascending", "desc") } else { ("descending", "asc") };
        let aria = if current { format!(" aria-sort=\"{direction}\"") } else { String::new() };
        let class = if key == Key::Name { "" } else { " class=\"n\"" };
        let arrow = match (current, order.descending) {
            (false, _) => "",
            (true, false) => " ↑",
            (true, true) => " ↓",
        };
        let (word, title) = (key.word(), key.title());
        let _ = write!(
            page,
            "<th scope=\"col\"{class}{aria}><a href=\"?sort={word}&amp;order={next}\">{title}</a>{arrow}</th>"
        );
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    if !name.is_empty() {
        page.push_str("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    }
    for item in items {
        row(&mut page, item);
    }
    page.push_str("</tbody>\n</table>\n</body>\n</html>\n");
    page
}

/// The path, each folder of it a link.
fn crumbs(page: &mut String, name: &str) {
    page.push_str("<a href=\"/\">/</a>");
    let mut start = 0;
    for (end, _) in name.match_indices('/') {
        if let (Some(whole), Some(segment)) = (name.get(..=end), name.get(start..end)) {
            let _ = write!(page, " <a href=\"/");
            path::encode(whole.as_bytes(), page);
            let _ = write!(page, "\">{}/</a>", escape(segment));
        }
        start = end + 1;
    }
}

fn row(page: &mut String, item: &Item) {
    let slash = if item.kind == ItemKind::Directory { "/" } else { "" };
    // "./": a name with a colon would else be read as a scheme.
    page.push_str("<tr><td><a href=\"./");
    path::encode(item.name.as_bytes(), page);
    let _ = write!(page, "{slash}\">{}{slash}</a></td>", escape(&item.name));
    match item.size {
        Some(size) => {
            let _ = write!(page, "<td class=\"n\" title=\"{size}\">{}</td>", human(size));
        }
        None => page.push_str("<td></td>"),
    }
    let (date, time) = item.modified.split_once('T').unwrap_or((&item.modified, ""));
    let minutes = time.get(..5).unwrap_or(time);
    let _ = writeln!(
        page,
        "<td class=\"n\"><time datetime=\"{}\">{date} {minutes}</time></td></tr>",
        item.modified
    );
}

/// `1536` → `1.5 KiB`.
fn human(size: u64) -> String {
    let mut unit = "B";
    let (mut whole, mut tenths) = (size, 0);
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        if whole < 1024 {
            break;
        }
        tenths = whole % 1024 * 10 / 1024;
        whole /= 1024;
        unit = larger;
    }
    if unit == "B" { format!("{whole} B") } else { format!("{whole}.{tenths} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1_048_575, "1023.9 KiB"),
            (1_048_576, "1.0 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(human(size), text);
        }
    }

    #[test]
    fn json_is_for_those_who_would_rather_have_it() {
        for (accept, json) in [
            ("", false),
            ("*/*", false),
            ("application/json", true),
            ("Application/JSON", true),
            ("application/json, */*", true),
            ("text/html,application/xhtml+xml,*/*;q=0.8", false),
            ("text/html;q=0.5, application/json", true),
            ("text/html, application/json;q=0.9", false),
            ("application/json;q=0", false),
            ("application/json;Q=0", false),
            ("application/json; q=0.5, text/html;q=0.4", true),
            // What is no weight makes the member none.
            ("application/json;q=x", false),
            ("application/json;q=inf, text/html", false),
            ("application/json;q=0.9, text/html;q=-1", true),
        ] {
            let fields = [httparse::Header { name: "Accept", value: accept.as_bytes() }];
            assert_eq!(wants_json(Headers::new(&fields)), json, "{accept}");
        }
    }

    #[test]
    fn an_order_that_is_not_understood_is_the_default() {
        let default = Order { by: Key::Name, descending: false };
        for query in [None, Some(""), Some("sort="), Some("sort=colour&order=up"), Some("&&=&x")] {
            assert_eq!(Order::read(query), default, "{query:?}");
        }
        assert_eq!(Order::read(Some("order=desc&sort=size")), Order { by: Key::Size, descending: true });
    }
}
