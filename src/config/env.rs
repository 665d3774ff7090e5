use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::host::DaemonHostVars;
use super::{ConfigFile, SETTINGS, dmr};

/// In modeld's directory for settings: the authority's certificate and its key, in PEM.
pub const AUTHORITY_FILE: &str = "authority.pem";

/// All that [`resolve`](super::resolve) may know about the process around it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Env {
    /// The variables that settings are read from; see [`Env::with`].
    pub vars: BTreeMap<&'static str, String>,
    /// `$XDG_RUNTIME_DIR`, or `/run/user/UID` where that exists and is ours.
    pub runtime_dir: Option<PathBuf>,
    /// The home directory.
    pub home: Option<PathBuf>,
    /// Where programs keep their data: `$XDG_DATA_HOME`, or what the platform has instead.
    pub data_dir: Option<PathBuf>,
    /// Where programs keep their settings: `$XDG_CONFIG_HOME`, or what the platform has instead.
    pub config_dir: Option<PathBuf>,
    /// Where programs keep what they may lose: `$XDG_STATE_HOME`, or what the platform has instead.
    pub state_dir: Option<PathBuf>,
    /// Whether stderr goes to journald, which keeps the time of each line itself.
    pub journald: bool,
    /// What relative paths are relative to.
    pub current_dir: PathBuf,
    /// The settings files, the one that counts most first; see [`Sources`](super::Sources).
    pub files: Vec<ConfigFile>,
}

impl Env {
    /// The variable with a token of Hugging Face, as their own programs name it.
    pub const HF_TOKEN: &str = "HF_TOKEN";

    /// The variable with a token of ours, which commands send over TCP.
    pub const TOKEN: &str = "MODELD_TOKEN";

    /// Web pages that may ask, as Ollama's users name them.
    pub const OLLAMA_ORIGINS: &str = "OLLAMA_ORIGINS";
    /// How long models stay, as Ollama's users say it.
    pub const OLLAMA_KEEP_ALIVE: &str = "OLLAMA_KEEP_ALIVE";

    /// Which settings file to read instead of the user's own.
    pub const CONFIG: &str = "MODELD_CONFIG";

    /// Reads the process's environment once; no file.
    pub fn from_process() -> Self {
        let dirs = directories::BaseDirs::new();
        let names = SETTINGS.iter().map(|s| s.env).chain(DaemonHostVars::NAMES);
        let names = names.chain(dmr::names()).chain([Self::CONFIG, Self::TOKEN]);
        Self {
            vars: names.filter_map(|n| Some((n, std::env::var(n).ok()?))).collect(),
            runtime_dir: runtime_dir(),
            home: dirs.as_ref().map(|d| d.home_dir().to_owned()),
            data_dir: dirs.as_ref().map(|d| d.data_dir().to_owned()),
            config_dir: dirs.as_ref().map(|d| d.config_dir().to_owned()),
            state_dir: dirs
                .as_ref()
                .map(|d| d.state_dir().unwrap_or_else(|| d.data_local_dir()).to_owned()),
            journald: journal_takes_stderr(),
            current_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            files: Vec::new(),
        }
    }

    /// Where modeld keeps its own files besides models and logs: settings, tokens, logins.
    pub fn own_dir(&self) -> Option<PathBuf> {
        self.config_dir.as_ref().map(|dir| dir.join("modeld"))
    }

    /// This user's settings file, where no other one is named.
    pub fn own_file(&self) -> Option<PathBuf> {
        self.own_dir().map(|dir| dir.join("config.toml"))
    }

    /// The certificate authority that `--tls self-signed` makes for this user, and its key.
    pub fn own_authority(&self) -> Option<PathBuf> {
        self.own_dir().map(|dir| dir.join(AUTHORITY_FILE))
    }

    /// The same with a variable set; for tests and for starting daemons inside programs.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.vars.insert(name, value.into());
        self
    }

    /// A variable without the blanks and quotes that container files and unit files tend to leave
    /// around it. Empty counts as unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        let trimmed =
            self.vars.get(name)?.trim_matches(|c: char| c.is_whitespace() || "\"'".contains(c));
        (!trimmed.is_empty()).then_some(trimmed)
    }
}

type ReadVariable = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Variables that other programs made customary, for proxies and logins; a part of them are secrets,
/// so there is deliberately no `Debug`. The default has none.
#[derive(Clone)]
pub struct Variables {
    read: Arc<ReadVariable>,
}

impl Variables {
    /// Those of the process; one that is not UTF-8 counts as unset.
    pub fn of_process() -> Self {
        Self::from_fn(|name| std::env::var(name).ok())
    }

    /// What `read` answers for their names.
    pub fn from_fn(read: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(read) }
    }

    /// The variable as it is.
    pub fn get(&self, name: &str) -> Option<String> {
        (self.read)(name)
    }
}

impl Default for Variables {
    fn default() -> Self {
        Self::from_fn(|_| None)
    }
}

/// A directory that a variable of another program names (`OLLAMA_MODELS`). Empty counts as unset.
pub fn path_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The editor that this user likes, which may have arguments.
pub fn editor() -> String {
    let named = ["VISUAL", "EDITOR"].into_iter().filter_map(|name| std::env::var(name).ok());
    let mut named = named.filter(|text| !text.trim().is_empty());
    named.next().unwrap_or_else(|| "vi".to_owned())
}

/// Where programs are looked for by their bare names.
pub fn search_path() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|all| std::env::split_paths(&all).collect()).unwrap_or_default()
}

/// The variable names the journal's stream by device and inode; a program that was started with its
/// stderr elsewhere inherits it all the same.
fn journal_takes_stderr() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(std::io::stderr())
        .is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// A login session has the variable; a cron job or `sudo -u` has only the directory.
fn runtime_dir() -> Option<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    if let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
        && dir.is_absolute()
        && !is_of_another(&dir, uid)
    {
        return Some(dir);
    }
    let dir = PathBuf::from(format!("/run/user/{uid}"));
    let ours = std::fs::symlink_metadata(&dir).is_ok_and(|m| m.is_dir() && m.uid() == uid);
    ours.then_some(dir)
}

/// Whether a directory is there and somebody else's: `su` and `sudo -E` bring the variable of the user
/// before along, and by the XDG Base Directory Specification it must be ours.
fn is_of_another(dir: &Path, uid: u32) -> bool {
    std::fs::metadata(dir).is_ok_and(|found| found.uid() != uid)
}

#[cfg(test)]
mod tests {
    use super::{Env, is_of_another};

    #[test]
    fn a_directory_that_is_there_has_to_be_ours() {
        let dir = tempfile::tempdir().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        assert!(!is_of_another(dir.path(), uid));
        assert!(is_of_another(dir.path(), uid + 1));
        assert!(!is_of_another(&dir.path().join("none"), uid + 1), "it may be made yet");
    }

    #[test]
    fn variables_lose_blanks_and_quotes() {
        for (written, read) in [
            (" a ", Some("a")),
            ("\"a b\"", Some("a b")),
            ("'5m'\n", Some("5m")),
            ("", None),
            ("\"\"", None),
        ] {
            let env = Env::default().with("MODELS_PATH", written);
            assert_eq!(env.get("MODELS_PATH"), read, "{written:?}");
        }
    }
}
