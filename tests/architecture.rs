//! The arrows of the crate's map, and the purity of the protocol, checked by reading the source.

use std::path::{Path, PathBuf};

/// Every source file below `folder`, as (path from src, text without its tests and comments).
fn sources(folder: &str) -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src.join(folder), &mut files);
    assert!(!files.is_empty(), "{folder} has no files");
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let code: Vec<_> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            (path.strip_prefix(&src).unwrap().display().to_string(), code.join("\n"))
        })
        .collect()
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            collect(&entry.unwrap().path(), files);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        files.push(path.to_owned());
    }
}

/// The modules of ours that a text imports from the crate's root.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        if !name.is_empty() && !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

#[test]
fn http_names_no_socket_file_thread_or_clock() {
    for (path, code) in sources("http") {
        for forbidden in [
            "std::net",
            "std::fs",
            "std::thread",
            "std::os",
            "Instant::now",
            "SystemTime",
            "std::process",
            "std::env",
        ] {
            assert!(!code.contains(forbidden), "{path} names {forbidden}");
        }
    }
}

#[test]
fn imports_follow_the_map() {
    // Each part of the crate, and all it may import of ours.
    let arrows: &[(&str, &[&str])] = &[
        ("http", &[]),
        ("idle.rs", &[]),
        ("stats.rs", &[]),
        ("signals.rs", &[]),
        ("service.rs", &["http", "stats"]),
        ("access_log.rs", &["http", "service"]),
        ("access_log", &["http", "service"]),
        ("site", &["http", "service"]),
        ("config.rs", &["http", "idle"]),
        ("chapter", &["http", "service"]),
        ("live", &["http", "service", "stats", "config", "idle"]),
        ("net", &["http", "service", "stats", "access_log", "config", "live"]),
        ("report.rs", &["http", "stats", "config", "idle"]),
        ("server", &["net", "http", "service", "stats", "config", "idle", "signals", "live"]),
    ];
    for (part, allowed) in arrows {
        for (path, code) in sources(part) {
            let own = part.trim_end_matches(".rs");
            for import in imports(&code) {
                assert!(
                    import == own || allowed.contains(&import.as_str()),
                    "src/{path} imports crate::{import}; {part} may import only {allowed:?}"
                );
            }
        }
    }
}

/// The files beside `path` in its module that its code names as `super::name` or in `super::{name, …}`.
fn neighbours(code: &str, names: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("super::") {
        let rest = &code[at + "super::".len()..];
        let named = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => rest.split([';', '(', '<', ' ', '\n']).next().unwrap_or_default(),
        };
        for name in named.split(',').map(|name| name.trim().split("::").next().unwrap_or_default()) {
            if names.iter().any(|known| known == name) && !found.contains(&name.to_owned()) {
                found.push(name.to_owned());
            }
        }
    }
    found
}

#[test]
fn no_two_files_of_a_module_import_each_other() {
    // Two pairs that describe one recursive thing each, and are easier to read apart than as one long file: a stream may
    // be a TLS session over a stream, and a rule is told by a probe that says which rules it decides.
    let recursive = [("net", "stream", "tls"), ("check", "probe", "rule")];
    for module in ["http", "site", "net", "server", "live", "chapter", "compare", "check", "cli"] {
        let files: Vec<_> = sources(module)
            .into_iter()
            .filter_map(|(path, code)| {
                let name = path.strip_prefix(module)?.strip_prefix('/')?.strip_suffix(".rs")?.to_owned();
                (name != "mod" && !name.contains('/')).then_some((name, code))
            })
            .collect();
        let names: Vec<_> = files.iter().map(|(name, _)| name.clone()).collect();
        let mut arrows: Vec<(String, Vec<String>)> =
            files.iter().map(|(name, code)| (name.clone(), neighbours(code, &names))).collect();
        for (of, one, other) in recursive {
            if of == module {
                let from = arrows.iter_mut().find(|(name, _)| name == other).unwrap();
                assert!(
                    from.1.contains(&one.to_owned()),
                    "{module}/{other} no longer imports {one}: name it no more here"
                );
                from.1.retain(|name| name != one);
            }
        }
        // Files that import none that is left are taken away until none is left, or only circles are.
        while !arrows.is_empty() {
            let before = arrows.len();
            let left: Vec<_> = arrows.iter().map(|(name, _)| name.clone()).collect();
            arrows.retain(|(name, to)| to.iter().any(|other| other != name && left.contains(other)));
            assert!(arrows.len() < before, "src/{module} has a circle among {arrows:?}");
        }
    }
}

#[test]
fn unsafe_stands_only_where_fork_needs_it() {
    for (path, code) in sources("") {
        assert!(
            !code.contains("unsafe {") || path == "server/process.rs",
            "src/{path} has an unsafe block; fork(2) in server/process.rs is the only reason for one"
        );
    }
}

#[test]
fn clap_stops_at_the_command_line() {
    for (path, code) in sources("") {
        assert!(path.starts_with("cli/") || !code.contains("clap"), "src/{path} names clap");
    }
}
