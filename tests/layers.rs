//! Holds the code to its dependency rule: reads `src/` and fails when an import goes against the arrows
//! `main -> cli -> control -> {transport, checker, config} -> engine`, or when the engine touches the world.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each layer with the layers it may name. Siblings do not know each other; nothing knows the layers above it.
const MAY_USE: &[(&str, &[&str])] = &[
    ("engine", &[]),
    ("transport", &["engine"]),
    ("checker", &["engine"]),
    ("config", &["engine"]),
    ("telemetry", &["engine"]),
    ("control", &["transport", "checker", "config", "engine", "telemetry"]),
    ("cli", &["control", "transport", "checker", "config", "engine", "telemetry"]),
    ("main", &["cli"]),
    // Declares the modules.
    ("lib", &["engine", "transport", "checker", "config", "telemetry", "control", "cli"]),
];

/// What would make the engine's answers depend on anything but its arguments.
const ENGINE_NEVER_NAMES: &[(&str, &str)] = &[
    ("tokio", "the engine is synchronous"),
    ("tracing", "the engine does not log: callers act on what it returns"),
    ("reqwest", "the engine opens no connection"),
    ("std::fs", "the engine reads no file"),
    ("std::env", "the engine reads no environment"),
    ("std::thread", "the engine starts no thread"),
    ("std::io", "the engine does no input or output"),
    ("Instant::now", "time is an argument"),
    ("SystemTime::now", "time is an argument"),
    ("UdpSocket", "the engine has no socket"),
    ("TcpStream", "the engine has no socket"),
    ("TcpListener", "the engine has no socket"),
    ("Mutex", "the engine takes no lock"),
    ("RwLock", "the engine takes no lock"),
    ("println!", "the engine prints nothing"),
    ("eprintln!", "the engine prints nothing"),
];

#[test]
fn imports_follow_the_arrows() {
    let layers: BTreeSet<&str> = MAY_USE.iter().map(|(layer, _)| *layer).collect();
    let mut wrong = Vec::new();
    for file in sources() {
        let layer = layer_of(&file);
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == layer) else {
            panic!("{}: `{layer}` is no layer that this test knows: say in MAY_USE where it stands", file.display());
        };
        let code = code_of(&file);
        let at_layer_root = file.parent() == Some(&source_root().join(&layer)) && file.ends_with("mod.rs");
        for named in named_modules(&code, at_layer_root) {
            if layers.contains(named.as_str()) && named != layer && !allowed.contains(&named.as_str()) {
                wrong.push(format!("{}: {layer} must not use {named}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the arrows:\n{}", wrong.join("\n"));
}

#[test]
fn the_engine_touches_nothing() {
    let mut wrong = Vec::new();
    for file in sources().into_iter().filter(|file| layer_of(file) == "engine") {
        let code = without_test_modules(&code_of(&file));
        for (number, line) in code.lines().enumerate() {
            for (word, reason) in ENGINE_NEVER_NAMES {
                if names(line, word) {
                    wrong.push(format!("{}:{}: {word}: {reason}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "the engine is to be pure:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|file| !fs::read_to_string(file).unwrap().starts_with("//!"))
        .map(|file| file.display().to_string())
        .collect();
    assert!(silent.is_empty(), "these do not open with `//!`:\n{}", silent.join("\n"));
}

#[test]
fn the_reader_of_imports_sees_every_form() {
    let seen = |code: &str| named_modules(&strip(code), false).into_iter().collect::<Vec<_>>();
    assert_eq!(seen("use crate::engine::name::Name;"), ["engine"]);
    assert_eq!(seen("use crate::{config::plan::{Plan, Other}, engine};"), ["config", "engine"]);
    assert_eq!(seen("let x = crate::control::Control::start(a);"), ["control"]);
    assert_eq!(seen("use rollcall::cli;"), ["cli"]);
    assert!(seen("// use crate::control;\n/* crate::cli */ let s = \"crate::config\"; let c = '\"';").is_empty());
    assert_eq!(named_modules("use super::control;", true).into_iter().collect::<Vec<_>>(), ["control"]);
    assert!(named_modules("use super::control;", false).is_empty(), "a sibling file, not the layer");
    assert!(!without_test_modules("fn a() {}\n#[cfg(test)]\nmod tests { fn b() { tokio } }\n").contains("tokio"));
}

/// Every `.rs` file below `src/`, sorted.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![source_root()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() > 10, "src/ was not found");
    found
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// `src/engine/zone.rs` and `src/engine.rs` both belong to `engine`.
fn layer_of(file: &Path) -> String {
    let inside = file.strip_prefix(source_root()).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn code_of(file: &Path) -> String {
    strip(&fs::read_to_string(file).unwrap())
}

/// The first segment of every path that starts at the crate's root: `crate::x`, `crate::{x, y}`, `rollcall::x` (in
/// `main.rs`), and `super::x` in a layer's own `mod.rs`.
fn named_modules(code: &str, at_layer_root: bool) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    let roots: &[&str] = if at_layer_root { &["crate", "rollcall", "super"] } else { &["crate", "rollcall"] };
    for root in roots {
        for (at, _) in code.match_indices(root) {
            let starts_a_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            let Some(rest) = code[at + root.len()..].trim_start().strip_prefix("::") else { continue };
            if !starts_a_word {
                continue;
            }
            let rest = rest.trim_start();
            match rest.strip_prefix('{') {
                Some(group) => named.extend(heads_of_group(group)),
                None => named.extend(Some(head(rest)).filter(|word| !word.is_empty())),
            }
        }
    }
    named
}

/// First segments of the entries of `a::b, c, {…}` up to the brace that closes the group.
fn heads_of_group(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let (mut depth, mut entry_start) = (0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' | ',' if depth == 0 => {
                heads.push(head(group[entry_start..at].trim_start()));
                entry_start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads.retain(|word| !word.is_empty());
    heads
}

fn head(path: &str) -> String {
    path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Whether `line` holds `word` as a word of its own.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let inside_a_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !inside_a_word(before) && !inside_a_word(after)
    })
}

/// The code without what comes in `#[cfg(test)] mod … { … }`; line numbers stay.
fn without_test_modules(code: &str) -> String {
    let mut kept = code.to_owned();
    while let Some(at) = kept.find("#[cfg(test)]") {
        let Some(open) = kept[at..].find(['{', ';']).map(|offset| at + offset) else { break };
        let end = if kept[open..].starts_with(';') { open + 1 } else { after_closing_brace(&kept, open) };
        let blank: String = kept[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        kept.replace_range(at..end, &blank);
    }
    kept
}

fn after_closing_brace(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + at + 1;
        }
    }
    code.len()
}

/// The text without comments, strings and character literals; line numbers stay.
fn strip(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(i, c)| bytes.get(at + i) == Some(&c));
    while at < bytes.len() {
        if starts(at, "//") {
            while at < bytes.len() && bytes[at] != '\n' {
                at += 1;
            }
        } else if starts(at, "/*") {
            let mut depth = 0;
            while at < bytes.len() {
                if starts(at, "/*") {
                    depth += 1;
                    at += 2;
                } else if starts(at, "*/") {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        break;
                    }
                } else {
                    out.extend(Some('\n').filter(|_| bytes[at] == '\n'));
                    at += 1;
                }
            }
        } else if let Some(hashes) = raw_string_start(&bytes, at) {
            at += bytes[at..].iter().position(|c| *c == '"').unwrap_or(0) + 1;
            let close: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            while at < bytes.len() && !starts(at, &close) {
                out.extend(Some('\n').filter(|_| bytes[at] == '\n'));
                at += 1;
            }
            at += close.len();
        } else if bytes[at] == '"' {
            at += 1;
            while at < bytes.len() && bytes[at] != '"' {
                out.extend(Some('\n').filter(|_| bytes[at] == '\n'));
                at += if bytes[at] == '\\' && bytes.get(at + 1) != Some(&'\n') { 2 } else { 1 };
            }
            at += 1;
        } else if bytes[at] == '\'' && (bytes.get(at + 1) == Some(&'\\') || bytes.get(at + 2) == Some(&'\'')) {
            // A character literal; a lifetime has no closing quote two places on.
            at += if bytes[at + 1] == '\\' { 3 } else { 2 };
            while at < bytes.len() && bytes[at] != '\'' {
                at += 1;
            }
            at += 1;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}

/// The number of `#` when `r"`, `r#"`, `br#"` … begins here.
fn raw_string_start(text: &[char], at: usize) -> Option<usize> {
    let before = at.checked_sub(1).map(|index| text[index]);
    if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let mut index = at + usize::from(text.get(at) == Some(&'b'));
    if text.get(index) != Some(&'r') {
        return None;
    }
    index += 1;
    let hashes = text[index.min(text.len())..].iter().take_while(|c| **c == '#').count();
    (text.get(index + hashes) == Some(&'"')).then_some(hashes)
}
