//! Methods other than a plain GET.

use super::framing::MISSING;
use super::prelude::*;

pub(super) static RULES: &[Rule] = &[
    Rule {
        id: "method.head-no-body",
        severity: Must,
        rfc: "RFC 9110 §9.3.2",
        needs: Url,
        kind: Gentle,
        want: Text { zh: "HEAD 的应答没有正文", en: "The answer to HEAD has no body" },
        why: Text {
            zh: "HEAD 只要头。发了正文，客户端会把它当成下一份应答。照 GET 算好头，正文不发。",
            en: "HEAD asks for the head alone. A body would be read as the next answer. Compute the head as for GET and leave the \
body out.",
        },
        test: Run(|p| no_body(p, &p.env.page.clone())),
    },
    Rule {
        id: "method.head-404-no-body",
        severity: Must,
        rfc: "RFC 9110 §9.3.2",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "对不存在的文件 HEAD，应答也没有正文",
            en: "HEAD of a missing file has no body, either",
        },
        why: Text {
            zh: "错误分支也要看方法。让所有应答走同一个出口，在那里判断 HEAD。",
            en: "Error branches must look at the method, too. Send every answer through one place and decide there.",
        },
        test: Run(|p| no_body(p, MISSING)),
    },
    Rule {
        id: "method.head-same-fields",
        severity: Should,
        rfc: "RFC 9110 §9.3.2",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "HEAD 与 GET 的状态码、长度、类型相同",
            en: "HEAD has the status, length and type of GET",
        },
        why: Text {
            zh: "下载工具先用 HEAD 问大小。长度要么与 GET 一致，要么不写，不能写 0。",
            en: "Download tools ask for the size by HEAD. State GET's length or none; never 0.",
        },
        test: Run(|p| {
            let get = p.ask(p.page())?.head;
            let head = p.ask(p.req("HEAD", &p.env.page))?.head;
            let again = p.ask(p.page())?.head;
            let (a, b) = (get.status, head.status);
            ensure!(a == b, "GET 得 {a}，HEAD 得 {b}", "GET gives {a}, HEAD {b}");
            for name in ["content-length", "content-type", "last-modified", "etag"] {
                // What changes from one GET to the next, or belongs to a page that does, says nothing about HEAD.
                let steady = name == "content-type" || p.env.body.is_some();
                if !steady || get.get(name) != again.get(name) {
                    continue;
                }
                let (a, b) = (get.get(name).unwrap_or("-"), head.get(name).unwrap_or("-"));
                let may_lack = name == "content-length" && b == "-";
                ensure!(a == b || may_lack, "{name}：GET {a}，HEAD {b}", "{name}: GET {a}, HEAD {b}");
            }
            Ok(())
        }),
    },
    Rule {
        id: "method.head-then-get",
        severity: Must,
        rfc: "RFC 9112 §6.3",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "HEAD 之后，同一连接上的 GET 照常",
            en: "After HEAD a GET on the same connection works as usual",
        },
        why: Text {
            zh: "HEAD 的应答到空行就结束，哪怕写了 Content-Length。发送状态要直接回到「等下一个请求」。",
            en: "The answer to HEAD ends at its blank line, whatever its Content-Length says. Go straight back to waiting for the \
next request.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            let first = p.ask_on(&mut conn, &p.req("HEAD", &p.env.page))?;
            match p.ask_again(&mut conn, &first, &p.page())? {
                Some(second) => p.is_page(&second),
                None => Ok(()),
            }
        }),
    },
    Rule {
        id: "method.unknown",
        severity: Should,
        rfc: "RFC 9110 §9.1, §15.6.2",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "不认识的方法得到 501（或 405），不会被当成 GET",
            en: "An unknown method gets 501 (or 405) and is not taken for GET",
        },
        why: Text {
            zh: "只从请求行里取路径、不看方法，就会把 DELETE 也当成 GET。先认方法：GET、HEAD 处理，已知而不许的回 405，不认识的回 501。",
            en: "Servers that take only the path from the request line treat DELETE as GET. Look at the method first: GET and HEAD \
are served, known ones that are not allowed get 405, unknown ones 501.",
        },
        test: Run(|p| {
            let head = p.ask(p.req("BREW", &p.env.page))?.head;
            status_in(&head, &[405, 501])
        }),
    },
    Rule {
        id: "method.case",
        severity: Should,
        rfc: "RFC 9110 §9.1",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "方法分大小写：get 不是 GET", en: "Methods are case-sensitive: get is not GET"
        },
        why: Text {
            zh: "方法名区分大小写。按原样比较；不认识的回 501、405 或 400。",
            en: "Method names are case-sensitive. Compare them as they are; answer 501, 405 or 400 to others.",
        },
        test: Run(|p| {
            let head = p.ask(p.req("get", &p.env.page))?.head;
            status_in(&head, &[400, 405, 501])
        }),
    },
    Rule {
        id: "method.405-allow",
        severity: Must,
        rfc: "RFC 9110 §15.5.6",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "405 带 Allow，列出许可的方法",
            en: "A 405 has an Allow field that lists what is allowed",
        },
        why: Text {
            zh: "405 必须写 Allow，例如 Allow: GET, HEAD，客户端才知道改用什么。",
            en: "A 405 MUST carry Allow, as in Allow: GET, HEAD, so that clients know what to use instead.",
        },
        test: Run(|p| {
            for method in ["POST", "PATCH", "BREW"] {
                let head = p.ask(p.req(method, &p.env.page).body(b""))?.head;
                if head.status == 405 {
                    let has = head.get("allow").is_some();
                    ensure!(has, "{method} 得 405，却没有 Allow", "{method} gives 405 without Allow");
                    return Ok(());
                }
            }
            not_here!("没有得到 405", "no request got a 405")
        }),
    },
    Rule {
        id: "method.delete",
        severity: Must,
        rfc: "RFC 9110 §9.3.5",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "陌生人不能用 DELETE 删文件", en: "A stranger cannot delete a file by DELETE"
        },
        why: Text {
            zh: "静态服务器只读：对 DELETE 回 405。",
            en: "A static server is read-only: answer 405 to DELETE.",
        },
        test: Run(|p| {
            p.ask(p.req("DELETE", &p.files()?.url("keep.txt")))?;
            let exists = p.files()?.path("keep.txt").exists();
            ensure!(exists, "文件被删掉了", "the file is gone");
            Ok(())
        }),
    },
    Rule {
        id: "method.put",
        severity: Must,
        rfc: "RFC 9110 §9.3.4",
        needs: Files,
        kind: Gentle,
        want: Text { zh: "陌生人不能用 PUT 写文件", en: "A stranger cannot write a file by PUT" },
        why: Text {
            zh: "静态服务器只读：对 PUT 回 405，并把正文读掉或关闭连接。",
            en: "A static server is read-only: answer 405 to PUT, and read the body past or close.",
        },
        test: Run(|p| {
            p.ask(p.req("PUT", &p.files()?.url("new.txt")).body(b"new\n"))?;
            let exists = p.files()?.path("new.txt").exists();
            ensure!(!exists, "文件被写进来了", "the file was written");
            Ok(())
        }),
    },
    Rule {
        id: "method.post",
        severity: Good,
        rfc: "RFC 9110 §15.5.6",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "对静态文件 POST 得到 405（或 501、403、404），不是文件内容",
            en: "POST to a static file gets 405 (or 501, 403, 404), not the file",
        },
        why: Text {
            zh: "文件不会处理表单。回 200 会让用户以为提交成功了。",
            en: "A file does not process forms. A 200 makes people believe that they submitted something.",
        },
        test: Run(|p| {
            let head = p.ask(p.req("POST", &p.files()?.url("hello.txt")).body(b"a=1"))?.head;
            status_in(&head, &[403, 404, 405, 411, 413, 415, 501])
        }),
    },
    Rule {
        id: "method.options",
        severity: Good,
        rfc: "RFC 9110 §9.3.7",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "OPTIONS 得到 2xx 加 Allow，或 405/501",
            en: "OPTIONS gets a 2xx with Allow, or 405/501",
        },
        why: Text {
            zh: "OPTIONS 问的是「能做什么」，不是要文件内容。简单的做法：204 加 Allow: GET, HEAD。",
            en: "OPTIONS asks what can be done, not for the file. Simple: a 204 with Allow: GET, HEAD.",
        },
        test: Run(|p| {
            let head = p.ask(p.req("OPTIONS", &p.env.page))?.head;
            let status = head.status;
            let good = matches!(status, 200 | 204) && head.get("allow").is_some()
                || matches!(status, 400 | 403 | 405 | 501);
            ensure!(good, "得到 {status}，没有 Allow", "the answer is {status} without Allow");
            Ok(())
        }),
    },
    Rule {
        id: "method.options-star",
        severity: Good,
        rfc: "RFC 9112 §3.2.4",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "OPTIONS * 问的是整台服务器，不会被当成文件路径",
            en: "OPTIONS * is about the whole server and is not looked up as a file",
        },
        why: Text {
            zh: "请求目标有四种写法，* 是其中之一。用正则硬找「/」会把 HTTP/1.1 里的 /1.1 当成路径，回个莫名其妙的 404。按空格切请求行。",
            en: "There are four forms of a request target and * is one. A regex that hunts for \"/\" finds the /1.1 of HTTP/1.1 and \
answers a mysterious 404. Split the request line at its spaces.",
        },
        test: Run(|p| {
            let head = p.ask(p.req("OPTIONS", "*"))?.head;
            let status = head.status;
            ensure!(
                (200..300).contains(&status) || matches!(status, 400 | 403 | 405 | 501),
                "得到 {status}",
                "the answer is {status}"
            );
            Ok(())
        }),
    },
    Rule {
        id: "method.trace",
        severity: Good,
        rfc: "RFC 9110 §9.3.8",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "TRACE 被拒绝，或者按 message/http 回显；不会得到文件",
            en: "TRACE is refused or echoed as message/http; it does not get the file",
        },
        why: Text {
            zh: "回显会泄露 Cookie 一类的字段。静态服务器回 405 或 501 最稳妥。",
            en: "Echoing gives cookies away. For a static server 405 or 501 is safest.",
        },
        test: Run(|p| {
            let head = p.ask(p.req("TRACE", &p.env.page))?.head;
            let status = head.status;
            let echo = head.get("content-type").is_some_and(|t| t.starts_with("message/http"));
            ensure!(status >= 400 || echo, "得到 {status}", "the answer is {status}");
            Ok(())
        }),
    },
    Rule {
        id: "method.connect",
        severity: Must,
        rfc: "RFC 9110 §9.3.6",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "CONNECT 不会得到 2xx：这里不是代理",
            en: "CONNECT never gets a 2xx: this is no proxy",
        },
        why: Text {
            zh: "对 CONNECT 回 2xx 等于说「隧道通了」，之后的字节都归隧道。源服务器应拒绝：405、501、400 都行。",
            en: "A 2xx to CONNECT says that a tunnel is open. An origin server refuses: 405, 501 and 400 will do.",
        },
        test: Run(|p| {
            let bytes = p.fill(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n");
            match p.raw(&bytes)?.1 {
                Ok(head) => {
                    let status = head.status;
                    ensure!(!(200..300).contains(&status), "得到 {status}", "the answer is {status}");
                    Ok(())
                }
                Err(Lack::Ended(_)) => Ok(()),
                Err(other) => Err(lack(other)),
            }
        }),
    },
    Rule {
        id: "method.expect-continue",
        severity: Must,
        rfc: "RFC 9110 §10.1.1",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "收到 Expect: 100-continue 后，不等正文就回 100 或最终应答",
            en: "Expect: 100-continue is answered by a 100 or the final answer before the body comes",
        },
        why: Text {
            zh: "客户端（例如 curl 上传）在等这一句才发正文；服务器也在等正文，双方就僵住了。看到 Expect 要么先回 100，要么直接拒绝。",
            en: "The client (curl when uploading) waits for a word before it sends the body; if the server waits for the body, both \
stand still. On Expect send a 100 or refuse at once.",
        },
        test: Run(|p| {
            let bytes = p.req("POST", &p.env.page).with("Expect", "100-continue").body(b"hello").bytes();
            let mut conn = p.connect()?;
            conn.send(&bytes[..bytes.len() - 5]);
            // The 100 itself is what is waited for.
            conn.next_head().map(drop).map_err(lack)
        }),
    },
];

/// HEAD must bring a head and nothing else.
fn no_body(p: &mut Probe<'_>, target: &str) -> Verdict {
    let mut conn = p.connect()?;
    p.ask_on(&mut conn, &p.req("HEAD", target).close())?;
    let until = Instant::now() + Duration::from_millis(300);
    while conn.pull(until) == Pull::Data {}
    let n = conn.unread().len();
    ensure!(n == 0, "头之后来了 {n} 字节", "{n} octets follow the head");
    Ok(())
}
