//! What answers where there is nothing.

use super::Folder;

#[test]
fn a_page_of_ones_own_answers_for_what_is_missing() {
    let mut folder = Folder::new();
    folder.write("404.html", "lost?");
    for target in ["/missing", "/missing/deep/", "/.hidden", "/a//b"] {
        let answer = folder.get(target);
        assert_eq!((answer.status(), answer.text().as_str()), (404, "lost?"), "{target}");
        assert_eq!(answer.field("content-type").unwrap(), "text/html; charset=utf-8");
        assert_eq!(answer.field("etag"), None);
    }
    // It has no validators, so nothing can make it a 304.
    assert_eq!(folder.ask("GET", "/missing", &[("If-None-Match", "*")]).status(), 404);
    assert_eq!(folder.get("/404.html").status(), 200);
}

#[test]
fn a_single_page_program_gets_its_addresses_and_missing_scripts_stay_missing() {
    let mut folder = Folder::with(|options| options.spa = true);
    folder.write("index.html", "app");
    folder.write("real.txt", "real");
    let html = [("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    assert_eq!(folder.get("/users/7").text(), "app");
    assert_eq!(folder.get("/users/7").status(), 200);
    assert_eq!(folder.get("/real.txt").text(), "real");
    assert_eq!(folder.get("/missing.js").status(), 404);
    assert_eq!(folder.ask("GET", "/users/john.doe", &html).text(), "app");
    // What can be no name here may be one there.
    for target in [format!("/verify/{}", "x".repeat(300)), "/search//x".into(), "/search/a%2Fb".into()] {
        assert_eq!(folder.get(&target).text(), "app", "{target}");
    }
    for (target, status) in [
        ("/%zz", 400),
        ("/a%00", 400),
        ("/a%2f%00", 400),
        ("/a\\b", 400),
        ("/%2e%2e%2fsecret", 400),
        ("/.env", 404),
        ("/.git%2fconfig", 404),
    ] {
        assert_eq!(folder.ask("GET", target, &html).status(), status, "{target}");
    }
}

#[test]
fn an_answer_that_accept_decides_says_so() {
    let mut folder = Folder::with(|options| options.spa = true);
    folder.write_settled("index.html", "app");
    folder.write_settled("404.html", "lost?");
    let etag = folder.get("/").field("etag").unwrap();
    for (target, accept, status, varies) in [
        ("/a.js", "text/html", 200, true),
        ("/a.js", "*/*", 404, true),
        ("/a.js", "text/html;q=0", 404, true),
        ("/a.js", "text/html;Q=0.000, */*", 404, true),
        ("/a.js", "text/html;level=1;q=0.1", 200, true),
        ("/a", "*/*", 200, false),
        ("/", "*/*", 200, false),
    ] {
        let answer = folder.ask("GET", target, &[("Accept", accept)]);
        assert_eq!(answer.status(), status, "{target} {accept}");
        let says_so = |answer: &super::Answer| answer.fields().any(|field| field == ("Vary", "Accept"));
        assert_eq!(says_so(&answer), varies, "{target} {accept}");
        if status == 200 {
            let again = folder.ask("GET", target, &[("Accept", accept), ("If-None-Match", &etag)]);
            assert_eq!((again.status(), says_so(&again)), (304, varies), "{target} {accept}");
        }
    }
}
