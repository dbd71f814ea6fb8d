//! Validators and the requests that use them.

use std::time::SystemTime;

use super::framing::fixdate;
use super::length::{NOTICE, on_disk, rewrite};
use super::prelude::*;
use crate::check::fixture::HELLO;

pub(super) static RULES: &[Rule] = &[
    Rule {
        id: "cond.last-modified",
        severity: Should,
        rfc: "RFC 9110 §8.8.2",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "文件的应答带 Last-Modified，与磁盘上的修改时间一致",
            en: "A file comes with its Last-Modified, the time on disk",
        },
        why: Text {
            zh: "有了它，浏览器再来时可以问「变了没有」，没变就不必重发。取文件的 mtime，按 GMT 写成 HTTP 日期。",
            en: "With it a browser can ask \"has it changed?\" and be spared the body. Take the file's mtime, written as an HTTP \
date in GMT.",
        },
        test: Run(|p| {
            let value = last_modified(p)?;
            let mtime = std::fs::metadata(p.files()?.path("hello.txt")).and_then(|m| m.modified());
            let Ok(mtime) = mtime else {
                undecided!("读不到文件的修改时间", "cannot read the file's time");
            };
            let want = httpdate::fmt_http_date(mtime);
            ensure!(
                httpdate::parse_http_date(&value).is_ok_and(|t| httpdate::fmt_http_date(t) == want),
                "Last-Modified 是「{value}」，应为「{want}」",
                "Last-Modified is \"{value}\" instead of \"{want}\""
            );
            Ok(())
        }),
    },
    Rule {
        id: "cond.last-modified-format",
        severity: Must,
        rfc: "RFC 9110 §8.8.2.1",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "Last-Modified 是合法的 HTTP 日期，且不晚于 Date",
            en: "Last-Modified is an HTTP date and not later than Date",
        },
        why: Text {
            zh: "修改时间在未来的文件，要写成当前时间，否则缓存的推算全乱。",
            en: "For a file whose time lies in the future send the present time; otherwise caches compute nonsense.",
        },
        test: Run(|p| {
            let head = p.ask(p.page())?.head;
            let Some(value) = head.get("last-modified") else {
                not_here!("没有 Last-Modified", "there is no Last-Modified");
            };
            let Some(time) = fixdate(value) else {
                ensure!(false, "写作「{value}」", "it is written \"{value}\"");
                return Ok(());
            };
            let date = head.get("date").and_then(fixdate).unwrap_or_else(SystemTime::now);
            ensure!(
                time <= date,
                "Last-Modified「{value}」晚于 Date",
                "Last-Modified \"{value}\" is later than Date"
            );
            Ok(())
        }),
    },
    Rule {
        id: "cond.etag",
        severity: Good,
        rfc: "RFC 9110 §8.8.3",
        needs: Files,
        kind: Gentle,
        want: Text { zh: "文件的应答带 ETag", en: "A file comes with an ETag" },
        why: Text {
            zh: "Last-Modified 只精确到秒；一秒之内改两次就分不出来。用大小加纳秒级修改时间拼一个 ETag 就够了。",
            en: "Last-Modified knows whole seconds only. An ETag made of size and the time in nanoseconds is enough.",
        },
        test: Run(|p| {
            let answer = p.ask(p.file("hello.txt")?)?;
            let has = answer.head.get("etag").is_some();
            ensure!(has, "没有 ETag", "there is no ETag");
            Ok(())
        }),
    },
    Rule {
        id: "cond.etag-grammar",
        severity: Must,
        rfc: "RFC 9110 §8.8.3",
        needs: Url,
        kind: Gentle,
        want: Text { zh: "ETag 写作 \"…\" 或 W/\"…\"", en: "ETag is written \"...\" or W/\"...\"" },
        why: Text {
            zh: "引号是值的一部分；少了引号，条件请求就对不上。弱标签的 W 要大写。",
            en: "The quotes belong to the value; without them conditional requests do not match. W is upper case.",
        },
        test: Run(|p| {
            let head = p.ask(p.page())?.head;
            let Some(tag) = head.get("etag") else {
                not_here!("没有 ETag", "there is no ETag");
            };
            let inner = tag.strip_prefix("W/").unwrap_or(tag);
            let inner = inner.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
            let good = inner.is_some_and(|t| !t.bytes().any(|b| b == b'"' || b <= b' ' || b == 0x7f));
            ensure!(good, "ETag 是 {tag}", "the ETag is {tag}");
            Ok(())
        }),
    },
    Rule {
        id: "cond.etag-changes",
        severity: Must,
        rfc: "RFC 9110 §8.8.1",
        needs: Files,
        kind: Gentle,
        want: Text { zh: "内容变了，ETag 也变", en: "When the content changes, so does the ETag" },
        why: Text {
            zh: "标签不变，浏览器就一直用旧内容。标签要由大小、修改时间或内容算出，不能只由文件名算出。",
            en: "With an unchanged tag browsers keep the old content. Make it from size, time or content, never from the name alone.",
        },
        test: Run(|p| {
            let before = tag_of(p, "tag.txt")?;
            let longer = [&on_disk(p, "tag.txt")?[..], b"and more\n"].concat();
            rewrite(p, "tag.txt", &longer)?;
            let until = Instant::now() + NOTICE;
            while p.ask(p.file("tag.txt")?)?.body != longer {
                if Instant::now() >= until {
                    not_here!(
                        "新内容没有出来，见 length.changed",
                        "the new content does not come, see length.changed"
                    );
                }
                p.pause(Duration::from_millis(300));
            }
            let after = tag_of(p, "tag.txt")?;
            ensure!(before != after, "前后都是 {after}", "it is {after} before and after");
            Ok(())
        }),
    },
    Rule {
        id: "cond.since-304",
        severity: Should,
        rfc: "RFC 9110 §13.1.3",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "If-Modified-Since 等于 Last-Modified 时回 304",
            en: "If-Modified-Since equal to Last-Modified gets a 304",
        },
        why: Text {
            zh: "没有变化就只回 304，不重发正文。比较时精确到秒，别拿带小数的 mtime 去比。",
            en: "Nothing changed, so a 304 without body will do. Compare whole seconds, not the mtime with its fraction.",
        },
        test: Run(|p| {
            let value = last_modified(p)?;
            let head = p.ask(p.file("hello.txt")?.with("If-Modified-Since", &value))?.head;
            status_in(&head, &[304])
        }),
    },
    Rule {
        id: "cond.since-old-formats",
        severity: Must,
        rfc: "RFC 9110 §5.6.7",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "三种日期写法都认得（含 RFC 850 与 asctime）",
            en: "All three date formats are understood (RFC 850 and asctime, too)",
        },
        why: Text {
            zh: "接收方必须能读三种写法；用现成的 HTTP 日期库，不要自己写 strptime 格式。",
            en: "A recipient MUST read all three; use a library for HTTP dates instead of one strptime format.",
        },
        test: Run(|p| {
            let value = last_modified(p)?;
            let first = p.ask(p.file("hello.txt")?.with("If-Modified-Since", &value))?.status();
            let Some((rfc850, asctime)) = old_formats(&value).filter(|_| first == 304) else {
                not_here!("服务器不回 304", "the server gives no 304");
            };
            for date in [rfc850, asctime] {
                let status = p.ask(p.file("hello.txt")?.with("If-Modified-Since", &date))?.status();
                ensure!(status == 304, "「{date}」得到 {status}", "\"{date}\" gets {status}");
            }
            Ok(())
        }),
    },
    Rule {
        id: "cond.since-older",
        severity: Must,
        rfc: "RFC 9110 §13.1.3",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "If-Modified-Since 早于修改时间时发全文",
            en: "If-Modified-Since before the last change gets the whole file",
        },
        why: Text {
            zh: "客户端手里的是旧版本，必须回 200 和新内容。",
            en: "The client holds an old version: answer 200 with the new content.",
        },
        test: Run(|p| full(p, "If-Modified-Since", "Sat, 29 Oct 1994 19:43:31 GMT")),
    },
    Rule {
        id: "cond.since-not-a-date",
        severity: Must,
        rfc: "RFC 9110 §13.1.3",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "读不懂的 If-Modified-Since 被忽略",
            en: "An If-Modified-Since that is no date is ignored",
        },
        why: Text {
            zh: "不是合法日期就必须忽略，按没有这个字段处理：200，不是 400 更不是 304。",
            en: "It MUST be ignored as if it were not there: 200, neither 400 nor 304.",
        },
        test: Run(|p| full(p, "If-Modified-Since", "yesterday")),
    },
    Rule {
        id: "cond.none-match-304",
        severity: Must,
        rfc: "RFC 9110 §13.1.2",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "If-None-Match 等于 ETag 时回 304",
            en: "If-None-Match with the current ETag gets a 304",
        },
        why: Text {
            zh: "给了 ETag 就要认 If-None-Match，否则给了也白给。",
            en: "A server that hands out ETags must honour If-None-Match, or they are for nothing.",
        },
        test: Run(|p| {
            let tag = tag_of(p, "hello.txt")?;
            none_match(p, &tag, 304)
        }),
    },
    Rule {
        id: "cond.none-match-weak",
        severity: Must,
        rfc: "RFC 9110 §13.1.2",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "If-None-Match 按弱比较：有没有 W/ 都算相同",
            en: "If-None-Match compares weakly: with or without W/ is the same",
        },
        why: Text {
            zh: "中间的压缩代理会把 \"a\" 变成 W/\"a\"。比较之前去掉两边的 W/。",
            en: "Compressing proxies turn \"a\" into W/\"a\". Strip W/ on both sides before comparing.",
        },
        test: Run(|p| {
            let tag = tag_of(p, "hello.txt")?;
            let other = tag.strip_prefix("W/").map_or_else(|| format!("W/{tag}"), str::to_owned);
            none_match(p, &other, 304)
        }),
    },
    Rule {
        id: "cond.none-match-list",
        severity: Must,
        rfc: "RFC 9110 §13.1.2",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "If-None-Match 可以是列表，其中一个相同就回 304",
            en: "If-None-Match may be a list; one match is enough for 304",
        },
        why: Text {
            zh: "客户端可能存了几个版本。逐个取出带引号的标签来比；标签里可能有逗号，不能简单按逗号切。",
            en: "A client may hold several versions. Take the quoted tags one by one; a tag may contain a comma, so do not just \
split.",
        },
        test: Run(|p| {
            let tag = tag_of(p, "hello.txt")?;
            none_match(p, &format!("\"wb-other\", {tag}"), 304)
        }),
    },
    Rule {
        id: "cond.none-match-star",
        severity: Must,
        rfc: "RFC 9110 §13.1.2",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "If-None-Match: * 对存在的文件回 304",
            en: "If-None-Match: * gets a 304 for a file that exists",
        },
        why: Text {
            zh: "星号的意思是「任何版本」：文件存在，条件就不成立，GET 回 304。",
            en: "The star means any version: the file exists, the condition is false, GET gets 304.",
        },
        test: Run(|p| {
            tag_of(p, "hello.txt")?;
            none_match(p, "*", 304)
        }),
    },
    Rule {
        id: "cond.none-match-other",
        severity: Must,
        rfc: "RFC 9110 §13.1.2",
        needs: Files,
        kind: Gentle,
        want: Text { zh: "标签不同就发全文", en: "A different tag gets the whole file" },
        why: Text {
            zh: "只要有 If-None-Match 就回 304，浏览器会永远停在旧版本上。",
            en: "Answering 304 to any If-None-Match keeps browsers on the old version for ever.",
        },
        test: Run(|p| full(p, "If-None-Match", "\"wb-other\"")),
    },
    Rule {
        id: "cond.none-match-wins",
        severity: Must,
        rfc: "RFC 9110 §13.1.3",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "有 If-None-Match 时不再看 If-Modified-Since",
            en: "With If-None-Match, If-Modified-Since is not looked at",
        },
        why: Text {
            zh: "标签更精确。标签不同而日期相同（一秒内改了两次），必须回 200。",
            en: "The tag is more exact. If it differs while the date is the same (two changes in a second), the answer MUST be 200.",
        },
        test: Run(|p| {
            tag_of(p, "hello.txt")?;
            let date = last_modified(p)?;
            let req =
                p.file("hello.txt")?.with("If-None-Match", "\"wb-other\"").with("If-Modified-Since", &date);
            let answer = p.ask(req)?;
            status_in(&answer.head, &[200])
        }),
    },
    Rule {
        id: "cond.304-no-body",
        severity: Must,
        rfc: "RFC 9112 §6.3",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "304 没有正文，连接接着用", en: "A 304 has no body, and the connection goes on"
        },
        why: Text {
            zh: "304 到空行就结束；多发的字节会成为下一份应答的开头。",
            en: "A 304 ends at its blank line; anything more becomes the beginning of the next answer.",
        },
        test: Run(|p| {
            let date = last_modified(p)?;
            let mut conn = p.connect()?;
            let first = p.ask_on(&mut conn, &p.file("hello.txt")?.with("If-Modified-Since", &date))?;
            if first.status() != 304 {
                not_here!("服务器不回 304", "the server gives no 304");
            }
            conn.pull(Instant::now() + Duration::from_millis(100));
            let n = conn.unread().len();
            ensure!(n == 0, "304 之后来了 {n} 字节", "{n} octets follow the 304");
            match p.ask_again(&mut conn, &first, &p.file("hello.txt")?)? {
                Some(second) => same_body(&second, HELLO),
                None => Ok(()),
            }
        }),
    },
    Rule {
        id: "cond.304-fields",
        severity: Must,
        rfc: "RFC 9110 §15.4.5",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "304 带着 200 会有的 ETag、Cache-Control、Vary、Expires",
            en: "A 304 carries the ETag, Cache-Control, Vary and Expires that a 200 would have",
        },
        why: Text {
            zh: "缓存用 304 里的字段更新自己的记录；少了它们，记录就过时。",
            en: "Caches update their entry from the fields of the 304; without them the entry goes stale.",
        },
        test: Run(|p| {
            let full = p.ask(p.file("hello.txt")?)?.head;
            let date = last_modified(p)?;
            let mut req = p.file("hello.txt")?.with("If-Modified-Since", &date);
            if let Some(tag) = full.get("etag") {
                req = req.with("If-None-Match", tag);
            }
            let head = p.ask(req)?.head;
            if head.status != 304 {
                not_here!("服务器不回 304", "the server gives no 304");
            }
            for name in ["etag", "cache-control", "vary", "expires"] {
                let same = full.get(name).is_none() || head.get(name).is_some();
                ensure!(same, "304 里没有 {name}", "the 304 lacks {name}");
            }
            Ok(())
        }),
    },
    Rule {
        id: "cond.match-fails",
        severity: Must,
        rfc: "RFC 9110 §13.1.1",
        needs: Files,
        kind: Gentle,
        want: Text { zh: "If-Match 不符时回 412", en: "If-Match with another tag gets a 412" },
        why: Text {
            zh: "客户端只想要这一版（例如续传）；不是这一版就不能照发。按强比较。",
            en: "The client wants this version only (to resume, say) and must not get another. Compare strongly.",
        },
        test: Run(|p| {
            tag_of(p, "hello.txt")?;
            let head = p.ask(p.file("hello.txt")?.with("If-Match", "\"wb-other\""))?.head;
            status_in(&head, &[412])
        }),
    },
    Rule {
        id: "cond.match-star",
        severity: Must,
        rfc: "RFC 9110 §13.1.1",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "If-Match: * 对存在的文件成立", en: "If-Match: * holds for a file that exists"
        },
        why: Text {
            zh: "星号表示「只要存在」；文件在，就照常回 200。",
            en: "The star means \"if it exists at all\"; it does, so the answer is 200.",
        },
        test: Run(|p| full(p, "If-Match", "*")),
    },
    Rule {
        id: "cond.unmodified-fails",
        severity: Must,
        rfc: "RFC 9110 §13.1.4",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "If-Unmodified-Since 早于修改时间时回 412",
            en: "If-Unmodified-Since before the last change gets a 412",
        },
        why: Text {
            zh: "客户端说「此后若改过就别给我」；改过了，就回 412。",
            en: "The client says \"not if it changed since\"; it did, so answer 412.",
        },
        test: Run(|p| {
            last_modified(p)?;
            let req = p.file("hello.txt")?.with("If-Unmodified-Since", "Sat, 29 Oct 1994 19:43:31 GMT");
            let head = p.ask(req)?.head;
            status_in(&head, &[412])
        }),
    },
    Rule {
        id: "cond.not-on-404",
        severity: Must,
        rfc: "RFC 9110 §13.2.1",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "文件不存在时不看条件，仍是 404",
            en: "For a missing file conditions are ignored: it stays a 404",
        },
        why: Text {
            zh: "不带条件时不会成功的请求，条件一律忽略。先找文件，再看条件。",
            en: "A server MUST ignore preconditions when the answer without them would not be a success. Find the file first.",
        },
        test: Run(|p| {
            let missing = p.files()?.url("never-was.txt");
            let plain = p.ask(p.req("GET", &missing))?.status();
            if plain < 300 {
                not_here!("不存在的文件得到 {plain}", "a missing file gets {plain}");
            }
            let future = httpdate::fmt_http_date(SystemTime::now());
            for (name, value) in [("If-Modified-Since", future.as_str()), ("If-None-Match", "\"wb\"")] {
                let got = p.ask(p.req("GET", &missing).with(name, value))?.status();
                ensure!(
                    got == plain,
                    "带 {name} 得到 {got}，应为 {plain}",
                    "with {name} it is {got} instead of {plain}"
                );
            }
            Ok(())
        }),
    },
];

/// Last-Modified of the plain file; without one the rule has no object.
pub(super) fn last_modified(p: &mut Probe<'_>) -> Result<String, Stop> {
    let answer = p.ask(p.file("hello.txt")?)?;
    match answer.head.get("last-modified") {
        Some(value) => Ok(value.to_owned()),
        None => not_here!("没有 Last-Modified", "there is no Last-Modified"),
    }
}

/// ETag of a file; without one the rule has no object.
pub(super) fn tag_of(p: &mut Probe<'_>, name: &str) -> Result<String, Stop> {
    let answer = p.ask(p.file(name)?)?;
    match answer.head.get("etag") {
        Some(value) => Ok(value.to_owned()),
        None => not_here!("没有 ETag", "there is no ETag"),
    }
}

fn none_match(p: &mut Probe<'_>, value: &str, want: u16) -> Verdict {
    let head = p.ask(p.file("hello.txt")?.with("If-None-Match", value))?.head;
    status_in(&head, &[want])
}

/// With this field the file comes whole.
fn full(p: &mut Probe<'_>, name: &str, value: &str) -> Verdict {
    let answer = p.ask(p.file("hello.txt")?.with(name, value))?;
    status_in(&answer.head, &[200])?;
    same_body(&answer, HELLO)
}

/// The same instant in the two formats of old.
fn old_formats(fixdate: &str) -> Option<(String, String)> {
    let mut words = fixdate.split([' ', ',']).filter(|w| !w.is_empty());
    let (day, dd, mon, year, time) =
        (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
    let long = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let long = long.iter().find(|l| l.starts_with(day))?;
    let short_year = year.get(2..)?;
    let dd_spaced = dd.strip_prefix('0').map_or_else(|| dd.to_owned(), |d| format!(" {d}"));
    Some((
        format!("{long}, {dd}-{mon}-{short_year} {time} GMT"),
        format!("{day} {mon} {dd_spaced} {time} {year}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_formats_name_the_same_instant() {
        let fix = "Sun, 06 Nov 1994 08:49:37 GMT";
        let (rfc850, asctime) = old_formats(fix).expect("formats");
        assert_eq!(rfc850, "Sunday, 06-Nov-94 08:49:37 GMT");
        assert_eq!(asctime, "Sun Nov  6 08:49:37 1994");
        for text in [rfc850, asctime] {
            assert_eq!(
                httpdate::parse_http_date(&text).expect("date"),
                httpdate::parse_http_date(fix).expect("date")
            );
        }
    }
}
