//! Changing the settings file by program: comments and order stay, and nobody ever sees half of it.

use std::fs::File;
use std::io;
use std::path::Path;

use toml_edit::{Array, DocumentMut, Item, Value};

use super::file::{setting, unknown};
use super::values::switch;
use super::{ConfigError, ConfigFile, Kind, Setting};
use crate::files;

/// The text of a settings file with another value for `key`: what was around it stays. Several
/// values are for lists.
///
/// # Errors
/// [`ConfigError::Invalid`] for an unknown key or several values of what takes one;
/// [`ConfigError::InFile`] for a file that was wrong before or would be.
pub fn with_value(
    path: &Path,
    text: &str,
    key: &str,
    values: &[String],
) -> Result<String, ConfigError> {
    let setting = setting(key).ok_or_else(|| no_key(key))?;
    let mut new = typed(setting, values)?;
    let mut document = editable(path, text)?;
    match document.get_mut(setting.key()) {
        // In its place, so that the comments above and beside it stay.
        Some(item) => {
            if let Some(old) = item.as_value() {
                *new.decor_mut() = old.decor().clone();
            }
            *item = Item::Value(new);
        }
        None => drop(document.insert(setting.key(), Item::Value(new))),
    }
    let text = document.to_string();
    ConfigFile::parse(path, &text, None)?;
    Ok(text)
}

/// The text without `key`; `None`: it is not there. Keys that are unknown can go, too.
///
/// # Errors
/// [`ConfigError::InFile`] for what is no TOML.
pub fn without(path: &Path, text: &str, key: &str) -> Result<Option<String>, ConfigError> {
    let mut document = editable(path, text)?;
    Ok(document.remove(key).map(|_| document.to_string()))
}

/// What the text says about `key`, as text; `None`: nothing.
///
/// # Errors
/// [`ConfigError::InFile`] for a file that is wrong.
pub(super) fn value(path: &Path, text: &str, key: &str) -> Result<Option<String>, ConfigError> {
    let setting = setting(key).ok_or_else(|| no_key(key))?;
    let file = ConfigFile::parse(path, text, None)?;
    Ok(file.entry(setting).and_then(|entry| entry.text.clone()))
}

/// Holds others off who change the same file by program, until dropped.
#[derive(Debug)]
pub struct EditLock(#[expect(dead_code, reason = "the lock goes with it")] File);

/// Makes the directory of a settings file, for its owner alone, and takes the lock.
///
/// # Errors
/// Those of the file system.
pub fn lock(path: &Path) -> io::Result<EditLock> {
    let dir = directory(path);
    files::make_private_dir(dir)?;
    let dir = File::open(dir)?;
    rustix::fs::flock(&dir, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(EditLock(dir))
}

/// Writes the file as a whole, for its owner alone, before it takes the place of the old one. A
/// symbolic link stays and what it names is written.
///
/// # Errors
/// Those of the file system; the old file is there then.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    files::replace(&files::destination(path), text.as_bytes(), 0o600)
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
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

fn no_key(key: &str) -> ConfigError {
    ConfigError::Invalid { from: "KEY", value: key.to_owned(), problem: unknown(key, &Item::None) }
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
        let removed = without(path, FILE, "log").unwrap().unwrap();
        assert!(removed.starts_with("# mine\nkeep-alive = \"5m\"   # short\n"), "{removed}");
        assert!(!removed.contains("info"), "{removed}");
        assert_eq!(without(path, FILE, "tcp"), Ok(None));
        assert_eq!(without(path, "typo = 1\n", "typo"), Ok(Some(String::new())));
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
        let held = lock(&path).unwrap();
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
