//! Ranges. A server may ignore Range altogether (RFC 9110 §14.2): a plain 200 passes nearly everywhere; what it
//! must not do is to answer 206 wrongly.

use super::prelude::*;
use crate::check::fixture::MEDIUM;

const FILE: &str = "medium.bin";

pub(super) static RULES: &[Rule] = &[
    Rule {
        id: "range.supported",
        severity: Good,
        rfc: "RFC 9110 §14.2",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "支持范围请求：bytes=0-9 得到 206",
            en: "Ranges are supported: bytes=0-9 gets a 206",
        },
        why: Text {
            zh: "续传、拖动视频进度都靠它。标准允许不支持；支持就要做对：206、Content-Range、这一段的长度。",
            en: "Resuming and seeking in videos need it. It is optional; done right it takes 206, Content-Range and the length of \
the part.",
        },
        test: Run(|p| {
            let status = p.ask(ranged(p, "bytes=0-9")?)?.status();
            ensure!(status == 206, "得到 {status}", "the answer is {status}");
            Ok(())
        }),
    },
    Rule {
        id: "range.accept-ranges",
        severity: Good,
        rfc: "RFC 9110 §14.3",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "支持范围请求就写 Accept-Ranges: bytes",
            en: "Where ranges work, Accept-Ranges: bytes says so",
        },
        why: Text {
            zh: "下载工具看到它才会分段下载或续传。",
            en: "Download tools look for it before they resume or fetch in parts.",
        },
        test: Run(|p| {
            if p.ask(ranged(p, "bytes=0-9")?)?.status() != 206 {
                not_here!("不支持范围请求", "ranges are not supported");
            }
            let head = p.ask(p.file(FILE)?)?.head;
            let says = head.has_token("accept-ranges", "bytes");
            ensure!(says, "没有 Accept-Ranges", "there is no Accept-Ranges");
            Ok(())
        }),
    },
    Rule {
        id: "range.first",
        severity: Must,
        rfc: "RFC 9110 §14.1.2, §15.3.7",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "bytes=100-199 得到第 100 到 199 字节，Content-Range 写对",
            en: "bytes=100-199 brings octets 100 to 199 with the right Content-Range",
        },
        why: Text {
            zh: "两端都包含在内，所以 0-9 是十个字节。差一个字节，拼起来的文件就坏了。",
            en: "Both ends are included, so 0-9 is ten octets. One off and the assembled file is broken.",
        },
        test: Run(|p| part(p, "bytes=100-199", 100, 199)),
    },
    Rule {
        id: "range.open",
        severity: Must,
        rfc: "RFC 9110 §14.1.2",
        needs: Files,
        kind: Gentle,
        want: Text { zh: "bytes=N- 得到从 N 到末尾", en: "bytes=N- brings everything from N on" },
        why: Text {
            zh: "续传就是这种写法。末尾是文件长度减一。",
            en: "This is how downloads resume. The end is the length minus one.",
        },
        test: Run(|p| part(p, &format!("bytes={}-", MEDIUM - 50), MEDIUM - 50, MEDIUM - 1)),
    },
    Rule {
        id: "range.suffix",
        severity: Must,
        rfc: "RFC 9110 §14.1.2",
        needs: Files,
        kind: Gentle,
        want: Text { zh: "bytes=-N 得到最后 N 个字节", en: "bytes=-N brings the last N octets" },
        why: Text {
            zh: "-5 是「最后五个」，不是「从 0 到 5」。", en: "-5 means the last five, not 0 to 5."
        },
        test: Run(|p| part(p, "bytes=-5", MEDIUM - 5, MEDIUM - 1)),
    },
    Rule {
        id: "range.long-suffix",
        severity: Must,
        rfc: "RFC 9110 §14.1.2",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "bytes=-N 的 N 比文件还大时，得到整个文件",
            en: "bytes=-N with N larger than the file brings all of it",
        },
        why: Text {
            zh: "先与长度取小再相减，否则起点成了负数（无符号整数就成了天文数字）。",
            en: "Take the smaller of N and the length before subtracting, or the start turns negative (huge, if unsigned).",
        },
        test: Run(|p| part(p, &format!("bytes=-{}", MEDIUM * 2), 0, MEDIUM - 1)),
    },
    Rule {
        id: "range.clipped",
        severity: Must,
        rfc: "RFC 9110 §14.1.2",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "终点超出文件时，截到末尾",
            en: "An end beyond the file is clipped to its last octet",
        },
        why: Text {
            zh: "客户端常常多要一些。终点取「长度减一」，Content-Range 写实际的终点。",
            en: "Clients often ask for more. Use length minus one and state the real end in Content-Range.",
        },
        test: Run(|p| part(p, &format!("bytes={}-{}", MEDIUM - 10, MEDIUM + 1000), MEDIUM - 10, MEDIUM - 1)),
    },
    Rule {
        id: "range.unsatisfiable",
        severity: Should,
        rfc: "RFC 9110 §15.5.17",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "起点超出文件时回 416，并写 Content-Range: bytes */长度",
            en: "A start beyond the file gets 416 with Content-Range: bytes */length",
        },
        why: Text {
            zh: "客户端据此知道真正的长度。回一个空的 206 会让它以为下载完了。",
            en: "It tells the client the real length. An empty 206 looks like a finished download.",
        },
        test: Run(|p| {
            let head = p.ask(ranged(p, &format!("bytes={}-", MEDIUM + 10))?)?.head;
            status_in(&head, &[200, 416])?;
            if head.status == 416 {
                let value = head.get("content-range").unwrap_or("-").to_owned();
                ensure!(
                    value == format!("bytes */{MEDIUM}"),
                    "Content-Range 是「{value}」",
                    "Content-Range is \"{value}\""
                );
            }
            Ok(())
        }),
    },
    Rule {
        id: "range.bad-grammar",
        severity: Must,
        rfc: "RFC 9110 §14.1.1, §14.2",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "不合写法的 Range（5-2、abc）不会得到 206",
            en: "A Range that breaks the grammar (5-2, abc) never gets a 206",
        },
        why: Text {
            zh: "忽略（200）或拒绝（400、416）都可以；终点小于起点时减出来的长度是负数，要先检查。",
            en: "Ignore it (200) or refuse it (400, 416). With the end before the start the length is negative: check first.",
        },
        test: Run(|p| {
            for value in ["bytes=5-2", "bytes=abc", "bytes=", "bytes=-", "bytes=1-x", "bytes 0-9"] {
                let status = p.ask(ranged(p, value)?)?.status();
                let good = matches!(status, 200 | 400 | 416);
                ensure!(good, "Range: {value} 得到 {status}", "Range: {value} gets {status}");
            }
            Ok(())
        }),
    },
    Rule {
        id: "range.unknown-unit",
        severity: Must,
        rfc: "RFC 9110 §14.2",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "不认识的单位被忽略：200 和全文",
            en: "An unknown unit is ignored: 200 and everything",
        },
        why: Text {
            zh: "只认 bytes；别的单位必须当作没有 Range。",
            en: "Only bytes is known; with any other unit Range MUST be ignored.",
        },
        test: Run(|p| {
            let answer = p.ask(ranged(p, "lines=0-9")?)?;
            status_in(&answer.head, &[200])?;
            same_body(&answer, p.files()?.medium())
        }),
    },
    Rule {
        id: "range.huge-numbers",
        severity: Must,
        rfc: "RFC 9110 §14.1.1",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "天文数字的范围不会溢出", en: "Astronomic numbers in a range do not overflow"
        },
        why: Text {
            zh: "用带溢出检查的转换；溢出就当作极大值或不合写法，绝不能绕回成小数。",
            en: "Convert with a check; on overflow treat it as very large or as bad grammar, never let it wrap around.",
        },
        test: Run(|p| {
            for value in
                ["bytes=0-99999999999999999999999", "bytes=18446744073709551616-18446744073709551617"]
            {
                let answer = p.ask(ranged(p, value)?)?;
                status_in(&answer.head, &[200, 206, 400, 416])?;
                if matches!(answer.status(), 200 | 206) {
                    same_body(&answer, p.files()?.medium())?;
                }
            }
            Ok(())
        }),
    },
    Rule {
        id: "range.several",
        severity: Must,
        rfc: "RFC 9110 §14.6",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "要几段时：multipart/byteranges 且各段正确，或合成一段，或发全文",
            en: "Several ranges: correct multipart/byteranges, or one part, or the whole file",
        },
        why: Text {
            zh: "几段必须装在 multipart/byteranges 里，每段带自己的 Content-Range；嫌麻烦就忽略 Range 发全文。",
            en: "Several parts travel as multipart/byteranges, each with its Content-Range; if that is too much, ignore Range.",
        },
        test: Run(|p| {
            let answer = p.ask(ranged(p, "bytes=0-1,100-104")?)?;
            whole(&answer)?;
            let all = p.files()?.medium();
            match answer.status() {
                200 => same_body(&answer, all),
                416 => Ok(()),
                206 => {
                    let kind = answer.head.get("content-type").unwrap_or("").to_ascii_lowercase();
                    if !kind.starts_with("multipart/byteranges") {
                        return in_place(&answer, all);
                    }
                    let holds = |part: &[u8]| answer.body.windows(part.len()).any(|w| w == part);
                    let good = holds(&all[0..2])
                        && holds(&all[100..105])
                        && holds(format!("bytes 100-104/{MEDIUM}").as_bytes());
                    ensure!(good, "各段的内容或 Content-Range 不对", "a part or its Content-Range is wrong");
                    Ok(())
                }
                status => {
                    ensure!(false, "得到 {status}", "the answer is {status}");
                    Ok(())
                }
            }
        }),
    },
    Rule {
        id: "range.many",
        severity: Should,
        rfc: "RFC 9110 §14.2, §17.15",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "几百个重叠的范围不会换来比文件大几倍的应答",
            en: "Hundreds of overlapping ranges do not bring an answer several times the file",
        },
        why: Text {
            zh: "这是有名的放大攻击：一个小请求换来巨大的应答。重叠或过多时，合并、忽略或拒绝。",
            en: "This is a well-known attack by amplification. When ranges overlap or are too many, merge, ignore or refuse them.",
        },
        test: Run(|p| {
            let value = format!("bytes={}", vec!["0-"; 300].join(","));
            let answer = p.ask(ranged(p, &value)?)?;
            let n = answer.body.len();
            ensure!(n <= MEDIUM * 3, "来了 {n} 字节", "{n} octets came");
            Ok(())
        }),
    },
    Rule {
        id: "range.head",
        severity: Must,
        rfc: "RFC 9110 §14.2",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "Range 只对 GET 有效：HEAD 得到 200", en: "Range is for GET only: HEAD gets a 200"
        },
        why: Text {
            zh: "标准只为 GET 定义了范围；其他方法必须忽略 Range。HEAD 报全文的长度。",
            en: "Ranges are defined for GET alone and MUST be ignored with other methods. HEAD states the full length.",
        },
        test: Run(|p| {
            let req = p.req("HEAD", &p.files()?.url(FILE)).with("Range", "bytes=0-9");
            let head = p.ask(req)?.head;
            status_in(&head, &[200])
        }),
    },
    Rule {
        id: "range.if-range-same",
        severity: Must,
        rfc: "RFC 9110 §13.1.5",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "If-Range 与当前版本相同：按范围发（或发全文）",
            en: "If-Range with the current validator: the part (or the whole file)",
        },
        why: Text {
            zh: "版本没变才可以接着旧的部分续传。",
            en: "Only an unchanged version may be continued from an old part.",
        },
        test: Run(|p| {
            let tag = super::conditional::tag_of(p, FILE)?;
            let answer = p.ask(ranged(p, "bytes=100-199")?.with("If-Range", &tag))?;
            status_in(&answer.head, &[200, 206])?;
            in_place(&answer, p.files()?.medium())
        }),
    },
    Rule {
        id: "range.if-range-other",
        severity: Must,
        rfc: "RFC 9110 §13.1.5",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "If-Range 与当前版本不同：忽略 Range，发全文",
            en: "If-Range with another validator: Range is ignored, everything is sent",
        },
        why: Text {
            zh: "把新文件的一段接在旧文件后面，得到的是一个坏文件。标签或日期不同就回 200。",
            en: "A part of the new file glued to the old one is a broken file. Different tag or date: 200.",
        },
        test: Run(|p| {
            for other in ["\"wb-other\"", "Sat, 29 Oct 1994 19:43:31 GMT"] {
                let answer = p.ask(ranged(p, "bytes=100-199")?.with("If-Range", other))?;
                let status = answer.status();
                ensure!(status == 200, "If-Range: {other} 得到 {status}", "If-Range: {other} gets {status}");
                same_body(&answer, p.files()?.medium())?;
            }
            Ok(())
        }),
    },
    Rule {
        id: "range.on-404",
        severity: Must,
        rfc: "RFC 9110 §14.2",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "文件不存在时，带 Range 仍是 404",
            en: "For a missing file it stays a 404, Range or not",
        },
        why: Text {
            zh: "只有本来会是 200 的请求才看 Range。对错误页做 206 会让下载工具把它存进文件。",
            en: "Range counts only where the answer would be 200. A 206 of the error page ends up inside a download.",
        },
        test: Run(|p| {
            let missing = p.files()?.url("never-was.txt");
            let plain = p.ask(p.req("GET", &missing))?.status();
            let got = p.ask(p.req("GET", &missing).with("Range", "bytes=0-0"))?.status();
            ensure!(
                got == plain || plain == 200,
                "得到 {got}，应为 {plain}",
                "the answer is {got} instead of {plain}"
            );
            Ok(())
        }),
    },
    Rule {
        id: "range.of-empty",
        severity: Should,
        rfc: "RFC 9110 §14.1.2",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "空文件的 bytes=0-0 得到 416 或 200",
            en: "bytes=0-0 of an empty file gets 416 or 200",
        },
        why: Text {
            zh: "空文件没有第 0 字节；「长度减一」在这里会变成负数。",
            en: "An empty file has no octet 0, and \"length minus one\" is negative here.",
        },
        test: Run(|p| {
            let answer = p.ask(p.file("empty.txt")?.with("Range", "bytes=0-0"))?;
            status_in(&answer.head, &[200, 416])
        }),
    },
    Rule {
        id: "range.far",
        severity: Must,
        rfc: "RFC 9110 §14.1.2",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "大文件深处的一段也对", en: "A part deep inside a large file is right, too"
        },
        why: Text {
            zh: "要按偏移量定位（seek/pread），不要把前面的都读进内存，更不要发错位置。",
            en: "Go there by offset (seek, pread) instead of reading everything before, and send the right place.",
        },
        test: Run(|p| {
            let all = p.files()?.big();
            let len = all.len();
            let (a, b) = (len - 100_000, len - 2);
            let answer = p.ask(p.file("big.bin")?.with("Range", format!("bytes={a}-{b}")))?;
            status_in(&answer.head, &[200, 206])?;
            in_place(&answer, all)
        }),
    },
];

fn ranged(p: &Probe<'_>, value: &str) -> Result<crate::check::probe::Req, Stop> {
    Ok(p.file(FILE)?.with("Range", value))
}

/// One part of the medium file; a server that ignores Range and sends everything passes.
fn part(p: &mut Probe<'_>, range: &str, from: usize, to: usize) -> Verdict {
    let answer = p.ask(ranged(p, range)?)?;
    status_in(&answer.head, &[200, 206])?;
    if answer.status() == 206 {
        let want = format!("bytes {from}-{to}/{MEDIUM}");
        let got = answer.head.get("content-range").unwrap_or("-").to_owned();
        ensure!(
            got == want,
            "Content-Range 是「{got}」，应为「{want}」",
            "Content-Range is \"{got}\" instead of \"{want}\""
        );
    }
    in_place(&answer, p.files()?.medium())
}

/// A 200 is everything, a 206 is what its Content-Range says.
fn in_place(answer: &Answer, all: &[u8]) -> Verdict {
    if answer.status() != 206 {
        return same_body(answer, all);
    }
    let value = answer.head.get("content-range").unwrap_or("-").to_owned();
    let bounds = value.strip_prefix("bytes ").and_then(|v| v.split_once('/')).and_then(|(range, total)| {
        let (a, b) = range.split_once('-')?;
        let (a, b): (usize, usize) = (a.parse().ok()?, b.parse().ok()?);
        (total.parse() == Ok(all.len()) && a <= b && b < all.len()).then_some((a, b))
    });
    let Some((a, b)) = bounds else {
        ensure!(false, "Content-Range 是「{value}」", "Content-Range is \"{value}\"");
        return Ok(());
    };
    same_body(answer, &all[a..=b])
}
