//! Directories without an index.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::{Folder, set_modified};

const JSON: [(&str, &str); 1] = [("Accept", "application/json")];

fn names(folder: &mut Folder, target: &str) -> Vec<String> {
    let answer = folder.ask("GET", target, &JSON);
    assert_eq!(answer.field("content-type").as_deref(), Some("application/json"));
    let list: serde_json::Value = serde_json::from_slice(&answer.body()).unwrap();
    list["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_listing_shows_what_can_be_asked_for_and_nothing_else() {
    let mut folder = Folder::new();
    for name in
        ["b.txt", "A.txt", "中文.html", "a&b<c>\"'.txt", "c:d", "100%?#", "dir/x", ".hidden", ".well-known/x"]
    {
        folder.write(name, "x");
    }
    std::fs::write(folder.outside("secret"), "secret").unwrap();
    symlink("../secret", folder.at("leads out")).unwrap();
    symlink("b.txt", folder.at("stays")).unwrap();
    symlink("nowhere", folder.at("dangling")).unwrap();
    nix::unistd::mkfifo(&folder.at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for odd in [&b"bad\xff"[..], b"line\nbreak", b"back\\slash"] {
        std::fs::write(folder.at("").join(std::ffi::OsStr::from_bytes(odd)), "x").unwrap();
    }
    let listed = names(&mut folder, "/");
    assert_eq!(
        listed,
        [".well-known", "dir", "100%?#", "a&b<c>\"'.txt", "A.txt", "b.txt", "c:d", "stays", "中文.html"]
    );
    let page = folder.get("/");
    assert_eq!(page.field("content-type").as_deref(), Some("text/html; charset=utf-8"));
    assert_eq!(page.field("vary").as_deref(), Some("Accept"));
    assert!(page.field("content-security-policy").unwrap().contains("default-src 'none'"));
    let text = page.text();
    assert!(text.contains("a&amp;b&lt;c&gt;&quot;&#39;.txt</a>") && !text.contains("<c>"), "{text}");
    assert!(!text.contains("../\">../"), "the root has no parent");
    // Every link of the page leads to something.
    let links: Vec<_> =
        text.split("href=\"./").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
    assert_eq!(links.len(), listed.len());
    for link in links {
        assert_eq!(folder.get(&format!("/{link}")).status(), 200, "{link}");
    }
    assert!(folder.get("/dir/").text().contains("<a href=\"../\">../</a>"));
    assert_eq!(folder.get("/dir").status(), 301);
    assert_eq!(folder.get("/fifo/").status(), 404);
}

#[test]
fn a_listing_is_sorted_by_its_links() {
    let mut folder = Folder::new();
    for (name, size, seconds) in [("a", 3, 2_000), ("b", 1, 3_000), ("c", 2, 1_000)] {
        folder.write(name, vec![b'x'; size]);
        set_modified(&folder.at(name), seconds);
    }
    folder.write("z/x", "x");
    for (query, order) in [
        ("", "zabc"),
        ("?sort=name&order=desc", "zcba"),
        ("?sort=size&order=asc", "zbca"),
        ("?sort=size&order=desc", "zacb"),
        ("?sort=date", "zcab"),
        ("?order=desc&sort=date", "zbac"),
        ("?sort=nonsense", "zabc"),
    ] {
        assert_eq!(names(&mut folder, &format!("/{query}")).concat(), order, "{query}");
        let text = folder.get(&format!("/{query}")).text();
        let page: String = text.split("href=\"./").skip(1).map(|rest| rest.chars().next().unwrap()).collect();
        assert_eq!(page, order, "{query}");
    }
    let answer = folder.ask("GET", "/", &JSON);
    let list: serde_json::Value = serde_json::from_slice(&answer.body()).unwrap();
    assert_eq!(list["path"], "/");
    assert_eq!(list["complete"], true);
    assert_eq!(
        list["entries"][1],
        serde_json::json!({"name": "a", "type": "file", "size": 3, "modified": "1970-01-01T00:33:20Z"})
    );
    assert_eq!(list["entries"][0]["type"], "directory");
    assert_eq!(list["entries"][0].get("size"), None);
}

#[test]
fn a_listing_that_was_cut_says_so() {
    let mut folder = Folder::with(|options| options.listing_entries = 10);
    for number in 0..10 {
        folder.write(&format!("{number}"), "x");
    }
    assert!(!folder.get("/").text().contains("There are more names"));
    folder.write("one more", "x");
    assert!(folder.get("/").text().contains("There are more names in this folder; these are the first 10"));
    assert_eq!(names(&mut folder, "/").len(), 10);
    let list: serde_json::Value = serde_json::from_slice(&folder.ask("GET", "/", &JSON).body()).unwrap();
    assert_eq!(list["complete"], false);
}

#[test]
fn without_listings_a_directory_does_not_exist() {
    let mut folder = Folder::with(|options| options.listing = false);
    folder.write("dir/x", "x");
    folder.write("page/index.html", "x");
    assert_eq!(folder.get("/dir/").status(), 404);
    assert_eq!(folder.get("/").status(), 404);
    // Nor without its slash; but one that has an index does.
    assert_eq!(folder.get("/dir").status(), 404);
    assert_eq!(folder.get("/page").field("location").as_deref(), Some("/page/"));
    assert_eq!(folder.get("/dir/x").status(), 200);
}

#[test]
fn a_file_from_the_year_ten_thousand_is_listed() {
    let mut folder = Folder::new();
    folder.write("x", "x");
    set_modified(&folder.at("x"), 260_000_000_000);
    let text = folder.get("/").text();
    // What the file system cannot hold it cuts itself.
    assert!(text.contains("<time datetime=\""), "{text}");
}

#[test]
fn hidden_names_are_listed_when_they_are_served() {
    let mut folder = Folder::with(|options| options.hidden = true);
    folder.write(".hidden", "x");
    assert_eq!(names(&mut folder, "/"), [".hidden"]);
}

#[test]
fn names_that_are_not_shown_use_up_no_listing() {
    let mut folder = Folder::with(|options| options.listing_entries = 10);
    folder.write("visible", "x");
    for number in 0..50 {
        folder.write(&format!(".{number}"), "x");
    }
    assert_eq!(names(&mut folder, "/"), ["visible"]);
    assert!(!folder.get("/").text().contains("There are more names"));
    // But it does not read on for ever.
    for number in 50..150 {
        folder.write(&format!(".{number}"), "x");
    }
    assert!(folder.get("/").text().contains("There are more names"));
}

#[test]
fn a_listing_has_no_tag_and_preconditions_mean_what_they_say() {
    let mut folder = Folder::new();
    folder.write("a", "x");
    for (field, value, status) in [
        ("If-Match", "\"x\"", 412),
        ("If-Match", "*", 200),
        ("If-None-Match", "*", 304),
        ("If-None-Match", "\"x\"", 200),
        ("If-Modified-Since", "Sun, 06 Nov 2044 08:49:37 GMT", 200),
        ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT", 200),
    ] {
        let answer = folder.ask("GET", "/", &[(field, value)]);
        assert_eq!(answer.status(), status, "{field}: {value}");
        assert_eq!(answer.field("vary").as_deref(), Some("Accept"));
        assert_eq!(answer.0.content.is_empty(), status != 200);
    }
}
