//! TCP is a stream of octets: how they are cut into segments must not change any answer.

use super::framing::MISSING;
use super::prelude::*;

/// Long enough for two sends to arrive as two segments on loopback.
const GAP: Duration = Duration::from_millis(3);

pub(super) static RULES: &[Rule] = &[
    Rule {
        id: "split.halves",
        severity: Must,
        rfc: "RFC 9112 §2.2",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "请求分两段到达，中间隔 0.2 秒，应答不变",
            en: "A request in two segments, 0.2 s apart, gets the same answer",
        },
        why: Text {
            zh: "一次 recv 不等于一个请求：它只是「现在有多少给多少」。每个连接要有自己的缓冲区，攒到空行（CRLFCRLF）再解析。",
            en: "One recv is not one request: it returns what happens to be there. Keep a buffer per connection and parse when \
the blank line (CRLFCRLF) is in it.",
        },
        test: Run(|p| {
            let bytes = p.page().close().bytes();
            // Inside the path: half a request line must not be taken for a whole one.
            let cut = "GET ".len() + p.env.page.len().div_ceil(2);
            let (a, b) = bytes.split_at(cut.min(bytes.len() - 1));
            let mut conn = p.connect()?;
            conn.send(a);
            p.pause(Duration::from_millis(200));
            conn.send(b);
            let answer = conn.answer(false).map_err(lack)?;
            p.is_page(&answer)
        }),
    },
    Rule {
        id: "split.every-octet",
        severity: Must,
        rfc: "RFC 9112 §2.2",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "请求在任何一个字节处断开，应答都一样",
            en: "A request cut at any octet gets the same answer",
        },
        why: Text {
            zh: "断点可能在方法里、路径里、\\r 和 \\n 之间、空行中间。解析器要能在任何地方停下，来了新数据再接着读，不丢也不重。",
            en: "The cut may fall into the method, the path, between \\r and \\n, into the blank line. The parser must be able to \
stop anywhere and go on with the next data, losing and repeating nothing.",
        },
        test: Run(|p| {
            let bytes = p.page().close().bytes();
            for cut in 1..bytes.len() {
                let (a, b) = bytes.split_at(cut);
                let mut conn = p.connect()?;
                conn.send(a);
                p.pause(GAP);
                conn.send(b);
                let judged = conn.answer(false).map_err(lack).and_then(|answer| p.is_page(&answer));
                at(judged, cut)?;
            }
            Ok(())
        }),
    },
    Rule {
        id: "split.octet-by-octet",
        severity: Must,
        rfc: "RFC 9112 §2.2",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "请求一个字节一个字节地来，应答不变",
            en: "A request that comes octet by octet gets the same answer",
        },
        why: Text {
            zh: "telnet、慢网络、做测试的人都会这样发。每次只处理新来的字节，别从头重扫，更别把一个字节当成完整请求。",
            en: "telnet, slow lines and testers send like this. Handle the new octets only, never rescan, and never take one octet \
for a request.",
        },
        test: Run(|p| {
            let bytes = p.page().close().bytes();
            let mut conn = p.connect()?;
            for b in bytes.chunks(1) {
                conn.send(b);
                p.pause(Duration::from_millis(1));
            }
            let answer = conn.answer(false).map_err(lack)?;
            p.is_page(&answer)
        }),
    },
    Rule {
        id: "split.inside-a-field",
        severity: Must,
        rfc: "RFC 9112 §2.2",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "断在字段中间：请求头的后半（含 Connection: close）照样有效",
            en: "A cut inside the fields: the later half (with Connection: close) counts as well",
        },
        why: Text {
            zh: "第一段里已有完整的请求行，有些服务器便急着回答，剩下的字段被丢掉或当成下一个请求。必须等到空行。",
            en: "The first segment holds a whole request line, so some servers answer at once and drop the other fields or take \
them for the next request. Wait for the blank line.",
        },
        test: Run(|p| {
            let bytes = p.page().with("X-Padding", "0123456789").close().bytes();
            let cut = bytes.len() - 30;
            let mut conn = p.connect()?;
            conn.send(&bytes[..cut]);
            let early = conn.pull(Instant::now() + Duration::from_millis(150));
            ensure!(
                early == Pull::Nothing,
                "请求还没发完，服务器就有了动作",
                "the server acted before the request was complete"
            );
            conn.send(&bytes[cut..]);
            let answer = conn.answer(false).map_err(lack)?;
            p.is_page(&answer)?;
            p.ends(&mut conn)
        }),
    },
    Rule {
        id: "split.two-in-one",
        severity: Must,
        rfc: "RFC 9112 §9.3.2",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "一段里有两个请求，得到两份应答，次序不变",
            en: "Two requests in one segment get two answers, in order",
        },
        why: Text {
            zh: "解析完第一个请求后，缓冲区里剩下的字节就是第二个请求的开头，要接着解析，不能清空，也不能等下一次 recv。",
            en: "After the first request the rest of the buffer is the beginning of the second: go on parsing, do not clear it and \
do not wait for another recv.",
        },
        test: Run(|p| {
            let second = p.req("GET", MISSING).close();
            let alone = p.ask(p.req("GET", MISSING))?.status();
            let mut bytes = p.page().bytes();
            bytes.extend_from_slice(&second.bytes());
            let answers = pipeline(p, &bytes, &[false, false])?;
            if let Some(first) = answers.first() {
                p.is_page(first)?;
            }
            if let Some(second) = answers.get(1) {
                let got = second.status();
                ensure!(
                    got == alone,
                    "第二份应答是 {got}，应为 {alone}",
                    "the second answer is {got} instead of {alone}"
                );
            }
            Ok(())
        }),
    },
    Rule {
        id: "split.ten-in-one",
        severity: Should,
        rfc: "RFC 9112 §9.3.2",
        needs: Files,
        kind: Rough,
        want: Text {
            zh: "一段里有十个请求，十份应答各归各位",
            en: "Ten requests in one segment get their ten answers, each in its place",
        },
        why: Text {
            zh: "应答的次序必须与请求一致，哪怕后面的先准备好。用一个队列，或者答完一个再解析下一个。",
            en: "Answers come in the order of the requests, even if a later one is ready first. Use a queue, or parse the next when \
the last is answered.",
        },
        test: Run(|p| {
            let mut bytes = Vec::new();
            for n in 0..10 {
                bytes.extend_from_slice(&p.file(&format!("n{n}.txt"))?.bytes());
            }
            let answers = pipeline(p, &bytes, &[false; 10])?;
            for (n, answer) in answers.iter().enumerate() {
                same_body(answer, format!("file number {n}\n").as_bytes())?;
            }
            Ok(())
        }),
    },
    Rule {
        id: "split.mixed-in-one",
        severity: Must,
        rfc: "RFC 9112 §9.3.2",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "一段里有 GET、HEAD、404、GET，四份应答都对",
            en: "GET, HEAD, a missing file and GET in one segment: all four answers are right",
        },
        why: Text {
            zh: "HEAD 后面没有正文，404 也要有长度；有一处多发或少发，后面的应答就全部错位。",
            en: "HEAD has no body and the 404 needs its length; one octet too many or too few shifts all that follow.",
        },
        test: Run(|p| {
            let mut bytes = p.page().bytes();
            bytes.extend_from_slice(&p.req("HEAD", &p.env.page).bytes());
            bytes.extend_from_slice(&p.req("GET", MISSING).bytes());
            bytes.extend_from_slice(&p.page().close().bytes());
            let answers = pipeline(p, &bytes, &[false, true, false, false])?;
            for n in [0, 3] {
                if let Some(answer) = answers.get(n) {
                    p.is_page(answer)?;
                }
            }
            Ok(())
        }),
    },
    Rule {
        id: "split.one-and-a-half",
        severity: Must,
        rfc: "RFC 9112 §2.2",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "一段里有一个半请求，另一半随后到达，两个都得到应答",
            en: "One and a half requests in a segment, the other half later: both are answered",
        },
        why: Text {
            zh: "第一个请求之后剩下的半个要留在缓冲区开头，等后半到了再拼上。答完就清空缓冲区会丢掉它。",
            en: "The half that remains must stay in the buffer until the rest comes. Clearing the buffer after an answer loses it.",
        },
        test: Run(|p| {
            let second = p.page().close().bytes();
            let (a, b) = second.split_at(second.len() / 2);
            let mut bytes = p.page().bytes();
            bytes.extend_from_slice(a);
            let mut conn = p.connect()?;
            conn.send(&bytes);
            let first = conn.answer(false).map_err(lack)?;
            p.is_page(&first)?;
            if !first.head.says_keep() || first.end == BodyEnd::Close {
                return Ok(());
            }
            p.pause(Duration::from_millis(50));
            conn.send(b);
            match conn.answer(false) {
                Ok(second) => p.is_page(&second),
                Err(Lack::Ended(_)) => Ok(()),
                Err(other) => Err(lack(other)),
            }
        }),
    },
    Rule {
        id: "split.large-then-small",
        severity: Must,
        rfc: "RFC 9112 §9.3.2",
        needs: Files,
        kind: Rough,
        want: Text {
            zh: "一段里先要大文件再要小文件，先来大的、后来小的，都完整",
            en: "A large and then a small file asked for in one segment come in that order, both whole",
        },
        why: Text {
            zh: "大文件要分多次发送；在它发完之前，小文件的应答不能插进来。",
            en: "The large file takes several sends; until it is out, the small answer must not slip in between.",
        },
        test: Run(|p| {
            let mut bytes = p.file("big.bin")?.bytes();
            bytes.extend_from_slice(&p.file("hello.txt")?.close().bytes());
            let answers = pipeline(p, &bytes, &[false, false])?;
            for (answer, want) in answers.iter().zip([p.files()?.big(), crate::check::fixture::HELLO]) {
                same_body(answer, want)?;
            }
            Ok(())
        }),
    },
    Rule {
        id: "split.body-later",
        severity: Must,
        rfc: "RFC 9112 §6.3",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "请求的正文晚到、分段到，也不会被当成新请求",
            en: "A request's body that comes late and in pieces is not taken for a new request",
        },
        why: Text {
            zh: "Content-Length 之内的字节都属于这个请求，哪怕应答已经发出。要记住还欠多少没读。",
            en: "All octets within Content-Length belong to this request, even when its answer is already out. Remember how many \
are still owed.",
        },
        test: Run(|p| {
            let body = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
            let bytes = p.req("POST", &p.env.page).body(body).bytes();
            let head = bytes.len() - body.len();
            let mut conn = p.connect()?;
            conn.send(&bytes[..head]);
            for piece in body.chunks(9) {
                p.pause(Duration::from_millis(10));
                conn.send(piece);
            }
            conn.send(&p.page().close().bytes());
            let first = conn.answer(false).map_err(lack)?;
            whole(&first)?;
            if !first.head.says_keep() || first.end == BodyEnd::Close {
                return Ok(());
            }
            match conn.answer(false) {
                Ok(second) => p.is_page(&second)?,
                Err(Lack::Ended(_)) => return Ok(()),
                Err(other) => return Err(lack(other)),
            }
            p.ends(&mut conn)
        }),
    },
    Rule {
        id: "split.chunks-octet-by-octet",
        severity: Must,
        rfc: "RFC 9112 §7.1",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "分块的请求正文一个字节一个字节地来，也能读完",
            en: "A chunked request body that comes octet by octet is read to its end",
        },
        why: Text {
            zh: "块长度、块数据、CRLF 之间随时可能断开。把分块解码写成状态机，一次喂一个字节也要走得通。",
            en: "The cut may fall between size, data and CRLF. Write the decoder as a state machine that can be fed one octet at a \
time.",
        },
        test: Run(|p| {
            let mut bytes = p.req("POST", &p.env.page).with("Transfer-Encoding", "chunked").bytes();
            let head = bytes.len();
            bytes.extend_from_slice(b"5\r\nhello\r\nb\r\n, chunks!\r\n\r\n0\r\n\r\n");
            bytes.extend_from_slice(&p.page().close().bytes());
            let mut conn = p.connect()?;
            conn.send(&bytes[..head]);
            for b in bytes[head..].chunks(1) {
                conn.send(b);
                p.pause(Duration::from_millis(1));
            }
            let first = conn.answer(false).map_err(lack)?;
            whole(&first)?;
            if !first.head.says_keep() || first.end == BodyEnd::Close {
                return Ok(());
            }
            match conn.answer(false) {
                Ok(second) => p.is_page(&second),
                Err(Lack::Ended(_)) => Ok(()),
                Err(other) => Err(lack(other)),
            }
        }),
    },
    Rule {
        id: "split.utf8-across-1024",
        severity: Must,
        rfc: "RFC 9112 §2.2",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "请求头里的汉字恰好跨过第 1024（2048、4096）字节，照样得到应答",
            en: "A UTF-8 character across octet 1024 (2048, 4096) of the request does not hinder the answer",
        },
        why: Text {
            zh: "先 recv(1024) 再 decode('utf-8') 会在半个汉字处抛异常，一旦被 except 吞掉，请求就没了，客户端永远等。\
先按字节找到完整的请求头，再解码需要的部分。",
            en: "recv(1024) followed by decode('utf-8') raises in the middle of a character; if an except swallows it, the request \
is gone and the client waits for ever. Find the whole head in octets first, then decode what you need.",
        },
        test: Run(|p| {
            for border in [1024, 2048, 4096] {
                let empty = p.page().close().with("Cookie", "").bytes().len() - 4;
                // One octet before the border begins a character of three.
                let mut value = vec![b'a'; border - 1 - empty];
                value.extend_from_slice("字".as_bytes());
                let req = p.page().close().with("Cookie", &value);
                let mut conn = p.connect()?;
                let judged = p.ask_on(&mut conn, &req).and_then(|answer| {
                    // 400 and 431 are answers, too: the server may be strict about octets above 127.
                    if matches!(answer.status(), 400 | 431) { Ok(()) } else { p.is_page(&answer) }
                });
                at(judged, border)?;
            }
            Ok(())
        }),
    },
];

/// Sends several requests at once and reads as many answers as the server owes: it may end the connection early
/// after saying so.
fn pipeline(p: &mut Probe<'_>, bytes: &[u8], heads: &[bool]) -> Result<Vec<Answer>, Stop> {
    let mut conn = p.connect()?;
    conn.send(bytes);
    let mut answers = Vec::new();
    for to_head in heads {
        let answer = match conn.answer(*to_head) {
            Ok(answer) => answer,
            Err(other) => {
                let (n, of) = (answers.len(), heads.len());
                let Stop::Fail(seen) = lack(other) else { break };
                let (zh, en) = (seen.zh, seen.en);
                return Err(Stop::Fail(seen!(
                    "{of} 个请求只有 {n} 份应答：{zh}",
                    "{n} answers to {of} requests: {en}"
                )));
            }
        };
        whole(&answer)?;
        let last = !answer.head.says_keep() || answer.end == BodyEnd::Close;
        answers.push(answer);
        if last {
            break;
        }
    }
    Ok(answers)
}

/// Adds the position to a finding.
fn at(judged: Verdict, position: usize) -> Verdict {
    judged.map_err(|stop| match stop {
        Stop::Fail(f) => {
            let (zh, en) = (f.zh, f.en);
            Stop::Fail(seen!("断在第 {position} 字节：{zh}", "cut at octet {position}: {en}"))
        }
        other => other,
    })
}
