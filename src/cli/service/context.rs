use std::path::{Path, PathBuf};

use crate::cli::CliError;
use crate::config::{Env, RawConfig, resolve, socket_path};
use crate::doctor::Programs;

/// Where packages put the units of users, the first one that counts for systemd first.
const PACKAGED: [&str; 4] = [
    "/etc/systemd/user",
    "/usr/local/lib/systemd/user",
    "/usr/lib/systemd/user",
    "/lib/systemd/user",
];

/// All that the verbs of `service` know of the world.
pub(in crate::cli) struct Context<'a> {
    pub programs: &'a dyn Programs,
    /// Where this user's units lie: `~/.config/systemd/user`.
    pub units: PathBuf,
    /// Where those of packages do.
    pub packaged: Vec<PathBuf>,
    /// Where the agents of launchd lie: `~/Library/LaunchAgents`.
    pub agents: PathBuf,
    /// This very program.
    pub program: PathBuf,
    /// The daemon's socket.
    pub socket: PathBuf,
    /// The log's file, where one is kept.
    pub log: Option<PathBuf>,
    /// What stays when the service goes: models, settings.
    pub staying: Vec<(&'static str, PathBuf)>,
    pub uid: u32,
}

impl<'a> Context<'a> {
    /// Of this process.
    ///
    /// # Errors
    /// Where there is no home, or the program's own file is gone.
    pub(super) fn of_process(programs: &'a dyn Programs) -> Result<Self, CliError> {
        let program = std::env::current_exe()
            .map_err(|e| CliError::Failed(format!("this program's own path is unknown: {e}")))?;
        if !program.exists() {
            return Err(CliError::Failed(format!(
                "{} is gone or was replaced while this ran; try again with the new one",
                program.display()
            )));
        }
        Self::of(&Env::from_process(), program, programs)
    }

    /// Of an environment.
    ///
    /// # Errors
    /// Where it has no home and no place for settings.
    pub(in crate::cli) fn of(
        env: &Env,
        program: PathBuf,
        programs: &'a dyn Programs,
    ) -> Result<Self, CliError> {
        let no_home = || {
            CliError::Failed("neither HOME nor XDG_CONFIG_HOME is set: units have no place".into())
        };
        let settings = env.config_dir.clone().ok_or_else(no_home)?;
        let home = env.home.clone().ok_or_else(no_home)?;
        // A setting that cannot be used is no reason not to install or look at the service.
        let config = resolve(&RawConfig::default(), env).ok();
        let models = config.as_ref().map(|config| config.models_path.value.clone());
        let log = config.and_then(|config| config.log_file.value);
        let mut staying = vec![("settings", settings.join("modeld"))];
        staying.extend(models.map(|models| ("models", models)));
        staying.extend(log.clone().map(|log| ("the log", log)));
        Ok(Self {
            programs,
            units: settings.join("systemd/user"),
            packaged: PACKAGED.iter().map(PathBuf::from).collect(),
            agents: home.join("Library/LaunchAgents"),
            program,
            socket: socket_path(None, env)?.value,
            log,
            staying,
            uid: rustix::process::getuid().as_raw(),
        })
    }

    /// The package's file of a unit.
    pub(super) fn packaged(&self, unit: &str) -> Option<PathBuf> {
        self.packaged.iter().map(|dir| dir.join(unit)).find(|path| path.exists())
    }

    /// Whether somebody listens on the socket, asked without saying anything.
    pub(super) fn is_answered(&self) -> bool {
        is_answered(&self.socket)
    }
}

fn is_answered(socket: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}
