//! How an answer is written: status line, fields, and a length that a client can rely on.

use super::prelude::*;

/// The rule without which nothing else can be judged.
pub(in crate::check) const ANSWERS: &str = "framing.answers";

pub(super) static RULES: &[Rule] = &[
    Rule {
        id: ANSWERS,
        severity: Must,
        rfc: "RFC 9110 §3.4",
        needs: Url,
        kind: Gentle,
        want: Text { zh: "一个普通的 GET 会得到应答", en: "A plain GET is answered" },
        why: Text {
            zh: "客户端发来完整的请求（到空行为止），服务器就要回答。若程序看上去正常却从不回答，先查是否有异常被吞掉：\
只捕获 BlockingIOError（WouldBlock），其他错误要打印出来。",
            en: "A request that is complete (up to its blank line) deserves an answer. If the program looks healthy and \
never answers, look for a swallowed exception: catch BlockingIOError (WouldBlock) alone and print every other error.",
        },
        test: Run(|p| {
            let answer = p.ask(p.page())?;
            let got = answer.body.len();
            ensure!(
                answer.end != BodyEnd::OutOfTime,
                "来了 {got} 字节，时间用完了还没有完；请给一个有结尾的页面",
                "{got} octets came and the time was over before the end; give the address of a page that ends"
            );
            whole(&answer)
        }),
    },
    Rule {
        id: "framing.status-line",
        severity: Must,
        rfc: "RFC 9112 §4",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "状态行写作「HTTP/1.1 空格 三位数字 空格 说明」",
            en: "The status line is \"HTTP/1.1 SP 3-digit-code SP [reason]\"",
        },
        why: Text {
            zh: "多一个冒号、少一个空格，浏览器就会把应答当成 HTTP/0.9 而拒绝。常见的笔误是「HTTP:/1.1 200 OK」。\
把状态行写成一个常量，只在一处拼接。",
            en: "One colon too many or one space too few and browsers take the answer for HTTP/0.9 and refuse it. The usual \
slip is \"HTTP:/1.1 200 OK\". Build the status line in one place only.",
        },
        test: Run(|p| {
            let (mut conn, head) = p.raw(&p.page().close().bytes())?;
            let head = match head {
                Ok(head) => head,
                Err(Lack::NotHttp) => {
                    let first = first_line(conn.unread());
                    return Err(Stop::Fail(seen!("第一行是「{first}」", "the first line is \"{first}\"")));
                }
                Err(other) => return Err(lack(other)),
            };
            let _ = conn.body(&head, false);
            let line = &head.line;
            let good = line.len() >= 13
                && line.starts_with(b"HTTP/1.")
                && line[7].is_ascii_digit()
                && line[8] == b' '
                && line[9..12].iter().all(u8::is_ascii_digit)
                && line[12] == b' '
                && line[13..].iter().all(|b| *b == b'\t' || *b >= b' ' && *b != 0x7f);
            let first = first_line(line);
            ensure!(good, "状态行是「{first}」", "the status line is \"{first}\"");
            Ok(())
        }),
    },
    Rule {
        id: "framing.crlf",
        severity: Must,
        rfc: "RFC 9112 §2.1",
        needs: Url,
        kind: Gentle,
        want: Text { zh: "应答头的每一行以 CRLF 结尾", en: "Every line of the head ends in CRLF" },
        why: Text {
            zh: "HTTP 的换行在任何系统上都是两个字节 \\r\\n。只写 \\n 时宽容的客户端能读，严格的会报错。\
源码里用多行字符串写应答头最容易出这个错。",
            en: "HTTP ends lines in the two octets \\r\\n on every system. With a bare \\n lenient clients cope and strict ones \
refuse. Heads written as multi-line string literals are the usual cause.",
        },
        test: Run(|p| {
            let head = p.ask(p.page())?.head;
            let bare = head.raw.windows(2).filter(|w| w[1] == b'\n' && w[0] != b'\r').count();
            ensure!(bare == 0, "有 {bare} 行只以 LF 结尾", "{bare} lines end in a bare LF");
            Ok(())
        }),
    },
    Rule {
        id: "framing.field-lines",
        severity: Must,
        rfc: "RFC 9112 §5",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "每个字段行都是「名字:值」：名字是 token，冒号前无空格，不折行",
            en: "Every field line is \"name:value\": a token, no space before the colon, no folding",
        },
        why: Text {
            zh: "冒号前的空格、没有冒号的行、折行，会让两个程序对同一份应答有两种读法，这正是走私攻击的入口。\
用一个函数写字段，名字只用字母、数字和连字符。",
            en: "A space before the colon, a line without one or a folded line lets two programs read one answer in two ways: \
the door to smuggling. Write fields through one function, names of letters, digits and hyphens.",
        },
        test: Run(|p| {
            let head = p.ask(p.page())?.head;
            for line in &head.lines {
                let name = line.split(|b| *b == b':').next().unwrap_or_default();
                let value = line.get(name.len() + 1..).unwrap_or_default();
                let good = line.contains(&b':')
                    && !name.is_empty()
                    && name.iter().all(|b| is_token(*b))
                    && value.iter().all(|b| *b == b'\t' || *b >= b' ' && *b != 0x7f);
                let shown = first_line(line);
                ensure!(good, "不合写法的一行：「{shown}」", "a line that breaks the grammar: \"{shown}\"");
            }
            Ok(())
        }),
    },
    Rule {
        id: "framing.singletons",
        severity: Must,
        rfc: "RFC 9110 §5.3",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "只许出现一次的字段不重复（Date、Content-Type、ETag……）",
            en: "Fields that may appear once appear once (Date, Content-Type, ETag ...)",
        },
        why: Text {
            zh: "同名字段出现两次时，接收方可能取第一个、取最后一个或拼起来。设置字段应是替换，不是追加。",
            en: "Given two lines of one name, receivers take the first, the last or join them. Setting a field must replace it, \
not append another.",
        },
        test: Run(|p| {
            let head = p.ask(p.page())?.head;
            for name in
                ["date", "content-type", "etag", "last-modified", "location", "server", "content-range"]
            {
                let count = head.all(name).count();
                ensure!(count <= 1, "{name} 出现了 {count} 次", "{name} appears {count} times");
            }
            Ok(())
        }),
    },
    Rule {
        id: "framing.one-length",
        severity: Must,
        rfc: "RFC 9112 §6.2",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "长度只说一次：Content-Length 是一个纯数字，且不与 Transfer-Encoding 同时出现",
            en: "The length is stated once: one plain number, never together with Transfer-Encoding",
        },
        why: Text {
            zh: "两种长度、两个数字，接收方只能猜。一份应答要么有 Content-Length，要么分块，要么以关闭连接收尾，三者取一。",
            en: "With two lengths the receiver has to guess. An answer has a Content-Length, or is chunked, or ends with the \
connection: one of the three.",
        },
        test: Run(|p| {
            let head = p.ask(p.page())?.head;
            let lengths: Vec<&str> = head.all("content-length").collect();
            let (n, coded) = (lengths.len(), head.get("transfer-encoding").is_some());
            ensure!(n <= 1, "有 {n} 个 Content-Length", "there are {n} Content-Length fields");
            ensure!(
                n == 0 || !coded,
                "Content-Length 与 Transfer-Encoding 同时出现",
                "both Content-Length and Transfer-Encoding"
            );
            if let Some(value) = lengths.first() {
                let good = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                ensure!(
                    good,
                    "Content-Length 的值是「{value}」",
                    "the value of Content-Length is \"{value}\""
                );
            }
            Ok(())
        }),
    },
    Rule {
        id: "framing.200-ends",
        severity: Must,
        rfc: "RFC 9112 §6.3",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "在保持打开的连接上，正文的结尾是可知的",
            en: "On a connection that stays open the end of the body can be known",
        },
        why: Text {
            zh: "没有 Content-Length 也不分块时，只有关闭连接才算正文结束；连接不关，浏览器就一直转圈。\
写上按字节计的长度，或者发完就关。",
            en: "Without a length or chunks only the closing of the connection ends the body; if it stays open, the browser's \
spinner turns for ever. State the length in octets, or close when done.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            let answer = p.ask_on(&mut conn, &p.page())?;
            whole(&answer)
        }),
    },
    Rule {
        id: "framing.404-ends",
        severity: Must,
        rfc: "RFC 9112 §6.3",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "「没有这个文件」的应答也有可知的结尾",
            en: "The answer for a missing file has an end that can be known, too",
        },
        why: Text {
            zh: "错误分支常常忘了写 Content-Length，而连接又没关：客户端收到了「404」却永远等下去。\
让所有应答走同一个函数，由它来写长度。",
            en: "Error branches like to forget the Content-Length while the connection stays open: the client has its 404 and \
waits for ever. Let every answer go through one function that writes the length.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            let answer = p.ask_on(&mut conn, &p.req("GET", MISSING))?;
            whole(&answer)
        }),
    },
    Rule {
        id: "framing.no-extra-octets",
        severity: Must,
        rfc: "RFC 9112 §6.3",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "应答之后不再有多出来的字节",
            en: "Nothing follows an answer that nobody asked for",
        },
        why: Text {
            zh: "多出来的字节会被当成下一份应答的开头。常见原因：长度按字数算而正文按字节发（汉字多出两倍），\
或在文件之外又发了一段文字。",
            en: "Surplus octets are read as the beginning of the next answer. Usual causes: the length counts characters while \
octets are sent, or a stray text is sent beside the file.",
        },
        test: Run(|p| {
            for target in [p.env.page.clone(), MISSING.to_owned()] {
                let mut conn = p.connect()?;
                let answer = p.ask_on(&mut conn, &p.req("GET", &target))?;
                if answer.end == BodyEnd::Close {
                    continue;
                }
                conn.pull(Instant::now() + Duration::from_millis(150));
                let extra = conn.unread().len();
                ensure!(
                    extra == 0,
                    "{target} 的应答之后多出 {extra} 字节",
                    "{extra} octets follow the answer to {target}"
                );
            }
            Ok(())
        }),
    },
    Rule {
        id: "framing.chunks",
        severity: Must,
        rfc: "RFC 9112 §7.1",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "若用分块传输，每块都有十六进制长度和 CRLF，并以 0 块结束",
            en: "If chunked, every chunk has its hexadecimal size and CRLF, and a zero chunk ends them",
        },
        why: Text {
            zh: "缺了最后的「0\\r\\n\\r\\n」，客户端会一直等；长度写错，后面的全都错位。长度已知时不必分块，写 Content-Length 更简单。",
            en: "Without the final \"0\\r\\n\\r\\n\" the client waits; with a wrong size everything after it is misread. If the \
length is known, Content-Length is simpler.",
        },
        test: Run(|p| {
            let mut chunked = 0;
            for target in [p.env.page.clone(), "/".to_owned(), MISSING.to_owned()] {
                let answer = p.ask(p.req("GET", &target))?;
                if answer.head.has_token("transfer-encoding", "chunked") {
                    chunked += 1;
                    whole(&answer)?;
                }
            }
            if chunked == 0 {
                not_here!("没有应答用分块传输", "no answer is chunked");
            }
            Ok(())
        }),
    },
    Rule {
        id: "framing.10-no-chunks",
        severity: Must,
        rfc: "RFC 9112 §6.1",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "对 HTTP/1.0 的请求不用 Transfer-Encoding 应答",
            en: "A request in HTTP/1.0 is never answered with Transfer-Encoding",
        },
        why: Text {
            zh: "HTTP/1.0 的客户端不认识分块，会把块长度当成正文显示。对它们用 Content-Length，或发完就关。",
            en: "Clients of HTTP/1.0 do not know chunks and show the sizes as text. Give them a Content-Length, or close when done.",
        },
        test: Run(|p| {
            for target in [p.env.page.clone(), "/".to_owned(), MISSING.to_owned()] {
                let answer = p.ask(p.req("GET", &target).old())?;
                let coded = answer.head.get("transfer-encoding").is_some();
                ensure!(!coded, "{target} 用了 Transfer-Encoding", "{target} came with Transfer-Encoding");
            }
            Ok(())
        }),
    },
    Rule {
        id: "framing.date",
        severity: Must,
        rfc: "RFC 9110 §6.6.1",
        needs: Url,
        kind: Gentle,
        want: Text { zh: "应答带 Date", en: "Answers carry a Date" },
        why: Text {
            zh: "缓存要靠 Date 算应答有多旧。有时钟的源服务器必须在 2xx、3xx、4xx 应答里写 Date。每秒算一次、存起来就够了。",
            en: "Caches compute an answer's age from it. An origin server with a clock MUST send Date in 2xx, 3xx and 4xx \
answers. Format it once a second and keep it.",
        },
        test: Run(|p| {
            let head = p.ask(p.page())?.head;
            let (status, dated) = (head.status, head.get("date").is_some());
            if status >= 500 && !dated {
                not_here!("{status} 应答可以没有 Date", "a {status} may leave Date out");
            }
            ensure!(dated, "没有 Date", "there is no Date");
            Ok(())
        }),
    },
    Rule {
        id: "framing.date-on-errors",
        severity: Must,
        rfc: "RFC 9110 §6.6.1",
        needs: Url,
        kind: Gentle,
        want: Text { zh: "错误应答（4xx）也带 Date", en: "Error answers (4xx) carry a Date, too" },
        why: Text {
            zh: "错误应答也会被缓存，Date 同样必须写。让成功与失败走同一段写头的代码。",
            en: "Error answers are cached as well, so Date is required there, too. Let success and failure share the code that \
writes the head.",
        },
        test: Run(|p| {
            let head = p.ask(p.req("GET", MISSING))?.head;
            let status = head.status;
            if !(400..500).contains(&status) {
                not_here!("没有文件时的应答是 {status}", "a missing file is answered by {status}");
            }
            ensure!(head.get("date").is_some(), "{status} 应答没有 Date", "the {status} has no Date");
            Ok(())
        }),
    },
    Rule {
        id: "framing.date-format",
        severity: Must,
        rfc: "RFC 9110 §5.6.7",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "Date 的写法是「Sun, 06 Nov 1994 08:49:37 GMT」，时间也对",
            en: "Date is written as in \"Sun, 06 Nov 1994 08:49:37 GMT\" and tells the time",
        },
        why: Text {
            zh: "必须是 GMT，星期和月份是英文缩写，日是两位数；不能用本地时间或本地语言。差一天以上，缓存就会算错。",
            en: "It is GMT, with English abbreviations and a two-digit day; never local time or a local language. A day off and \
caches compute nonsense.",
        },
        test: Run(|p| {
            let head = p.ask(p.page())?.head;
            let Some(date) = head.get("date") else {
                not_here!("没有 Date", "there is no Date");
            };
            let time = fixdate(date);
            ensure!(time.is_some(), "Date 写作「{date}」", "Date is written \"{date}\"");
            let now = std::time::SystemTime::now();
            let off = time.map_or(0, |t| {
                now.duration_since(t).or_else(|_| t.duration_since(now)).map_or(0, |d| d.as_secs())
            });
            ensure!(off < 86_400, "Date 与实际相差 {off} 秒", "Date is {off} seconds off");
            Ok(())
        }),
    },
    Rule {
        id: "framing.no-1xx-to-10",
        severity: Must,
        rfc: "RFC 9110 §15.2",
        needs: Url,
        kind: Gentle,
        want: Text { zh: "不向 HTTP/1.0 客户端发 1xx", en: "No 1xx is sent to a client of HTTP/1.0" },
        why: Text {
            zh: "HTTP/1.0 没有 1xx，客户端会把它当成最终应答。看到 1.0 的请求就忽略 Expect。",
            en: "HTTP/1.0 knows no 1xx and takes it for the final answer. Ignore Expect in requests of version 1.0.",
        },
        test: Run(|p| {
            let req = p.req("POST", &p.env.page).old().with("Expect", "100-continue").body(b"hello");
            let answer = p.ask(req)?;
            let n = answer.interim.len();
            ensure!(n == 0, "先来了 {n} 个 1xx", "{n} interim answers came first");
            Ok(())
        }),
    },
    Rule {
        id: "framing.301-location",
        severity: Should,
        rfc: "RFC 9110 §10.2.2",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "重定向（3xx）带 Location，指向的地方能打开",
            en: "A redirect (3xx) has a Location, and what it names can be fetched",
        },
        why: Text {
            zh: "目录少了末尾斜杠时通常回 301。Location 应指回同一台服务器，并且按字节原样编码。",
            en: "A folder without its final slash usually gets a 301. Location must lead back to the same server and stay \
percent-encoded.",
        },
        test: Run(|p| {
            let head = p.ask(p.file("sub")?)?.head;
            let status = head.status;
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                not_here!("没有重定向，应答是 {status}", "no redirect, the answer is {status}");
            }
            let Some(location) = head.get("location") else {
                ensure!(false, "{status} 没有 Location", "the {status} has no Location");
                return Ok(());
            };
            let host = &p.env.host;
            let path = location.strip_prefix(&format!("http://{host}")).unwrap_or(location);
            let absolute = if path.starts_with('/') {
                path.to_owned()
            } else {
                let base = p.files()?.url("");
                format!("{base}{path}")
            };
            let next = p.ask(p.req("GET", &absolute))?.status();
            ensure!(
                next < 400 || next == 403,
                "Location「{location}」打不开：{next}",
                "Location \"{location}\" gives {next}"
            );
            Ok(())
        }),
    },
];

/// A path that no server has.
pub(super) const MISSING: &str = "/wouldblock-no-such-file-4f1c";

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

fn first_line(bytes: &[u8]) -> String {
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = &line[..line.len().min(80)];
    line.escape_ascii().to_string()
}

/// An IMF-fixdate, strictly.
pub(super) fn fixdate(text: &str) -> Option<std::time::SystemTime> {
    let time = httpdate::parse_http_date(text).ok()?;
    (httpdate::fmt_http_date(time) == text).then_some(time)
}
