//! Bodies, compared octet by octet.

use std::fs;

use super::prelude::*;
use crate::check::fixture::{BORDERS, CRLF, HELLO, ZH, pattern};

/// How long a server may go by what it knew: caches of one or two seconds are common and do little harm.
pub(super) const NOTICE: Duration = Duration::from_secs(3);

pub(super) static RULES: &[Rule] = &[
    Rule {
        id: "length.octets",
        severity: Must,
        rfc: "RFC 9110 §8.6",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "中文网页的 Content-Length 按字节算，正文一个字节不少",
            en: "Content-Length of a page in Chinese counts octets, and the body is complete",
        },
        why: Text {
            zh: "len(字符串) 数的是字，一个汉字在 UTF-8 里占三个字节，于是网页后半截被切掉。先编码成字节，再取长度。",
            en: "len(str) counts characters; a Chinese one takes three octets in UTF-8, so the page is cut off. Encode first, then \
take the length.",
        },
        test: Run(|p| is_file(p, "zh.html", ZH.as_bytes())),
    },
    Rule {
        id: "length.octets-of-errors",
        severity: Must,
        rfc: "RFC 9110 §8.6",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "错误页（路径里有汉字）的长度也按字节算",
            en: "The length of an error page (Chinese in the path) counts octets, too",
        },
        why: Text {
            zh: "「抱歉，没有找到」若按字数报长度，错误页会断在半句，余下的字节还会混进下一份应答。",
            en: "An error text measured in characters breaks off in mid-sentence, and the surplus octets run into the next answer.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            let answer = p.ask_on(&mut conn, &p.req("GET", "/%E6%B2%A1%E6%9C%89.html"))?;
            if answer.head.length().is_none() {
                not_here!("错误页没有写长度", "the error page states no length");
            }
            whole(&answer)?;
            conn.pull(Instant::now() + Duration::from_millis(150));
            let extra = conn.unread().len();
            ensure!(extra == 0, "长度少写了 {extra} 字节", "the length is {extra} octets short");
            Ok(())
        }),
    },
    Rule {
        id: "length.stated",
        severity: Should,
        rfc: "RFC 9110 §8.6",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "静态文件的应答写明 Content-Length",
            en: "The answer for a static file states its Content-Length",
        },
        why: Text {
            zh: "没有长度，客户端无法显示进度，也分不清「发完了」和「断线了」。文件大小早已知道，写上即可。",
            en: "Without a length there is no progress bar, and \"complete\" looks like \"cut off\". The size of a file is known: say \
it.",
        },
        test: Run(|p| {
            let answer = p.ask(p.file("hello.txt")?)?;
            let length = answer.head.length();
            ensure!(length.is_some(), "没有 Content-Length", "there is no Content-Length");
            Ok(())
        }),
    },
    Rule {
        id: "length.empty",
        severity: Must,
        rfc: "RFC 9112 §6.3",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "空文件得到 200 和空正文，连接不会卡住",
            en: "An empty file gets a 200 with an empty body, and nobody waits",
        },
        why: Text {
            zh: "读到零字节不是错误。写 Content-Length: 0；别因为「没内容」就省掉长度或返回 404。",
            en: "Reading nothing is no error. Say Content-Length: 0; do not drop the length or answer 404 because there is no \
content.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            let answer = p.ask_on(&mut conn, &p.file("empty.txt")?)?;
            status_in(&answer.head, &[200, 204])?;
            same_body(&answer, b"")
        }),
    },
    Rule {
        id: "length.binary",
        severity: Must,
        rfc: "RFC 9110 §8.4",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "二进制文件原样送达，256 种字节一个不变",
            en: "A binary file arrives unchanged, all 256 octet values",
        },
        why: Text {
            zh: "用文本方式打开文件，会在非 UTF-8 的字节处报错或悄悄替换，图片就坏了。用 'rb' 打开，全程只用字节。",
            en: "A file opened as text raises or silently replaces what is not UTF-8, and images break. Open with 'rb' and stay \
with octets.",
        },
        test: Run(|p| {
            let want = p.files()?.octets();
            is_file(p, "octets.bin", &want)
        }),
    },
    Rule {
        id: "length.line-ends",
        severity: Must,
        rfc: "RFC 9110 §8.4",
        needs: Files,
        kind: Gentle,
        want: Text { zh: "文件里的换行不被改动", en: "Line ends inside a file are left alone" },
        why: Text {
            zh: "文本模式会把 \\r\\n 换成 \\n，长度随之不符，校验和也不对。静态服务器不改文件内容。",
            en: "Text mode turns \\r\\n into \\n; the length no longer fits and checksums fail. A static server does not edit files.",
        },
        test: Run(|p| is_file(p, "crlf.txt", CRLF)),
    },
    Rule {
        id: "length.no-coding-unasked",
        severity: Must,
        rfc: "RFC 9110 §12.5.3",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "客户端只接受 identity 时不压缩",
            en: "Nothing is compressed for a client that accepts identity only",
        },
        why: Text {
            zh: "客户端写了 Accept-Encoding: identity 就只认原文；只有它列出 gzip 等编码时才可以压缩。",
            en: "A client that says Accept-Encoding: identity takes the plain text only; compress for those that list the coding.",
        },
        test: Run(|p| {
            let answer = p.ask(p.file("zh.html")?.with("Accept-Encoding", "identity"))?;
            let coding = answer.head.get("content-encoding").unwrap_or("identity").to_owned();
            ensure!(coding == "identity", "编码是 {coding}", "the coding is {coding}");
            same_body(&answer, ZH.as_bytes())
        }),
    },
    Rule {
        id: "length.borders",
        severity: Must,
        rfc: "RFC 9112 §6.3",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "缓冲区边界附近的大小（1023、1024、1025……65537）都完整",
            en: "Sizes around buffer borders (1023, 1024, 1025 ... 65537) arrive whole",
        },
        why: Text {
            zh: "恰好等于缓冲区大小时，「读满」和「读完」容易弄混，多发或少发一块。以读到 0 字节或已发够长度为准。",
            en: "When a file just fills the buffer, \"full\" and \"finished\" get confused and a block is lost or repeated. The end is \
a read of 0, or the length reached.",
        },
        test: Run(|p| {
            let mut conn: Option<Conn> = None;
            for size in BORDERS {
                let mut on = match conn.take() {
                    Some(on) => on,
                    None => p.connect()?,
                };
                let answer = p.ask_on(&mut on, &p.file(&format!("size-{size}.bin"))?)?;
                same_body(&answer, &pattern(size))?;
                // One connection for all, as long as the server keeps it and has not closed it already.
                let keeps = answer.head.says_keep() && answer.end != BodyEnd::Close;
                if keeps && on.pull(Instant::now() + Duration::from_millis(2)) != Pull::Ended {
                    conn = Some(on);
                }
            }
            Ok(())
        }),
    },
    Rule {
        id: "length.large",
        severity: Must,
        rfc: "RFC 9112 §6.3",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "很大的文件一个字节不少", en: "A large file arrives without a missing octet"
        },
        why: Text {
            zh: "send 可能只收下一部分，返回值就是收下的字节数。堵塞套接字用 sendall；非堵塞套接字记下没发完的，下一轮再发。",
            en: "send may take a part; its return value says how much. Use sendall on blocking sockets; on nonblocking ones remember \
the rest and go on in the next sweep.",
        },
        test: Run(|p| {
            let want = p.files()?.big();
            is_file(p, "big.bin", want)
        }),
    },
    Rule {
        id: "length.after-large",
        severity: Must,
        rfc: "RFC 9112 §6.3",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "大文件之后，同一连接上的小文件也完整",
            en: "After a large file a small one on the same connection is whole, too",
        },
        why: Text {
            zh: "大文件的尾巴没清干净、偏移量没归零，都会坏了下一份应答。",
            en: "A leftover of the large body or an offset that is not reset spoils the next answer.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            let first = p.ask_on(&mut conn, &p.file("medium.bin")?)?;
            same_body(&first, p.files()?.medium())?;
            match p.ask_again(&mut conn, &first, &p.file("hello.txt")?)? {
                Some(second) => same_body(&second, HELLO),
                None => Ok(()),
            }
        }),
    },
    Rule {
        id: "length.changed",
        severity: Should,
        rfc: "RFC 9110 §9.3.1",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "文件改了，三秒之内就得到新内容和新长度",
            en: "Within three seconds of a change on disk the new content comes with its new length",
        },
        why: Text {
            zh: "内容缓存在内存里时，要在每个请求（或很短的间隔）核对大小和修改时间；旧长度配新内容会切断网页。",
            en: "A cache in memory must compare size and time for every request (or at short intervals); an old length with new \
content cuts pages off.",
        },
        test: Run(|p| {
            let before = on_disk(p, "change.txt")?;
            same_body(&p.ask(p.file("change.txt")?)?, &before)?;
            let after = [&before[..], b"and more\n"].concat();
            rewrite(p, "change.txt", &after)?;
            let until = Instant::now() + NOTICE;
            loop {
                let judged = same_body(&p.ask(p.file("change.txt")?)?, &after);
                if judged.is_ok() || Instant::now() >= until {
                    return judged;
                }
                p.pause(Duration::from_millis(300));
            }
        }),
    },
    Rule {
        id: "length.changed-at-once",
        severity: Good,
        rfc: "RFC 9110 §9.3.1",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "文件改了，紧接着的请求就得到新内容",
            en: "The very next request after a change gets the new content",
        },
        why: Text {
            zh: "改一行、按刷新，还是旧的，最让人糊涂。每个请求都 stat 一次很便宜（约一微秒），比缓存一两秒更省心。",
            en: "You edit, reload, and see the old page: confusing. A stat per request is cheap (about a microsecond) and worth it.",
        },
        test: Run(|p| {
            let before = on_disk(p, "at-once.txt")?;
            same_body(&p.ask(p.file("at-once.txt")?)?, &before)?;
            let after = [&before[..], b"and more\n"].concat();
            rewrite(p, "at-once.txt", &after)?;
            same_body(&p.ask(p.file("at-once.txt")?)?, &after)
        }),
    },
    Rule {
        id: "length.gone",
        severity: Should,
        rfc: "RFC 9110 §15.5.5",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "文件删了，三秒之内就是 404",
            en: "Within three seconds of its deletion a file is a 404",
        },
        why: Text {
            zh: "缓存里还留着内容，不等于文件还在。打开失败就该清掉缓存并回 404。",
            en: "Content in a cache does not mean that the file exists. When opening fails, drop the entry and answer 404.",
        },
        test: Run(|p| {
            rewrite(p, "gone.txt", b"soon gone\n")?;
            same_body(&p.ask(p.file("gone.txt")?)?, b"soon gone\n")?;
            if let Err(e) = fs::remove_file(p.files()?.path("gone.txt")) {
                undecided!("删不掉测试文件：{e}", "cannot delete the test file: {e}");
            }
            let until = Instant::now() + NOTICE;
            loop {
                let judged = status_in(&p.ask(p.file("gone.txt")?)?.head, &[404, 410]);
                if judged.is_ok() || Instant::now() >= until {
                    return judged;
                }
                p.pause(Duration::from_millis(300));
            }
        }),
    },
];

fn is_file(p: &mut Probe<'_>, name: &str, want: &[u8]) -> Verdict {
    let answer = p.ask(p.file(name)?)?;
    status_in(&answer.head, &[200])?;
    same_body(&answer, want)
}

/// What a laid file holds now.
pub(super) fn on_disk(p: &Probe<'_>, name: &str) -> Result<Vec<u8>, Stop> {
    match fs::read(p.files()?.path(name)) {
        Ok(content) => Ok(content),
        Err(e) => undecided!("读不了测试文件：{e}", "cannot read the test file: {e}"),
    }
}

/// Writes a laid file anew.
pub(super) fn rewrite(p: &Probe<'_>, name: &str, content: &[u8]) -> Verdict {
    if let Err(e) = fs::write(p.files()?.path(name), content) {
        undecided!("写不了测试文件：{e}", "cannot write the test file: {e}");
    }
    Ok(())
}
