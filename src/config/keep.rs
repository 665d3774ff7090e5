use std::path::{Path, PathBuf};

use super::{ConfigError, edit, read_file};
use crate::files;

/// Why a choice could not be kept. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Another one cannot take its place.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What is in it cannot be used, so that it was left alone.
    #[error(transparent)]
    Unusable(#[from] ConfigError),
}

/// What the file says about `key`, as text; `None` where it is silent or not there.
///
/// # Errors
/// Every [`KeepError`].
pub fn kept(path: &Path, key: &str) -> Result<Option<String>, KeepError> {
    let text = read(path)?;
    Ok(edit::value(path, &text, key)?)
}

/// Sets keys of the file to texts, or takes them out (`None`), and keeps whatever else is in it,
/// comments included. The file takes the old one's place whole or not at all. Answers whether anything had to change.
///
/// # Errors
/// Every [`KeepError`].
pub fn keep(path: &Path, choices: &[(&str, Option<&str>)]) -> Result<bool, KeepError> {
    let failed = |source| KeepError::Io { path: path.to_owned(), source };
    let _lock = files::lock_for_change(path).map_err(failed)?;
    let before = read(path)?;
    let mut after = before.clone();
    for (key, choice) in choices {
        match choice {
            Some(text) if edit::value(path, &after, key)?.as_deref() == Some(*text) => {}
            Some(text) => after = edit::with_value(path, &after, key, &[(*text).to_owned()])?,
            None => after = edit::without(path, &after, key)?.unwrap_or(after),
        }
    }
    if after == before {
        return Ok(false);
    }
    edit::write(path, &after).map_err(failed)?;
    Ok(true)
}

fn read(path: &Path) -> Result<String, KeepError> {
    Ok(read_file(path, false)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("modeld/config.toml");
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
    fn a_lock_that_another_holds_is_not_waited_for_without_end() {
        let (_dir, path) = place();
        keep(&path, &[("tcp", Some("1"))]).unwrap();
        let other = std::fs::File::open(path.parent().unwrap()).unwrap();
        rustix::fs::flock(&other, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let error = keep(&path, &[("tcp", Some("2"))]).unwrap_err().to_string();
        assert!(error.contains("another program") && error.contains("for 3 s"), "{error}");
        drop(other);
        assert!(keep(&path, &[("tcp", Some("2"))]).unwrap());
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
        assert!(error.to_string().contains("config.toml:1"), "{error}");
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
        assert_eq!(std::fs::read_to_string(real).unwrap(), "tcp = 1\n");
    }
}
