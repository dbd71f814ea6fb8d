//! Conditional requests, ranges, and content codings, over real files in memory and on the disk.

use super::{Folder, set_modified, settle};

const TEXT: &str = "The quick brown fox jumps over the lazy dog. ";

/// A folder with the same ten thousand letters as a file in memory and as one that stays on the disk.
fn folder() -> Folder {
    let mut folder = Folder::with(|options| options.cache.file_bytes = 20_000);
    folder.write("small.png", letters(10_000));
    folder.write("large.png", letters(30_000));
    for name in ["small.png", "large.png"] {
        set_modified(&folder.at(name), 784_111_777);
    }
    settle();
    let _ = folder.get("/");
    folder
}

fn letters(count: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(count).collect()
}

#[test]
fn what_the_client_has_is_not_sent_again() {
    let mut folder = folder();
    for target in ["/small.png", "/large.png"] {
        let whole = folder.get(target);
        let etag = whole.field("etag").unwrap();
        let date = whole.field("last-modified").unwrap();
        for fields in
            [("If-None-Match", etag.as_str()), ("If-None-Match", "*"), ("If-Modified-Since", date.as_str())]
        {
            for method in ["GET", "HEAD"] {
                let answer = folder.ask(method, target, &[fields]);
                assert_eq!(answer.status(), 304, "{fields:?}");
                assert!(answer.0.content.is_empty());
                assert_eq!(answer.field("etag"), Some(etag.clone()));
                assert_eq!(answer.field("content-type"), None);
            }
        }
        let answer = folder.ask("GET", target, &[("If-Match", "\"other\"")]);
        assert_eq!((answer.status(), answer.0.content.len()), (412, 0));
        assert_eq!(folder.ask("GET", target, &[("If-None-Match", "\"other\"")]).status(), 200);
        // Conditions matter only where the answer would be 200.
        assert_eq!(folder.ask("GET", "/missing", &[("If-None-Match", "*")]).status(), 404);
        assert_eq!(folder.ask("POST", target, &[("If-None-Match", "*")]).status(), 405);
    }
}

#[test]
fn one_range_is_sent_as_the_octets_it_names() {
    let mut folder = folder();
    for (target, length) in [("/small.png", 10_000), ("/large.png", 30_000)] {
        let all = letters(length);
        for (range, expected) in [
            ("bytes=0-0", 0..1),
            ("bytes=100-199", 100..200),
            ("bytes=9990-", 9990..length),
            ("bytes=-7", length - 7..length),
        ] {
            let answer = folder.ask("GET", target, &[("Range", range)]);
            assert_eq!(answer.status(), 206, "{range}");
            assert_eq!(answer.body(), all[expected.clone()]);
            let said = format!("bytes {}-{}/{length}", expected.start, expected.end - 1);
            assert_eq!(answer.field("content-range"), Some(said));
            assert_eq!(answer.field("content-type").as_deref(), Some("image/png"));
        }
        let answer = folder.ask("GET", target, &[("Range", "bytes=30000-")]);
        assert_eq!(
            (answer.status(), answer.field("content-range")),
            (416, Some(format!("bytes */{length}")))
        );
        let head = folder.ask("HEAD", target, &[("Range", "bytes=0-0")]);
        assert_eq!((head.status(), head.0.content.len()), (200, length as u64));
    }
}

#[test]
fn several_ranges_are_sent_as_parts() {
    let mut folder = folder();
    for target in ["/small.png", "/large.png"] {
        let answer = folder.ask("GET", target, &[("Range", "bytes=500-509, 0-4,-3")]);
        assert_eq!(answer.status(), 206);
        assert_eq!(answer.field("content-range"), None);
        let kind = answer.field("content-type").unwrap();
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
        let length = if target == "/small.png" { 10_000 } else { 30_000 };
        let all = String::from_utf8(letters(length)).unwrap();
        let part = |from: usize, to: usize| {
            let octets = &all[from..to];
            let last = to - 1;
            format!(
                "--{boundary}\r\nContent-Type: image/png\r\nContent-Range: bytes {from}-{last}/{length}\r\n\r\n{octets}\r\n"
            )
        };
        let expected =
            part(500, 510) + &part(0, 5) + &part(length - 3, length) + &format!("--{boundary}--\r\n");
        assert_eq!(answer.text(), expected);
    }
}

#[test]
fn a_part_is_sent_only_of_the_version_that_the_client_has() {
    let mut folder = folder();
    let whole = folder.get("/small.png");
    let (etag, date) = (whole.field("etag").unwrap(), whole.field("last-modified").unwrap());
    for (value, status) in [
        (etag.clone(), 206),
        (date, 206),
        (format!("W/{etag}"), 200),
        ("\"other\"".into(), 200),
        ("Sun, 06 Nov 1994 08:49:36 GMT".into(), 200),
    ] {
        let answer = folder.ask("GET", "/small.png", &[("Range", "bytes=0-9"), ("If-Range", &value)]);
        assert_eq!(answer.status(), status, "{value}");
    }
    // Whether it is needed goes before how much of it.
    let fields = [("Range", "bytes=0-9"), ("If-None-Match", etag.as_str())];
    assert_eq!(folder.ask("GET", "/small.png", &fields).status(), 304);
}

#[test]
fn text_is_compressed_once_for_those_who_accept_it() {
    let mut folder = Folder::new();
    folder.write("big.txt", TEXT.repeat(100));
    folder.write("huge.txt", TEXT.repeat(4_000));
    folder.write("small.txt", TEXT);
    folder.write("noise.txt", noise(5_000));
    folder.write("image.png", TEXT.repeat(100));
    settle();
    let accept = [("Accept-Encoding", "gzip, deflate, br")];
    for (target, text) in [("/big.txt", TEXT.repeat(100)), ("/huge.txt", TEXT.repeat(4_000))] {
        let plain = folder.get(target);
        let coded = folder.ask("GET", target, &accept);
        assert_eq!(coded.field("content-encoding").as_deref(), Some("gzip"));
        assert_eq!(gunzip(&coded.body()), text.as_bytes());
        assert_eq!(plain.text(), text);
        for answer in [&plain, &coded] {
            assert_eq!(answer.field("vary").as_deref(), Some("Accept-Encoding"));
            assert_eq!(answer.field("content-type").as_deref(), Some("text/plain; charset=utf-8"));
        }
        let tag = coded.field("etag").unwrap();
        assert_ne!(plain.field("etag").as_ref(), Some(&tag));
        assert!(
            coded.shares_memory_with(&folder.ask("GET", target, &accept)),
            "{target} was compressed twice"
        );
        // Its own 304, and a part of the coded octets.
        let again = folder.ask("GET", target, &[accept[0], ("If-None-Match", &tag)]);
        assert_eq!((again.status(), again.field("vary").as_deref()), (304, Some("Accept-Encoding")));
        let part = folder.ask("GET", target, &[accept[0], ("Range", "bytes=0-1")]);
        assert_eq!((part.status(), part.body()), (206, vec![0x1f, 0x8b]));
        // A change is seen in the coded form too.
        folder.write(target.trim_start_matches('/'), "changed ".repeat(500));
        settle();
        assert_eq!(gunzip(&folder.ask("GET", target, &accept).body()), "changed ".repeat(500).as_bytes());
    }
    for target in ["/small.txt", "/noise.txt", "/image.png"] {
        assert_eq!(folder.ask("GET", target, &accept).field("content-encoding"), None, "{target}");
    }
    let mut off = Folder::with(|options| options.compress = false);
    off.write_settled("big.txt", TEXT.repeat(100));
    assert_eq!(off.ask("GET", "/big.txt", &accept).field("content-encoding"), None);
}

#[test]
fn compressed_neighbours_are_sent_to_those_who_accept_them() {
    let mut folder = Folder::new();
    folder.write("app.js", "plain");
    folder.write("app.js.br", "BR");
    folder.write("app.js.zst", "ZST");
    folder.write("app.js.gz", "GZ");
    folder.write("index.html", "index");
    folder.write("index.html.gz", "INDEX GZ");
    folder.write("photo.jpg", "jpg");
    folder.write("photo.jpg.gz", "never");
    settle();
    for (accept, body, coding) in [
        ("", "plain", None),
        ("br", "BR", Some("br")),
        ("zstd", "ZST", Some("zstd")),
        ("gzip", "GZ", Some("gzip")),
        ("gzip, deflate, br, zstd", "BR", Some("br")),
        ("gzip, zstd", "ZST", Some("zstd")),
        ("gzip;q=0.9, br;q=0.1", "GZ", Some("gzip")),
        ("br;q=0, *;q=0.1", "ZST", Some("zstd")),
        ("identity", "plain", None),
        ("identity, br;q=0.5", "plain", None),
        ("deflate", "plain", None),
    ] {
        let answer = folder.ask("GET", "/app.js", &[("Accept-Encoding", accept)]);
        assert_eq!(
            (answer.text().as_str(), answer.field("content-encoding").as_deref()),
            (body, coding),
            "{accept}"
        );
        assert_eq!(answer.field("content-type").as_deref(), Some("text/javascript; charset=utf-8"));
        assert_eq!(answer.field("vary").as_deref(), Some("Accept-Encoding"));
        let tag = answer.field("etag").unwrap();
        let again = folder.ask("GET", "/app.js", &[("Accept-Encoding", accept), ("If-None-Match", &tag)]);
        assert_eq!(again.status(), 304, "{accept}");
        assert_eq!(again.field("etag"), Some(tag));
    }
    let gzip = [("Accept-Encoding", "gzip")];
    assert_eq!(folder.ask("GET", "/", &gzip).text(), "INDEX GZ");
    assert_eq!(folder.ask("GET", "/photo.jpg", &gzip).text(), "jpg");
    // One part of the coded octets is clear; of several it is not agreed what is coded, so all are sent.
    folder.write("big.js", "plain");
    folder.write("big.js.gz", letters(1_000));
    assert_eq!(folder.ask("GET", "/big.js", &[gzip[0], ("Range", "bytes=0-1")]).text(), "ab");
    assert_eq!(folder.ask("GET", "/big.js", &[gzip[0], ("Range", "bytes=0-1,-1")]).status(), 200);
    let direct = folder.ask("GET", "/app.js.gz", &gzip);
    assert_eq!((direct.field("content-encoding"), direct.text().as_str()), (None, "GZ"));
    let tags: std::collections::HashSet<_> = ["", "br", "zstd", "gzip"]
        .map(|accept| folder.ask("GET", "/app.js", &[("Accept-Encoding", accept)]).field("etag"))
        .into();
    assert_eq!(tags.len(), 4);
    let mut off = Folder::with(|options| options.precompressed = false);
    off.write("app.js", "plain");
    off.write("app.js.gz", "GZ");
    assert_eq!(off.ask("GET", "/app.js", &gzip).text(), "plain");
}

#[test]
fn neighbours_that_come_go_change_or_grow_stale_are_noticed_at_once() {
    let mut folder = Folder::with(|options| options.compress = false);
    let gzip = [("Accept-Encoding", "gzip")];
    let ask = |folder: &mut Folder| folder.ask("GET", "/a.css", &gzip).text();
    folder.write_settled("a.css", "plain");
    for _ in 0..2 {
        assert_eq!(ask(&mut folder), "plain");
    }
    folder.write_settled("a.css.gz", "one");
    for _ in 0..2 {
        assert_eq!(ask(&mut folder), "one");
    }
    folder.write_settled("a.css.gz", "two");
    for _ in 0..2 {
        assert_eq!(ask(&mut folder), "two");
    }
    // The file is edited and not compressed again.
    folder.write_settled("a.css", "edited");
    for _ in 0..2 {
        assert_eq!(ask(&mut folder), "edited");
    }
    // Touched: made again with the same octets.
    folder.write_settled("a.css.gz", "two");
    for _ in 0..2 {
        assert_eq!(ask(&mut folder), "two");
    }
    std::fs::remove_file(folder.at("a.css.gz")).unwrap();
    for _ in 0..2 {
        assert_eq!(ask(&mut folder), "edited");
    }
    // A neighbour that leads out of the root is none.
    std::fs::write(folder.outside("secret"), "secret").unwrap();
    std::os::unix::fs::symlink("../secret", folder.at("a.css.gz")).unwrap();
    assert_eq!(ask(&mut folder), "edited");
}

/// The first of a batch that arrives after a change may be a client that gets another coding than what has changed.
#[test]
fn a_neighbour_is_looked_at_though_the_first_of_the_batch_gets_another_coding() {
    for watched in [false, true] {
        let mut folder = Folder::new();
        folder.write("f.txt", "plain");
        folder.write("f.txt.gz", "gz");
        folder.write_settled("f.txt.br", "old");
        let (gzip, brotli) = ([("Accept-Encoding", "gzip")], [("Accept-Encoding", "br")]);
        if watched {
            for _ in 0..3 {
                folder.ask("GET", "/f.txt", &brotli);
                folder.later(std::time::Duration::from_secs(1));
            }
        }
        assert_eq!(folder.ask("GET", "/f.txt", &brotli).text(), "old");
        assert_eq!(folder.ask("GET", "/f.txt", &gzip).text(), "gz");
        // In place: the folder does not change.
        folder.write("f.txt.br", "new");
        assert_eq!(folder.ask("GET", "/f.txt", &gzip).text(), "gz");
        assert_eq!(folder.ask_again("GET", "/f.txt", &brotli).text(), "new", "watched: {watched}");
    }
}

/// One that is made again has another date; and as the codings share dates, a date does not name one of them.
#[test]
fn a_date_is_the_representations_own_and_joins_no_parts_of_what_has_several() {
    let mut folder = Folder::new();
    folder.write("a.css", TEXT);
    folder.write("a.css.br", "one");
    set_modified(&folder.at("a.css"), 784_111_777);
    set_modified(&folder.at("a.css.br"), 784_111_777);
    settle();
    let brotli = ("Accept-Encoding", "br");
    let date = folder.ask("GET", "/a.css", &[brotli]).field("last-modified").unwrap();
    assert_eq!(folder.get("/a.css").field("last-modified"), Some(date.clone()));
    let since = [brotli, ("If-Modified-Since", &*date)];
    assert_eq!(folder.ask("GET", "/a.css", &since).status(), 304);
    for coding in [brotli, ("Accept-Encoding", "identity")] {
        let tag = folder.ask("GET", "/a.css", &[coding]).field("etag").unwrap();
        for (validator, status) in [(&date, 200), (&tag, 206)] {
            let fields = [coding, ("Range", "bytes=0-1"), ("If-Range", validator)];
            assert_eq!(folder.ask("GET", "/a.css", &fields).status(), status, "{coding:?} {validator}");
        }
    }
    folder.write("a.css.br", "two");
    set_modified(&folder.at("a.css.br"), 784_111_778);
    let answer = folder.ask("GET", "/a.css", &since);
    assert_eq!((answer.status(), answer.text().as_str()), (200, "two"));
    assert_eq!(answer.field("last-modified").as_deref(), Some("Sun, 06 Nov 1994 08:49:38 GMT"));
}

pub(super) fn gunzip(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(octets), &mut out).unwrap();
    out
}

/// Octets with nothing to compress: none follows from those before it.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}
