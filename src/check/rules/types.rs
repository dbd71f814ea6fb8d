//! Content-Type.

use super::framing::MISSING;
use super::prelude::*;
use crate::check::fixture::TYPED;

macro_rules! typed {
    ($id:literal, $file:literal, $severity:ident, $zh:literal, $en:literal, $why_zh:literal, $why_en:literal) => {
        Rule {
            id: $id,
            severity: $severity,
            rfc: "RFC 9110 §8.3",
            needs: Files,
            kind: Gentle,
            want: Text { zh: $zh, en: $en },
            why: Text { zh: $why_zh, en: $why_en },
            test: Run(|p| has_type(p, $file)),
        }
    };
}

pub(super) static RULES: &[Rule] = &[
    typed!(
        "type.html",
        "t.html",
        Should,
        ".html 的类型是 text/html",
        ".html is text/html",
        "没有类型，浏览器只能猜；猜错了就显示源码或弹出下载。按扩展名查表，表里没有的用 application/octet-stream。",
        "Without a type browsers guess and may show the source or offer a download. Look the extension up in a table."
    ),
    typed!(
        "type.css",
        "t.css",
        Should,
        ".css 的类型是 text/css",
        ".css is text/css",
        "浏览器拒绝类型不对的样式表：所有文件都发成 text/html，页面就没有样式。",
        "Browsers refuse a style sheet of the wrong type: send everything as text/html and the page has no style."
    ),
    typed!(
        "type.js",
        "t.js",
        Should,
        ".js 的类型是 text/javascript",
        ".js is text/javascript",
        "模块脚本的类型不对会被浏览器拒绝执行（RFC 9239：text/javascript）。",
        "Browsers refuse to run a module script of the wrong type (RFC 9239: text/javascript)."
    ),
    typed!(
        "type.json",
        "t.json",
        Should,
        ".json 的类型是 application/json",
        ".json is application/json",
        "类型对了，开发工具和 fetch 的使用者才知道怎么读（RFC 8259）。",
        "With the right type tools and users of fetch know how to read it (RFC 8259)."
    ),
    typed!(
        "type.svg",
        "t.svg",
        Should,
        ".svg 的类型是 image/svg+xml",
        ".svg is image/svg+xml",
        "类型不对的 SVG 在 <img> 里显示不出来。",
        "An SVG of the wrong type does not show up in an <img>."
    ),
    typed!(
        "type.png",
        "t.png",
        Should,
        ".png 的类型是 image/png",
        ".png is image/png",
        "图片发成 text/html，直接打开时会显示乱码。",
        "An image sent as text/html is shown as garbage when opened by itself."
    ),
    typed!(
        "type.jpg",
        "t.jpg",
        Should,
        ".jpg 的类型是 image/jpeg",
        ".jpg is image/jpeg",
        "类型叫 image/jpeg，不叫 image/jpg。",
        "The type is called image/jpeg, not image/jpg."
    ),
    typed!(
        "type.txt",
        "t.txt",
        Should,
        ".txt 的类型是 text/plain",
        ".txt is text/plain",
        "纯文本发成 text/html，里面的 < 会被当成标签，甚至成为脚本注入的途径。",
        "Plain text sent as text/html has its < read as tags, which can even inject scripts."
    ),
    typed!(
        "type.wasm",
        "t.wasm",
        Good,
        ".wasm 的类型是 application/wasm",
        ".wasm is application/wasm",
        "WebAssembly.instantiateStreaming 只接受 application/wasm。",
        "WebAssembly.instantiateStreaming accepts application/wasm only."
    ),
    typed!(
        "type.woff2",
        "t.woff2",
        Good,
        ".woff2 的类型是 font/woff2",
        ".woff2 is font/woff2",
        "字体有自己的顶级类型（RFC 8081）；发成 text/html 时开着 nosniff 的页面会拒绝。",
        "Fonts have a top-level type of their own (RFC 8081); as text/html they are refused under nosniff."
    ),
    typed!(
        "type.pdf",
        "t.pdf",
        Good,
        ".pdf 的类型是 application/pdf",
        ".pdf is application/pdf",
        "类型对了，浏览器才会打开而不是下载。",
        "With the right type browsers open it instead of saving it."
    ),
    typed!(
        "type.upper-case",
        "T.HTML",
        Good,
        "扩展名不分大小写：.HTML 也是 text/html",
        "Extensions ignore case: .HTML is text/html, too",
        "从别的系统拷来的文件常有大写扩展名；查表之前转成小写。",
        "Files from other systems often have upper-case extensions; lower the case before looking up."
    ),
    Rule {
        id: "type.unknown",
        severity: Should,
        rfc: "RFC 9110 §8.3",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "不认识的扩展名不冒充网页（application/octet-stream 或不写）",
            en: "An unknown extension does not pass for a page (application/octet-stream or nothing)",
        },
        why: Text {
            zh: "把一切都叫 text/html，别人上传的任意文件就能当网页运行脚本。",
            en: "If everything is text/html, any uploaded file runs scripts as a page of yours.",
        },
        test: Run(|p| {
            let head = p.ask(p.file("unknown.wbx")?)?.head;
            let kind = essence(&head);
            ensure!(
                kind != "text/html" && kind != "application/xhtml+xml",
                "类型是 {kind}",
                "the type is {kind}"
            );
            Ok(())
        }),
    },
    Rule {
        id: "type.charset",
        severity: Good,
        rfc: "RFC 9110 §8.3.2",
        needs: Files,
        kind: Gentle,
        want: Text {
            zh: "网页的类型写明 charset=utf-8", en: "The type of a page names charset=utf-8"
        },
        why: Text {
            zh: "不写字符集，没有 <meta charset> 的中文网页和纯文本会变成乱码。文件确实是 UTF-8 时写上。",
            en: "Without it Chinese text and pages that lack <meta charset> turn into garbage. Say it where files are UTF-8.",
        },
        test: Run(|p| {
            let head = p.ask(p.file("zh.html")?)?.head;
            let value = head.get("content-type").unwrap_or_default().to_ascii_lowercase();
            ensure!(
                value.replace(['"', ' '], "").contains("charset=utf-8"),
                "Content-Type 是「{value}」",
                "Content-Type is \"{value}\""
            );
            Ok(())
        }),
    },
    Rule {
        id: "type.grammar",
        severity: Must,
        rfc: "RFC 9110 §8.3.1",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "Content-Type 写作「类型/子类型」加参数",
            en: "Content-Type is written \"type/subtype\" with parameters",
        },
        why: Text {
            zh: "写成「html」或「text/html charset=utf-8」（少了分号），浏览器会整个忽略。",
            en: "\"html\" or \"text/html charset=utf-8\" (without the semicolon) is ignored as a whole.",
        },
        test: Run(|p| {
            let head = p.ask(p.page())?.head;
            let Some(value) = head.get("content-type") else {
                not_here!("没有 Content-Type", "there is no Content-Type");
            };
            let kind = essence(&head);
            let token = |t: &str| {
                !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b))
            };
            let good = kind.split_once('/').is_some_and(|(a, b)| token(a) && token(b));
            ensure!(good, "Content-Type 是「{value}」", "Content-Type is \"{value}\"");
            Ok(())
        }),
    },
    Rule {
        id: "type.of-errors",
        severity: Should,
        rfc: "RFC 9110 §8.3",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "有正文的错误页也写 Content-Type",
            en: "An error page with a body has a Content-Type, too",
        },
        why: Text {
            zh: "错误页也是正文，不写类型就靠猜；含汉字时还要写 charset=utf-8。",
            en: "An error page is content as well; without a type it is guessed. With Chinese in it, add charset=utf-8.",
        },
        test: Run(|p| {
            let answer = p.ask(p.req("GET", MISSING))?;
            if answer.body.is_empty() {
                not_here!("错误页没有正文", "the error page has no body");
            }
            let has = answer.head.get("content-type").is_some();
            ensure!(has, "没有 Content-Type", "there is no Content-Type");
            Ok(())
        }),
    },
];

fn essence(head: &Head) -> String {
    let value = head.get("content-type").unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn has_type(p: &mut Probe<'_>, file: &str) -> Verdict {
    let head = p.ask(p.file(file)?)?.head;
    let kind = essence(&head);
    let allowed = TYPED.iter().find(|(name, _)| *name == file).map_or(&[][..], |(_, types)| types);
    ensure!(!kind.is_empty(), "没有 Content-Type", "there is no Content-Type");
    ensure!(allowed.contains(&kind.as_str()), "类型是 {kind}", "the type is {kind}");
    Ok(())
}
