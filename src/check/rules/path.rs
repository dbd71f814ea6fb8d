//! From the request target to a file, and never out of the folder.

use super::framing::MISSING;
use super::prelude::*;
use crate::check::fixture::{HELLO, SECRET};

/// Up as far as any root may lie.
const UP: usize = 16;

macro_rules! escape {
    ($id:literal, $zh:literal, $en:literal, $why_zh:literal, $why_en:literal, $targets:expr) => {
        Rule {
            id: $id,
            severity: Must,
            rfc: "RFC 9110 §17.3",
            needs: Url,
            kind: Rough,
            want: Text { zh: $zh, en: $en },
            why: Text { zh: $why_zh, en: $why_en },
            test: Run(|p| stays_inside(p, &$targets)),
        }
    };
}

pub(super) static RULES: &[Rule] = &[
    Rule {
        id: "path.missing",
        severity: Should,
        rfc: "RFC 9110 §15.5.5",
        needs: Url,
        kind: Gentle,
        want: Text { zh: "不存在的路径得到 404", en: "A path that does not exist gets a 404" },
        why: Text {
            zh: "不看路径、永远回同一页的服务器，会让搜索引擎和缓存把错误页当成内容。找不到就回 404（或 410）。",
            en: "A server that ignores the path makes caches and search engines take error pages for content. Answer 404 (or 410).",
        },
        test: Run(|p| {
            let head = p.ask(p.req("GET", MISSING))?.head;
            status_in(&head, &[404, 410])
        }),
    },
    Rule {
        id: "path.query",
        severity: Must,
        rfc: "RFC 3986 §3.4",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "问号后面的部分不属于文件名",
            en: "What follows the question mark is not part of the file name",
        },
        why: Text {
            zh: "style.css?v=2 要的是 style.css。先按第一个 ? 切开，再解码路径。",
            en: "style.css?v=2 asks for style.css. Split at the first ? before decoding.",
        },
        test: Run(|p| {
            let url = p.files()?.url("hello.txt");
            for query in ["?", "?v=2", "?a=b/../c&d=%20", "?x?y"] {
                let answer = p.ask(p.req("GET", &format!("{url}{query}")))?;
                let status = answer.status();
                ensure!(status == 200, "{query} 得到 {status}", "{query} gets {status}");
                same_body(&answer, HELLO)?;
            }
            Ok(())
        }),
    },
    Rule {
        id: "path.percent",
        severity: Must,
        rfc: "RFC 3986 §2.1",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "百分号编码会被解码：%68ello.txt 就是 hello.txt",
            en: "Percent-encoding is decoded: %68ello.txt is hello.txt",
        },
        why: Text {
            zh: "浏览器会编码许多字符。对路径解码一次，得到字节，再去找文件。",
            en: "Browsers encode many characters. Decode the path once, to octets, and look for the file then.",
        },
        test: Run(|p| serves(p, "%68ello.txt", HELLO)),
    },
    Rule {
        id: "path.chinese",
        severity: Must,
        rfc: "RFC 3986 §2.5",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "中文文件名（UTF-8 百分号编码）打得开",
            en: "A file with a Chinese name (UTF-8, percent-encoded) can be opened",
        },
        why: Text {
            zh: "浏览器把「你好.txt」发成 %E4%BD%A0%E5%A5%BD.txt。不解码就永远找不到；十六进制大小写都要认。",
            en: "Browsers send the UTF-8 octets percent-encoded. Undecoded it is never found; hex digits come in both cases.",
        },
        test: Run(|p| {
            serves(p, "%E4%BD%A0%E5%A5%BD.txt", "你好，世界\n".as_bytes())?;
            serves(p, "%e4%bd%a0%e5%a5%bd.txt", "你好，世界\n".as_bytes())
        }),
    },
    Rule {
        id: "path.space",
        severity: Must,
        rfc: "RFC 3986 §2.1",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "文件名里的空格（%20）没问题", en: "A space in a file name (%20) works"
        },
        why: Text {
            zh: "空格在请求行里是分隔符，所以写作 %20；解码之后再找文件。",
            en: "A space separates the parts of the request line, so it travels as %20; decode, then look.",
        },
        test: Run(|p| serves(p, "with%20space.txt", b"with a space\n")),
    },
    Rule {
        id: "path.plus",
        severity: Must,
        rfc: "RFC 3986 §2.2",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "路径里的加号就是加号，不是空格", en: "A plus in a path is a plus, not a space"
        },
        why: Text {
            zh: "「+ 代表空格」只是表单查询串的规矩。路径要用 unquote，不能用 unquote_plus。",
            en: "\"+ means space\" is a rule of form data only. Use unquote for paths, never unquote_plus.",
        },
        test: Run(|p| serves(p, "a+b.txt", b"plus\n")),
    },
    Rule {
        id: "path.decode-once",
        severity: Must,
        rfc: "RFC 3986 §2.4",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "只解码一次：%2541 是 %41，不是 A", en: "Decoded once only: %2541 is %41, not A"
        },
        why: Text {
            zh: "解码两次，名字里带百分号的文件就打不开，而且 %252e%252e 会变成「..」，绕过检查。",
            en: "Decoding twice makes files with a percent sign unreachable, and %252e%252e turns into \"..\" behind the check.",
        },
        test: Run(|p| serves(p, "percent%2541.txt", b"a percent sign in the name\n")),
    },
    Rule {
        id: "path.bad-percent",
        severity: Should,
        rfc: "RFC 3986 §2.1",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "残缺的百分号编码（%zz、%4）得到 4xx",
            en: "Broken percent-encoding (%zz, %4) gets a 4xx",
        },
        why: Text {
            zh: "解码库在这里可能抛异常。回 400（当作字面的文件名而回 404 也可以），不能崩溃或不答。",
            en: "Decoders may raise here. Answer 400 (404, taking it literally, will do); neither crash nor keep silent.",
        },
        test: Run(|p| {
            for target in ["/wb-%zz", "/wb-%4", "/wb-%"] {
                let answer = p.ask(p.req("GET", target))?;
                let status = answer.status();
                if (400..500).contains(&status) || is_for_everything(p, &answer)? {
                    continue;
                }
                ensure!(false, "{target} 得到 {status}", "{target} gets {status}");
            }
            Ok(())
        }),
    },
    Rule {
        id: "path.nul",
        severity: Must,
        rfc: "RFC 9110 §17.3",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "路径里的 %00 被拒绝，服务器照常工作",
            en: "%00 in a path is refused, and the server lives on",
        },
        why: Text {
            zh: "C 的字符串到 NUL 为止：secret.txt%00.html 会打开 secret.txt；在 Python 里 open 会抛 ValueError，没接住就整个退出。解码后先查控制字符。",
            en: "C strings end at NUL, so secret.txt%00.html opens secret.txt; in Python open raises ValueError, and uncaught it ends \
the server. Check for control characters after decoding.",
        },
        test: Run(|p| {
            let page = p.env.page.clone();
            for target in ["/%00".to_owned(), "/wb%00.html".to_owned(), format!("{page}%00")] {
                let mut conn = p.connect()?;
                conn.send(&p.req("GET", &target).close().bytes());
                match conn.answer(false) {
                    Ok(answer) => {
                        let status = answer.status();
                        let refused = status >= 400 || is_for_everything(p, &answer)?;
                        ensure!(refused, "{target} 得到 {status}", "{target} gets {status}");
                    }
                    Err(Lack::Ended(_)) => {}
                    Err(other) => return Err(lack(other)),
                }
            }
            Ok(())
        }),
    },
    escape!(
        "path.dotdot",
        "/../ 走不出文件夹",
        "/../ does not lead out of the folder",
        "在根目录前面拼一个前缀什么也保护不了：./html + /../x 还是走出去了。解码后按 / 切成段，遇到「..」就拒绝；再用 openat2 或 canonicalize 核对。",
        "A prefix protects nothing: ./html + /../x is outside. Decode, split into components, refuse \"..\"; then verify with \
openat2 or canonicalize.",
        [up("../", "etc/passwd"), up("./../", "etc/passwd"), format!("/x/{}etc/passwd", "../".repeat(UP))]
    ),
    escape!(
        "path.dotdot-encoded",
        "%2e%2e/ 与 ..%2f 也走不出文件夹",
        "%2e%2e/ and ..%2f do not lead out of the folder, either",
        "先检查后解码，等于没检查。次序是：切掉查询、解码一次、检查、打开。",
        "Checking before decoding is no check. The order is: cut the query off, decode once, check, open.",
        [up("%2e%2e/", "etc/passwd"), up("..%2f", "etc/passwd"), up("%2E.%2F", "etc%2Fpasswd")]
    ),
    escape!(
        "path.dotdot-twice-encoded",
        "两重编码的 %252e%252e 也走不出文件夹",
        "Twice encoded %252e%252e does not lead out of the folder",
        "只解码一次，%252e 就只是「%2e」这三个字符。解码、检查、再解码是老毛病。",
        "Decoded once, %252e is just the characters %2e. Decode, check, decode again is an old bug.",
        [up("%252e%252e/", "etc/passwd"), up("%252e%252e%252f", "etc/passwd")]
    ),
    escape!(
        "path.backslash",
        "反斜杠走不出文件夹",
        "Backslashes do not lead out of the folder",
        "在 Windows 上反斜杠也是分隔符。含反斜杠的路径最好直接拒绝。",
        "On Windows a backslash separates as well. Best refuse paths that contain one.",
        [up("..\\", "etc/passwd"), up("..%5c", "etc/passwd"), up("%2e%2e%5c", "windows/win.ini")]
    ),
    escape!(
        "path.overlong",
        "超长 UTF-8（%c0%ae）不会变成点号",
        "Overlong UTF-8 (%c0%ae) does not become a dot",
        "0xC0 0xAE 不是合法的 UTF-8；宽容的解码器会把它读成「.」。按字节处理，或用严格的解码器。",
        "0xC0 0xAE is not UTF-8, but lenient decoders read a dot. Work on octets, or decode strictly.",
        [
            up("%c0%ae%c0%ae/", "etc/passwd"),
            up("..%c0%af", "etc/passwd"),
            up("%e0%80%ae%e0%80%ae/", "etc/passwd")
        ]
    ),
    escape!(
        "path.absolute",
        "//etc/passwd 和 /%2fetc/passwd 不会成为绝对路径",
        "//etc/passwd and /%2fetc/passwd do not become absolute paths",
        "许多 join 函数遇到绝对路径就丢掉前面的根目录。去掉所有开头的斜杠，空段也跳过或拒绝。",
        "Many join functions drop the root when the other part is absolute. Strip all leading slashes; skip or refuse empty \
components.",
        [
            "//etc/passwd".to_owned(),
            "/%2fetc/passwd".to_owned(),
            "///etc///passwd".to_owned(),
            "/%2Fetc%2Fpasswd".to_owned()
        ]
    ),
    escape!(
        "path.file-url",
        "file:///etc/passwd 这样的请求目标不会读本机文件",
        "A target such as file:///etc/passwd does not read a local file",
        "绝对形式只认 http（和 https），取其中的路径部分，照样检查。",
        "In the absolute form accept http (and https) alone, take its path and check it like any other.",
        [
            "file:///etc/passwd".to_owned(),
            "file:/etc/passwd".to_owned(),
            format!("http://x{}", up("../", "etc/passwd"))
        ]
    ),
    Rule {
        id: "path.symlink",
        severity: Good,
        rfc: "RFC 9110 §17.3",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "指向文件夹之外的符号链接不被跟随",
            en: "A symbolic link that leads out of the folder is not followed",
        },
        why: Text {
            zh: "能在目录里建链接的人，就能读服务器能读的一切。跟不跟随是一个决定；安全的做法是只跟随留在里面的链接（openat2 RESOLVE_BENEATH）。",
            en: "Whoever can create a link there can read what the server can. It is a decision; the safe one follows links that stay \
inside only (openat2 RESOLVE_BENEATH).",
        },
        test: Run(|p| {
            let answer = p.ask(p.file("out.txt")?)?;
            ensure!(answer.body != SECRET, "读到了文件夹之外的内容", "content from outside the folder came");
            Ok(())
        }),
    },
    Rule {
        id: "path.dot-name",
        severity: Good,
        rfc: "RFC 9110 §17.3",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "以点开头的文件（.env、.git）不公开",
            en: "Names that begin with a dot (.env, .git) are not public",
        },
        why: Text {
            zh: "密码和整个源码仓库常常就躺在网站目录里。除 /.well-known/ 之外，点开头的一律 404。",
            en: "Passwords and whole repositories lie in served folders. Answer 404 to all of them except /.well-known/.",
        },
        test: Run(|p| {
            let answer = p.ask(p.file(".secret")?)?;
            ensure!(answer.body != b"a dot name\n", "内容被发出来了", "its content came");
            Ok(())
        }),
    },
    Rule {
        id: "path.directory-slash",
        severity: Should,
        rfc: "RFC 3986 §5.2",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "目录少了末尾斜杠时重定向，不直接给索引页",
            en: "A folder without its final slash is redirected, not served",
        },
        why: Text {
            zh: "在 /sub 下给出 /sub/ 的内容，页面里的相对链接就都错了一级。回 301 到 /sub/；不给看目录则 403 或 404。",
            en: "The content of /sub/ served at /sub breaks every relative link in it. Redirect with 301; or 403 or 404.",
        },
        test: Run(|p| {
            let head = p.ask(p.file("sub")?)?.head;
            status_in(&head, &[301, 302, 303, 307, 308, 403, 404])
        }),
    },
    Rule {
        id: "path.directory-index",
        severity: Good,
        rfc: "RFC 9110 §4.2.3",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "以斜杠结尾的目录给出 index.html", en: "A folder with its slash serves index.html"
        },
        why: Text {
            zh: "这是人们的习惯，标准没有规定。找到目录就再找其中的 index.html。",
            en: "A custom, not a standard. When a folder is found, look for index.html in it.",
        },
        test: Run(|p| serves(p, "sub/", b"<p>index of sub</p>\n")),
    },
    Rule {
        id: "path.file-slash",
        severity: Good,
        rfc: "RFC 3986 §3.3",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "文件名后面加斜杠（hello.txt/）不是这个文件",
            en: "A slash after a file name (hello.txt/) is not that file",
        },
        why: Text {
            zh: "同一内容有两个地址，缓存和相对链接都会乱。回 404。",
            en: "One content at two addresses confuses caches and relative links. Answer 404.",
        },
        test: Run(|p| {
            let answer = p.ask(p.req("GET", &p.files()?.raw_url("hello.txt/")))?;
            let status = answer.status();
            ensure!(status != 200, "得到 {status}", "the answer is {status}");
            Ok(())
        }),
    },
    Rule {
        id: "path.open-redirect",
        severity: Must,
        rfc: "RFC 3986 §4.2",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "//目录 的重定向不会指到别的主机",
            en: "The redirect of //folder does not point to another host",
        },
        why: Text {
            zh: "Location: //name/ 在浏览器看来是主机 name。别人可借此把你的网址变成钓鱼跳板。拼 Location 前把开头的多个斜杠并成一个。",
            en: "To a browser Location: //name/ is the host name, so your address becomes a springboard for phishing. Reduce leading \
slashes to one before writing Location.",
        },
        test: Run(|p| {
            let url = p.files()?.url("sub");
            for target in [format!("/{url}"), format!("//{url}")] {
                let head = p.ask(p.req("GET", &target))?.head;
                let location = head.get("location").unwrap_or("").to_owned();
                ensure!(
                    !location.starts_with("//") && !location.starts_with("/\\"),
                    "Location 是「{location}」",
                    "Location is \"{location}\""
                );
            }
            Ok(())
        }),
    },
    Rule {
        id: "path.field-injection",
        severity: Must,
        rfc: "RFC 9110 §5.5",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "路径里的 %0d%0a 不会在应答里变成新字段",
            en: "%0d%0a in a path does not become a new field of the answer",
        },
        why: Text {
            zh: "把解码后的路径原样写进 Location，就等于让别人往应答里加字段。写回时重新编码；控制字符直接回 400。",
            en: "Writing the decoded path into Location lets strangers add fields. Encode it again; better, answer 400 to control \
characters.",
        },
        test: Run(|p| {
            let sub = p.files().map_or_else(|_| "/wb".to_owned(), |f| f.url("sub"));
            for target in [
                "/wb%0d%0aX-Injected:%20yes".to_owned(),
                format!("{sub}?a%0d%0aX-Injected:%20yes"),
                format!("//%0aX-Injected:%20yes/..{sub}"),
            ] {
                let head = p.ask(p.req("GET", &target))?.head;
                let injected = head.get("x-injected").is_some();
                ensure!(!injected, "{target} 加进了一个字段", "{target} added a field");
            }
            Ok(())
        }),
    },
    Rule {
        id: "path.reflected",
        severity: Must,
        rfc: "RFC 9110 §17.3",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "错误页不把路径里的 <script> 原样写进网页",
            en: "An error page does not repeat <script> from the path",
        },
        why: Text {
            zh: "「找不到 <script>…」若原样写进 HTML，就能在你的网站上运行别人的脚本。写进网页之前转义 < > & 和引号，或者干脆不写。",
            en: "\"Not found: <script>...\" written into HTML runs a stranger's script on your site. Escape < > & and quotes, or leave \
the path out.",
        },
        test: Run(|p| {
            for target in ["/%3Cscript%3Ewb%3C/script%3E", "/<script>wb</script>"] {
                let mut conn = p.connect()?;
                conn.send(&p.req("GET", target).close().bytes());
                let Ok(answer) = conn.answer(false) else { continue };
                let raw = answer.body.windows(10).any(|w| w == b"<script>wb");
                ensure!(
                    !(is_html(&answer.head) && raw),
                    "错误页里有未转义的 <script>",
                    "the page contains <script> unescaped"
                );
            }
            Ok(())
        }),
    },
    Rule {
        id: "path.listing",
        severity: Must,
        rfc: "RFC 9110 §17.3",
        needs: Files,
        kind: Gentle,
        want: Text { zh: "目录列表会转义文件名", en: "A directory listing escapes file names" },
        why: Text {
            zh: "文件名里可以有 < 和 &；不转义，能上传文件的人就能注入脚本。",
            en: "File names may contain < and &; unescaped, whoever can upload a file can inject scripts.",
        },
        test: Run(|p| {
            let answer = p.ask(p.file("list/")?)?;
            if answer.status() != 200 {
                not_here!("没有目录列表", "there is no listing");
            }
            let raw = answer.body.windows(7).any(|w| w == b"<b>bold");
            ensure!(
                !(is_html(&answer.head) && raw),
                "列表里有未转义的 <b>",
                "the listing contains <b> unescaped"
            );
            Ok(())
        }),
    },
    Rule {
        id: "path.absolute-form",
        severity: Must,
        rfc: "RFC 9112 §3.2.2",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "绝对形式（GET http://主机/路径）与普通写法得到同样的应答",
            en: "The absolute form (GET http://host/path) is answered like the usual one",
        },
        why: Text {
            zh: "发给代理的请求用这种写法，源服务器也必须接受：去掉 http://主机，其余照旧。",
            en: "Requests to proxies look like this, and origin servers MUST accept them: strip http://host and go on.",
        },
        test: Run(|p| {
            let target = format!("http://{}{}", p.env.host, p.env.page);
            let answer = p.ask(p.req("GET", &target))?;
            p.is_page(&answer)
        }),
    },
    Rule {
        id: "path.pipe",
        severity: Good,
        rfc: "RFC 9110 §15.5.4",
        needs: Files,
        kind: Rough,
        want: Text {
            zh: "文件夹里的管道（FIFO）不会让服务器停住",
            en: "A named pipe in the folder does not stop the server",
        },
        why: Text {
            zh: "打开一个没有写者的 FIFO 会一直堵着，非堵塞循环也会被它拖住。打开时加 O_NONBLOCK，fstat 后只发普通文件。",
            en: "Opening a FIFO without a writer blocks, and takes a nonblocking loop with it. Open with O_NONBLOCK, then serve \
regular files only, after fstat.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            conn.send(&p.file("pipe")?.close().bytes());
            let answered = conn.head();
            // Whoever is stuck in open(2) is let go: a writer comes and leaves.
            let path = p.files()?.path("pipe");
            let flags = nix::fcntl::OFlag::O_WRONLY | nix::fcntl::OFlag::O_NONBLOCK;
            let writer = nix::fcntl::open(&path, flags, nix::sys::stat::Mode::empty());
            let stuck = writer.is_ok();
            drop(writer);
            if stuck {
                p.pause(Duration::from_millis(100));
            }
            let status = answered.map_err(lack)?.status;
            ensure!(status >= 400 && !stuck, "得到 {status}", "the answer is {status}");
            Ok(())
        }),
    },
];

/// `/` + `step` × UP + `file`.
fn up(step: &str, file: &str) -> String {
    format!("/{}{file}", step.repeat(UP))
}

/// Whether this is the page that the server has for every path, as those have whose pages route in the browser:
/// then it says nothing about this path.
pub(super) fn is_for_everything(p: &Probe<'_>, answer: &Answer) -> Result<bool, Stop> {
    // Not recorded: the report shows what the rule asked.
    let missing = Probe::new(p.env, Duration::ZERO).ask(p.req("GET", MISSING))?;
    Ok(missing.status() == answer.status() && missing.body == answer.body)
}

/// Whether a browser reads the body as markup: without a type it guesses. In JSON or plain text `<` stands for itself.
fn is_html(head: &Head) -> bool {
    head.get("content-type").is_none_or(|t| t.to_ascii_lowercase().contains("html"))
}

/// The laid file must come by this (raw) name.
fn serves(p: &mut Probe<'_>, name: &str, want: &[u8]) -> Verdict {
    let answer = p.ask(p.req("GET", &p.files()?.raw_url(name)))?;
    status_in(&answer.head, &[200])?;
    same_body(&answer, want)
}

/// Any answer will do, and no answer as well, as long as no file of the system comes.
fn stays_inside(p: &mut Probe<'_>, targets: &[String]) -> Verdict {
    for target in targets {
        let mut conn = p.connect()?;
        conn.send(&p.req("GET", target).close().bytes());
        let answer = match conn.answer(false) {
            Ok(answer) => answer,
            Err(Lack::Silence(time)) => return Err(lack(Lack::Silence(time))),
            Err(_) => continue,
        };
        let leaked = [&b"root:x:0:0:"[..], b"root:*:0:0:", b"[fonts]\r\n"]
            .iter()
            .any(|mark| answer.body.windows(mark.len()).any(|w| w == *mark));
        ensure!(!leaked, "{target} 发出了系统文件", "{target} sent a file of the system");
    }
    Ok(())
}
