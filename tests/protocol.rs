//! What bytes come out for what bytes in, whatever the way they are cut.

use proptest::prelude::*;
use wouldblock::http::{CloseReason, Limits, RequestError};

use crate::common::script::{Outcome, converse};
use crate::common::{answers, pattern};

const NEXT: &str = "GET /next HTTP/1.1\r\nHost: x\r\n\r\n";

fn limits() -> Limits {
    Limits { target_bytes: 100, head_bytes: 400, header_count: 8, body_bytes: 50, ..Limits::default() }
}

/// Feeds a request whole, octet by octet, and with another one glued on; the three must agree. Returns the outcome
/// of the first.
#[track_caller]
fn three_ways(request: &[u8]) -> Outcome {
    let limits = limits();
    let whole = converse(&[request], true, usize::MAX, &limits);
    let octets: Vec<_> = request.chunks(1).collect();
    assert_eq!(whole, converse(&octets, true, 1, &limits), "octet by octet: {}", request.escape_ascii());
    let glued = [request, NEXT.as_bytes()].concat();
    let both = converse(&[&glued], true, usize::MAX, &limits);
    assert!(
        both.output.starts_with(&whole.output),
        "glued: {}\n{}\n{}",
        request.escape_ascii(),
        whole.output.escape_ascii(),
        both.output.escape_ascii()
    );
    whole
}

#[test]
fn requests_that_are_understood() {
    // What is sent, the body that comes back, and whether the connection is kept.
    let cases: &[(&str, &str, bool)] = &[
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET /", true),
        ("GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n", "GET /a?b=c", true),
        ("\r\n\r\nGET /after-empty-lines HTTP/1.1\r\nHost: x\r\n\r\n", "GET /after-empty-lines", true),
        ("GET http://x/abs?q HTTP/1.1\r\nHost: x\r\n\r\n", "GET http://x/abs?q", true),
        ("GET http://x HTTP/1.1\r\nHost: x\r\n\r\n", "GET http://x", true),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "OPTIONS *", true),
        ("CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT x:443", true),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET /", true),
        ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "GET /", true),
        ("GET / HTTP/1.1\r\nHost: [::ffff:192.0.2.1]\r\n\r\n", "GET /", true),
        ("GET / HTTP/1.1\r\nHost: [v1.a:b]\r\n\r\n", "GET /", true),
        ("GET / HTTP/1.1\r\nHost: a%C3%a9:80\r\n\r\n", "GET /", true),
        ("GET / HTTP/1.1\r\nHOST:\t x \t\r\n\r\n", "GET /", true),
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "GET /", false),
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: foo, Close\r\n\r\n", "GET /", false),
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", "GET /", true),
        ("GET / HTTP/1.0\r\n\r\n", "GET /", false),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET /", true),
        ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "GET /", false),
        ("POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", "POST /p", true),
        ("POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello", "POST /p", true),
        ("GET /g HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", "GET /g", true),
        (
            "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "POST /c",
            true,
        ),
        (
            "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n1;a=b\r\nx\r\n0\r\nTrailer: y\r\n\r\n",
            "POST /c",
            true,
        ),
        ("GET / HTTP/1.1\r\nHost: x\r\nCookie: \u{fc}\r\n\r\n", "GET /", true),
    ];
    for (request, body, kept) in cases {
        let outcome = three_ways(request.as_bytes());
        let answers = answers(&outcome.output, &[]);
        assert_eq!(answers.len(), 1, "{request:?}");
        assert_eq!(
            (answers[0].status, std::str::from_utf8(&answers[0].body).unwrap()),
            (200, *body),
            "{request:?}"
        );
        let expected = if *kept { CloseReason::PeerClosed } else { CloseReason::Answered };
        assert_eq!(outcome.closed, Some(expected), "{request:?}");
        let connection = match (*kept, request.contains("HTTP/1.0")) {
            (false, _) => Some("close"),
            (true, true) => Some("keep-alive"),
            (true, false) => None,
        };
        assert_eq!(answers[0].field("connection"), connection, "{request:?}");
        assert!(answers[0].field("date").is_some_and(|date| date == "Sun, 06 Nov 1994 08:49:37 GMT"));
    }
}

#[test]
fn requests_that_are_refused() {
    use RequestError::*;
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100));
    let endless_target = format!("GET /{}", "a".repeat(200));
    let long_head = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(400));
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(8));
    let cases: &[(&str, u16, RequestError)] = &[
        ("GET / HTTP/1.1\nHost: x\n\n", 400, BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", 400, BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n", 400, BadHeader),
        ("GET /\r\n\r\n", 400, BadRequestLine),
        ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400, BadRequestLine),
        (" GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400, BadRequestLine),
        ("G@T / HTTP/1.1\r\nHost: x\r\n\r\n", 400, BadRequestLine),
        ("GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400, BadRequestLine),
        ("GET / http/1.1\r\nHost: x\r\n\r\n", 400, BadRequestLine),
        ("GET / HTTP/1.10\r\nHost: x\r\n\r\n", 400, BadRequestLine),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505, Version),
        ("GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505, Version),
        ("GET / HTTP/0.9\r\nHost: x\r\n\r\n", 505, Version),
        ("PRI * HTTP/2.0\r\n\r\n", 505, Version),
        ("GET a HTTP/1.1\r\nHost: x\r\n\r\n", 400, BadTarget),
        ("GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400, BadTarget),
        ("GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, BadTarget),
        ("GET http:///a HTTP/1.1\r\nHost: x\r\n\r\n", 400, BadTarget),
        ("GET http://:80/a HTTP/1.1\r\nHost: x\r\n\r\n", 400, BadTarget),
        ("CONNECT :80 HTTP/1.1\r\nHost: x\r\n\r\n", 400, BadTarget),
        ("GET http://u@x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, BadTarget),
        ("GET /#top HTTP/1.1\r\nHost: x\r\n\r\n", 400, BadTarget),
        ("GET /中文.html HTTP/1.1\r\nHost: x\r\n\r\n", 400, BadTarget),
        ("CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n", 400, BadTarget),
        ("GET / HTTP/1.1\r\n\r\n", 400, BadHost),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400, BadHost),
        ("GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400, BadHost),
        ("GET / HTTP/1.1\r\nHost: x y\r\n\r\n", 400, BadHost),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, BadHost),
        ("GET / HTTP/1.1\r\nHost: x:port\r\n\r\n", 400, BadHost),
        ("GET / HTTP/1.1\r\nHost: u@x\r\n\r\n", 400, BadHost),
        ("GET / HTTP/1.1\r\nHost: a%zz\r\n\r\n", 400, BadHost),
        ("GET / HTTP/1.1\r\nHost: a%4\r\n\r\n", 400, BadHost),
        ("GET / HTTP/1.1\r\nHost: [vvvv]\r\n\r\n", 400, BadHost),
        ("GET / HTTP/1.1\r\nHost: [v1.]\r\n\r\n", 400, BadHost),
        ("GET / HTTP/1.1\r\nHost: [1:2]\r\n\r\n", 400, BadHost),
        ("GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", 400, BadHost),
        ("GET / HTTP/1.1\r\nHost: [fe80::1%25]\r\n\r\n", 400, BadHost),
        ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400, BadHeader),
        ("GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n", 400, BadHeader),
        ("GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400, BadHeader),
        ("GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400, BadHeader),
        ("GET / HTTP/1.1\r\nHost: x\r\n: empty\r\n\r\n", 400, BadHeader),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: \u{0}\r\n\r\n", 400, BadHeader),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
            400,
            DifferingLengths,
        ),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 2\r\n\r\na", 400, DifferingLengths),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, BadContentLength),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na", 400, BadContentLength),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x1\r\n\r\na", 400, BadContentLength),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", 400, BadContentLength),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 51\r\n\r\n", 413, BodyTooLarge),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n", 413, BodyTooLarge),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            LengthAndCoding,
        ),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, CodingInOldVersion),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501, UnknownCoding),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, UnknownCoding),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 400, ChunkedNotLast),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 400, ChunkedNotLast),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\r\n", 400, ChunkedNotLast),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n", 400, BadHeader),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400, BadChunk),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n", 413, BodyTooLarge),
        ("GET / HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\n\r\n", 417, UnknownExpectation),
        (&long_target, 414, TargetTooLong),
        (&endless_target, 414, TargetTooLong),
        (&long_head, 431, HeadTooLarge),
        (&many, 431, TooManyHeaders),
    ];
    for (request, status, error) in cases {
        let outcome = three_ways(request.as_bytes());
        let answers = answers(&outcome.output, &[]);
        assert_eq!(answers.len(), 1, "{request:?} is the last to be answered");
        assert_eq!(answers[0].status, *status, "{request:?}");
        assert_eq!(answers[0].field("connection"), Some("close"), "{request:?}");
        assert_eq!(std::str::from_utf8(&answers[0].body).unwrap(), error.explain(), "{request:?}");
        assert_eq!(outcome.closed, Some(CloseReason::BadRequest(*error)), "{request:?}");
    }
}

#[test]
fn an_unknown_method_is_answered_and_the_connection_kept() {
    let request = format!("BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n{NEXT}");
    let outcome = three_ways(request.as_bytes());
    let statuses: Vec<_> = answers(&outcome.output, &[]).iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [501, 200]);
}

#[test]
fn head_has_the_length_and_not_the_body() {
    let requests = format!(
        "HEAD /size/20 HTTP/1.1\r\nHost: x\r\n\r\nHEAD /size/99999 HTTP/1.1\r\nHost: x\r\n\r\n{NEXT}"
    );
    let outcome = three_ways(requests.as_bytes());
    let answers = answers(&outcome.output, &["HEAD", "HEAD", "GET"]);
    assert_eq!(answers[0].field("content-length"), Some("20"));
    assert_eq!(answers[1].field("content-length"), Some("99999"));
    assert_eq!(answers[2].body, b"GET /next");
}

#[test]
fn a_malformed_head_request_is_not_answered_with_a_body() {
    let outcome = three_ways(b"HEAD / HTTP/1.1\r\n\r\n");
    let end = outcome.output.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    assert_eq!(end + 4, outcome.output.len());
}

#[test]
fn continue_is_said_before_the_body_is_read_and_not_to_1_0() {
    let head = "POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n";
    let waiting = converse(&[head.as_bytes()], false, usize::MAX, &limits());
    assert_eq!(waiting.output, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(waiting.closed, None);
    let outcome = three_ways(format!("{head}hello").as_bytes());
    let statuses: Vec<_> = answers(&outcome.output, &[]).iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [100, 200]);
    let too_large = head.replace(": 5", ": 51");
    assert!(three_ways(too_large.as_bytes()).output.starts_with(b"HTTP/1.1 413 "));
    let old = three_ways(b"POST /p HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
    assert!(old.output.starts_with(b"HTTP/1.1 200 "));
}

#[test]
fn large_bodies_and_small_ones_leave_in_the_order_of_their_requests() {
    let request = |size: usize| format!("GET /size/{size} HTTP/1.1\r\nHost: x\r\n\r\n");
    let sizes = [0, 1, 16_384, 16_385, 300_000, 5, 70_000, 16_384, 16_384, 16_384, 16_384, 16_384, 16_384];
    let stream: String = sizes.iter().map(|size| request(*size)).collect();
    for write in [usize::MAX, 100_000, 4096, 1000] {
        let outcome = converse(&[stream.as_bytes()], true, write, &Limits::default());
        let bodies: Vec<_> = answers(&outcome.output, &[]).into_iter().map(|answer| answer.body).collect();
        let expected: Vec<_> = sizes.iter().map(|size| pattern(*size)).collect();
        assert!(bodies == expected, "writes of {write}");
    }
}

#[test]
fn a_request_cut_off_by_the_end_of_file_is_not_answered() {
    let outcome = converse(&[b"GET / HTTP/1.1\r\nHost: x\r\n"], true, usize::MAX, &limits());
    assert_eq!(outcome, Outcome { output: Vec::new(), closed: Some(CloseReason::PeerClosed) });
    let body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhello";
    assert_eq!(converse(&[body], true, usize::MAX, &limits()).output, b"");
}

/// Requests of every kind, well-formed and not.
fn any_request() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0usize..40_000).prop_map(|size| format!("GET /size/{size} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()),
        3 => "[a-z/?=%0-9]{0,40}".prop_map(|path| format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()),
        2 => "[a-z]{0,60}".prop_map(|body| {
            format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
        }),
        2 => prop::collection::vec("[a-z]{1,20}", 0..4).prop_map(|chunks| {
            let mut body = String::new();
            for chunk in chunks {
                body += &format!("{:x}\r\n{chunk}\r\n", chunk.len());
            }
            format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{body}0\r\n\r\n").into_bytes()
        }),
        1 => Just(b"PUT /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc".to_vec()),
        1 => Just(b"GET /later/3 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        1 => Just(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..60),
        1 => "[ -~\r\n]{0,80}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cutting_the_input_differently_never_changes_the_output(
        requests in prop::collection::vec(any_request(), 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        write in prop_oneof![1usize..100, 100usize..100_000, Just(usize::MAX)],
        eof: bool,
    ) {
        let stream = requests.concat();
        let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        places.extend([0, stream.len()]);
        places.sort_unstable();
        let pieces: Vec<_> = places.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        let limits = limits();
        let whole = converse(&[&stream], eof, usize::MAX, &limits);
        let cut = converse(&pieces, eof, write, &limits);
        prop_assert_eq!(whole.output.escape_ascii().to_string(), cut.output.escape_ascii().to_string());
        prop_assert_eq!(whole.closed, cut.closed);
    }

    #[test]
    fn arbitrary_octets_never_panic_and_are_answered_at_most_once_when_wrong(
        octets in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let outcome = converse(&[&octets], true, usize::MAX, &limits());
        prop_assert!(outcome.closed.is_some());
    }
}
