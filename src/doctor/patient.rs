use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::programs::{BriefPrograms, Programs};
use crate::config::{
    Config, ConfigError, DaemonHost, Env, RawConfig, Sources, Variables, daemon_host, resolve,
};

/// What is looked at.
#[derive(Clone)]
pub struct Patient {
    pub(super) env: Env,
    /// What would hold without the settings files, for the other checks where these are at fault.
    pub(super) without_files: Option<Config>,
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

impl Patient {
    /// What this process sees: the settings that a daemon started here would have, and the daemon
    /// that `host` or the environment names.
    pub fn of_process(host: Option<&str>, file: Option<PathBuf>, offline: bool) -> Self {
        let sources = Sources::of_process(RawConfig::default(), file);
        let config = sources.shown().map(|(config, _)| config);
        let env = sources.read().unwrap_or_else(|_| sources.env.clone());
        let without_files = resolve(&sources.raw, &sources.env).ok();
        Self {
            config,
            host: daemon_host(host, &env).map(|host| host.value),
            without_files,
            files: sources.files().into_iter().map(|(path, _)| path).collect(),
            env,
            variables: Variables::of_process(),
            programs: Arc::new(BriefPrograms),
            root: PathBuf::from("/"),
            offline,
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
        let config = self.config.as_ref().ok().or(self.without_files.as_ref());
        config.map(|config| config.models_path.value.as_path())
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
        let sources = Sources { env: env.clone(), ..Sources::default() };
        Patient {
            config: sources.shown().map(|(config, _)| config),
            host: daemon_host(None, &env).map(|host| host.value),
            without_files: resolve(&sources.raw, &env).ok(),
            files: sources.files().into_iter().map(|(path, _)| path).collect(),
            env,
            variables: Variables::default(),
            programs: Arc::new(Says(None)),
            root: root.to_owned(),
            offline: true,
            uid: rustix::process::geteuid().as_raw(),
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
