//! Finds an item of a source file by its name and cuts it out: `src/server/nonblocking.rs#fn sweep`, or one item
//! inside another: `…#impl Server/fn sweep`.

use super::highlight::{Kind, tokens};

/// The lines of the item, without doc comments before it, brought to the left margin.
pub(super) fn item(source: &str, anchor: &str) -> Result<String, String> {
    let mut range = 0..source.len();
    for name in anchor.split('/') {
        range = find(source, range, name).ok_or_else(|| format!("there is no item {name:?}"))?;
    }
    Ok(dedent(&source[range]))
}

/// The range of the item `name`, a kind and a name such as `fn sweep`, within `range`.
fn find(source: &str, range: std::ops::Range<usize>, name: &str) -> Option<std::ops::Range<usize>> {
    let text = &source[range.clone()];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if begins(line.trim_start(), name) {
            let start = range.start + at;
            return Some(start..start + length(&source[start..range.end]));
        }
        at += line.len();
    }
    None
}

/// Whether a line begins the item `name`, after any visibility and qualifiers.
fn begins(line: &str, name: &str) -> bool {
    let mut rest = line;
    loop {
        let known = ["pub(super) ", "pub(crate) ", "pub ", "const ", "async ", "unsafe ", "default "];
        if let Some(after) = rest.strip_prefix(name) {
            let ends = !after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
            if ends && !rest.starts_with("//") {
                return true;
            }
        }
        match known.iter().find_map(|word| rest.strip_prefix(word)) {
            Some(after) => rest = after,
            // `impl<S: Service> Server<S>` is found as `impl Server`.
            None => {
                return name
                    .strip_prefix("impl ")
                    .is_some_and(|kind| line.starts_with("impl<") && line.contains(&format!("> {kind}")));
            }
        }
    }
}

/// How long an item is: to the semicolon or the closing brace at its own depth, and to the end of that line.
fn length(text: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    for (kind, token) in tokens(text, "rust") {
        at += token.len();
        if kind != Kind::Plain {
            continue;
        }
        let start = at - token.len();
        for (offset, c) in token.char_indices() {
            match c {
                '{' | '(' | '[' => depth += 1,
                '}' | ')' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && matches!(c, '}' | ';') {
                return start + offset + 1;
            }
        }
    }
    text.len()
}

fn dedent(text: &str) -> String {
    let margin = |line: &str| line.len() - line.trim_start().len();
    let least = text.lines().filter(|line| !line.trim().is_empty()).map(margin).min().unwrap_or(0);
    let mut out: String = text
        .trim_end()
        .lines()
        .map(|line| format!("{}\n", line.get(least..).unwrap_or("").trim_end()))
        .collect();
    out.truncate(out.trim_end().len());
    out
}

#[test]
fn items_are_cut_out_whole() {
    let source = "/// Doc.\npub(super) fn sweep(a: [u8; 2]) -> usize {\n    // }\n    '}';\n    \"}\"\n}\nfn sweeper() {}\n\
                  impl<S> Server<S> {\n    const X: u8 = 1;\n    pub fn turn(&mut self) {\n        go();\n    }\n}\n";
    assert_eq!(
        item(source, "fn sweep").unwrap(),
        "pub(super) fn sweep(a: [u8; 2]) -> usize {\n    // }\n    '}';\n    \"}\"\n}"
    );
    assert_eq!(item(source, "impl Server/fn turn").unwrap(), "pub fn turn(&mut self) {\n    go();\n}");
    assert_eq!(item(source, "impl Server/const X").unwrap(), "const X: u8 = 1;");
    assert!(item(source, "fn absent").is_err());
}
