//! One settings file: TOML, checked against the table of settings, every value with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use toml_edit::{Document, Item, Value};

use super::kind::Kind;
use super::settings::Setting;
use super::values::is_off;
use super::{ConfigError, SETTINGS};

/// A value of a file, as the flag would have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// `None`: `false` for something that is off unless it gets a value.
    pub(super) text: Option<String>,
    /// Of the value, from 1.
    pub(super) line: usize,
    /// Of the value, from 1, in characters.
    pub(super) column: usize,
}

/// What a settings file says. Its values are texts of the right type; what they mean is for
/// [`resolve`](super::resolve()).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    path: &'static Path,
    entries: BTreeMap<&'static str, Entry>,
}

impl ConfigFile {
    /// Reads the text of the file at `path`. Paths in it are relative to its directory; `~/` is
    /// `home`.
    ///
    /// # Errors
    /// [`ConfigError::InFile`] for what is no TOML, an unknown key, and a value of another type.
    pub fn parse(path: &Path, text: &str, home: Option<&Path>) -> Result<Self, ConfigError> {
        let (file, mut wrong) = Self::usable(path, text, home)?;
        if wrong.is_empty() { Ok(file) } else { Err(wrong.swap_remove(0).1) }
    }

    /// The same, going on behind a key that cannot be used: what can be, and what is wrong with each
    /// of the others, in the order of the file.
    ///
    /// # Errors
    /// [`ConfigError::InFile`] for what is no TOML.
    pub(super) fn usable(
        path: &Path,
        text: &str,
        home: Option<&Path>,
    ) -> Result<(Self, Vec<(String, ConfigError)>), ConfigError> {
        let path = kept(path);
        let wrong = |span: Option<Range<usize>>, problem: String| {
            let (line, column) = place(text, span.map_or(0, |span| span.start));
            ConfigError::InFile { path: path.to_owned(), line, column, problem }
        };
        let document = Document::parse(text)
            .map_err(|fault| wrong(fault.span(), fault.message().replace('\n', " ")))?;
        let (mut entries, mut unusable) = (BTreeMap::new(), Vec::new());
        let table = document.as_table();
        for (name, item) in table.iter() {
            let key = table.get_key_value(name).and_then(|(key, _)| key.span());
            let Some(setting) = setting(name) else {
                let problem = wrong(key.or_else(|| item.span()), unknown(name, item));
                unusable.push((name.to_owned(), problem));
                continue;
            };
            let kind = Kind::of(setting);
            let span = item.span().or(key);
            let read = read(kind, item).and_then(|text| check_commas(kind, text));
            let read = match read {
                Ok(read) => read,
                Err(Problem { at, text }) => {
                    let problem = wrong(at.or_else(|| span.clone()), format!("{name} {text}"));
                    unusable.push((name.to_owned(), problem));
                    continue;
                }
            };
            let dir = path.parent().unwrap_or(Path::new("/"));
            let text_of_paths = |text: String| anchored(setting, &text, dir, home);
            let value = match read {
                Read::Off => None,
                Read::One(one) => Some(text_of_paths(one)),
                Read::Several(all) => {
                    Some(all.into_iter().map(text_of_paths).collect::<Vec<_>>().join(","))
                }
            };
            let (line, column) = place(text, span.map_or(0, |span| span.start));
            entries.insert(setting.flag, Entry { text: value, line, column });
        }
        Ok((Self { path, entries }, unusable))
    }

    pub(super) fn path(&self) -> &'static Path {
        self.path
    }

    pub(super) fn entry(&self, setting: &Setting) -> Option<&Entry> {
        self.entries.get(setting.flag)
    }
}

/// The setting with this key.
pub(super) fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key() == key)
}

/// What to say of a key that is none.
pub(super) fn unknown(key: &str, item: &Item) -> String {
    let what = if item.is_table_like() || item.is_array_of_tables() {
        format!("unknown section {key:?}; there are no sections, all keys stand alone")
    } else {
        format!("unknown key {key:?}")
    };
    match nearest(key) {
        Some(near) => format!("{what}; did you mean {near}?"),
        None => {
            let known: Vec<&str> = SETTINGS.iter().map(Setting::key).collect();
            format!("{what}; these are known: {}", known.join(", "))
        }
    }
}

/// The known key that is nearest to a mistyped one, if any is near.
pub fn nearest(key: &str) -> Option<&'static str> {
    let typed = key.trim_start_matches('-').replace('_', "-").to_ascii_lowercase();
    let far = |known: &str| strsim::damerau_levenshtein(&typed, known);
    let near = SETTINGS.iter().map(Setting::key).min_by_key(|known| far(known))?;
    (far(near) <= typed.chars().count().div_ceil(3)).then_some(near)
}

enum Read {
    Off,
    One(String),
    Several(Vec<String>),
}

struct Problem {
    at: Option<Range<usize>>,
    text: String,
}

fn read(kind: Kind, item: &Item) -> Result<Read, Problem> {
    let wrong = |item_type: &str, at: Option<Range<usize>>| {
        let text = format!("takes {}, not {}", kind.allowed(), with_article(item_type));
        Err(Problem { at, text })
    };
    let Item::Value(value) = item else { return wrong(item.type_name(), None) };
    match (kind, value) {
        (Kind::List, Value::Array(array)) => {
            let texts = array.iter().map(|one| match one {
                Value::String(text) => Ok(text.value().clone()),
                other => {
                    let text =
                        format!("takes texts in quotes, not {}", with_article(other.type_name()));
                    Err(Problem { at: other.span(), text })
                }
            });
            texts.collect::<Result<_, _>>().map(Read::Several)
        }
        (Kind::List, Value::String(text)) => {
            let parts = text.value().split(',').map(|part| part.trim().to_owned());
            Ok(Read::Several(parts.filter(|part| !part.is_empty()).collect()))
        }
        (Kind::Listener, Value::String(text)) if is_off(text.value()) => Ok(Read::Off),
        (_, Value::String(text)) => Ok(Read::One(text.value().trim().to_owned())),
        (Kind::Number | Kind::Duration | Kind::Listener, Value::Integer(number)) => {
            Ok(Read::One(number.value().to_string()))
        }
        (Kind::Switch, Value::Boolean(on)) => {
            Ok(Read::One(if *on.value() { "on" } else { "off" }.to_owned()))
        }
        (Kind::Listener, Value::Boolean(on)) => {
            Ok(if *on.value() { Read::One(String::new()) } else { Read::Off })
        }
        (_, other) => wrong(other.type_name(), other.span()),
    }
}

/// What is joined with commas would come apart at another place.
fn check_commas(kind: Kind, read: Read) -> Result<Read, Problem> {
    match &read {
        Read::Several(all) if kind == Kind::List && all.iter().any(|one| one.contains(',')) => {
            let text = "has a value with a comma in it; write each value for itself".to_owned();
            Err(Problem { at: None, text })
        }
        _ => Ok(read),
    }
}

fn with_article(type_name: &str) -> String {
    match type_name {
        name if name.starts_with(['a', 'i']) => format!("an {name}"),
        name => format!("a {name}"),
    }
}

/// The text of a setting with its path, if it is one, made absolute: relative paths begin at `dir`,
/// `~/` is `home`. A daemon stands anywhere.
pub(super) fn anchored(setting: &Setting, text: &str, dir: &Path, home: Option<&Path>) -> String {
    let absolute = |text: &str| {
        if text.is_empty() {
            return String::new();
        }
        let path = match (text.strip_prefix("~/"), home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => dir.join(text),
        };
        path.to_string_lossy().into_owned()
    };
    match setting.value {
        "PATH" | "DIR" | "FILE" => absolute(text),
        "PATTERN=FILE" => match text.split_once('=') {
            Some((pattern, file)) => format!("{pattern}={}", absolute(file)),
            None => text.to_owned(),
        },
        _ => text.to_owned(),
    }
}

/// Line and column of a byte, both from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count().saturating_add(1);
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    (line, column.saturating_add(1))
}

/// Paths of settings files are kept as long as the process, so that the origin of a value can be
/// passed around freely: there are two or three of them, however often they are read.
fn kept(path: &Path) -> &'static Path {
    static KEPT: OnceLock<Mutex<BTreeSet<&'static Path>>> = OnceLock::new();
    let mut kept = KEPT.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = kept.get(path) {
        return known;
    }
    let new: &'static Path = Box::leak(path.to_owned().into_boxed_path());
    kept.insert(new);
    new
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::settings;
    use super::*;

    fn parse(text: &str) -> Result<ConfigFile, ConfigError> {
        ConfigFile::parse(Path::new("/etc/x/c.toml"), text, Some(Path::new("/home/u")))
    }

    fn value(text: &str, setting: &Setting) -> Option<String> {
        parse(text).unwrap().entry(setting).unwrap().text.clone()
    }

    #[test]
    fn every_type_is_read_as_the_flag_would_have_it() {
        for (text, setting, is) in [
            ("keep-alive = \"5m\"", settings::KEEP_ALIVE, Some("5m")),
            ("keep-alive = -1", settings::KEEP_ALIVE, Some("-1")),
            ("max-queue = 5", settings::MAX_QUEUE, Some("5")),
            ("max-queue = 1_000", settings::MAX_QUEUE, Some("1000")),
            ("max-queue = \"5\"", settings::MAX_QUEUE, Some("5")),
            ("tcp = \"localhost:5\"", settings::TCP, Some("localhost:5")),
            ("tcp = 12434", settings::TCP, Some("12434")),
            ("tcp = true", settings::TCP, Some("")),
            ("tcp = false", settings::TCP, None),
            ("auto-pull = true", settings::AUTO_PULL, Some("on")),
            ("auto-pull = false", settings::AUTO_PULL, Some("off")),
            ("auto-pull = \"on\"", settings::AUTO_PULL, Some("on")),
            ("origin = [\"http://a\", \"app://*\"]", settings::ORIGIN, Some("http://a,app://*")),
            ("origin = \"http://a, app://*\"", settings::ORIGIN, Some("http://a,app://*")),
            ("origin = []", settings::ORIGIN, Some("")),
            ("\"log\" = 'debug'", settings::LOG, Some("debug")),
        ] {
            assert_eq!(value(text, &setting).as_deref(), is, "{text}");
        }
    }

    #[test]
    fn paths_are_relative_to_the_file_and_to_the_home() {
        for (text, setting, is) in [
            ("models-path = \"m\"", settings::MODELS_PATH, "/etc/x/m"),
            ("models-path = \"~/m\"", settings::MODELS_PATH, "/home/u/m"),
            ("models-path = \"/m\"", settings::MODELS_PATH, "/m"),
            ("models-path = \"\"", settings::MODELS_PATH, ""),
            ("registry-ca = [\"a.pem\", \"/b.pem\"]", settings::REGISTRY_CA, "/etc/x/a.pem,/b.pem"),
            ("signature-key = \"o/*=k.pub\"", settings::SIGNATURE_KEY, "o/*=/etc/x/k.pub"),
        ] {
            assert_eq!(value(text, &setting).as_deref(), Some(is), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, says) in [
            ("\nkeep-alvie = 5", "2:1: unknown key \"keep-alvie\"; did you mean keep-alive?"),
            ("keep_alive = 5", "1:1: unknown key \"keep_alive\"; did you mean keep-alive?"),
            ("\"--tcp\" = 5", "1:1: unknown key \"--tcp\"; did you mean tcp?"),
            ("max-queue = true", "1:13: max-queue takes a whole number, not a boolean"),
            ("# ü\n  max-queue = [5]", "2:15: max-queue takes a whole number, not an array"),
            ("auto-pull = 1", "1:13: auto-pull takes true or false, not an integer"),
            (
                "keep-alive = 1.5",
                "1:14: keep-alive takes a duration in quotes, such as \"5m\", or a number of \
                 seconds, not a float",
            ),
            ("log = {a = 1}", "1:7: log takes a text in quotes, not an inline table"),
            ("origin = [\"a\", 5]", "1:16: origin takes texts in quotes, not an integer"),
            (
                "origin = [\"a,b\"]",
                "1:10: origin has a value with a comma in it; write each value for itself",
            ),
            ("[socket]\na = 1", "1:1: socket takes a text in quotes, not a table"),
            (
                "[sockets]\na = 1",
                "1:2: unknown section \"sockets\"; there are no sections, all keys stand alone; \
                 did you mean socket?",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert_eq!(error, format!("/etc/x/c.toml:{says}"), "{text}");
        }
    }

    #[test]
    fn what_can_be_used_is_though_others_cannot() {
        let text = "typo = 1\nsocket = \"/s\"\nmax-queue = true\n[engines.x]\nurl = 1\n";
        let (file, wrong) = ConfigFile::usable(Path::new("/c.toml"), text, None).unwrap();
        assert_eq!(file.entry(&settings::SOCKET).unwrap().text.as_deref(), Some("/s"));
        let keys: Vec<&str> = wrong.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["typo", "max-queue", "engines"]);
        assert!(ConfigFile::usable(Path::new("/c.toml"), "a = [", None).is_err());
    }

    #[test]
    fn a_name_that_is_near_none_gets_the_whole_list() {
        let error = parse("banana = 1").unwrap_err().to_string();
        assert!(error.contains("these are known: socket, socket-group, tcp"), "{error}");
    }

    #[test]
    fn what_is_no_toml_has_a_place_as_well() {
        for (text, at) in
            [("log = \"info", "1:"), ("\n\nlog info", "3:"), ("log='a'\nlog='b'", "2:")]
        {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("/etc/x/c.toml:{at}")), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[\\[\\]{}a-z=\"'\n.,#é 0-9-]{0,60}") {
            let _ = parse(&text);
        }
    }
}
