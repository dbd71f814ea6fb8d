//! Which file an address gives, with which fields, and which it must not give.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use wouldblock::site::{Options, Site};

use super::{Folder, set_modified};

#[test]
fn a_file_is_sent_with_its_type_its_time_and_a_strong_tag() {
    let mut folder = Folder::new();
    folder.write("hello.html", "<h1>你好</h1>");
    set_modified(&folder.at("hello.html"), 784_111_777);
    let answer = folder.get("/hello.html");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text(), "<h1>你好</h1>");
    assert_eq!(answer.field("content-type").unwrap(), "text/html; charset=utf-8");
    assert_eq!(answer.field("last-modified").unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(answer.field("x-content-type-options").unwrap(), "nosniff");
    assert_eq!(answer.field("accept-ranges").unwrap(), "bytes");
    assert_eq!(answer.field("vary").unwrap(), "Accept-Encoding");
    let etag = answer.field("etag").unwrap();
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 10, "{etag}");
    for never in ["date", "content-length", "connection", "transfer-encoding"] {
        assert_eq!(answer.field(never), None, "{never} is the connection's");
    }
    let head = folder.ask("HEAD", "/hello.html", &[]);
    assert_eq!((head.status(), head.0.fields), (200, answer.0.fields));
}

#[test]
fn empty_files_and_files_of_every_size_around_the_limit_arrive_whole() {
    let mut folder = Folder::with(|options| options.cache.file_bytes = 1000);
    for size in [0, 1, 999, 1000, 1001, 300_000] {
        let content: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let name = format!("{size}.bin");
        folder.write_settled(&name, &content);
        let answer = folder.get(&format!("/{name}"));
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.body(), content);
        assert!(answer.field("etag").is_some(), "{size}");
    }
}

#[test]
fn a_directory_gives_its_index_and_redirects_without_its_slash() {
    let mut folder = Folder::new();
    folder.write("index.html", "root");
    folder.write("a b/中/index.html", "deep");
    assert_eq!(folder.get("/").text(), "root");
    assert_eq!(folder.get("/a%20b/%e4%b8%ad/").text(), "deep");
    let answer = folder.get("/a%20b/%e4%b8%ad?x=1&y=%2f//z");
    assert_eq!(answer.status(), 301);
    assert_eq!(answer.field("location").unwrap(), "/a%20b/%E4%B8%AD/?x=1&y=%2f//z");
    assert_eq!(folder.get("/index.html/").status(), 404, "a file is no directory");
}

#[test]
fn a_redirect_never_leads_to_another_host() {
    let mut folder = Folder::new();
    folder.write("evil.example/index.html", "x");
    assert_eq!(folder.get("/evil.example").field("location").unwrap(), "/evil.example/");
    for target in
        ["//evil.example", "///evil.example", "/%2fevil.example", "/\\evil.example", "/%5cevil.example"]
    {
        let answer = folder.get(target);
        assert!(matches!(answer.status(), 400 | 404), "{target}: {}", answer.status());
        assert_eq!(answer.field("location"), None, "{target}");
    }
}

#[test]
fn index_names_are_tried_in_order_and_an_earlier_one_that_appears_wins() {
    let mut folder = Folder::with(|options| options.index = vec!["index.html".into(), "index.htm".into()]);
    folder.write_settled("index.htm", "second");
    assert_eq!(folder.get("/").text(), "second");
    assert_eq!(folder.get("/").text(), "second");
    folder.write("index.html", "first");
    assert_eq!(folder.get("/").text(), "first");
    std::fs::remove_file(folder.at("index.html")).unwrap();
    assert_eq!(folder.get("/").text(), "second");
}

#[test]
fn nothing_leads_out_of_the_root() {
    let mut folder = Folder::new();
    std::fs::write(folder.outside("secret"), "secret").unwrap();
    std::fs::create_dir(folder.outside("elsewhere")).unwrap();
    std::fs::write(folder.outside("elsewhere/index.html"), "secret").unwrap();
    folder.write("a/b", "b");
    symlink(folder.outside("secret"), folder.at("absolute")).unwrap();
    symlink("../secret", folder.at("relative")).unwrap();
    symlink("../../secret", folder.at("a/deeper")).unwrap();
    symlink(folder.outside("elsewhere"), folder.at("dir")).unwrap();
    symlink("../../root/../secret", folder.at("a/roundabout")).unwrap();
    symlink("loop", folder.at("loop")).unwrap();
    symlink("nowhere", folder.at("dangling")).unwrap();
    for target in [
        "/absolute",
        "/relative",
        "/a/deeper",
        "/dir",
        "/dir/",
        "/dir/index.html",
        "/a/roundabout",
        "/loop",
        "/dangling",
        "/../secret",
        "/%2e%2e/secret",
        "/a/../../secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "/.%2e/secret",
        "/%c0%ae%c0%ae/secret",
        "/a/..\\..\\secret",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/a/b%00.html",
        "/a/b/",
        "/a/b/c",
    ] {
        let answer = folder.get(target);
        assert!(matches!(answer.status(), 400 | 404), "{target}: {}", answer.status());
        assert!(!answer.text().contains("secret\n") && answer.text() != "secret", "{target}");
    }
}

#[test]
fn links_that_stay_inside_are_followed_absolute_ones_too() {
    let mut folder = Folder::new();
    folder.write("a/file", "inside");
    folder.write("index.html", "index");
    symlink("a/file", folder.at("relative")).unwrap();
    symlink("../a/file", folder.at("a/up")).unwrap();
    symlink(folder.at("a/file"), folder.at("absolute")).unwrap();
    symlink("a", folder.at("dir")).unwrap();
    symlink(folder.at(""), folder.at("a/top")).unwrap();
    for target in ["/relative", "/a/up", "/absolute", "/dir/file"] {
        for _ in 0..2 {
            assert_eq!(folder.get(target).text(), "inside", "{target}");
        }
    }
    assert_eq!(folder.get("/a/top/").text(), "index");
}

#[test]
fn links_lead_out_only_with_the_operators_consent() {
    let mut folder = Folder::with(|options| options.follow_symlinks = true);
    std::fs::write(folder.outside("secret"), "shared").unwrap();
    symlink(folder.outside("secret"), folder.at("link")).unwrap();
    assert_eq!(folder.get("/link").text(), "shared");
    assert_eq!(folder.get("/../secret").status(), 400);
}

#[test]
fn a_link_swapped_to_the_outside_is_refused_at_once() {
    let mut folder = Folder::new();
    std::fs::write(folder.outside("secret"), "secret").unwrap();
    folder.write("file", "inside");
    symlink("file", folder.at("link")).unwrap();
    super::settle();
    assert_eq!(folder.get("/link").text(), "inside");
    std::fs::remove_file(folder.at("link")).unwrap();
    symlink("../secret", folder.at("link")).unwrap();
    assert_eq!(folder.get("/link").status(), 404);
}

#[test]
fn a_folder_moved_out_and_linked_to_is_refused_within_a_second() {
    let mut folder = Folder::new();
    folder.write_settled("dir/file", "x");
    assert_eq!(folder.get("/dir/file").status(), 200);
    std::fs::rename(folder.at("dir"), folder.outside("dir")).unwrap();
    symlink("../dir", folder.at("dir")).unwrap();
    folder.later(std::time::Duration::from_secs(1));
    assert_eq!(folder.get("/dir/file").status(), 404);
}

#[test]
fn fifos_and_sockets_are_not_there_and_nobody_waits() {
    let mut folder = Folder::new();
    nix::unistd::mkfifo(&folder.at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(folder.at("socket")).unwrap();
    for target in ["/fifo", "/socket", "/fifo/"] {
        assert_eq!(folder.get(target).status(), 404, "{target}");
    }
}

#[test]
fn what_may_not_be_read_is_403_and_what_is_not_there_404() {
    let mut folder = Folder::new();
    folder.write("locked", "x");
    folder.write("dir/file", "x");
    let mode = |path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    mode(folder.at("locked"), 0o000);
    assert_eq!(folder.get("/missing").status(), 404);
    // Nothing is forbidden to root.
    if !nix::unistd::geteuid().is_root() {
        assert_eq!(folder.get("/locked").status(), 403);
        assert_eq!(folder.get("/dir/file").status(), 200);
        mode(folder.at("dir"), 0o000);
        assert_eq!(folder.get("/dir/file").status(), 403);
        mode(folder.at("dir"), 0o755);
    }
    mode(folder.at("locked"), 0o644);
    assert_eq!(folder.get("/locked").status(), 200);
}

#[test]
fn names_in_any_script_are_served() {
    let mut folder = Folder::new();
    for name in ["中文.html", "é è.txt", "a?b#c%d.txt", "100%.txt", "😀", "a'\"<>&.txt"] {
        folder.write(name, name);
        let mut target = String::from("/");
        for octet in name.bytes() {
            target.push_str(&format!("%{octet:02x}"));
        }
        assert_eq!(folder.get(&target).text(), name);
    }
}

#[test]
fn dot_names_are_served_only_when_told_and_well_known_always() {
    let files = [".env", ".git/config", "a/.hidden", ".well-known/security.txt"];
    let mut folder = Folder::new();
    let mut open = Folder::with(|options| options.hidden = true);
    for name in files {
        folder.write(name, name);
        open.write(name, name);
        let target = format!("/{name}");
        let expected = if name.starts_with(".well-known") { 200 } else { 404 };
        assert_eq!(folder.get(&target).status(), expected, "{name}");
        assert_eq!(open.get(&target).text(), name);
    }
    assert_eq!(folder.get("/.well-known").status(), 301);
}

#[test]
fn methods_that_a_file_does_not_have_are_refused_with_those_it_has() {
    let mut folder = Folder::new();
    folder.write("a", "a");
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"] {
        let answer = folder.ask(method, "/a", &[]);
        assert_eq!((answer.status(), answer.field("allow").as_deref()), (405, Some("GET, HEAD, OPTIONS")));
    }
    assert_eq!(folder.ask("BREW", "/a", &[]).status(), 501);
    assert_eq!(folder.ask("get", "/a", &[]).status(), 501);
    for target in ["/a", "*", "/missing"] {
        let answer = folder.ask("OPTIONS", target, &[]);
        assert_eq!((answer.status(), answer.field("allow").as_deref()), (204, Some("GET, HEAD, OPTIONS")));
        assert!(answer.0.content.is_empty());
    }
}

#[test]
fn error_pages_escape_what_they_quote() {
    let mut folder = Folder::new();
    folder.write("<b>/index.html", "x");
    let text = folder.get("/%3Cb%3E?<script>alert(1)</script>").text();
    assert!(!text.contains("<script>") && !text.contains("<b>"), "{text}");
}

#[test]
fn extra_fields_go_with_every_answer() {
    let mut folder = Folder::with(|options| {
        options.headers = vec!["X-One: 1".into(), "Referrer-Policy: no-referrer".into()];
        options.cache_control = Some("max-age=60".into());
        options.mime = vec![("foo".into(), "text/x-foo".into())];
    });
    folder.write("a.foo", "a");
    let (found, missing) = (folder.get("/a.foo"), folder.get("/b"));
    assert_eq!(found.field("content-type").unwrap(), "text/x-foo; charset=utf-8");
    assert_eq!(found.field("cache-control").as_deref(), Some("max-age=60"));
    assert_eq!(missing.field("cache-control"), None);
    for answer in [found, missing, folder.ask("POST", "/a.foo", &[]), folder.ask("OPTIONS", "*", &[])] {
        assert_eq!(answer.field("x-one").as_deref(), Some("1"));
        assert_eq!(answer.field("referrer-policy").as_deref(), Some("no-referrer"));
    }
}

#[test]
fn scripts_of_other_origins_may_read_when_told() {
    let mut folder = Folder::with(|options| options.cors = Some("*".into()));
    folder.write("a", "a");
    for answer in [folder.get("/a"), folder.get("/missing")] {
        assert_eq!(answer.field("access-control-allow-origin").as_deref(), Some("*"));
    }
    let preflight = [("Origin", "https://b.example"), ("Access-Control-Request-Method", "GET")];
    let answer = folder.ask("OPTIONS", "/a", &preflight);
    assert_eq!(answer.status(), 204);
    assert!(answer.field("access-control-allow-methods").unwrap().contains("GET"));
    assert!(answer.field("access-control-allow-headers").unwrap().contains("Range"));
    assert_eq!(Folder::new().ask("OPTIONS", "/a", &preflight).field("access-control-allow-methods"), None);
}

#[test]
fn times_from_the_far_past_and_future_are_cut_to_now() {
    let mut folder = Folder::new();
    folder.write("future", "x");
    let now = std::time::SystemTime::now();
    set_modified(&folder.at("future"), 200_000_000_000);
    let text = folder.get("/future").field("last-modified").unwrap();
    let time = httpdate::parse_http_date(&text).unwrap();
    assert!(time <= now + std::time::Duration::from_secs(5), "{text}");
    folder.write("past", "x");
    let before_1970 = std::time::UNIX_EPOCH - std::time::Duration::from_secs(1_000_000);
    std::fs::File::options().append(true).open(folder.at("past")).unwrap().set_modified(before_1970).unwrap();
    assert_eq!(folder.get("/past").field("last-modified").unwrap(), "Thu, 01 Jan 1970 00:00:00 GMT");
}

#[test]
fn a_site_that_cannot_be_opened_says_why() {
    let folder = Folder::new();
    folder.write("file", "x");
    let explain = |options| match Site::open(options) {
        Ok(_) => panic!("opened"),
        Err(error) => error.to_string(),
    };
    assert!(explain(Options::new(folder.at("missing"))).contains("No such file"));
    assert!(explain(Options::new(folder.at("file"))).contains("not a folder"));
    let with = |change: fn(&mut Options)| {
        let mut options = Options::new(folder.at(""));
        change(&mut options);
        explain(options)
    };
    assert!(with(|options| options.headers = vec!["a: b\r\nc: d".into()]).contains("one line"));
    assert!(with(|options| options.cache_control = Some("a\nb".into())).contains("one line"));
    assert!(with(|options| options.cors = Some("a\r\nb".into())).contains("one line"));
    assert!(with(|options| options.index = vec!["../x".into()]).contains("index"));
    assert!(with(|options| options.mime = vec![("x".into(), "y".into())]).contains("media type"));
    assert!(with(|options| options.cache.file_bytes = 1 << 30).contains("memory"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]

    /// Any path at all, over a tree with links out of it: no panic, and never a file from outside.
    #[test]
    fn no_request_reads_what_is_outside(
        path in "(/|\\.|\\.\\.|%2e|%2f|%5c|%00|%|a|dir|out|up|secret|index\\.html|中|%e4%b8%ad){0,10}",
        accept in proptest::bool::ANY,
    ) {
        let mut folder = Folder::new();
        std::fs::write(folder.outside("secret"), "TOP SECRET").unwrap();
        folder.write("dir/a", "a");
        folder.write("index.html", "index");
        symlink("..", folder.at("out")).unwrap();
        symlink("../..", folder.at("dir/up")).unwrap();
        symlink(folder.outside(""), folder.at("dir/out")).unwrap();
        let fields: &[_] = if accept { &[("Accept-Encoding", "gzip, br"), ("Range", "bytes=0-")] } else { &[] };
        for target in [format!("/{path}"), path] {
            let answer = folder.ask("GET", &target, fields);
            let text = String::from_utf8_lossy(&answer.body()).into_owned();
            proptest::prop_assert!(!text.contains("TOP SECRET"), "{}", target);
        }
    }
}
