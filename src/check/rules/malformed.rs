//! Requests that break the grammar: refused, answered where leniency is allowed, survived in any case.

use super::prelude::*;

/// What may be said to a request that breaks the grammar (RFC 9112 §2.2, §3).
pub(super) const BAD: &[u16] = &[400, 405, 411, 413, 414, 417, 421, 426, 431, 501, 505];

/// A refusal by status, or closing.
const fn refuse(send: &'static [u8]) -> Refusal {
    Refusal { send, with: BAD, or_close: true, then_closes: false }
}

/// RFC 9112 §3.2: a server MUST answer 400, so closing alone will not do.
const fn exactly_400(send: &'static [u8]) -> Refusal {
    Refusal { send, with: &[400], or_close: false, then_closes: false }
}

pub(super) static RULES: &[Rule] = &[
    Rule {
        id: "malformed.no-host",
        severity: Must,
        rfc: "RFC 9112 §3.2",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "HTTP/1.1 请求没有 Host 得到 400",
            en: "An HTTP/1.1 request without Host gets a 400",
        },
        why: Text {
            zh: "Host 决定请求的是哪个网站。1.1 的请求缺了它，服务器必须回 400。",
            en: "Host says which site is meant. Without it a request of 1.1 MUST be answered by 400.",
        },
        test: Refuse(exactly_400(b"GET {page} HTTP/1.1\r\nConnection: close\r\n\r\n")),
    },
    Rule {
        id: "malformed.two-hosts",
        severity: Must,
        rfc: "RFC 9112 §3.2",
        needs: Url,
        kind: Rough,
        want: Text { zh: "两个 Host 得到 400", en: "Two Host fields get a 400" },
        why: Text {
            zh: "前面的代理看第一个，后面的服务器看第二个，缓存就会被投毒。多于一个必须回 400。",
            en: "A proxy looks at the first, the server at the second, and a cache is poisoned. More than one MUST be 400.",
        },
        test: Refuse(exactly_400(
            b"GET {page} HTTP/1.1\r\nHost: {host}\r\nHost: example.com\r\nConnection: close\r\n\r\n",
        )),
    },
    Rule {
        id: "malformed.bad-host",
        severity: Must,
        rfc: "RFC 9112 §3.2",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "Host 的值不合写法（含空格、斜杠）得到 400",
            en: "A Host that breaks the grammar (space, slash) gets a 400",
        },
        why: Text {
            zh: "Host 是「主机[:端口]」。不合写法必须回 400；拿它拼重定向地址尤其危险。",
            en: "Host is host[:port]. Anything else MUST be 400, the more so if redirects are built from it.",
        },
        test: Refuse(exactly_400(b"GET {page} HTTP/1.1\r\nHost: exa mple/x y\r\nConnection: close\r\n\r\n")),
    },
    Rule {
        id: "malformed.10-without-host",
        severity: Should,
        rfc: "RFC 9112 §3.2, §3.3",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "HTTP/1.0 的请求没有 Host 也有应答", en: "A request of HTTP/1.0 needs no Host"
        },
        why: Text {
            zh: "1.0 没有规定 Host，监控脚本常这样发。只对 1.1 检查。",
            en: "1.0 knows no Host, and health checks often speak it. Check for 1.1 only.",
        },
        test: Run(|p| {
            let bytes = p.fill(b"GET {page} HTTP/1.0\r\n\r\n");
            let mut conn = p.connect()?;
            conn.send(&bytes);
            let answer = conn.answer(false).map_err(lack)?;
            // Who serves several hosts may have another page, or none, for nobody's.
            let status = answer.status();
            let usual = status == p.env.status;
            ensure!(usual || status != 400 && status < 500, "得到 {status}", "the answer is {status}");
            Ok(())
        }),
    },
    Rule {
        id: "malformed.leading-empty-line",
        severity: Should,
        rfc: "RFC 9112 §2.2",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "请求行之前多一个空行没关系",
            en: "An empty line before the request line is forgiven",
        },
        why: Text {
            zh: "老客户端会在上一个正文后面多发一个 CRLF；至少要忽略一个空行。",
            en: "Old clients send an extra CRLF after a body; at least one empty line should be ignored.",
        },
        test: Run(|p| {
            let mut bytes = b"\r\n".to_vec();
            bytes.extend_from_slice(&p.page().close().bytes());
            let mut conn = p.connect()?;
            conn.send(&bytes);
            let answer = conn.answer(false).map_err(lack)?;
            p.is_page(&answer)
        }),
    },
    Rule {
        id: "malformed.garbage",
        severity: Should,
        rfc: "RFC 9112 §2.2",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "一串乱码（0xFF……）得到 400 或关闭",
            en: "Garbage (0xFF...) gets a 400 or is closed",
        },
        why: Text {
            zh: "decode() 遇到 0xFF 会抛异常：没接住，单进程服务器就退出；接住又忽略，客户端永远等。按字节解析，读不懂就 400。",
            en: "decode() raises at 0xFF: uncaught, a single-process server ends; swallowed, the client waits for ever. Parse octets \
and answer 400 to what cannot be read.",
        },
        test: Refuse(refuse(b"\xff\xfe\xfd\xfc\x80\x81 \xff\xff\r\n\xff: \xff\r\n\r\n")),
    },
    Rule {
        id: "malformed.method-only",
        severity: Should,
        rfc: "RFC 9112 §3",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "请求行只有方法，得到 400 或关闭",
            en: "A request line with nothing but a method gets a 400 or is closed",
        },
        why: Text {
            zh: "split(\" \")[1] 会 IndexError。请求行必须正好三段，否则 400。",
            en: "split(\" \")[1] raises IndexError. A request line has exactly three parts; otherwise 400.",
        },
        test: Refuse(refuse(b"GET\r\nHost: {host}\r\nConnection: close\r\n\r\n")),
    },
    Rule {
        id: "malformed.no-version",
        severity: Good,
        rfc: "RFC 9112 §3",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "没有版本号的请求行（HTTP/0.9）有个了断：400、正文或关闭",
            en: "A request line without version (HTTP/0.9) comes to an end: 400, a bare body or closing",
        },
        why: Text {
            zh: "1991 年的写法，如今回 400 最好；不能让连接吊着。",
            en: "That is how it was written in 1991. A 400 is best today; do not leave the connection hanging.",
        },
        test: Run(|p| {
            let bytes = p.fill(b"GET {page}\r\n\r\n");
            let (mut conn, head) = p.raw(&bytes)?;
            match head {
                Ok(_) | Err(Lack::Ended(_) | Lack::NotHttp) => Ok(()),
                Err(Lack::Silence(time)) if !conn.unread().is_empty() => {
                    // A bare body on an open connection has no end.
                    ensure!(conn.wait_end(time).is_some(), "正文没有结尾", "the bare body has no end");
                    Ok(())
                }
                Err(other) => Err(lack(other)),
            }
        }),
    },
    Rule {
        id: "malformed.bad-version",
        severity: Should,
        rfc: "RFC 9112 §2.3, §3",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "写错的版本号（HTTP/1.x、HTTTP/1.1）被拒绝",
            en: "A misspelt version (HTTP/1.x, HTTTP/1.1) is refused",
        },
        why: Text {
            zh: "版本是「HTTP/数字.数字」。读不懂对方说的是什么协议，就不要接着读字段；回 400 或 505。",
            en: "The version is HTTP/digit.digit. If you cannot tell the protocol, do not go on to the fields; answer 400 or 505.",
        },
        test: Run(|p| {
            for version in ["HTTP/1.x", "HTTTP/1.1", "HTTP/1.1.1", "HTTP1.1"] {
                let send = format!("GET {{page}} {version}\r\nHost: {{host}}\r\nConnection: close\r\n\r\n");
                refused(p, send.as_bytes(), version)?;
            }
            Ok(())
        }),
    },
    Rule {
        id: "malformed.version-case",
        severity: Should,
        rfc: "RFC 9112 §2.3",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "版本号分大小写：http/1.1 被拒绝",
            en: "The version is case-sensitive: http/1.1 is refused",
        },
        why: Text {
            zh: "标准规定 HTTP 四个字母大写。",
            en: "The standard says that its four letters are upper case.",
        },
        test: Refuse(refuse(b"GET {page} http/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")),
    },
    Rule {
        id: "malformed.version-2",
        severity: Good,
        rfc: "RFC 9110 §15.6.6",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "以 1.x 的写法自称 HTTP/2.0 的请求被拒绝（505）",
            en: "A request in the form of 1.x that calls itself HTTP/2.0 is refused (505)",
        },
        why: Text {
            zh: "HTTP/2 是二进制的，绝不会这样写。主版本不认识就回 505。",
            en: "HTTP/2 is binary and never looks like this. Answer 505 to a major version that you do not speak.",
        },
        test: Refuse(refuse(b"GET {page} HTTP/2.0\r\nHost: {host}\r\nConnection: close\r\n\r\n")),
    },
    Rule {
        id: "malformed.h2-preface",
        severity: Should,
        rfc: "RFC 9113 §3.4",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "HTTP/2 的连接前言被拒绝或关闭，不会吊着",
            en: "The HTTP/2 preface is refused or closed, not left hanging",
        },
        why: Text {
            zh: "不支持 HTTP/2 的服务器会收到「PRI * HTTP/2.0」；干脆地拒绝，客户端才会退回 1.1。",
            en: "A server without HTTP/2 may get \"PRI * HTTP/2.0\"; a plain refusal lets clients fall back to 1.1.",
        },
        test: Run(|p| {
            let (mut conn, head) = p.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
            match head {
                Ok(head) => {
                    let status = head.status;
                    ensure!(status >= 400, "得到 {status}", "the answer is {status}");
                    Ok(())
                }
                // A server that does speak HTTP/2 answers in frames.
                Err(Lack::Ended(_) | Lack::NotHttp) => Ok(()),
                Err(_) if !conn.unread().is_empty() || conn.wait_end(Duration::ZERO).is_some() => Ok(()),
                Err(other) => Err(lack(other)),
            }
        }),
    },
    Rule {
        id: "malformed.target-space",
        severity: Should,
        rfc: "RFC 9112 §3.2",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "请求目标里有未编码的空格，得到 4xx",
            en: "An unencoded space in the target gets a 4xx",
        },
        why: Text {
            zh: "不要替客户端猜：把「/a b HTTP/1.1」的前半截当路径，会绕过按路径做的检查。回 400。",
            en: "Do not guess: taking half of \"/a b HTTP/1.1\" for the path gets around checks made on the path. Answer 400.",
        },
        test: Run(|p| {
            let bytes = p.fill(b"GET {page} x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            match p.raw(&bytes)?.1 {
                Ok(head) => {
                    let status = head.status;
                    ensure!(status >= 400 || status == 301, "得到 {status}", "the answer is {status}");
                    Ok(())
                }
                Err(Lack::Ended(_) | Lack::NotHttp) => Ok(()),
                Err(other) => Err(lack(other)),
            }
        }),
    },
    Rule {
        id: "malformed.target-control",
        severity: Should,
        rfc: "RFC 9112 §3.2",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "请求目标里有控制字符，得到 4xx 或关闭",
            en: "A control character in the target gets a 4xx or is closed",
        },
        why: Text {
            zh: "控制字符只能以百分号编码出现；原样出现的多半是攻击，写进日志还会污染终端。",
            en: "Control characters travel percent-encoded only; raw ones are attacks mostly and spoil terminals through logs.",
        },
        test: Run(|p| {
            let bytes =
                p.fill(b"GET {page}?a\x01b\x7f HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            match p.raw(&bytes)?.1 {
                Ok(head) => {
                    let status = head.status;
                    ensure!(status >= 400, "得到 {status}", "the answer is {status}");
                    Ok(())
                }
                Err(Lack::Ended(_) | Lack::NotHttp) => Ok(()),
                Err(other) => Err(lack(other)),
            }
        }),
    },
    Rule {
        id: "malformed.target-no-slash",
        severity: Should,
        rfc: "RFC 9112 §3.2.1",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "请求目标不以斜杠开头，得到 4xx",
            en: "A target without its leading slash gets a 4xx",
        },
        why: Text {
            zh: "四种合法写法里没有这一种。直接拼在根目录后面会越界（html + .. 或 html + -secret）。",
            en: "None of the four forms looks like this. Appended to the root it may escape (html + -secret).",
        },
        test: Run(|p| {
            let bytes = p.fill(b"GET wb-index.html HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            match p.raw(&bytes)?.1 {
                Ok(head) => {
                    let status = head.status;
                    ensure!((400..500).contains(&status), "得到 {status}", "the answer is {status}");
                    Ok(())
                }
                Err(Lack::Ended(_) | Lack::NotHttp) => Ok(()),
                Err(other) => Err(lack(other)),
            }
        }),
    },
    Rule {
        id: "malformed.target-utf8",
        severity: Good,
        rfc: "RFC 9112 §3.2",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "请求目标里有未编码的汉字，总有个应答",
            en: "Raw UTF-8 in the target gets some answer",
        },
        why: Text {
            zh: "标准要求编码，但 curl 会原样发出去。回 400、404 或内容都行，只是不能没有下文。",
            en: "It ought to be encoded, yet curl sends it raw. A 400, a 404 or the content: anything but silence.",
        },
        test: Run(|p| {
            let bytes = p.fill("GET /你好 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".as_bytes());
            match p.raw(&bytes)?.1 {
                Ok(_) | Err(Lack::Ended(_) | Lack::NotHttp) => Ok(()),
                Err(other) => Err(lack(other)),
            }
        }),
    },
    Rule {
        id: "malformed.space-before-colon",
        severity: Must,
        rfc: "RFC 9112 §5.1",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "字段名与冒号之间有空格，得到 400",
            en: "Whitespace between field name and colon gets a 400",
        },
        why: Text {
            zh: "「Content-Length : 5」有的程序认，有的不认，这就成了走私的门。服务器必须回 400。",
            en: "Some programs accept \"Content-Length : 5\", some do not: a door to smuggling. A server MUST answer 400.",
        },
        test: Refuse(Refusal {
            send: b"GET {page} HTTP/1.1\r\nHost: {host}\r\nX-Wb : 1\r\nConnection: close\r\n\r\n",
            with: &[400],
            or_close: false,
            then_closes: false,
        }),
    },
    Rule {
        id: "malformed.no-colon",
        severity: Should,
        rfc: "RFC 9112 §2.2, §5",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "没有冒号的字段行得到 400", en: "A field line without a colon gets a 400"
        },
        why: Text {
            zh: "split(':') 解包会抛异常；悄悄跳过，则与代理的读法不同。回 400。",
            en: "Unpacking split(':') raises; skipping it silently reads the request differently from a proxy. Answer 400.",
        },
        test: Refuse(refuse(b"GET {page} HTTP/1.1\r\nHost: {host}\r\nnonsense\r\nConnection: close\r\n\r\n")),
    },
    Rule {
        id: "malformed.empty-name",
        severity: Should,
        rfc: "RFC 9110 §5.1",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "字段名为空（「: 值」）得到 400",
            en: "An empty field name (\": value\") gets a 400",
        },
        why: Text {
            zh: "名字至少一个字符。空名字只会在解析有漏洞的地方出现。",
            en: "A name has at least one character. Empty ones appear only where a parser has a hole.",
        },
        test: Refuse(refuse(b"GET {page} HTTP/1.1\r\nHost: {host}\r\n: value\r\nConnection: close\r\n\r\n")),
    },
    Rule {
        id: "malformed.name-not-a-token",
        severity: Should,
        rfc: "RFC 9110 §5.1",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "字段名里有空格或括号，得到 400",
            en: "A field name with a space or bracket gets a 400",
        },
        why: Text {
            zh: "字段名只能由 token 字符组成；放过它们，等于让两端各按各的理解来。",
            en: "Names consist of token characters; letting others through lets two ends understand two things.",
        },
        test: Run(|p| {
            for name in ["X(Wb)", "X Wb", "X\u{e9}"] {
                let send = format!(
                    "GET {{page}} HTTP/1.1\r\nHost: {{host}}\r\n{name}: 1\r\nConnection: close\r\n\r\n"
                );
                refused(p, send.as_bytes(), name)?;
            }
            Ok(())
        }),
    },
    Rule {
        id: "malformed.nul-in-value",
        severity: Must,
        rfc: "RFC 9110 §5.5",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "字段值里有 NUL：拒绝，或当作空格，总之有应答",
            en: "NUL in a field value: refused or read as a space, answered in any case",
        },
        why: Text {
            zh: "NUL 在 C 里是字符串的结尾，后半截就不见了。标准只给两条路：拒绝，或换成空格。",
            en: "In C a NUL ends the string and hides the rest. There are two ways only: refuse, or replace by a space.",
        },
        test: Run(|p| {
            let bytes =
                p.fill(b"GET {page} HTTP/1.1\r\nHost: {host}\r\nX-Wb: a\0b\r\nConnection: close\r\n\r\n");
            match p.raw(&bytes)?.1 {
                Ok(head) => {
                    let mut allowed = BAD.to_vec();
                    allowed.push(p.env.status);
                    status_in(&head, &allowed)
                }
                Err(Lack::Ended(_) | Lack::NotHttp) => Ok(()),
                Err(other) => Err(lack(other)),
            }
        }),
    },
    Rule {
        id: "malformed.http-response",
        severity: Should,
        rfc: "RFC 9112 §3",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "收到一份应答（HTTP/1.1 200 OK）当请求，拒绝或关闭",
            en: "A response (HTTP/1.1 200 OK) sent as a request is refused or closed",
        },
        why: Text {
            zh: "方法成了「HTTP/1.1」，版本成了「OK」。按请求行的写法检查，一眼就能拒绝。",
            en: "The method would be \"HTTP/1.1\" and the version \"OK\". Checking the request line refuses it at a glance.",
        },
        test: Refuse(refuse(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")),
    },
];

/// As [`Probe::refuses`] with [`BAD`] or closing, naming the variant in the finding.
fn refused(p: &mut Probe<'_>, send: &[u8], variant: &str) -> Verdict {
    let bytes = p.fill(send);
    match p.raw(&bytes)?.1 {
        Ok(head) => {
            let status = head.status;
            ensure!(BAD.contains(&status), "「{variant}」得到 {status}", "\"{variant}\" gets {status}");
            Ok(())
        }
        Err(Lack::Ended(_) | Lack::NotHttp) => Ok(()),
        Err(other) => Err(lack(other)),
    }
}
