//! Colours for listings, decided when the page is written: keywords, comments, strings and numbers of Rust and
//! Python. No more: a reader of a page needs to see the shape of the code, not a grammar.

/// What a piece of source is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Plain,
    Keyword,
    Comment,
    Text,
    Number,
}

const RUST: &[&str] = &[
    "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else", "enum", "false", "fn",
    "for", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub", "ref", "return", "self",
    "Self", "static", "struct", "super", "true", "type", "unsafe", "use", "where", "while",
];
const PYTHON: &[&str] = &[
    "and", "as", "assert", "break", "class", "continue", "def", "del", "elif", "else", "except", "False",
    "finally", "for", "from", "if", "import", "in", "is", "lambda", "None", "not", "or", "pass", "raise",
    "return", "True", "try", "while", "with", "yield",
];

/// The source cut into pieces; together they are the source.
pub(super) fn tokens<'s>(source: &'s str, language: &str) -> Vec<(Kind, &'s str)> {
    let (words, comment) = match language {
        "rust" => (RUST, "//"),
        "python" => (PYTHON, "#"),
        _ => return vec![(Kind::Plain, source)],
    };
    let mut out: Vec<(Kind, &str)> = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let (kind, length) = if rest.starts_with(comment) {
            (Kind::Comment, rest.find('\n').unwrap_or(rest.len()))
        } else if first == '"' || (first == '\'' && language == "python") {
            (Kind::Text, quoted(rest, first))
        } else if first == '\'' {
            match character(rest) {
                Some(length) => (Kind::Text, length),
                None => (Kind::Plain, 1), // a lifetime
            }
        } else if first.is_ascii_digit() {
            let more = |c: char| c.is_ascii_alphanumeric() || c == '_';
            (Kind::Number, rest.find(|c| !more(c)).unwrap_or(rest.len()))
        } else if first.is_alphabetic() || first == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let word = &rest[..length];
            if matches!(word, "b" | "f" | "r" | "rb" | "br") && rest[length..].starts_with(['"', '\'']) {
                let quote = rest[length..].chars().next().unwrap_or('"');
                match (quote, language) {
                    ('\'', "rust") => (Kind::Text, length + character(&rest[length..]).unwrap_or(1)),
                    _ => (Kind::Text, length + quoted(&rest[length..], quote)),
                }
            } else {
                (if words.contains(&word) { Kind::Keyword } else { Kind::Plain }, length)
            }
        } else {
            (Kind::Plain, first.len_utf8())
        };
        out.push((kind, &rest[..length]));
        rest = &rest[length..];
    }
    out
}

/// The length of a quoted text, both quotes included.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a Rust character literal; `None` for a lifetime.
fn character(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    let first = inside.chars().next()?;
    let length =
        if first == '\\' { inside.find('\'').filter(|&at| at > 1).or(Some(2))? } else { first.len_utf8() };
    inside.get(length..)?.starts_with('\'').then_some(length + 2)
}

/// The source as HTML: `<b>` keyword, `<i>` comment, `<s>`-free spans for the rest, so that pages stay small.
pub(super) fn html(source: &str, language: &str) -> String {
    let mut out = String::with_capacity(source.len() * 2);
    for (kind, token) in tokens(source, language) {
        let text = escape(token);
        match kind {
            Kind::Plain => out.push_str(&text),
            Kind::Keyword => out.push_str(&format!("<b>{text}</b>")),
            Kind::Comment => out.push_str(&format!("<i>{text}</i>")),
            Kind::Text => out.push_str(&format!("<span class=\"t\">{text}</span>")),
            Kind::Number => out.push_str(&format!("<span class=\"n\">{text}</span>")),
        }
    }
    out
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[test]
fn the_pieces_are_the_source() {
    for (language, source) in [
        ("rust", "fn f<'a>(x: &'a str) -> char { b'\\n'; '\\''; '堵'; \"a\\\"b\" /* no */ 1_000u64 } // end"),
        ("python", "x = b'\\'' + \"y\"  # 注释\nfor i in range(10): pass"),
    ] {
        let joined: String = tokens(source, language).into_iter().map(|(_, token)| token).collect();
        assert_eq!(joined, source);
    }
    assert_eq!(html("let x = 1; // <", "rust"), "<b>let</b> x = <span class=\"n\">1</span>; <i>// &lt;</i>");
}
