//! Whether a connection lives as long as both sides said, and what follows a request on it.

use super::framing::MISSING;
use super::prelude::*;

pub(super) static RULES: &[Rule] = &[
    Rule {
        id: "keepalive.default",
        severity: Should,
        rfc: "RFC 9112 §9.3",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "HTTP/1.1 默认是长连接：同一连接上的第二个请求也得到应答",
            en: "HTTP/1.1 is persistent by default: a second request on the connection is answered",
        },
        why: Text {
            zh: "每个请求新建一次 TCP 连接要多花一个来回。长连接由版本和 Connection 决定，Content-Length 只是让它可行。\
发完应答不要关，回到读请求的状态。",
            en: "A new TCP connection per request costs a round trip. Version and Connection decide about persistence; \
Content-Length only makes it possible. After the answer go back to reading instead of closing.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            let first = p.ask_on(&mut conn, &p.page())?;
            whole(&first)?;
            let keeps = first.head.says_keep() && first.end != BodyEnd::Close;
            ensure!(keeps, "第一份应答就表明要关闭", "the first answer already ends the connection");
            conn.send(&p.page().bytes());
            let second = conn.answer(false).map_err(lack)?;
            p.is_page(&second)
        }),
    },
    Rule {
        id: "keepalive.close-announced",
        severity: Must,
        rfc: "RFC 9112 §9.3, §9.6",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "答完就关的服务器要写明 Connection: close",
            en: "A server that closes after its answer says Connection: close",
        },
        why: Text {
            zh: "HTTP/1.1 的应答若不写 close，客户端就以为连接可用，会把下一个请求发进一条正在关闭的连接里。\
不支持长连接的服务器必须在每份应答里写 Connection: close。",
            en: "An HTTP/1.1 answer without close promises a usable connection, and the client sends its next request into one \
that is being closed. A server without persistent connections MUST say Connection: close in every answer.",
        },
        test: Run(|p| {
            for target in [p.env.page.clone(), MISSING.to_owned()] {
                let mut conn = p.connect()?;
                let answer = p.ask_on(&mut conn, &p.req("GET", &target))?;
                if !answer.head.says_keep() || answer.end == BodyEnd::Waiting {
                    continue;
                }
                let closed =
                    answer.end == BodyEnd::Close || conn.wait_end(Duration::from_millis(250)).is_some();
                ensure!(
                    !closed,
                    "{target} 的应答没有写 close，连接却关了",
                    "the answer to {target} does not say close, yet the connection was closed"
                );
            }
            Ok(())
        }),
    },
    Rule {
        id: "keepalive.close-obeyed",
        severity: Must,
        rfc: "RFC 9112 §9.6",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "请求里有 Connection: close，答完就关闭连接",
            en: "After a request with Connection: close the answer is followed by closing",
        },
        why: Text {
            zh: "客户端说了这是最后一个请求，服务器答完必须关闭。不读这个字段的服务器会白白占着连接。",
            en: "The client has said that this is its last request; the server MUST close after the answer. One that never reads \
the field holds connections for nothing.",
        },
        test: Run(|p| closes_after(p, "close")),
    },
    Rule {
        id: "keepalive.close-in-any-case",
        severity: Must,
        rfc: "RFC 9110 §7.6.1",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "Connection 的选项不分大小写：CLOSE 也是 close",
            en: "Connection options ignore case: CLOSE is close",
        },
        why: Text {
            zh: "比较之前先转成小写，或者用不分大小写的比较；字段名同样不分大小写。",
            en: "Compare without regard to case; the same holds for field names.",
        },
        test: Run(|p| closes_after(p, "CLOSE")),
    },
    Rule {
        id: "keepalive.close-in-a-list",
        severity: Must,
        rfc: "RFC 9110 §7.6.1",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "Connection 是用逗号分开的列表，close 可以在其中任何位置",
            en: "Connection is a comma-separated list; close may stand anywhere in it",
        },
        why: Text {
            zh: "整串与 \"close\" 比较会漏掉「TE, close」这样的写法。按逗号切开，去掉空白，逐个比较。",
            en: "Comparing the whole value with \"close\" misses \"TE, close\". Split at commas, trim, compare each.",
        },
        test: Run(|p| closes_after(p, "x-nothing, close")),
    },
    Rule {
        id: "keepalive.close-echoed",
        severity: Should,
        rfc: "RFC 9112 §9.6",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "最后一份应答里写着 Connection: close",
            en: "The last answer says Connection: close",
        },
        why: Text {
            zh: "客户端要求关闭时，应答里也写上 close，代理就不会把这条连接放回池里。",
            en: "When the client asks for closing, say close in the answer as well, so that no proxy puts the connection back \
into its pool.",
        },
        test: Run(|p| {
            let head = p.ask(p.page())?.head;
            let says = head.has_token("connection", "close") || !head.is_11();
            ensure!(says, "应答没有写 Connection: close", "the answer lacks Connection: close");
            Ok(())
        }),
    },
    Rule {
        id: "keepalive.10-closes",
        severity: Must,
        rfc: "RFC 9112 §9.3",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "HTTP/1.0 的请求没有要求保持，答完就关闭",
            en: "A request of HTTP/1.0 that does not ask to keep the connection gets it closed",
        },
        why: Text {
            zh: "1.0 的客户端靠关闭来判断结束。请求行里的版本要读，不能一律当成 1.1。",
            en: "Clients of 1.0 take closing for the end. Read the version in the request line instead of assuming 1.1.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            p.ask_on(&mut conn, &p.page().old())?;
            p.ends(&mut conn)
        }),
    },
    Rule {
        id: "keepalive.10-keep-alive",
        severity: Must,
        rfc: "RFC 9112 §9.3",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "对 HTTP/1.0 答了 Connection: keep-alive，就真的保持；不答则关闭",
            en: "Connection: keep-alive said to HTTP/1.0 is kept; unsaid, the connection is closed",
        },
        why: Text {
            zh: "1.0 的长连接要双方都写 keep-alive。服务器可以不支持，但说和做要一致。",
            en: "In 1.0 both sides must say keep-alive. A server need not support it, but must do what it says.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            let req = p.page().old().with("Connection", "keep-alive");
            let first = p.ask_on(&mut conn, &req)?;
            whole(&first)?;
            if first.end != BodyEnd::Close && first.head.has_token("connection", "keep-alive") {
                conn.send(&req.bytes());
                let second = conn.answer(false).map_err(lack)?;
                return p.is_page(&second);
            }
            p.ends(&mut conn)
        }),
    },
    Rule {
        id: "keepalive.after-404",
        severity: Must,
        rfc: "RFC 9112 §9.3",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "404 之后，同一连接上的下一个请求照常得到应答",
            en: "After a 404 the next request on the connection is answered as usual",
        },
        why: Text {
            zh: "找不到文件不是连接的错误。404 带上正确的长度，接着读下一个请求；若要关，就写 Connection: close。",
            en: "A missing file is no error of the connection. Give the 404 its right length and go on reading; if you close, say \
Connection: close.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            let first = p.ask_on(&mut conn, &p.req("GET", MISSING))?;
            match p.ask_again(&mut conn, &first, &p.page())? {
                Some(second) => p.is_page(&second),
                None => Ok(()),
            }
        }),
    },
    Rule {
        id: "keepalive.fifty",
        severity: Good,
        rfc: "RFC 9112 §9.3",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "一条连接上先后五十个请求，个个得到同样的应答",
            en: "Fifty requests, one after another on one connection, all get the same answer",
        },
        why: Text {
            zh: "每个请求之后，缓冲区、偏移量、状态都要回到起点。服务器可以设上限，到了就写 Connection: close。",
            en: "Buffers, offsets and state must be back at their beginning after every request. A server may have a limit, and \
says Connection: close when it is reached.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            let mut before = p.ask_on(&mut conn, &p.page())?;
            if !before.head.says_keep() || before.end == BodyEnd::Close {
                not_here!("服务器不保持连接", "the server does not keep connections");
            }
            for n in 2..=50 {
                let Some(answer) = p.ask_again(&mut conn, &before, &p.page())? else {
                    let announced = !before.head.says_keep();
                    ensure!(announced, "第 {n} 个请求没有应答", "request {n} was not answered");
                    return Ok(());
                };
                p.is_page(&answer)?;
                before = answer;
            }
            Ok(())
        }),
    },
    Rule {
        id: "keepalive.after-a-second",
        severity: Good,
        rfc: "RFC 9112 §9.5",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "连接闲一秒之后仍然可用",
            en: "A connection that was idle for a second still works",
        },
        why: Text {
            zh: "人点链接之间总要隔几秒。闲置时限太短，长连接就白做了；几秒到几十秒比较合适。",
            en: "People take seconds between two clicks. With too short an idle limit persistence is for nothing; some seconds up \
to a minute are usual.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            let first = p.ask_on(&mut conn, &p.page())?;
            if !first.head.says_keep() || first.end != BodyEnd::Length && first.end != BodyEnd::Chunked {
                not_here!("服务器不保持连接", "the server does not keep connections");
            }
            p.pause(Duration::from_secs(1));
            conn.send(&p.page().bytes());
            let second = conn.answer(false).map_err(lack)?;
            p.is_page(&second)
        }),
    },
    Rule {
        id: "keepalive.body-is-not-a-request",
        severity: Must,
        rfc: "RFC 9112 §9.3",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "请求的正文不会被当成下一个请求",
            en: "The body of a request is never taken for the next request",
        },
        why: Text {
            zh: "带正文的请求（POST，或带 Content-Length 的 GET）即使不被接受，正文也要读掉，否则它会成为下一个「请求行」，\
这正是请求走私。读不掉就关闭连接。",
            en: "Even if a request with a body is refused, its body must be read past; otherwise it becomes the next \"request \
line\", which is request smuggling. If you cannot read it, close.",
        },
        test: Run(|p| {
            let inner = p.req("GET", "/smuggled-by-length").bytes();
            for method in ["POST", "GET"] {
                let req = p.req(method, &p.env.page).body(&inner);
                next_is_page(p, &req.bytes())?;
            }
            Ok(())
        }),
    },
    Rule {
        id: "keepalive.chunked-body",
        severity: Must,
        rfc: "RFC 9112 §7.1",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "分块的请求正文（含扩展和尾部字段）会被读掉",
            en: "A chunked request body, with extensions and trailers, is read past",
        },
        why: Text {
            zh: "接收方必须会解分块，不认识的块扩展要忽略。解不了就回 411 或 501 并关闭，不能把正文当成下一个请求。",
            en: "A recipient MUST be able to parse chunks and ignores extensions it does not know. If it cannot, it answers 411 or \
501 and closes; the body must not become the next request.",
        },
        test: Run(|p| {
            let mut bytes = p.req("POST", &p.env.page).with("Transfer-Encoding", "chunked").bytes();
            bytes.extend_from_slice(
                b"5;name=value\r\nhello\r\n1a\r\nGET /smuggled HTTP/1.1\r\n\r\n\r\n0\r\nX-Trailer: 1\r\n\r\n",
            );
            next_is_page(p, &bytes)
        }),
    },
    Rule {
        id: "keepalive.nothing-after-close",
        severity: Must,
        rfc: "RFC 9112 §9.6",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "带 close 的请求之后的请求不再处理",
            en: "Requests after one with close are not processed",
        },
        why: Text {
            zh: "客户端说了「最后一个」，后面的字节就不再是请求。答完第一个后停止解析，排空，关闭。",
            en: "The client said \"last one\", so what follows is no request. Stop parsing after the answer, drain, close.",
        },
        test: Run(|p| {
            let mut bytes = p.page().close().bytes();
            bytes.extend_from_slice(&p.page().bytes());
            let mut conn = p.connect()?;
            conn.send(&bytes);
            let first = conn.answer(false).map_err(lack)?;
            whole(&first)?;
            p.ends(&mut conn)
        }),
    },
];

fn closes_after(p: &mut Probe<'_>, option: &str) -> Verdict {
    let mut conn = p.connect()?;
    let answer = p.ask_on(&mut conn, &p.page().with("Connection", option))?;
    if answer.end == BodyEnd::Waiting && answer.head.length().is_none() {
        // A missing length is framing.200-ends; what counts here is that the connection is open.
        ensure!(false, "连接仍未关闭", "the connection is still open");
    }
    p.ends(&mut conn)
}

/// Sends `first`, then a GET of the page on the same connection: the second answer must be the page, or the
/// server must have closed.
pub(super) fn next_is_page(p: &mut Probe<'_>, first: &[u8]) -> Verdict {
    let mut bytes = first.to_vec();
    bytes.extend_from_slice(&p.page().close().bytes());
    let mut conn = p.connect()?;
    conn.send(&bytes);
    let answer = conn.answer(false).map_err(lack)?;
    whole(&answer)?;
    if !answer.head.says_keep() || answer.end == BodyEnd::Close {
        return Ok(());
    }
    let second = match conn.answer(false) {
        Ok(second) => second,
        Err(Lack::Ended(_)) => return Ok(()),
        Err(other) => return Err(lack(other)),
    };
    p.is_page(&second)?;
    p.ends(&mut conn)
}
