use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::programs::{BriefPrograms, Programs};
use crate::config::{
    Config, ConfigError, DaemonHost, Env, RawConfig, Sources, Variables, daemon_host, resolve,
};

/// How long the settings files may take to be read.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is looked at.
#[derive(Clone)]
pub struct Patient {
    pub(super) env: Env,
    /// What would hold with what can be used of the settings files, or without them, for the other
    /// checks where these are at fault.
    pub(super) usable: Option<Config>,
    /// The settings files, the one that counts most first.
    pub(super) files: Vec<PathBuf>,
    pub(super) config: Result<Config, ConfigError>,
    pub(super) host: Result<DaemonHost, ConfigError>,
    pub(super) variables: Variables,
    pub(super) programs: Arc<dyn Programs>,
    /// `/`; another directory in tests.
    pub(super) root: PathBuf,
    /// Nobody outside of the machine is asked.
    pub(super) offline: bool,
    pub(super) uid: u32,
}

/// What the settings files say.
struct Settings {
    config: Result<Config, ConfigError>,
    /// The environment with what can be used of them, as every command finds its daemon.
    env: Env,
}

impl Settings {
    fn read(sources: &Sources) -> Self {
        Self { config: sources.shown().map(|(config, _)| config), env: sources.read_usable().env }
    }

    /// The same on a thread of its own: a home may be on a file system that hangs.
    async fn within(patience: Duration, sources: &Sources, read: fn(&Sources) -> Self) -> Self {
        let own = sources.clone();
        let look = tokio::task::spawn_blocking(move || read(&own));
        let problem = match tokio::time::timeout(patience, look).await {
            Ok(Ok(settings)) => return settings,
            Ok(Err(fault)) => format!("could not be read: {fault}"),
            Err(_) => format!(
                "could not be read within {} s; see whether its file system hangs",
                patience.as_secs()
            ),
        };
        let path = sources.files().into_iter().next().map(|(path, _)| path).unwrap_or_default();
        Self { config: Err(ConfigError::File { path, problem }), env: sources.env.clone() }
    }
}

impl Patient {
    /// What this process sees: the settings that a daemon started here would have, and the daemon
    /// that `host` or the environment names. Takes ten seconds at most.
    pub async fn of_process(host: Option<&str>, file: Option<PathBuf>, offline: bool) -> Self {
        let sources = Sources::of_process(RawConfig::default(), file);
        let settings = Settings::within(PATIENCE, &sources, Settings::read).await;
        Self { variables: Variables::of_process(), offline, ..Self::with(&sources, settings, host) }
    }

    fn with(sources: &Sources, settings: Settings, host: Option<&str>) -> Self {
        let Settings { config, env } = settings;
        let usable = resolve(&sources.raw, &env).or_else(|_| resolve(&sources.raw, &sources.env));
        Self {
            config,
            usable: usable.ok(),
            host: daemon_host(host, &env).map(|host| host.value),
            files: sources.files().into_iter().map(|(path, _)| path).collect(),
            env,
            variables: Variables::default(),
            programs: Arc::new(BriefPrograms),
            root: PathBuf::from("/"),
            offline: true,
            uid: rustix::process::geteuid().as_raw(),
        }
    }

    /// A path of the system, without the slash in front.
    pub(super) fn system(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A file of the system, empty where it is not there.
    pub(super) fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.system(path)).unwrap_or_default()
    }

    /// Where models are, if the settings can be used.
    pub(super) fn store(&self) -> Option<&Path> {
        self.settings().map(|config| config.models_path.value.as_path())
    }

    /// What holds, as far as that can be told.
    pub(super) fn settings(&self) -> Option<&Config> {
        self.config.as_ref().ok().or(self.usable.as_ref())
    }

    /// The daemon's socket, unless it is asked for over TCP.
    pub(super) fn socket(&self) -> Option<&Path> {
        match &self.host {
            Ok(DaemonHost::Unix(path)) => Some(path),
            Ok(DaemonHost::Http { .. }) | Err(_) => None,
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use std::io;

    use super::*;
    use crate::doctor::Finished;

    /// Answers the same to everything; `None`: no program is there.
    pub(in crate::doctor) struct Says(pub Option<Finished>);

    impl Programs for Says {
        fn run(&self, _: &str, _: &[&str]) -> io::Result<Finished> {
            self.0.clone().ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        fn show(&self, program: &str, args: &[&str]) -> io::Result<i32> {
            self.run(program, args).map(|done| done.code)
        }
    }

    /// A machine below a directory, with a home in it.
    pub(in crate::doctor) fn patient(root: &Path) -> Patient {
        let at = |name: &str| Some(root.join(name));
        let env = Env {
            runtime_dir: at("run/user/7"),
            home: at("home"),
            data_dir: at("home/.local/share"),
            config_dir: at("home/.config"),
            state_dir: at("home/.local/state"),
            ..Env::default()
        };
        let sources = Sources { env, ..Sources::default() };
        let settings = Settings::read(&sources);
        Patient {
            programs: Arc::new(Says(None)),
            root: root.to_owned(),
            ..Patient::with(&sources, settings, None)
        }
    }

    /// Writes a file below a directory.
    pub(in crate::doctor) fn file(root: &Path, path: &str, text: &str) -> PathBuf {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::testing::{file, patient};
    use super::*;

    #[test]
    fn what_can_be_used_of_a_settings_file_says_where_things_are() {
        let dir = tempfile::tempdir().unwrap();
        let text = "typo = 1\nsocket = \"/s\"\nmodels-path = \"/m\"\n";
        file(dir.path(), "home/.config/modeld/config.toml", text);
        let patient = patient(dir.path());
        assert!(patient.config.is_err());
        assert_eq!(patient.socket(), Some(Path::new("/s")));
        assert_eq!(patient.store(), Some(Path::new("/m")));
    }

    #[test]
    fn files_that_cannot_be_read_in_time_are_given_up() {
        // Held until the test is over.
        static HANGS: Mutex<()> = Mutex::new(());
        let held = HANGS.lock().unwrap();
        let sources = Sources { system: Some("/etc/x.toml".into()), ..Sources::default() };
        let hang = |sources: &Sources| {
            drop(HANGS.lock());
            Settings::read(sources)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let read = Settings::within(Duration::from_millis(20), &sources, hang);
        let settings = runtime.block_on(read);
        drop(held);
        let error = settings.config.unwrap_err().to_string();
        assert!(error.contains("/etc/x.toml could not be read within"), "{error}");
    }
}
