use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::config_file::{AuthEntry, ConfigFile, MAX_CONFIG_FILE_BYTES};
use super::file;
use crate::files;

/// modeld's own file of credentials: Docker's form, in a file that is the user's alone, replaced
/// as a whole.
pub(super) struct LoginFile {
    dir: PathBuf,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

type Entries = BTreeMap<String, AuthEntry>;

impl LoginFile {
    /// The file in `dir`.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, changing: tokio::sync::Mutex::new(()) }
    }

    /// The file's content; empty where there is none.
    ///
    /// # Errors
    /// Why it cannot be used: open to others, damaged.
    pub(super) async fn read(&self) -> Result<ConfigFile, String> {
        let dir = self.dir.clone();
        blocking(move || read(&dir)).await
    }

    /// Changes the file; `change` says whether it did.
    ///
    /// # Errors
    /// As [`LoginFile::read`], and where it cannot be written.
    pub(super) async fn change(
        &self,
        change: impl FnOnce(&mut Entries) -> bool + Send + 'static,
    ) -> Result<bool, String> {
        let _one = self.changing.lock().await;
        let dir = self.dir.clone();
        blocking(move || {
            let mut entries = read(&dir)?.into_entries();
            let changed = change(&mut entries);
            if changed {
                let told = |e| format!("{} cannot be written: {e}", path(&dir).display());
                write(&dir, &entries).map_err(told)?;
            }
            Ok(changed)
        })
        .await
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("auth.json")
}

fn read(dir: &Path) -> Result<ConfigFile, String> {
    let path = path(dir);
    match file::read(&path, MAX_CONFIG_FILE_BYTES, true)? {
        None => Ok(ConfigFile::default()),
        Some(text) => {
            ConfigFile::parse(&text).map_err(|problem| format!("{} {problem}", path.display()))
        }
    }
}

fn write(dir: &Path, entries: &Entries) -> std::io::Result<()> {
    files::make_private_dir(dir)?;
    let text = serde_json::to_vec_pretty(&serde_json::json!({ "auths": entries }))?;
    files::replace(&files::destination(&path(dir)), &text, 0o600)
}

/// Runs what waits for the disk where waiting holds up nobody.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err("reading credentials was interrupted".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::auth::Credential;
    use std::os::unix::fs::PermissionsExt as _;

    fn set(name: &str, credential: Credential) -> impl FnOnce(&mut Entries) -> bool + Send + use<> {
        let name = name.to_owned();
        move |entries| {
            entries.insert(name, AuthEntry::of(&credential, None));
            true
        }
    }

    #[tokio::test]
    async fn entries_are_kept_in_a_private_file() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b");
        let file = LoginFile::new(below.clone());
        assert!(file.read().await.ok().unwrap().into_entries().is_empty());
        file.change(set("ghcr.io", Credential::new("u", "p".into()))).await.unwrap();
        file.change(set("quay.io", Credential::IdentityToken("i".into()))).await.unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&below), mode(&below.join("auth.json"))), (0o700, 0o600));
        let read = file.read().await.ok().unwrap();
        assert!(read.credential("ghcr.io").unwrap().is_some());
        assert!(read.credential("quay.io").unwrap().is_some());
        // Nothing else is left behind.
        assert_eq!(std::fs::read_dir(&below).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_file_that_is_open_or_damaged_is_neither_used_nor_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        let file = LoginFile::new(dir.path().to_owned());
        for (text, mode, expected) in
            [("{}", 0o640, "chmod 600"), ("canary", 0o600, "is not a Docker configuration")]
        {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = file.read().await.err().unwrap();
            assert!(error.contains(expected) && !error.contains("canary"), "{error}");
            file.change(set("x.io", Credential::new("u", "p".into()))).await.unwrap_err();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[tokio::test]
    async fn changes_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = LoginFile::new(dir.path().to_owned());
        let changes = (0..10)
            .map(|n| file.change(set(&format!("r{n}.io"), Credential::new("u", "p".into()))));
        futures_util::future::join_all(changes).await;
        assert_eq!(file.read().await.ok().unwrap().into_entries().len(), 10);
    }
}
