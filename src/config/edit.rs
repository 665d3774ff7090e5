//! Changing the settings file by program: comments and order stay, and nobody ever sees half of it.

use std::io;
use std::ops::Range;
use std::path::Path;

use toml_edit::{Array, Document, DocumentMut, Item, RawString, Value};

use super::file::{anchored, setting, unknown};
use super::said::invalid;
use super::values::switch;
use super::{ConfigError, ConfigFile, Kind, Setting};
use crate::files;

/// What some editors write before everything else.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A key and what it is to be; several values are for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Which setting.
    pub key: String,
    /// What was typed for it.
    pub values: Vec<String>,
}

/// Reads `KEY VALUE`, `KEY VALUE KEY VALUE` and `KEY=VALUE KEY=VALUE`. A key of a list takes all
/// values behind it, and may be said several times with `=`.
///
/// # Errors
/// [`ConfigError::Invalid`] for an unknown key, for one without a value, and for what looks like a
/// flag or another key among the values of a list.
pub fn pairs(words: &[String]) -> Result<Vec<Pair>, ConfigError> {
    let mut all: Vec<Pair> = Vec::new();
    if words.first().is_some_and(|word| word.contains('=')) {
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| {
                invalid("KEY=VALUE", word, "it has no =; write all of them with = or none")
            })?;
            known(key)?;
            match all.iter_mut().find(|pair| pair.key == key) {
                Some(pair) => pair.values.push(value.to_owned()),
                None => all.push(Pair { key: key.to_owned(), values: vec![value.to_owned()] }),
            }
        }
        return Ok(all);
    }
    let mut rest = words.iter();
    while let Some(key) = rest.next() {
        let values: Vec<String> = match Kind::of(known(key)?) {
            Kind::List => rest.by_ref().cloned().collect(),
            _ => rest.next().into_iter().cloned().collect(),
        };
        if Kind::of(known(key)?) == Kind::List {
            values.iter().try_for_each(|value| one_of_list(key, value))?;
        }
        if values.is_empty() {
            return Err(invalid("KEY", key, "its value is missing: write KEY VALUE or KEY=VALUE"));
        }
        all.push(Pair { key: key.clone(), values });
    }
    Ok(all)
}

/// A list takes every word behind it, which may have been meant for somebody else.
fn one_of_list(key: &str, word: &str) -> Result<(), ConfigError> {
    let problem = if word.starts_with("--") {
        format!("{key} takes all words behind it; write flags of modeld before the key")
    } else if setting(word).is_some() {
        format!(
            "{key} takes all words behind it, and this is a key; set several keys with KEY=VALUE, \
             or write {key}={word} if it is a value"
        )
    } else {
        return Ok(());
    };
    Err(invalid("VALUE", word, problem))
}

/// The text of a settings file with other values for these keys: what was around them stays.
/// Relative paths are those of somebody who stands in `here`; the file gets absolute ones, since its
/// own count from where it is.
///
/// # Errors
/// [`ConfigError::Invalid`] for an unknown key or several values of what takes one;
/// [`ConfigError::InFile`] for a file that was wrong before or would be.
pub fn with_values(
    path: &Path,
    text: &str,
    pairs: &[Pair],
    here: &Path,
) -> Result<String, ConfigError> {
    let mut changed = text.to_owned();
    for Pair { key, values } in pairs {
        let setting = known(key)?;
        let absolute = |value: &str| match value.trim() {
            home if path_in(setting, home).starts_with("~/") => home.to_owned(),
            text => anchored(setting, text, here, None),
        };
        let values: Vec<String> = match Kind::of(setting) {
            Kind::List => values.iter().flat_map(|v| v.split(',')).map(absolute).collect(),
            _ => values.iter().map(|value| absolute(value)).collect(),
        };
        changed = with_value(path, &changed, key, &values)?;
    }
    Ok(changed)
}

/// The part of a value that is a path, if any of it is.
fn path_in<'a>(setting: &Setting, text: &'a str) -> &'a str {
    let behind = text.split_once('=').filter(|_| setting.value == "PATTERN=FILE");
    behind.map_or(text, |(_, file)| file)
}

/// The same for one key whose values are written as they are.
pub(super) fn with_value(
    path: &Path,
    text: &str,
    key: &str,
    values: &[String],
) -> Result<String, ConfigError> {
    let setting = known(key)?;
    let mut new = typed(setting, values)?;
    let mut document = editable(path, text)?;
    let is_bare = document.is_empty();
    match document.get_mut(setting.key()) {
        Some(Item::Value(old)) if is_same_list(old, &new) => {}
        // In its place, so that the comments above and beside it stay.
        Some(item) => {
            let mut inside = Vec::new();
            if let Some(old) = item.as_value() {
                inside = comments_inside(old);
                *new.decor_mut() = old.decor().clone();
            }
            *item = Item::Value(new);
            put_above(&mut document, key, &inside);
        }
        // What is a header so far stays one.
        None if is_bare => {
            let header = raw(document.trailing());
            document.set_trailing("");
            document.insert(key, Item::Value(new));
            let lines: Vec<String> = header.lines().map(str::to_owned).collect();
            put_above(&mut document, key, &lines);
        }
        None => drop(document.insert(setting.key(), Item::Value(new))),
    }
    let text = like(text, &document);
    ConfigFile::parse(path, &text, None)?;
    Ok(text)
}

/// Writes lines between what is above a key and the key.
fn put_above(document: &mut DocumentMut, key: &str, lines: &[String]) {
    let Some(mut key) = document.as_table_mut().key_mut(key).filter(|_| !lines.is_empty()) else {
        return;
    };
    let decor = key.leaf_decor_mut();
    let mut above = decor.prefix().map(raw).unwrap_or_default();
    for line in lines {
        above.push_str(line);
        above.push('\n');
    }
    decor.set_prefix(above);
}

/// Whether both are arrays of the same texts, however they are written.
fn is_same_list(old: &Value, new: &Value) -> bool {
    let texts = |value: &Value| {
        let texts = value.as_array()?.iter().map(|one| one.as_str().map(str::to_owned));
        texts.collect::<Option<Vec<String>>>()
    };
    texts(old).is_some_and(|old| texts(new) == Some(old))
}

/// The comments between the values of a list, which have no place in another one.
fn comments_inside(value: &Value) -> Vec<String> {
    let Some(array) = value.as_array() else { return Vec::new() };
    let around = array.iter().flat_map(|one| [one.decor().prefix(), one.decor().suffix()]);
    let around = around.flatten().chain([array.trailing()]).map(raw).collect::<Vec<_>>();
    let lines = around.iter().flat_map(|text| text.lines()).map(str::trim);
    lines.filter(|line| line.starts_with('#')).map(str::to_owned).collect()
}

fn raw(text: &RawString) -> String {
    text.as_str().unwrap_or_default().to_owned()
}

/// The text without `key`; `None`: it is not there. Keys that are unknown can go, too. The comment
/// beside it goes, those above it may be for what follows and stay.
///
/// # Errors
/// [`ConfigError::InFile`] for what is no TOML.
pub fn without(path: &Path, text: &str, key: &str) -> Result<Option<String>, ConfigError> {
    let mut document = editable(path, text)?;
    if let Some(lines) = lines_of(text, key) {
        let (before, after) = (text.get(..lines.start), text.get(lines.end..));
        return Ok(before.zip(after).map(|(before, after)| format!("{before}{after}")));
    }
    Ok(document.remove(key).map(|_| like(text, &document)))
}

/// The lines on which a key and its value stand, which TOML has them share with no other; `None`: it
/// is not there, or it is a section.
fn lines_of(text: &str, key: &str) -> Option<Range<usize>> {
    let document = Document::parse(text).ok()?;
    let (key, item) = document.as_table().get_key_value(key)?;
    let (start, end) = (key.span()?.start, item.as_value()?.span()?.end);
    let mark = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
    let start = text.get(..start)?.rfind('\n').map_or(mark, |at| at.saturating_add(1));
    let rest = text.get(end..)?;
    let end = rest.find('\n').map_or(text.len(), |at| end.saturating_add(at).saturating_add(1));
    Some(start..end)
}

/// What the text says about `key`, as text; `None`: nothing.
///
/// # Errors
/// [`ConfigError::InFile`] for a file that is wrong.
pub(super) fn value(path: &Path, text: &str, key: &str) -> Result<Option<String>, ConfigError> {
    let file = ConfigFile::parse(path, text, None)?;
    Ok(file.entry(known(key)?).and_then(|entry| entry.text.clone()))
}

/// Writes the file as a whole before it takes the place of the old one, with whose and how that was;
/// a new one is for its owner alone. A symbolic link stays and what it names is written.
///
/// # Errors
/// Those of the file system; the old file is there then.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    files::renew(&files::destination(path), text.as_bytes(), 0o600)
}

fn editable(path: &Path, text: &str) -> Result<DocumentMut, ConfigError> {
    text.parse().map_err(|fault: toml_edit::TomlError| {
        // The reader says the same with its place.
        ConfigFile::parse(path, text, None).err().unwrap_or_else(|| ConfigError::File {
            path: path.to_owned(),
            problem: format!("is no TOML: {}", fault.message()),
        })
    })
}

/// The document with the ends of lines and the mark at the beginning that the text before had.
fn like(before: &str, document: &DocumentMut) -> String {
    let mut text = document.to_string();
    if before.contains("\r\n") {
        text = text.replace("\r\n", "\n").replace('\n', "\r\n");
    }
    if before.starts_with(BYTE_ORDER_MARK) && !text.starts_with(BYTE_ORDER_MARK) {
        text.insert(0, BYTE_ORDER_MARK);
    }
    text
}

fn known(key: &str) -> Result<&'static Setting, ConfigError> {
    setting(key).ok_or_else(|| invalid("KEY", key, unknown(key, &Item::None)))
}

/// What was typed, in the type that the setting has.
fn typed(setting: &Setting, values: &[String]) -> Result<Value, ConfigError> {
    let kind = Kind::of(setting);
    if kind == Kind::List {
        let parts = values.iter().flat_map(|value| value.split(',')).map(str::trim);
        return Ok(Value::Array(parts.filter(|part| !part.is_empty()).collect::<Array>()));
    }
    let [text] = values else {
        return Err(ConfigError::Invalid {
            from: setting.key(),
            value: values.join(" "),
            problem: format!("it takes one value: {}", kind.allowed()),
        });
    };
    let text = text.trim();
    let number = || text.parse::<i64>().ok().map(Value::from);
    let on = || switch(text).ok().map(Value::from);
    let value = match kind {
        Kind::Switch => on(),
        Kind::Number | Kind::Duration => number(),
        Kind::Listener => number().or_else(on),
        Kind::List | Kind::Text => None,
    };
    Ok(value.unwrap_or_else(|| Value::from(text)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const FILE: &str = "# mine\nkeep-alive = \"5m\"   # short\n\n# the rest\nlog = 'info'\n# end\n";

    fn set(text: &str, key: &str, values: &[&str]) -> Result<String, String> {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        with_value(Path::new("/c.toml"), text, key, &values).map_err(|error| error.to_string())
    }

    #[test]
    fn comments_and_order_stay() {
        let changed = set(FILE, "keep-alive", &["10m"]).unwrap();
        assert_eq!(changed, FILE.replace("5m", "10m"));
        let added = set(FILE, "max-queue", &["5"]).unwrap();
        assert!(added.contains("log = 'info'\nmax-queue = 5\n"), "{added}");
        assert_eq!(added.replace("max-queue = 5\n", ""), FILE);
        let path = Path::new("/c.toml");
        for (key, line) in
            [("log", "log = 'info'\n"), ("keep-alive", "keep-alive = \"5m\"   # short\n")]
        {
            let removed = without(path, FILE, key).unwrap();
            assert_eq!(removed, Some(FILE.replace(line, "")), "{key}");
        }
        let list = "# cas\nregistry-ca = [ # one\n  \"/a\",\n]\nlog = 'info'";
        assert_eq!(without(path, list, "registry-ca"), Ok(Some("# cas\nlog = 'info'".into())));
        let only = "registry-ca = [ # one\n  \"/a\",\n]\n";
        assert_eq!(without(path, list, "log"), Ok(Some(format!("# cas\n{only}"))));
        let header = "# mine\n# log = \"info\"";
        assert_eq!(set(header, "log", &["warn"]), Ok(format!("{header}\nlog = \"warn\"\n")));
        assert_eq!(without(path, FILE, "tcp"), Ok(None));
        assert_eq!(without(path, "typo = 1\n", "typo"), Ok(Some(String::new())));
    }

    #[test]
    fn comments_in_a_list_outlast_its_values() {
        let before = "# mine\norigin = [\n  # site\n  \"http://a\", # first\n  \"http://b\" # second\n] # beside\n";
        assert_eq!(set(before, "origin", &["http://a", "http://b"]).as_deref(), Ok(before));
        let after = "# mine\n# site\n# first\n# second\norigin = [\"http://c\"] # beside\n";
        assert_eq!(set(before, "origin", &["http://c"]).as_deref(), Ok(after));
    }

    #[test]
    fn several_keys_are_set_at_once_or_none() {
        let read = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            pairs(&words).map_err(|error| error.to_string())
        };
        let text = |words: &[&str]| {
            with_values(Path::new("/c/c.toml"), "", &read(words).unwrap(), Path::new("/here"))
                .unwrap()
        };
        let both = "tls-cert = \"/here/c.pem\"\ntls-key = \"/k.pem\"\n";
        assert_eq!(text(&["tls-cert=c.pem", "tls-key=/k.pem"]), both);
        assert_eq!(text(&["tls-cert", "c.pem", "tls-key", "/k.pem"]), both);
        let listed = "log = \"a=b\"\nregistry-ca = [\"/here/a\", \"~/b\", \"/c\"]\n";
        assert_eq!(text(&["log=a=b", "registry-ca=a,~/b", "registry-ca=/c"]), listed);
        assert_eq!(text(&["log", "a=b", "registry-ca", "a", "~/b", "/c"]), listed);
        for (typed, written) in [("k.pub", "/here/k.pub"), ("~/k.pub", "~/k.pub"), ("/k", "/k")] {
            let line = format!("signature-key = [\"o/*={written}\"]\n");
            assert_eq!(text(&["signature-key", &format!("o/*={typed}")]), line);
            assert_eq!(text(&[&format!("signature-key=o/*={typed}")]), line);
        }
        assert_eq!(text(&["registry-ca=log"]), "registry-ca = [\"/here/log\"]\n");
        for (words, says) in [
            (&["log=info", "grace"][..], "write all of them with = or none"),
            (&["log", "info", "grace"], "\"grace\" is not valid: its value is missing"),
            (&["log", "info", "tsl-key", "k"], "did you mean tls-key?"),
            (&["lgo=info"], "did you mean log?"),
            (&["registry-ca", "c.pem", "--config", "o.toml"], "\"--config\" is not valid"),
            (&["registry-ca", "c.pem", "log", "info"], "write registry-ca=log if it is a value"),
        ] {
            let error = read(words).unwrap_err();
            assert!(error.contains(says), "{words:?}: {error}");
        }
    }

    #[test]
    fn ends_of_lines_stay_as_they_were() {
        let before = "\u{feff}# mine\r\nlog = 'info'\r\n";
        let after = set(before, "max-queue", &["5"]).unwrap();
        assert_eq!(after, format!("{before}max-queue = 5\r\n"));
        let without = without(Path::new("/c.toml"), &after, "max-queue").unwrap();
        assert_eq!(without.as_deref(), Some(before));
    }

    #[test]
    fn values_have_the_type_of_their_setting() {
        for (key, values, line) in [
            ("keep-alive", &["10m"][..], "keep-alive = \"10m\"\n"),
            ("keep-alive", &["-1"], "keep-alive = -1\n"),
            ("max-queue", &["5"], "max-queue = 5\n"),
            ("auto-pull", &["on"], "auto-pull = true\n"),
            ("auto-pull", &["no"], "auto-pull = false\n"),
            ("tcp", &["12434"], "tcp = 12434\n"),
            ("tcp", &["on"], "tcp = true\n"),
            ("tcp", &["localhost:5"], "tcp = \"localhost:5\"\n"),
            ("origin", &["http://a", "http://b"], "origin = [\"http://a\", \"http://b\"]\n"),
            ("origin", &["http://a,http://b"], "origin = [\"http://a\", \"http://b\"]\n"),
            ("log", &["warn"], "log = \"warn\"\n"),
        ] {
            assert_eq!(set("", key, values).as_deref(), Ok(line));
        }
    }

    #[test]
    fn what_would_not_be_read_is_not_made() {
        for (text, key, values, says) in [
            ("", "keep-alvie", &["5m"][..], "did you mean keep-alive?"),
            ("", "log", &["a", "b"], "it takes one value"),
            ("typo = 1", "log", &["info"], "/c.toml:1:1: unknown key \"typo\""),
            ("log =", "log", &["info"], "/c.toml:1:"),
        ] {
            let error = set(text, key, values).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_written_file_is_its_owners_alone_and_a_link_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/config.toml");
        let held = files::lock_for_change(&path).unwrap();
        write(&path, "log = 'info'\n").unwrap();
        drop(held);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let link = dir.path().join("link.toml");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write(&link, "log = 'warn'\n").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "log = 'warn'\n");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
