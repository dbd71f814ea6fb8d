//! Passwords, without ever waiting for them.

use std::time::{Duration, Instant};

use base64::Engine;
use wouldblock::http::{Headers, Method, Request, Status, Target, Version};
use wouldblock::service::{Content, Context, Peer, Response, Service};
use wouldblock::site::{Accounts, Auth};
use wouldblock::stats::Stats;

/// Lets everyone read one word.
struct Open;

impl Service for Open {
    fn respond(&mut self, _: &Request<'_>, _: &Context<'_>) -> Option<Response> {
        Some(Response { status: Status::OK, fields: [].into(), content: Content::Empty })
    }

    fn refuse(&mut self, status: Status, _: &str) -> Response {
        Response { status, fields: [].into(), content: Content::Empty }
    }
}

struct Door(Auth<Open>, Instant);

impl Door {
    fn new(lines: &[&str]) -> Self {
        let mut accounts = Accounts::new();
        for line in lines {
            accounts.add(line).unwrap();
        }
        Self(Auth::new(Open, Some(accounts)), Instant::now())
    }

    /// One try: `None` is "would block".
    fn attempt(&mut self, method: Method<'_>, authorization: Option<&str>) -> Option<Response> {
        let field =
            authorization.map(|value| httparse::Header { name: "Authorization", value: value.as_bytes() });
        let request = Request {
            method,
            target: Target::Origin { path: "/", query: None },
            raw_target: "/",
            version: Version::Http11,
            headers: Headers::new(field.as_slice()),
        };
        let context =
            Context { now: self.1, unix_time: 0, stats: &Stats::default(), peer: &Peer::Unix, batch: 1 };
        self.0.respond(&request, &context)
    }

    /// As the loop does it: asked again until there is an answer.
    fn status(&mut self, credentials: &str) -> u16 {
        let value = basic(credentials);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            if let Some(response) = self.attempt(Method::Get, Some(&value)) {
                return response.status.0;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("no verdict within a minute");
    }
}

fn basic(credentials: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(credentials))
}

fn bcrypt(password: &str) -> String {
    bcrypt::hash(password, 4).unwrap().replacen("$2b$", "$2y$", 1)
}

fn argon2(password: &str) -> String {
    use argon2::password_hash::PasswordHasher;
    let params = argon2::Params::new(64, 1, 1, None).unwrap();
    let hasher = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    hasher.hash_password(password.as_bytes()).unwrap().to_string()
}

#[test]
fn only_those_with_the_right_password_come_in() {
    let mut door = Door::new(&[
        "alice:open sesame",
        &format!("bob:{}", bcrypt("pässword")),
        &format!("carol:{}", argon2("a:b")),
    ]);
    for (credentials, status) in [
        ("alice:open sesame", 200),
        ("bob:pässword", 200),
        ("carol:a:b", 200),
        ("alice:Open sesame", 401),
        ("alice:", 401),
        ("alice:open sesame ", 401),
        ("bob:password", 401),
        ("bob:", 401),
        ("carol:a", 401),
        ("dave:open sesame", 401),
        ("Alice:open sesame", 401),
        (":", 401),
        ("alice", 401),
        ("", 401),
    ] {
        for _ in 0..3 {
            assert_eq!(door.status(credentials), status, "{credentials}");
        }
    }
}

#[test]
fn what_is_no_basic_credential_is_refused_with_a_challenge() {
    let mut door = Door::new(&["alice:secret"]);
    let right = basic("alice:secret");
    for value in
        [None, Some(""), Some("Basic"), Some("Basic "), Some("Basic %%%"), Some("Bearer YWxpY2U6c2VjcmV0")]
    {
        let response = door.attempt(Method::Get, value).unwrap();
        assert_eq!(response.status, Status::UNAUTHORIZED, "{value:?}");
        let fields = std::str::from_utf8(&response.fields).unwrap();
        assert!(
            fields.contains("WWW-Authenticate: Basic realm=\"files\", charset=\"UTF-8\"\r\n"),
            "{fields}"
        );
    }
    let spelt = right.replacen("Basic ", "bASIC  ", 1);
    assert_eq!(door.attempt(Method::Get, Some(&spelt)).unwrap().status, Status::OK);
    // A preflight has no credentials, and gets nothing that needs them.
    assert_eq!(door.attempt(Method::Options, None).unwrap().status, Status::OK);
    assert_eq!(door.attempt(Method::Head, None).unwrap().status, Status::UNAUTHORIZED);
}

#[test]
fn nobody_comes_in_where_there_is_no_account_and_everybody_where_there_is_no_guard() {
    assert_eq!(Door::new(&[]).status("alice:"), 401);
    let mut open = Door(Auth::new(Open, None), Instant::now());
    assert_eq!(open.attempt(Method::Get, None).unwrap().status, Status::OK);
}

#[test]
fn a_slow_hash_would_block_once_and_is_known_from_then_on() {
    let mut door = Door::new(&[&format!("bob:{}", bcrypt("secret"))]);
    let (right, wrong) = (basic("bob:secret"), basic("bob:guess"));
    assert!(door.attempt(Method::Get, Some(&right)).is_none());
    assert_eq!(door.status("bob:secret"), 200);
    for _ in 0..1000 {
        assert_eq!(door.attempt(Method::Get, Some(&right)).unwrap().status, Status::OK);
    }
    assert_eq!(door.status("bob:guess"), 401);
    assert_eq!(door.attempt(Method::Get, Some(&wrong)).unwrap().status, Status::UNAUTHORIZED);
    // Wrong is not wrong for ever, right is.
    door.1 += Duration::from_secs(5);
    assert!(door.attempt(Method::Get, Some(&wrong)).is_none());
    assert_eq!(door.attempt(Method::Get, Some(&right)).unwrap().status, Status::OK);
}

#[test]
fn names_that_do_not_exist_take_the_same_way_as_names_that_do() {
    let mut door = Door::new(&[&format!("bob:{}", bcrypt("secret"))]);
    assert!(door.attempt(Method::Get, Some(&basic("nobody:secret"))).is_none());
    assert_eq!(door.status("nobody:secret"), 401);
}

#[test]
fn a_flood_of_guesses_neither_queues_without_end_nor_locks_out_who_is_known() {
    // Slow enough that the flood is faster than the helper.
    let hash = bcrypt::hash("secret", 8).unwrap();
    let mut door = Door::new(&[&format!("bob:{hash}"), "alice:plain"]);
    assert_eq!(door.status("bob:secret"), 200);
    let mut statuses = std::collections::HashMap::new();
    for number in 0..500 {
        let response = door.attempt(Method::Get, Some(&basic(&format!("bob:{number}"))));
        *statuses.entry(response.map(|response| response.status.0)).or_insert(0) += 1;
    }
    assert!(statuses.get(&Some(503)).is_some_and(|&busy| busy > 300), "{statuses:?}");
    assert_eq!(statuses.get(&Some(200)), None);
    for known in ["bob:secret", "alice:plain"] {
        assert_eq!(door.attempt(Method::Get, Some(&basic(known))).unwrap().status, Status::OK);
    }
}

#[test]
fn an_account_file_is_read_as_htpasswd_writes_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts");
    std::fs::write(&path, format!("# who\n\nbob:{}\r\nalice:plain\n", bcrypt("secret"))).unwrap();
    let mut accounts = Accounts::new();
    accounts.add_file(&path).unwrap();
    let mut door = Door(Auth::new(Open, Some(accounts)), Instant::now());
    assert_eq!((door.status("bob:secret"), door.status("alice:plain")), (200, 200));
    for (text, says) in [
        ("", "no account"),
        ("# nobody\n", "no account"),
        ("a:b\nbob\n", "line 2"),
        ("a:b\na:c\n", "two accounts"),
        ("a:$6$x$y\n", "htpasswd -B"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Accounts::new().add_file(&path).unwrap_err().to_string();
        assert!(error.contains(says), "{text:?}: {error}");
    }
    let error = Accounts::new().add_file(&folder.path().join("missing")).unwrap_err().to_string();
    assert!(error.contains("missing") && error.contains("No such file"), "{error}");
}
