//! Two readings of one request: whoever can make the server disagree with a proxy about where a request ends
//! can slip a second one in. Each rule here appends a second request that a correct reading never reaches.

use super::malformed::BAD;
use super::prelude::*;

/// Refused with a status or by closing, and closed in any case (RFC 9112 §6.3).
const fn refuse(send: &'static [u8]) -> Refusal {
    Refusal { send, with: BAD, or_close: true, then_closes: true }
}

macro_rules! length {
    ($id:literal, $value:literal, $zh:literal, $en:literal, $why_zh:literal, $why_en:literal) => {
        Rule {
            id: $id,
            severity: Must,
            rfc: "RFC 9112 §6.3",
            needs: Url,
            kind: Rough,
            want: Text { zh: $zh, en: $en },
            why: Text { zh: $why_zh, en: $why_en },
            test: Refuse(refuse(
                concat!(
                    "GET {page} HTTP/1.1\r\nHost: {host}\r\nContent-Length: ",
                    $value,
                    "\r\n\r\nGET {page}?smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n"
                )
                .as_bytes(),
            )),
        }
    };
}

macro_rules! chunk {
    ($id:literal, $rfc:literal, $chunks:literal, $zh:literal, $en:literal, $why_zh:literal, $why_en:literal) => {
        Rule {
            id: $id,
            severity: Must,
            rfc: $rfc,
            needs: Url,
            kind: Rough,
            want: Text { zh: $zh, en: $en },
            why: Text { zh: $why_zh, en: $why_en },
            test: Run(|p| {
                one_answer(
                    p,
                    concat!(
                        "GET {page} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n",
                        $chunks,
                        "\r\n0\r\n\r\nGET {page}?smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n"
                    )
                    .as_bytes(),
                )
            }),
        }
    };
}

pub(super) static RULES: &[Rule] = &[
    Rule {
        id: "smuggling.length-and-chunked",
        severity: Must,
        rfc: "RFC 9112 §6.1",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "Content-Length 与 Transfer-Encoding 同时出现：拒绝，或按分块读；之后必须关闭连接",
            en: "Content-Length with Transfer-Encoding: refused, or read as chunked; the connection is closed after it",
        },
        why: Text {
            zh: "代理看一个，服务器看另一个，夹在中间的字节就成了第二个请求。最稳妥：400 并关闭。",
            en: "A proxy goes by one, the server by the other, and the octets in between become a second request. Safest: 400 and \
close.",
        },
        test: Run(|p| {
            one_answer(
                p,
                b"GET {page} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n\
0\r\n\r\nGGET {page}?smuggled HTTP/1.1\r\nHost: {host}\r\n\r\nGET {page}?smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n",
            )
        }),
    },
    Rule {
        id: "smuggling.two-lengths",
        severity: Must,
        rfc: "RFC 9112 §6.3",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "两个不同的 Content-Length：400 并关闭",
            en: "Two different Content-Length fields: 400 and closing",
        },
        why: Text {
            zh: "取哪一个都是猜。标准规定这是无法恢复的错误：400，然后关闭。",
            en: "Either choice is a guess. The standard calls it unrecoverable: 400, then close.",
        },
        test: Refuse(refuse(
            b"GET {page} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n\
GET {page}?smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n",
        )),
    },
    length!(
        "smuggling.length-list",
        "0, 44",
        "Content-Length 是不同数字的列表：400 并关闭",
        "Content-Length as a list of different numbers: 400 and closing",
        "合并后的两个字段就长这样。只有每个数字都相同才可以接受，否则 400 并关闭。",
        "Two joined fields look like this. Acceptable only if all numbers are equal; otherwise 400 and close."
    ),
    length!(
        "smuggling.length-plus",
        "+0",
        "Content-Length: +0：400 并关闭",
        "Content-Length: +0: 400 and closing",
        "长度只能是数字。许多语言的 parse 接受正号；先检查每个字节都是数字，再转换。",
        "A length is digits only, but many parse functions accept a sign. Check that every octet is a digit first."
    ),
    length!(
        "smuggling.length-minus",
        "-1",
        "Content-Length: -1：400 并关闭",
        "Content-Length: -1: 400 and closing",
        "负数当作无符号数就是天文数字，当作「没有」就把正文当成请求。",
        "As an unsigned number it is huge, and taken for \"none\" it turns the body into a request."
    ),
    length!(
        "smuggling.length-hex",
        "0x0",
        "Content-Length: 0x0：400 并关闭",
        "Content-Length: 0x0: 400 and closing",
        "用十进制，且只用十进制；strtol 的 base 0 会认十六进制和八进制。",
        "Decimal and nothing else; strtol with base 0 reads hexadecimal and octal, too."
    ),
    length!(
        "smuggling.length-text",
        "zero",
        "Content-Length 不是数字：400 并关闭",
        "Content-Length that is no number: 400 and closing",
        "读不懂长度，就不知道请求到哪里为止；当作没有长度是在猜。",
        "With an unreadable length nobody knows where the request ends; treating it as absent is guessing."
    ),
    length!(
        "smuggling.length-empty",
        "",
        "Content-Length 为空：400 并关闭",
        "An empty Content-Length: 400 and closing",
        "空值不是 0，也不是「没有」。按语法它不合法：400 并关闭。",
        "Empty is neither 0 nor absent. It breaks the grammar: 400 and close."
    ),
    length!(
        "smuggling.length-overflow",
        "18446744073709551616",
        "Content-Length 溢出（2 的 64 次方）：拒绝并关闭",
        "Content-Length that overflows (2 to the 64th): refused and closed",
        "绕回去就成了 0，正文全变成请求。转换要查溢出，溢出就 400 或 413。",
        "Wrapped around it is 0, and the body becomes requests. Convert with an overflow check; 400 or 413."
    ),
    Rule {
        id: "smuggling.unknown-coding",
        severity: Must,
        rfc: "RFC 9112 §6.1, §6.3",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "不认识的传输编码：501 或 400，然后关闭",
            en: "An unknown transfer coding: 501 or 400, then closing",
        },
        why: Text {
            zh: "请求的最后一层编码不是 chunked，长度就无从知道：回 400 或 501 并关闭，不能当作没有正文。",
            en: "If chunked is not the last coding of a request, its length cannot be known: 400 or 501 and close, never \"no body\".",
        },
        test: Refuse(refuse(
            b"GET {page} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: x-nothing\r\n\r\n\
GET {page}?smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n",
        )),
    },
    Rule {
        id: "smuggling.almost-chunked",
        severity: Must,
        rfc: "RFC 9112 §6.1",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "「xchunked」不是 chunked：拒绝并关闭",
            en: "\"xchunked\" is not chunked: refused and closed",
        },
        why: Text {
            zh: "用 contains(\"chunked\") 判断会放过各种变形。按逗号切开，逐个整词比较（不分大小写）。",
            en: "contains(\"chunked\") lets disguises through. Split at commas and compare whole words, ignoring case.",
        },
        test: Refuse(refuse(
            b"GET {page} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: xchunked\r\n\r\n\
0\r\n\r\nGET {page}?smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n",
        )),
    },
    Rule {
        id: "smuggling.chunked-not-last",
        severity: Must,
        rfc: "RFC 9112 §6.3",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "chunked 不在最后（chunked, identity）：拒绝并关闭",
            en: "chunked that is not last (chunked, identity): refused and closed",
        },
        why: Text {
            zh: "只有最后一层是 chunked，才能知道正文到哪里。否则必须 400 并关闭。",
            en: "Only a final chunked tells where the body ends. Otherwise the server MUST answer 400 and close.",
        },
        test: Refuse(refuse(
            b"GET {page} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked, identity\r\n\r\n\
0\r\n\r\nGET {page}?smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n",
        )),
    },
    Rule {
        id: "smuggling.chunked-in-10",
        severity: Must,
        rfc: "RFC 9112 §6.1",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "HTTP/1.0 请求带 Transfer-Encoding：答完必须关闭",
            en: "Transfer-Encoding in HTTP/1.0: closed after the answer",
        },
        why: Text {
            zh: "1.0 的代理不认识分块，会原样转发，于是两端的边界不同。必须当作边界有误，答完关闭。",
            en: "A proxy of 1.0 does not know chunks and passes them on, so both ends disagree. It MUST be treated as faulty framing \
and the connection closed.",
        },
        test: Run(|p| {
            one_answer(
                p,
                b"GET {page} HTTP/1.0\r\nHost: {host}\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n\
0\r\n\r\nGET {page}?smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n",
            )
        }),
    },
    chunk!(
        "smuggling.chunk-size-text",
        "RFC 9112 §7.1",
        "zz\r\nhello",
        "块长度不是十六进制数：之后的请求不再处理",
        "A chunk size that is not hexadecimal: nothing after it is processed",
        "读不懂块长度就不知道正文到哪里；关闭连接，后面的字节都不可信。",
        "With an unreadable size nobody knows where the body ends; close, and trust nothing that follows."
    ),
    chunk!(
        "smuggling.chunk-size-sign",
        "RFC 9112 §7.1",
        "+5\r\nhello",
        "块长度带正负号：之后的请求不再处理",
        "A chunk size with a sign: nothing after it is processed",
        "from_str_radix、int(x, 16) 都接受正号，int 还接受下划线和 0x。先检查每个字节都是十六进制数字。",
        "from_str_radix and int(x, 16) accept a sign, int also underscores and 0x. Check every octet for a hex digit first."
    ),
    chunk!(
        "smuggling.chunk-size-prefix",
        "RFC 9112 §7.1",
        "0x5\r\nhello",
        "块长度写作 0x5：之后的请求不再处理",
        "A chunk size written 0x5: nothing after it is processed",
        "有的程序读作 5，有的在 x 处停下读作 0：这就是两种读法。",
        "Some read 5, some stop at the x and read 0: two readings."
    ),
    chunk!(
        "smuggling.chunk-size-overflow",
        "RFC 9112 §7.1",
        "10000000000000005\r\nhello",
        "块长度溢出（超过 64 位）：之后的请求不再处理",
        "A chunk size beyond 64 bits: nothing after it is processed",
        "绕回去就成了 5。接收方必须防备大数：限制位数，溢出就拒绝。",
        "Wrapped around it is 5. A recipient MUST anticipate large numbers: bound the digits and refuse on overflow."
    ),
    chunk!(
        "smuggling.chunk-without-crlf",
        "RFC 9112 §7.1",
        "5\r\nhelloXX",
        "块数据之后不是 CRLF：之后的请求不再处理",
        "Chunk data that is not followed by CRLF: nothing after it is processed",
        "不核对这两个字节，错位就不会被发现。",
        "If those two octets are not checked, a shift goes unnoticed."
    ),
    Rule {
        id: "smuggling.folded-field",
        severity: Must,
        rfc: "RFC 9112 §5.2",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "折行的字段（obs-fold）：400，或当作同一行；不会成为新字段",
            en: "A folded field: 400, or one line; never a field of its own",
        },
        why: Text {
            zh: "以空格开头的行是上一行的延续。当成新的 Content-Length，边界就被改了。最好直接 400。",
            en: "A line that begins with a space continues the one before. Taken for a new Content-Length it moves the border. Best \
answer 400.",
        },
        test: Run(|p| hidden_length(p, b"X-Wb: a\r\n Content-Length: 60")),
    },
    Rule {
        id: "smuggling.bare-cr",
        severity: Must,
        rfc: "RFC 9112 §2.2",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "单独的 CR 不是换行：400，或当作空格",
            en: "A bare CR is not a line end: 400, or a space",
        },
        why: Text {
            zh: "splitlines 把单独的 \\r 也当换行，字段值里就能塞进新字段。只认 CRLF（可宽容 LF）。",
            en: "splitlines breaks at a bare \\r, so a value can hide a new field. Accept CRLF only (LF out of leniency).",
        },
        test: Run(|p| hidden_length(p, b"X-Wb: a\rContent-Length: 60")),
    },
    Rule {
        id: "smuggling.unicode-line-ends",
        severity: Must,
        rfc: "RFC 9112 §2.2",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "VT、FF、NEL、U+2028 都不是换行", en: "VT, FF, NEL and U+2028 are no line ends"
        },
        why: Text {
            zh: "Python 的 str.splitlines 在十来种字符处断行，字段值里藏一个就能加进新字段。按字节找 CRLF，不要先解码再 splitlines。",
            en: "Python's str.splitlines breaks at ten kinds of characters, so a value can carry a new field. Look for CRLF in octets; \
never decode first and splitlines then.",
        },
        test: Run(|p| {
            for mark in [&b"\x0b"[..], b"\x0c", b"\xc2\x85", b"\xe2\x80\xa8", b"\x1c"] {
                let field = [&b"X-Wb: a"[..], mark, b"Content-Length: 60"].concat();
                hidden_length(p, &field)?;
            }
            Ok(())
        }),
    },
];

/// At most one answer, and then the end of the connection.
fn one_answer(p: &mut Probe<'_>, send: &[u8]) -> Verdict {
    let bytes = p.fill(send);
    let mut conn = p.connect()?;
    conn.send(&bytes);
    match conn.answer(false) {
        Ok(answer) => {
            if answer.end == BodyEnd::Waiting {
                whole(&answer)?;
            }
            p.ends(&mut conn)
        }
        Err(Lack::Ended(_)) => Ok(()),
        Err(other) => Err(lack(other)),
    }
}

/// A request whose extra field hides a Content-Length from a correct reader, followed by a second request. A
/// server that saw the hidden length swallows the second one and waits for more.
fn hidden_length(p: &mut Probe<'_>, field: &[u8]) -> Verdict {
    let mut bytes = p.fill(b"GET {page} HTTP/1.1\r\nHost: {host}\r\n");
    bytes.extend_from_slice(field);
    bytes.extend_from_slice(
        &p.fill(b"\r\n\r\nGET {page} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
    );
    let mut conn = p.connect()?;
    conn.send(&bytes);
    let first = match conn.answer(false) {
        Ok(first) => first,
        Err(Lack::Ended(_)) => return Ok(()),
        Err(other) => return Err(lack(other)),
    };
    whole(&first)?;
    if BAD.contains(&first.status()) || !first.head.says_keep() || first.end == BodyEnd::Close {
        return Ok(());
    }
    match conn.answer(false) {
        Ok(second) => {
            let status = second.status();
            ensure!(
                status == p.env.status,
                "第二个请求得到 {status}：边界错位了",
                "the second request gets {status}: the border moved"
            );
            Ok(())
        }
        Err(Lack::Ended(_)) => Ok(()),
        // It waits for more of what it takes for a body.
        Err(Lack::Silence(_)) => {
            ensure!(
                false,
                "第二个请求被当成了正文：藏在字段值里的长度生效了",
                "the second request was taken for a body: the length hidden in a value counted"
            );
            Ok(())
        }
        Err(other) => Err(lack(other)),
    }
}
