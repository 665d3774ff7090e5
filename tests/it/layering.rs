//! Holds the sources to the architecture that `src/lib.rs` describes: which module may use which,
//! where `unsafe` and the environment may be touched, how long a file may be.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A module uses only modules of a lower rank, and itself. `client` is the same rank as the store
/// because it is as far from everything else.
const RANKS: &[(&str, u8)] = &[
    ("domain", 0),
    ("certificates", 0),
    ("files", 0),
    ("logbook", 0),
    ("protocol", 1),
    ("gguf", 1),
    ("config", 1),
    ("schema", 1),
    ("metrics", 1),
    ("tokens", 1),
    ("client", 2),
    ("engine", 2),
    ("worker", 2),
    ("registry", 2),
    ("store", 2),
    ("models", 3),
    ("scheduler", 3),
    ("service", 4),
    ("api", 5),
    ("doctor", 5),
    ("daemon", 6),
    ("cli", 7),
    ("main", 8),
];

/// The most lines that a file may have before its tests.
const LONGEST: usize = 450;

/// What speaks to clients in different ways; none of them may use another.
const DIALECTS: &[&str] = &["openai", "responses", "anthropic", "ollama", "native"];

struct Source {
    path: PathBuf,
    /// `api::openai::chat`, without `mod` and `lib`.
    module: Vec<String>,
    /// The lines before the tests, without comments and texts.
    lines: Vec<String>,
}

impl Source {
    fn at(&self, line: usize) -> String {
        format!("{}:{}", self.path.display(), line + 1)
    }

    fn in_module(&self, prefix: &str) -> bool {
        let prefix: Vec<&str> = prefix.split("::").collect();
        self.module.len() >= prefix.len() && self.module.iter().zip(&prefix).all(|(a, b)| a == b)
    }
}

#[test]
fn modules_use_only_modules_of_a_lower_rank() {
    let ranks: BTreeMap<&str, u8> = RANKS.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(own) = source.module.first() else { continue };
        let Some(own_rank) = ranks.get(own.as_str()) else {
            wrong.push(format!("{}: module {own} has no rank", source.path.display()));
            continue;
        };
        for (line, used) in uses(&source) {
            let top = used.first().map(String::as_str).unwrap_or_default();
            match ranks.get(top) {
                _ if top == own => {}
                Some(rank) if rank < own_rank => {}
                Some(_) => wrong.push(format!("{}: {own} uses {top}", source.at(line))),
                // An item at the top of the crate, of which there are none.
                None => wrong.push(format!("{}: crate::{top} has no rank", source.at(line))),
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn dialects_do_not_use_each_other() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.in_module("api")) {
        let Some(own) = source.module.get(1).filter(|name| DIALECTS.contains(&name.as_str()))
        else {
            continue;
        };
        for (line, used) in uses(source) {
            let other = used.get(1).map(String::as_str).unwrap_or_default();
            if used.first().is_some_and(|top| top == "api")
                && DIALECTS.contains(&other)
                && other != own
            {
                wrong.push(format!("{}: {own} uses {other}", source.at(line)));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_is_where_it_may_be_and_says_why() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (number, line) in source.lines.iter().enumerate() {
            let may = source.in_module("worker::llama") || source.in_module("daemon::launchd");
            if words(line).any(|word| word == "unsafe") && !may {
                wrong.push(format!("{}: unsafe where it may not be", source.at(number)));
            }
        }
        let text = fs::read_to_string(&source.path).expect("a source");
        let raw: Vec<&str> = text.lines().collect();
        for (number, line) in source.lines.iter().enumerate() {
            let opens = line.contains("unsafe {") || line.contains("unsafe impl");
            let above = raw[number.saturating_sub(8)..=number].iter();
            if opens && !above.clone().any(|line| line.contains("SAFETY:")) {
                wrong.push(format!("{}: unsafe without a SAFETY comment", source.at(number)));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_environment_is_read_in_one_place() {
    let mut wrong = Vec::new();
    // The one that starts workers passes some of it on, the worker reads what it was passed.
    let may = |source: &Source| {
        ["config", "engine::worker", "worker"].iter().any(|module| source.in_module(module))
    };
    for source in sources().iter().filter(|source| !may(source)) {
        for (number, line) in source.lines.iter().enumerate() {
            if ["env::var", "env::vars", "env::var_os", "env::vars_os"]
                .iter()
                .any(|call| line.contains(&format!("{call}(")))
            {
                wrong.push(format!("{}: reads the environment", source.at(number)));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn web_types_stay_in_the_layers_that_serve_or_call() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (number, line) in source.lines.iter().enumerate() {
            let uses = |name: &str| line.contains(&format!("{name}::"));
            if uses("axum") && !["api", "daemon"].iter().any(|module| source.in_module(module)) {
                wrong.push(format!("{}: axum outside api", source.at(number)));
            }
            let engine = uses("llama_cpp_2") || uses("llama_cpp_sys_2");
            if engine && !source.in_module("worker::llama") {
                wrong.push(format!("{}: llama.cpp outside worker::llama", source.at(number)));
            }
            if (uses("tokio") || uses("std::fs")) && source.in_module("domain") {
                wrong.push(format!("{}: domain is without runtime and IO", source.at(number)));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_are_short_enough_to_read() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|source| source.lines.len() > LONGEST)
        .map(|source| format!("{}: {} lines", source.path.display(), source.lines.len()))
        .collect();
    assert!(long.is_empty(), "over {LONGEST} lines before the tests:\n{}", long.join("\n"));
}

#[test]
fn this_test_sees_what_it_looks_for() {
    let source = |module: &str, text: &str| Source {
        path: PathBuf::from("x.rs"),
        module: module.split("::").map(str::to_owned).collect(),
        lines: code(text),
    };
    let used = |module: &str, text: &str| -> Vec<String> {
        uses(&source(module, text)).into_iter().map(|(_, path)| path.join("::")).collect()
    };
    assert_eq!(used("a::b", "use crate::store::Blob;"), ["store::Blob"]);
    assert_eq!(used("a::b", "let x = crate::store::open();"), ["store::open"]);
    assert_eq!(used("a::b", "use crate::{store::Blob, api};"), ["store::Blob", "api"]);
    assert_eq!(
        used("a::b", "use crate::{\n    api::{x, y},\n    cli,\n};"),
        ["api::x", "api::y", "cli"]
    );
    assert_eq!(used("a::b", "use super::super::store;"), ["store"]);
    assert_eq!(used("a::b", "use super::c;"), ["a::c"]);
    assert_eq!(used("a::b", "pub(super) fn f(x: super::super::c::D) {}"), ["a", "c::D"]);
    assert_eq!(used("a::b", "// use crate::store;\nlet x = \"crate::api\";"), Vec::<String>::new());
    assert_eq!(used("a::b", "pub(in crate::a) fn f() {}"), ["a"]);
    assert_eq!(
        used("a", "#[cfg(test)]\nmod tests {\n    use crate::cli;\n}"),
        Vec::<String>::new()
    );
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    assert!(files.len() > 10, "the sources are in {}", root.display());
    let source = |path: PathBuf| {
        let inner = path.strip_prefix(&root).expect("below src").with_extension("");
        let mut module: Vec<String> =
            inner.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if module.last().is_some_and(|last| last == "mod" || last == "lib") {
            module.pop();
        }
        let text = fs::read_to_string(&path).expect("a source");
        Source { lines: code(&text), path, module }
    };
    files.into_iter().map(source).collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        // Tests of a module in files of their own may be long and may reach anywhere.
        let is_test = path.file_stem().is_some_and(|stem| {
            let stem = stem.to_string_lossy();
            stem == "tests" || stem == "testing" || stem.ends_with("_tests")
        });
        if path.is_dir() && !is_test {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
            files.push(path);
        }
    }
}

/// The lines before the first test module, with comments and the insides of texts blanked.
fn code(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("#[cfg(test)]") {
            break;
        }
        let mut clean = String::new();
        let (mut in_text, mut escaped) = (false, false);
        for (at, c) in line.char_indices() {
            if !in_text && line[at..].starts_with("//") {
                break;
            }
            match c {
                '"' if !escaped => {
                    in_text = !in_text;
                    clean.push('"');
                }
                _ if in_text => {}
                _ => clean.push(c),
            }
            escaped = c == '\\' && !escaped;
        }
        lines.push(clean);
    }
    lines
}

/// Every path below `crate` that the lines name, with the line it begins on.
fn uses(source: &Source) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for (number, line) in source.lines.iter().enumerate() {
        for (at, word) in word_positions(line) {
            let rest = &line[at..];
            let (base, path) = match word {
                "crate" => (Vec::new(), &rest["crate".len()..]),
                "super" if !line[..at].ends_with("super::") => {
                    let (mut levels, mut path) = (1, &rest["super".len()..]);
                    while let Some(next) = path.strip_prefix("::super") {
                        (levels, path) = (levels + 1, next);
                    }
                    // In a file `a/b.rs` the first `super` is `a`; in `a/mod.rs` it is the crate.
                    let mut base = source.module.clone();
                    base.truncate(base.len().saturating_sub(levels));
                    (base, path)
                }
                _ => continue,
            };
            let mut text = path.to_owned();
            // A list in braces may go on over many lines.
            let mut next = number + 1;
            while text.matches('{').count() > text.matches('}').count()
                && text.starts_with("::")
                && in_use_statement(source, number)
                && next < source.lines.len()
            {
                text.push_str(&source.lines[next]);
                next += 1;
            }
            expand(&base, &text, in_use_statement(source, number), &mut |path| {
                if !path.is_empty() {
                    found.push((number, path));
                }
            });
        }
    }
    found
}

fn in_use_statement(source: &Source, line: usize) -> bool {
    words(&source.lines[line]).any(|word| word == "use")
}

/// Calls `found` for each path in `::a::{b, c::d}`, in front of each what `base` says.
fn expand(base: &[String], text: &str, is_use: bool, found: &mut dyn FnMut(Vec<String>)) {
    let Some(rest) = text.strip_prefix("::") else {
        return found(base.to_vec());
    };
    if is_use && let Some(list) = rest.strip_prefix('{') {
        let (mut depth, mut start) = (0, 0);
        for (at, c) in list.char_indices() {
            let end = match c {
                '{' => {
                    depth += 1;
                    false
                }
                '}' if depth == 0 => true,
                '}' => {
                    depth -= 1;
                    false
                }
                ',' => depth == 0,
                _ => false,
            };
            if end {
                let item = list[start..at].trim();
                if !item.is_empty() {
                    expand(base, &format!("::{item}"), true, found);
                }
                start = at + 1;
            }
            if end && c == '}' {
                break;
            }
        }
        return;
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let mut path = base.to_vec();
    path.push(rest[..end].to_owned());
    match rest[end..].starts_with("::") {
        true => expand(&path, &rest[end..], is_use, found),
        false => found(path),
    }
}

fn word_positions(line: &str) -> impl Iterator<Item = (usize, &str)> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .map(|word| (word.as_ptr() as usize - line.as_ptr() as usize, word))
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    word_positions(line).map(|(_, word)| word)
}
