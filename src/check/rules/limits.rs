//! Sizes: what must work, and what must be refused before it fills memory.

use super::malformed::BAD;
use super::path::is_for_everything;
use super::prelude::*;

pub(super) static RULES: &[Rule] = &[
    Rule {
        id: "limits.head-3k",
        severity: Must,
        rfc: "RFC 9110 §5.4",
        needs: Url,
        kind: Rough,
        want: Text { zh: "3 KB 的请求头得到应答", en: "A head of 3 KB is answered" },
        why: Text {
            zh: "带 Cookie 的浏览器轻易就超过 1024 字节。recv(1024) 只读到前半截：剩下的要么被当成新请求，要么在 close 时引来 RST。",
            en: "Browsers with cookies easily exceed 1024 octets. recv(1024) gets the first part only; the rest becomes a new request \
or, at close, a reset.",
        },
        test: Run(|p| sized(p, 3000, true)),
    },
    Rule {
        id: "limits.head-7k",
        severity: Should,
        rfc: "RFC 9110 §5.4",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "7 KB 的请求头得到应答，或者 431",
            en: "A head of 7 KB is answered, if only by 431",
        },
        why: Text {
            zh: "上限由服务器定，8 KB 到 16 KB 常见。超过了要回 431，不能重置或沉默。",
            en: "The limit is the server's; 8 to 16 KB are usual. Beyond it answer 431, neither reset nor keep silent.",
        },
        test: Run(|p| sized(p, 7000, false)),
    },
    Rule {
        id: "limits.head-huge",
        severity: Should,
        rfc: "RFC 6585 §5",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "没完没了的请求头（1.5 MB）会被拒绝：431、400 或关闭",
            en: "A head without end (1.5 MB) is refused: 431, 400 or closing",
        },
        why: Text {
            zh: "不设上限，一个客户端就能吃光内存。边收边数，超过上限就回 431 并关闭。",
            en: "Without a limit one client eats all memory. Count while receiving; beyond the limit answer 431 and close.",
        },
        test: Run(|p| {
            let mut bytes = p.fill(b"GET {page} HTTP/1.1\r\nHost: {host}\r\n");
            for n in 0..HUGE / 1000 {
                bytes.extend_from_slice(format!("X-Wb-{n}: {}\r\n", "h".repeat(1000)).as_bytes());
            }
            bounded(p, &bytes)
        }),
    },
    Rule {
        id: "limits.endless-line",
        severity: Should,
        rfc: "RFC 9112 §3",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "没有换行的 1.5 MB 会被拒绝或关闭",
            en: "1.5 MB without a line end is refused or closed",
        },
        why: Text {
            zh: "一直等换行的 readline 会把它全收进内存。行的长度也要有上限。",
            en: "A readline that waits for the end takes it all into memory. Lines need a limit, too.",
        },
        test: Run(|p| bounded(p, &vec![b'A'; HUGE])),
    },
    Rule {
        id: "limits.target-8000",
        severity: Should,
        rfc: "RFC 9112 §3",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "请求行长达 8000 字节仍被接受", en: "A request line of 8000 octets is accepted"
        },
        why: Text {
            zh: "标准建议至少支持 8000 字节的请求行；带长查询串的链接会用到。",
            en: "The standard recommends at least 8000 octets; links with long queries need them.",
        },
        test: Run(|p| long_line(p, 8000)),
    },
    Rule {
        id: "limits.query-2000",
        severity: Must,
        rfc: "RFC 9112 §3",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "请求行 2000 字节得到正常应答",
            en: "A request line of 2000 octets gets its normal answer",
        },
        why: Text {
            zh: "recv(1024) 读到的请求行没有结尾，路径就被截断了。先把整个请求头读完。",
            en: "recv(1024) sees a request line without its end, and the path is cut. Read the whole head first.",
        },
        test: Run(|p| long_line(p, 2000)),
    },
    Rule {
        id: "limits.target-huge",
        severity: Should,
        rfc: "RFC 9112 §3, RFC 9110 §15.5.15",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "256 KB 的请求目标会被拒绝：414（或 400、431、关闭）",
            en: "A target of 256 KB is refused: 414 (or 400, 431, closing)",
        },
        why: Text {
            zh: "比愿意解析的更长，就回 414。别先全收进来再说。",
            en: "Longer than you wish to parse: answer 414, without taking it all in first.",
        },
        test: Run(|p| {
            let mut bytes = b"GET /".to_vec();
            bytes.extend_from_slice(&vec![b'a'; 256 * 1024]);
            bytes.extend_from_slice(&p.fill(b" HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
            bounded(p, &bytes)
        }),
    },
    Rule {
        id: "limits.long-name",
        severity: Should,
        rfc: "RFC 9110 §15.5.5",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "文件名长 1000 字节得到 4xx，不是 500",
            en: "A file name of 1000 octets gets a 4xx, not a 500",
        },
        why: Text {
            zh: "文件系统只容 255 字节的名字，open 报 ENAMETOOLONG。这也是「找不到」：回 404 或 414。",
            en: "File systems take 255 octets a name, and open reports ENAMETOOLONG. That is \"not found\" as well: 404 or 414.",
        },
        test: Run(|p| {
            let answer = p.ask(p.req("GET", &format!("/{}", "n".repeat(1000))))?;
            let status = answer.status();
            let right = (400..500).contains(&status) || is_for_everything(p, &answer)?;
            ensure!(right, "得到 {status}", "the answer is {status}");
            Ok(())
        }),
    },
    Rule {
        id: "limits.many-fields",
        severity: Should,
        rfc: "RFC 6585 §5",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "六十个短字段被接受，或者得到 431",
            en: "Sixty short fields are accepted, or get a 431",
        },
        why: Text {
            zh: "浏览器发二十来个，代理还会加。字段数有上限很好，到了要回 431。",
            en: "Browsers send about twenty and proxies add some. A limit is fine; beyond it answer 431.",
        },
        test: Run(|p| {
            let mut req = p.page();
            for n in 0..60 {
                req = req.with(&format!("X-Wb-{n}"), "1");
            }
            let answer = p.ask(req)?;
            if answer.status() == 431 { Ok(()) } else { p.is_page(&answer) }
        }),
    },
    Rule {
        id: "limits.long-method",
        severity: Should,
        rfc: "RFC 9112 §3, RFC 9110 §15.6.2",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "一千个字母的方法得到 501（或 4xx），或被关闭",
            en: "A method of a thousand letters gets 501 (or a 4xx), or is closed",
        },
        why: Text {
            zh: "比认识的任何方法都长，就是不认识：501。固定大小的缓冲区别写溢出。",
            en: "Longer than any method you know means unknown: 501. Mind fixed buffers.",
        },
        test: Run(|p| {
            let bytes = p.req(&"M".repeat(1000), &p.env.page).close().bytes();
            match p.raw(&bytes)?.1 {
                Ok(head) => status_in(&head, BAD),
                Err(Lack::Ended(_)) => Ok(()),
                Err(other) => Err(lack(other)),
            }
        }),
    },
];

/// More than the largest limit that a common server comes with (1 MB and a little, Go's).
const HUGE: usize = 1_500_000;

/// The page with a query that makes the request line this long.
fn long_line(p: &mut Probe<'_>, length: usize) -> Verdict {
    let page = p.env.page.clone();
    let Some(query) = length.checked_sub("GET ? HTTP/1.1".len() + page.len()) else {
        not_here!("地址本身就超过 {length} 字节", "the address alone is longer than {length} octets");
    };
    let answer = p.ask(p.req("GET", &format!("{page}?{}", "q".repeat(query))))?;
    p.is_page(&answer)
}

/// A head of about this size is answered: as usual, or by a refusal where that is allowed.
fn sized(p: &mut Probe<'_>, size: usize, must_work: bool) -> Verdict {
    for _ in 0..3 {
        let answer = p.ask(p.page().with("Cookie", "c".repeat(size - 80)))?;
        if must_work || answer.status() != 431 {
            p.is_page(&answer)?;
        }
    }
    Ok(())
}

/// The server must refuse this before or after it has come: silence would mean that it goes on taking more.
fn bounded(p: &mut Probe<'_>, bytes: &[u8]) -> Verdict {
    let mut conn = p.connect()?;
    conn.send(bytes);
    match conn.head() {
        Ok(head) => {
            let mut allowed = BAD.to_vec();
            allowed.push(404);
            status_in(&head, &allowed)
        }
        // A reset is common here: the server closes while octets are still coming in.
        Err(Lack::Ended(_)) => Ok(()),
        Err(other) => Err(lack(other)),
    }
}
