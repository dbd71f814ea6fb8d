//! One page: its Markdown, its directives, and the furniture around it.
//!
//! Directives stand on a line of their own: `{{listing FILE#ITEM}}` (an item of a Rust file), `{{file FILE}}` (a
//! whole file), `{{include NAME}}` (a partial), `{{from SOURCE}}` (where recorded figures come from). Within a line
//! `{{n NAME}}` is a recorded figure with its unit. In partials `[[中文||English]]` is one of the two.

use pulldown_cmark::{CodeBlockKind, CowStr, Event, Options, Parser, Tag, TagEnd, html as markdown};
use serde_json::Value;
use wouldblock::compare::lang::Lang;
use wouldblock::compare::results::Results;
use wouldblock::compare::{findings, numbers, sentences, table};

use super::highlight::{escape, html};
use super::{listing, read};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Language {
    Zh,
    En,
}

pub(super) const LANGUAGES: [Language; 2] = [Language::Zh, Language::En];

impl Language {
    const fn folder(self) -> &'static str {
        match self {
            Self::Zh => "zh",
            Self::En => "en",
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Zh => "zh-Hans",
            Self::En => "en",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Zh => Self::En,
            Self::En => Self::Zh,
        }
    }

    fn pick<T>(self, zh: T, en: T) -> T {
        match self {
            Self::Zh => zh,
            Self::En => en,
        }
    }
}

pub(super) struct Page {
    pub(super) slug: &'static str,
    zh: &'static str,
    en: &'static str,
}

pub(super) const PAGES: &[Page] = &[
    Page { slug: "index", zh: "一页看懂", en: "The whole on one page" },
    Page { slug: "blocking", zh: "为什么会堵", en: "Why it blocks" },
    Page { slug: "wouldblock", zh: "WouldBlock 不是错误", en: "WouldBlock is not an error" },
    Page { slug: "connection", zh: "一个连接要记住什么", en: "What a connection must remember" },
    Page { slug: "stream", zh: "数据会拆会粘", en: "Data splits and sticks" },
    Page { slug: "http", zh: "HTTP 的边界", en: "Where a message ends" },
    Page { slug: "cost", zh: "空转的代价", en: "What spinning costs" },
    Page { slug: "sleep", zh: "睡多久", en: "How long to sleep" },
    Page { slug: "errata", zh: "课程代码找错", en: "Find the bug" },
    Page { slug: "models", zh: "九种模型", en: "Nine models" },
    Page { slug: "epoll", zh: "下一站 epoll", en: "Next stop: epoll" },
    Page { slug: "claims", zh: "常见说法对不对", en: "Common sayings, checked" },
    Page { slug: "glossary", zh: "名词对照", en: "Glossary" },
];

/// Sets the theme before the first paint. Its hash is in the policy below; the browser test fails if they part.
const THEME: &str = "try{document.documentElement.dataset.theme=localStorage.getItem('theme')||''}catch(e){}";
const POLICY: &str =
    "default-src 'self'; script-src 'self' 'sha256-HASH'; base-uri 'none'; form-action 'none'";

impl Page {
    /// Whether it teaches one idea in the fixed order of sections.
    pub(super) fn is_lesson(&self) -> bool {
        !matches!(self.slug, "index" | "glossary")
    }

    /// Its path below `html/`.
    pub(super) fn path(&self, language: Language) -> String {
        match (language, self.slug) {
            (Language::Zh, "index") => "index.html".into(),
            _ => format!("{}/{}.html", language.folder(), self.slug),
        }
    }

    /// A link to it from a page `up` folders deep, in the form in which servers like it.
    fn link(&self, language: Language, up: &str) -> String {
        let path = self.path(language);
        let path = path.strip_suffix("index.html").unwrap_or(&path);
        if up.is_empty() && path.is_empty() { "./".into() } else { format!("{up}{path}") }
    }

    fn title(&self, language: Language) -> &'static str {
        language.pick(self.zh, self.en)
    }

    /// The whole page: its path and its text.
    pub(super) fn write(&self, language: Language) -> (String, String) {
        let path = self.path(language);
        let up = if path.contains('/') { "../" } else { "" };
        let name = format!("tests/chapter/pages/{}/{}.md", language.folder(), self.slug);
        let source = read(&name);
        let (description, source) = source.split_once("\n---\n").unwrap_or_else(|| panic!("{name}: no ---"));
        let body = Body { language, up, page: &name }.render(source);
        let book = language.pick("非堵塞", "Nonblocking");
        let (title, number) =
            (self.title(language), PAGES.iter().position(|page| page.slug == self.slug).unwrap_or(0));
        let head_title = if number == 0 {
            language.pick("非堵塞：一个循环，一页看懂", "Nonblocking: one loop on one page").to_owned()
        } else {
            format!("{title} · {book}")
        };
        let kicker = match self.slug {
            "index" => language.pick("Web 静态服务器之五", "Static web server, part 5").to_owned(),
            "glossary" => language.pick("附录", "Appendix").to_owned(),
            _ => language
                .pick(format!("第 {number} 节 · 约 8 分钟"), format!("Section {number} · about 8 minutes")),
        };
        let live = if body.contains("data-live") {
            format!("<script type=\"module\" src=\"{up}assets/live.js\"></script>\n")
        } else {
            String::new()
        };
        let only = format!("html/assets/only-{}.js", self.slug);
        let own = if super::root().join(&only).exists() {
            format!("<script type=\"module\" src=\"{up}{}\"></script>\n", only.trim_start_matches("html/"))
        } else {
            String::new()
        };
        let other = language.other();
        let policy = POLICY.replace("HASH", read("tests/chapter/theme.sha256").trim());
        let text = format!(
            "<!doctype html>\n<html lang=\"{code}\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{head_title}</title>\n<meta name=\"description\" content=\"{description}\">\n\
             <script>{THEME}</script>\n<link rel=\"stylesheet\" href=\"{up}assets/style.css\">\n\
             <link rel=\"icon\" href=\"{up}assets/icon.svg\" type=\"image/svg+xml\">\n\
             <link rel=\"alternate\" hreflang=\"{other_code}\" href=\"{other_link}\">\n\
             <script type=\"module\" src=\"{up}assets/page.js\"></script>\n{live}{own}</head>\n\
             <body class=\"p-{slug}\">\n<a class=\"skip\" href=\"#text\">{skip}</a>\n\
             <header class=\"top\"><a class=\"book\" href=\"{home}\"><span class=\"mark\" aria-hidden=\"true\"></span>{book}</a>\
             <a class=\"to-contents\" href=\"#contents\">{contents}</a>\
             <a class=\"switch\" lang=\"{other_code}\" hreflang=\"{other_code}\" href=\"{other_link}\">{other_name}</a></header>\n\
             <main id=\"text\">\n<p class=\"kicker\">{kicker}</p>\n<h1>{title}</h1>\n{body}{turn}</main>\n{nav}\
             <footer><p>{foot}</p></footer>\n</body>\n</html>\n",
            code = language.code(),
            description = escape(description.trim()),
            other_code = other.code(),
            other_link = self.link(other, up),
            other_name = language.pick("English", "中文"),
            skip = language.pick("跳到正文", "Skip to the text"),
            contents = language.pick("目录", "Contents"),
            home = PAGES[0].link(language, up),
            slug = self.slug,
            turn = self.turn(language, up, number),
            nav = self.contents(language, up),
            foot = language.pick(
                "这一页的每个字节都经过它所讲的那个循环；没有第三方请求，没有统计脚本。文字与代码：MIT 或 Apache-2.0。",
                "Every byte of this page went through the loop it explains: no third-party request, no tracking. \
                 Text and code: MIT or Apache-2.0.",
            ),
        );
        (path, text)
    }

    fn turn(&self, language: Language, up: &str, number: usize) -> String {
        let link = |page: &Self, relation: &str, word: &str| {
            format!(
                "<a rel=\"{relation}\" href=\"{}\"><small>{word}</small> {}</a>",
                page.link(language, up),
                page.title(language)
            )
        };
        let previous =
            number.checked_sub(1).map(|at| link(&PAGES[at], "prev", language.pick("上一节", "Previous")));
        let next = PAGES.get(number + 1).map(|page| link(page, "next", language.pick("下一节", "Next")));
        format!(
            "<nav class=\"turn\" aria-label=\"{}\">{}{}</nav>\n",
            language.pick("翻页", "Previous and next"),
            previous.unwrap_or_default(),
            next.unwrap_or_default()
        )
    }

    fn contents(&self, language: Language, up: &str) -> String {
        let items: String = PAGES
            .iter()
            .map(|page| {
                let current = if page.slug == self.slug { " aria-current=\"page\"" } else { "" };
                format!("<li><a href=\"{}\"{current}>{}</a>\n", page.link(language, up), page.title(language))
            })
            .collect();
        let word = language.pick("目录", "Contents");
        format!(
            "<nav id=\"contents\" aria-labelledby=\"contents-title\"><h2 id=\"contents-title\">{word}</h2>\n<ol start=\"0\">\n{items}</ol></nav>\n"
        )
    }
}

/// `/zh/` is where a reader looks who has seen `/en/`.
pub(super) fn redirect() -> (String, String) {
    let text = "<!doctype html>\n<html lang=\"zh-Hans\">\n<meta charset=\"utf-8\">\n<title>非堵塞</title>\n\
                <meta http-equiv=\"refresh\" content=\"0; url=../\">\n<link rel=\"canonical\" href=\"../\">\n\
                <p><a href=\"../\">非堵塞</a></p>\n</html>\n";
    ("zh/index.html".into(), text.into())
}

struct Body<'a> {
    language: Language,
    up: &'a str,
    page: &'a str,
}

impl Body<'_> {
    fn render(&self, source: &str) -> String {
        let mut out = String::new();
        let mut text = String::new();
        for line in source.lines() {
            let directive = line.trim().strip_prefix("{{").and_then(|line| line.strip_suffix("}}"));
            match directive.and_then(|directive| directive.split_once(' ')) {
                Some((verb @ ("listing" | "file" | "include" | "from" | "compare"), what)) => {
                    out.push_str(&self.markdown(&text));
                    text.clear();
                    out.push_str(&self.directive(verb, what.trim()));
                }
                _ => {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
        out.push_str(&self.markdown(&text));
        out
    }

    fn directive(&self, verb: &str, what: &str) -> String {
        match verb {
            "listing" => {
                let (path, anchor) = what.split_once('#').unwrap_or_else(|| panic!("{}: {what}", self.page));
                let code = listing::item(&read(path), anchor)
                    .unwrap_or_else(|error| panic!("{}: {path}: {error}", self.page));
                let item = anchor.rsplit('/').next().unwrap_or(anchor);
                figure(&format!("<code>{path}</code> · <code>{item}</code>"), &code, "rust")
            }
            "file" => {
                let code = read(what);
                let link = what.strip_prefix("html/").unwrap_or_else(|| panic!("{}: {what}", self.page));
                let caption = format!("<a href=\"{}{link}\"><code>{link}</code></a>", self.up);
                figure(&caption, code.trim_end(), "python")
            }
            "include" => {
                let text = read(&format!("tests/chapter/partials/{what}"));
                self.inline(&self.pick(&text).replace("UP/", self.up))
            }
            "compare" => self.compare(what),
            _ => {
                let figures = figures();
                let origin = &figures["sources"][what];
                let word = |key: &str| {
                    let key = format!("{key}_{}", self.language.folder());
                    origin[&key].as_str().unwrap_or_else(|| panic!("figures.json: {what}.{key}")).to_owned()
                };
                format!(
                    "<p class=\"from\">{}</p>\n",
                    self.language.pick(
                        format!(
                            "录得的数字：{}。{}。日期 {}。重做：{}",
                            word("what"),
                            word("machine"),
                            word("date"),
                            word("how")
                        ),
                        format!(
                            "Recorded figures: {}. {}. Date: {}. To repeat: {}",
                            word("what"),
                            word("machine"),
                            word("date"),
                            word("how")
                        ),
                    )
                )
            }
        }
    }

    /// The table of `wouldblock compare --json`, if one was recorded.
    fn compare(&self, path: &str) -> String {
        if !super::root().join(path).exists() {
            return self
                .markdown(self.language.pick(
                    "这一页还没有收录 `wouldblock compare` 的整张表；在你的机器上跑一遍，得到的就是你自己的。\n",
                    "The whole table of `wouldblock compare` is not recorded on this page yet; run it, and you have your own.\n",
                ));
        }
        let results: Results = serde_json::from_str(&read(path)).unwrap();
        assert!(!results.machine.debug_build, "{path}: figures of a debug build are not to be quoted");
        let lang = self.language.pick(Lang::Zh, Lang::En);
        let rows = findings::rows(&results);
        // The columns a reader of the text needs: at most, p50, p99, idle, CPU per request, fruitless.
        const COLUMNS: [usize; 6] = [0, 1, 2, 4, 6, 9];
        let heads = table::columns(lang, results.options.rate);
        let mut out = String::from(
            "<div class=\"wide\" role=\"group\" tabindex=\"0\" aria-label=\"wouldblock compare\"><table><thead><tr>",
        );
        for at in [0, 1].into_iter().chain(COLUMNS.iter().map(|at| at + 2)) {
            let (head, unit) = &heads[at];
            out.push_str(&format!("<th>{} <small>{}</small>", escape(head), escape(unit)));
        }
        out.push_str("</thead><tbody>\n");
        // Everyone with nobody silent; of the crowd only what the text speaks of. The whole table is beside the file.
        let in_a_crowd = ["spin full", "spin hot", "park hot", "poll", "epoll"];
        let is_told = |row: &&findings::Row| match row.cell.silent {
            0 => true,
            10_000 => in_a_crowd.contains(&row.cell.server.name().as_str()),
            _ => false,
        };
        for row in rows.iter().filter(is_told) {
            out.push_str(&format!(
                "<tr><td>{}<td>{}",
                escape(&table::name(row, lang)),
                numbers::count(row.cell.silent)
            ));
            let figures = table::figures(row);
            for at in COLUMNS {
                out.push_str(&format!("<td>{}", escape(&figures[at])));
            }
            out.push('\n');
        }
        out.push_str("</tbody></table></div>\n<ul>\n");
        for sentence in sentences::sentences(&results, lang) {
            out.push_str(&format!("<li>{}\n", escape(&sentence)));
        }
        let legend = table::legend(&rows, &results, lang).join(" ");
        out.push_str(&format!(
            "</ul>\n<p class=\"from\">{} {} {}</p>\n",
            escape(&legend),
            escape(&table::machine(&results, lang)),
            escape(&table::thrown(&results, lang))
        ));
        out
    }

    /// One of two languages.
    fn pick(&self, text: &str) -> String {
        let mut out = String::new();
        for (at, part) in text.split("[[").enumerate() {
            if at == 0 {
                out.push_str(part);
                continue;
            }
            let (both, rest) =
                part.split_once("]]").unwrap_or_else(|| panic!("{}: [[ without ]]", self.page));
            let (zh, en) = both.split_once("||").unwrap_or_else(|| panic!("{}: [[{both}]]", self.page));
            out.push_str(self.language.pick(zh, en));
            out.push_str(rest);
        }
        out
    }

    /// Recorded figures within a line.
    fn inline(&self, text: &str) -> String {
        let mut out = String::new();
        for (at, part) in text.split("{{n ").enumerate() {
            if at == 0 {
                out.push_str(part);
                continue;
            }
            let (name, rest) = part.split_once("}}").unwrap_or_else(|| panic!("{}: {{{{n", self.page));
            let figures = figures();
            let value = figures["values"][name]
                .as_str()
                .unwrap_or_else(|| panic!("{}: figures.json has no {name}", self.page));
            // A narrow space that does not break between a number and its unit.
            out.push_str(&format!("<span class=\"rec\">{}</span>", value.replace(' ', "\u{202f}")));
            out.push_str(rest);
        }
        out
    }

    fn markdown(&self, source: &str) -> String {
        let source = self.inline(source);
        let options = Options::ENABLE_TABLES | Options::ENABLE_HEADING_ATTRIBUTES;
        let mut code: Option<(String, String)> = None;
        let mut events = Vec::new();
        for event in Parser::new_ext(&source, options) {
            match (event, &mut code) {
                (Event::Start(Tag::CodeBlock(kind)), _) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(language) => language.to_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    assert_ne!(language, "rust", "{}: Rust is included from src/, never pasted", self.page);
                    code = Some((language, String::new()));
                }
                (Event::Text(text), Some((_, block))) => block.push_str(&text),
                (Event::End(TagEnd::CodeBlock), _) => {
                    let (language, text) = code.take().unwrap_or_default();
                    events.push(Event::Html(CowStr::from(pre(text.trim_end(), &language))));
                }
                (Event::SoftBreak, _) if self.language == Language::Zh => {}
                (Event::Start(Tag::Table(columns)), _) => {
                    let label = self.language.pick("表格", "Table");
                    let wrap =
                        format!("<div class=\"wide\" role=\"group\" tabindex=\"0\" aria-label=\"{label}\">");
                    events.push(Event::Html(wrap.into()));
                    events.push(Event::Start(Tag::Table(columns)));
                }
                (Event::End(TagEnd::Table), _) => {
                    events.push(Event::End(TagEnd::Table));
                    events.push(Event::Html("</div>\n".into()));
                }
                (event, _) => events.push(event),
            }
        }
        let mut out = String::new();
        markdown::push_html(&mut out, events.into_iter());
        out.replace("href=\"UP/", &format!("href=\"{}", self.up))
    }
}

fn pre(code: &str, language: &str) -> String {
    format!("<pre tabindex=\"0\"><code>{}</code></pre>\n", html(code, language))
}

fn figure(caption: &str, code: &str, language: &str) -> String {
    format!(
        "<figure class=\"listing\"><figcaption>{caption}</figcaption>\n{}</figure>\n",
        pre(code, language)
    )
}

/// The recorded figures that pages quote, each with its origin.
fn figures() -> Value {
    serde_json::from_str(&read("tests/chapter/figures.json")).unwrap()
}
