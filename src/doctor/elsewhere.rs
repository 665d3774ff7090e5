//! Whether the daemon that runs goes by other files than whoever asks: a variable that is set in one
//! place and not in the other sends each to a directory of its own, and neither notices.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::client::Client;
use crate::files::shell_word;
use crate::tokens::TokenFile;

/// How long a daemon has to tell. Who asks has done their work already, and only wonders.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a daemon tells of its files, and of what it waits to listen on.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Told {
    settings_directory: Option<PathBuf>,
    settings_file: Option<PathBuf>,
    pub(super) waiting: Vec<Waiting>,
}

/// A listener that it could not open yet.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Waiting {
    pub setting: String,
    pub origin: String,
    pub problem: String,
}

/// Two sides that go by different files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// Which files those are.
    pub message: String,
    /// What brings them together.
    pub fix: String,
}

impl Told {
    /// What a daemon tells; `None` where none answers in time, or it does not tell us.
    pub async fn by(client: &Client) -> Option<Self> {
        tokio::time::timeout(PATIENCE, client.get("/modeld/tcp")).await.ok()?.ok()
    }

    /// Whether it reads another settings file than the one at `own`, in or instead of that of the
    /// directory `dir`. Looks at the file system where the names differ.
    pub fn other_settings(&self, own: &Path, dir: Option<&Path>) -> Option<Elsewhere> {
        let theirs = self.settings_file.as_deref().filter(|theirs| !is_same(theirs, own))?;
        let usual = self.settings_directory.as_deref().map(|dir| dir.join("config.toml"));
        let fix = match (self.settings_directory.as_deref(), dir) {
            _ if usual.is_none_or(|usual| usual != theirs) => {
                format!("say --config {0} here, or set MODELD_CONFIG={0}", shell_word(theirs))
            }
            (Some(other), Some(dir)) if is_same(other, dir) => {
                "unset MODELD_CONFIG here, or start the daemon with it".to_owned()
            }
            (other, _) => together(other),
        };
        let message =
            format!("the daemon that runs reads {}, not {}", theirs.display(), own.display());
        Some(Elsewhere { message, fix })
    }

    /// Whether its tokens are others than those in the directory `own`.
    pub fn other_tokens(&self, own: &Path) -> Option<Elsewhere> {
        let theirs = self.settings_directory.as_deref().filter(|theirs| !is_same(theirs, own))?;
        let file = |dir: &Path| TokenFile::within(dir).path().display().to_string();
        let message =
            format!("the daemon that runs takes the tokens in {}, not {}", file(theirs), file(own));
        Some(Elsewhere { message, fix: together(Some(theirs)) })
    }
}

/// What has this side use the directory of the other.
fn together(theirs: Option<&Path>) -> String {
    let base = theirs.filter(|dir| dir.ends_with("modeld")).and_then(Path::parent);
    match base.filter(|_| !cfg!(target_os = "macos")) {
        Some(base) => format!(
            "set XDG_CONFIG_HOME={} here, or start the daemon with the XDG_CONFIG_HOME and HOME of this \
             shell",
            shell_word(base)
        ),
        None => "start the daemon with the HOME of this shell, or set HOME to its own".to_owned(),
    }
}

/// Whether two names are of one file, which need not be there.
fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| {
        let there = std::fs::canonicalize(path).ok();
        there.or_else(|| Some(std::fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?)))
    };
    one == other || real(one).is_some_and(|one| real(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(dir: &str, file: &str) -> Told {
        let path = |text: &str| Some(PathBuf::from(text));
        Told { settings_directory: path(dir), settings_file: path(file), ..Told::default() }
    }

    #[test]
    fn two_files_are_named_with_what_brings_them_together() {
        let daemon = told("/h/.config/modeld", "/h/.config/modeld/config.toml");
        let own =
            |file: &str, dir: &str| daemon.other_settings(Path::new(file), Some(Path::new(dir)));
        assert_eq!(own("/h/.config/modeld/config.toml", "/h/.config/modeld"), None);
        let found = own("/x/modeld/config.toml", "/x/modeld").unwrap();
        assert!(found.message.contains("/h/.config/modeld/config.toml, not /x/modeld/config.toml"));
        let variable =
            if cfg!(target_os = "macos") { "HOME" } else { "XDG_CONFIG_HOME=/h/.config " };
        assert!(found.fix.contains(variable), "{found:?}");
        let named = own("/x.toml", "/h/.config/modeld").unwrap();
        assert!(named.fix.contains("unset MODELD_CONFIG"), "{named:?}");
        let named = told("/h/.config/modeld", "/srv/x.toml");
        let found = named.other_settings(Path::new("/a"), None).unwrap();
        assert!(found.fix.contains("--config /srv/x.toml"), "{found:?}");
        let tokens = daemon.other_tokens(Path::new("/x/modeld")).unwrap();
        assert!(
            tokens.message.contains("/h/.config/modeld/tokens.json, not /x/modeld/tokens.json")
        );
        assert_eq!(daemon.other_tokens(Path::new("/h/.config/modeld")), None);
        // An older daemon tells of neither.
        assert_eq!(Told::default().other_tokens(Path::new("/x")), None);
        assert_eq!(Told::default().other_settings(Path::new("/x"), None), None);
    }

    #[test]
    fn another_name_of_the_same_directory_is_no_other_one() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(is_same(&real, &link));
        assert!(is_same(&real.join("config.toml"), &link.join("config.toml")), "not there yet");
        assert!(!is_same(&real.join("a"), &link.join("b")));
    }
}
