//! The chapter's pages in `html/` are written by this test, and checked by it.
//!
//! `WOULDBLOCK_BLESS=1 cargo test chapter` writes them from `tests/chapter/pages/` (Markdown, one file per page and
//! language), `tests/chapter/partials/` (furniture and figures that several pages share) and the listings that
//! the pages name in `src/` and `html/exercises/`. Without the variable the test fails if a page in `html/`
//! is not what would be written: so a page can never show code that the server does not run.

mod highlight;
mod listing;
mod page;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use page::{LANGUAGES, PAGES};

/// The folder of the crate.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every page that would be written, by its path below `html/`.
fn pages() -> BTreeMap<String, String> {
    LANGUAGES
        .iter()
        .flat_map(|language| PAGES.iter().map(move |page| page.write(*language)))
        .chain([page::redirect()])
        .collect()
}

/// Every file below `html/`, sorted, with `/` between folders.
fn site() -> Vec<String> {
    fn walk(folder: &Path, prefix: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), &format!("{name}/"), found);
            } else {
                found.push(name);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join("html"), "", &mut found);
    found.sort();
    found
}

/// The table by which the binary carries the site (`src/chapter/files.rs`).
fn table() -> String {
    let mut out = String::from(
        "//! Every file of the chapter. Written by `WOULDBLOCK_BLESS=1 cargo test chapter`; do not edit.\n\n\
         pub(super) const FILES: &[(&str, &[u8])] = &[\n",
    );
    for name in site() {
        out.push_str(&format!("    (\"{name}\", include_bytes!(\"../../html/{name}\")),\n"));
    }
    out.push_str("];\n");
    out
}

fn is_blessed() -> bool {
    std::env::var_os("WOULDBLOCK_BLESS").is_some()
}

#[test]
fn the_pages_are_what_their_sources_say() {
    let mut stale = Vec::new();
    for (name, text) in pages() {
        let path = root().join("html").join(&name);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        if is_blessed() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        } else {
            stale.push(name);
        }
    }
    let files = root().join("src/chapter/files.rs");
    if fs::read_to_string(&files).is_ok_and(|old| old != table()) {
        if is_blessed() {
            fs::write(files, table()).unwrap();
        } else {
            stale.push("src/chapter/files.rs".into());
        }
    }
    assert!(
        stale.is_empty(),
        "a page differs from its source, or a listing from the code it names: {stale:?}; \
         to write them anew: WOULDBLOCK_BLESS=1 cargo test chapter"
    );
}

#[test]
fn every_html_file_is_one_that_is_written_here() {
    let written = pages();
    let strangers: Vec<_> =
        site().into_iter().filter(|name| name.ends_with(".html") && !written.contains_key(name)).collect();
    assert!(strangers.is_empty(), "pages without a source: {strangers:?}");
}

#[test]
fn both_languages_have_the_same_anchors() {
    let pages = pages();
    for page in PAGES {
        let [zh, en] = LANGUAGES.map(|language| anchors(&pages[&page.path(language)]));
        assert_eq!(zh, en, "{}: the switch of language would lose its place", page.slug);
    }
}

#[test]
fn every_link_inside_the_site_leads_somewhere() {
    let pages = pages();
    let files = site();
    let mut broken = Vec::new();
    for (name, text) in &pages {
        for link in attributes(text, "href=\"").chain(attributes(text, "src=\"")) {
            if link.contains("://") || link.starts_with("data:") || link.contains("_loop/") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { name.clone() } else { resolve(name, path) };
            let found = match pages.get(&target) {
                Some(text) => anchor.is_empty() || anchors(text).iter().any(|id| id == anchor),
                None => files.contains(&target),
            };
            if !found {
                broken.push(format!("{name}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn no_page_asks_a_third_party_and_no_markup_leaks() {
    for (name, text) in pages() {
        for request in attributes(&text, "src=\"") {
            assert!(!request.contains("//"), "{name}: {request}");
        }
        for leak in ["{{", "}}", "[[", "]]", "**", " style=\"", " onclick="] {
            let outside_code = without_code(&text);
            assert!(!outside_code.contains(leak), "{name}: {leak} in the text");
        }
    }
}

#[test]
fn every_page_asks_three_questions_and_names_its_sources() {
    let pages = pages();
    for page in PAGES.iter().filter(|page| page.is_lesson()) {
        for language in LANGUAGES {
            let name = page.path(language);
            let text = &pages[&name];
            for section in ["goal", "predict", "see", "explain", "try", "why", "summary", "sources"] {
                assert!(text.contains(&format!("id=\"{section}\"")), "{name}: no section {section}");
            }
            let why = text.split("id=\"why\"").nth(1).and_then(|rest| rest.split("<h2").next()).unwrap();
            assert_eq!(why.matches("<details>").count(), 3, "{name}: three questions, each with its answer");
        }
    }
}

#[test]
fn the_site_stays_small() {
    let size = |name: &String| fs::metadata(root().join("html").join(name)).unwrap().len();
    let all: u64 = site().iter().map(size).sum();
    assert!(all < 420_000, "the whole site is {all} octets");
    let first: u64 = site()
        .iter()
        .filter(|name| *name == "index.html" || (name.starts_with("assets/") && !name.contains("only-")))
        .map(size)
        .sum();
    assert!(first < 60_000, "the first page is {first} octets with all it loads");
}

#[test]
fn every_exercise_shows_what_it_says() {
    let Ok(version) = std::process::Command::new("python3").arg("--version").output() else {
        eprintln!("no python3 here: the exercises, which are Python as in the course, were not run");
        return;
    };
    assert!(version.status.success());
    let mut exercises = 0;
    for name in site().iter().filter(|name| name.ends_with(".py")) {
        let path = root().join("html").join(name);
        let output = std::process::Command::new("python3").arg(&path).output().unwrap();
        let expected: String = read(&format!("html/{name}"))
            .lines()
            .filter_map(|line| line.strip_prefix("#> "))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{name}");
        exercises += 1;
    }
    assert!(exercises > 0);
}

fn attributes<'t>(text: &'t str, opening: &'t str) -> impl Iterator<Item = &'t str> {
    text.split(opening).skip(1).filter_map(|rest| rest.split('"').next())
}

fn anchors(text: &str) -> Vec<String> {
    attributes(text, " id=\"").map(str::to_owned).collect()
}

/// The path below `html/` that `link` on page `from` means.
fn resolve(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => {
                parts.pop().unwrap_or_else(|| panic!("{from}: {link} leads out of the site"));
            }
            "." => {}
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    if path.is_empty() || path.ends_with('/') { format!("{path}index.html") } else { path }
}

fn without_code(text: &str) -> String {
    let mut out = String::new();
    for (at, part) in text.split("<code").enumerate() {
        out.push_str(if at == 0 { part } else { part.split_once("</code>").map_or("", |(_, rest)| rest) });
    }
    out
}
