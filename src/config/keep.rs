use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, value};

/// Why a choice could not be kept. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// It cannot be read, or another one cannot take its place.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What is in it is no TOML.
    #[error("{} cannot be read, so that it was left alone: {problem}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Where and what.
        problem: String,
    },
}

/// The file with the daemon's settings in modeld's directory of settings.
pub fn file(modeld_dir: &Path) -> PathBuf {
    modeld_dir.join("config.toml")
}

/// What the file says about `key`, as text; `None` where it is silent or not there.
///
/// # Errors
/// Every [`KeepError`].
pub fn kept(path: &Path, key: &str) -> Result<Option<String>, KeepError> {
    let said = read(path)?.get(key).map(|item| match item.as_value() {
        Some(toml_edit::Value::String(text)) => text.value().clone(),
        Some(other) => {
            let mut bare = other.clone();
            bare.decor_mut().clear();
            bare.to_string()
        }
        None => item.to_string().trim().to_owned(),
    });
    Ok(said)
}

/// Sets keys of the file to texts, or takes them out (`None`), and keeps whatever else is in it,
/// comments included. The file takes the old one's place whole or not at all, and is for its owner
/// alone. Answers whether anything had to change.
///
/// # Errors
/// Every [`KeepError`].
pub fn keep(path: &Path, choices: &[(&str, Option<&str>)]) -> Result<bool, KeepError> {
    let mut document = read(path)?;
    let before = document.to_string();
    for (key, choice) in choices {
        match choice {
            Some(text) if document.get(key).and_then(Item::as_str) == Some(*text) => {}
            Some(text) => set(&mut document, key, text),
            None => drop(document.remove(key)),
        }
    }
    let after = document.to_string();
    if after == before {
        return Ok(false);
    }
    write(path, &after).map_err(|source| KeepError::Io { path: path.to_owned(), source })?;
    Ok(true)
}

fn set(document: &mut DocumentMut, key: &str, text: &str) {
    match document.get_mut(key).and_then(Item::as_value_mut) {
        // What stands before and behind the value stays.
        Some(old) => {
            let decor = old.decor().clone();
            *old = toml_edit::Value::from(text);
            *old.decor_mut() = decor;
        }
        None => drop(document.insert(key, value(text))),
    }
}

fn read(path: &Path) -> Result<DocumentMut, KeepError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
        Err(source) => return Err(KeepError::Io { path: path.to_owned(), source }),
    };
    text.parse().map_err(|problem: toml_edit::TomlError| KeepError::Unreadable {
        path: path.to_owned(),
        problem: problem.to_string(),
    })
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    // Who keeps settings elsewhere and links to them means that place.
    let path = match std::fs::canonicalize(path) {
        Ok(real) => real,
        Err(_) => path.to_owned(),
    };
    let dir = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(dir)?;
    // Made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    std::fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir.path().join("modeld"));
        (dir, path)
    }

    #[test]
    fn a_choice_is_kept_for_its_owner_alone() {
        let (_dir, path) = place();
        assert_eq!(kept(&path, "tcp").unwrap(), None);
        assert!(keep(&path, &[("tcp", Some("127.0.0.1:12434"))]).unwrap());
        assert!(!keep(&path, &[("tcp", Some("127.0.0.1:12434"))]).unwrap());
        assert_eq!(kept(&path, "tcp").unwrap().as_deref(), Some("127.0.0.1:12434"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(keep(&path, &[("tcp", None), ("containers", None)]).unwrap());
        assert!(!keep(&path, &[("tcp", None)]).unwrap());
        assert_eq!(kept(&path, "tcp").unwrap(), None);
    }

    #[test]
    fn what_else_is_in_the_file_stays() {
        let (_dir, path) = place();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = "# mine\nkeep-alive = \"5m\" # long\ntcp  =  \"9000\" # why\n";
        std::fs::write(&path, text).unwrap();
        keep(&path, &[("tcp", Some("127.0.0.1:1"))]).unwrap();
        let after = std::fs::read_to_string(&path).unwrap();
        assert_eq!(after, text.replace("\"9000\"", "\"127.0.0.1:1\""));
        keep(&path, &[("tcp", None)]).unwrap();
        let after = std::fs::read_to_string(&path).unwrap();
        assert_eq!(after, "# mine\nkeep-alive = \"5m\" # long\n");
    }

    #[test]
    fn a_number_is_read_as_text() {
        let (_dir, path) = place();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "tcp = 12434 # bare\n").unwrap();
        assert_eq!(kept(&path, "tcp").unwrap().as_deref(), Some("12434"));
    }

    #[test]
    fn a_file_that_is_no_toml_is_left_alone() {
        let (_dir, path) = place();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "tcp = = 1\n").unwrap();
        let error = keep(&path, &[("tcp", Some("1"))]).unwrap_err();
        assert!(error.to_string().contains("left alone"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "tcp = = 1\n");
    }

    #[test]
    fn a_link_stays_a_link() {
        let (dir, path) = place();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let real = dir.path().join("dotfiles.toml");
        std::fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &path).unwrap();
        keep(&path, &[("tcp", Some("1"))]).unwrap();
        assert!(std::fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(real).unwrap(), "tcp = \"1\"\n");
    }
}
