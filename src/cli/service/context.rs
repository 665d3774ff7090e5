use std::path::{Path, PathBuf};

use super::units::Scope;
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

/// The same for the machine's.
const PACKAGED_SYSTEM: [&str; 3] =
    ["/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Where the machine's daemon listens, as its unit says.
const SYSTEM_SOCKET: &str = "/run/modeld/modeld.sock";

/// What the machine's service cannot see (`ProtectHome=`).
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];

/// All that the verbs of `service` know of the world.
pub(in crate::cli) struct Context<'a> {
    pub programs: &'a dyn Programs,
    pub scope: Scope,
    /// `/`; another directory in tests.
    pub root: PathBuf,
    pub home: PathBuf,
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
        let mut staying = vec![("settings", env.own_dir().ok_or_else(no_home)?)];
        staying.extend(models.map(|models| ("models", models)));
        staying.extend(log.clone().map(|log| ("the log", log)));
        Ok(Self {
            programs,
            scope: Scope::User,
            root: PathBuf::from("/"),
            home: home.clone(),
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

    /// The same for the machine's manager.
    ///
    /// # Errors
    /// For anybody but root, where something is to be changed, and for a program that the machine's
    /// service could not see.
    pub(super) fn of_system(mut self, changes: bool) -> Result<Self, CliError> {
        if changes && self.uid != 0 {
            return Err(CliError::Failed(
                "the machine's service is root's to change: sudo modeld service …".to_owned(),
            ));
        }
        if changes && HOMES.iter().any(|home| self.program.starts_with(home)) {
            return Err(CliError::Failed(format!(
                "{} lies where the machine's service cannot see it; install it first, as \
                 /usr/local/bin/modeld, and run that one",
                self.program.display()
            )));
        }
        self.scope = Scope::System;
        self.units = self.root.join("etc/systemd/system");
        self.packaged = PACKAGED_SYSTEM.iter().map(PathBuf::from).collect();
        self.socket = PathBuf::from(SYSTEM_SOCKET);
        self.log = None;
        self.staying = vec![("models", PathBuf::from("/var/lib/modeld"))];
        Ok(self)
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
