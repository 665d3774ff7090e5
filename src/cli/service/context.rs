use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::units::Scope;
use crate::cli::CliError;
use crate::config::{
    Config, Env, Origin, RawConfig, SETTINGS, SYSTEM_FILE, Set, Sources, resolve, settings,
    socket_path,
};
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

/// What settings mean for units, which listen before any daemon has read them.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct Settings {
    /// Where the socket is, if somebody says so, and who.
    pub socket: Option<(PathBuf, Origin)>,
    /// Who may use it besides its owner.
    pub group: Option<String>,
    /// The settings file that is named in the place of the user's own.
    pub file: Option<PathBuf>,
    /// Where the service manager can listen on TCP, too.
    pub tcp: Option<SocketAddr>,
    /// The place in a file that says where on TCP, or that nowhere.
    pub tcp_place: Option<Origin>,
    /// Whether TLS is spoken there.
    pub tls: bool,
    /// The keys of what only the daemon itself opens.
    pub late: Vec<&'static str>,
    /// Variables that say something here and not to the service.
    pub shell: Vec<&'static str>,
}

impl Settings {
    fn of(config: &Config, file: Option<PathBuf>) -> Self {
        let Set { value, origin } = &config.socket;
        let socket = (*origin != Origin::Default).then(|| (value.clone(), *origin));
        // The service has none of the variables of the shell that installs it.
        let kept = |origin: Origin| matches!(origin, Origin::File { .. });
        let tcp = config.tcp.value.filter(|_| kept(config.tcp.origin));
        let is_local = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
        let late = [
            (settings::TCP, tcp.is_some_and(|address| !is_local(&address))),
            (
                settings::CONTAINERS,
                config.containers.value.is_some() && kept(config.containers.origin),
            ),
            (settings::OLLAMA_PORT, config.ollama.value.is_some() && kept(config.ollama.origin)),
        ];
        let late = late.iter().filter(|(_, is_wanted)| *is_wanted);
        Self {
            socket,
            group: config.socket_group.value.clone().filter(|_| kept(config.socket_group.origin)),
            file,
            tcp: tcp.filter(|address| is_local(address) && address.port() != 0),
            tcp_place: Some(config.tcp.origin).filter(|origin| kept(*origin)),
            tls: config.tls.value.is_some() && kept(config.tls.origin),
            late: late.map(|(setting, _)| setting.key()).collect(),
            shell: Vec::new(),
        }
    }
}

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
    /// What the settings say of how the service is to be started.
    pub settings: Settings,
    /// The log's file, where one is kept.
    pub log: Option<PathBuf>,
    /// What stays when the service goes: models, settings.
    pub staying: Vec<(&'static str, PathBuf)>,
    pub uid: u32,
}

impl<'a> Context<'a> {
    /// Of this process. Who installs has to have settings that a daemon would start with; the others
    /// make do with what can be used of them.
    ///
    /// # Errors
    /// Where there is no home, or the program's own file is gone; those of the settings.
    pub(super) fn of_process(
        sources: &Sources,
        installs: bool,
        programs: &'a dyn Programs,
    ) -> Result<Self, CliError> {
        let program = std::env::current_exe()
            .map_err(|e| CliError::Failed(format!("this program's own path is unknown: {e}")))?;
        if !program.exists() {
            return Err(CliError::Failed(format!(
                "{} is gone or was replaced while this ran; try again with the new one",
                program.display()
            )));
        }
        let named = sources.named_file();
        if !installs {
            let context = Self::of(&sources.read_usable().env, program, programs)?;
            return Ok(Self { settings: Settings { file: named, ..context.settings }, ..context });
        }
        let (config, _) = sources.shown()?;
        let context = Self::of(&sources.read()?, program, programs)?;
        let variables = SETTINGS.iter().map(|setting| setting.env);
        let shell = variables
            .filter(|name| *name != settings::SOCKET.env && sources.env.get(name).is_some());
        let shell = shell.collect();
        Ok(Self { settings: Settings { shell, ..Settings::of(&config, named) }, ..context })
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
        let config_dir = env.config_dir.clone().ok_or_else(no_home)?;
        let home = env.home.clone().ok_or_else(no_home)?;
        // A setting that cannot be used is no reason not to install or look at the service.
        let config = resolve(&RawConfig::default(), env).ok();
        let models = config.as_ref().map(|config| config.models_path.value.clone());
        let settings = config.as_ref().map(|config| Settings::of(config, None)).unwrap_or_default();
        let log = config.and_then(|config| config.log_file.value);
        let mut staying = vec![("settings", env.own_dir().ok_or_else(no_home)?)];
        staying.extend(models.map(|models| ("models", models)));
        staying.extend(log.clone().map(|log| ("the log", log)));
        Ok(Self {
            programs,
            scope: Scope::User,
            root: PathBuf::from("/"),
            home: home.clone(),
            units: config_dir.join("systemd/user"),
            packaged: PACKAGED.iter().map(PathBuf::from).collect(),
            agents: home.join("Library/LaunchAgents"),
            program,
            socket: socket_path(None, env)?.value,
            settings,
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
        if changes && is_hidden(&self.program) {
            return Err(CliError::Failed(format!(
                "{} lies where the machine's service cannot see it; install it first, as \
                 /usr/local/bin/modeld, and run that one",
                self.program.display()
            )));
        }
        if changes && let Some((path, origin @ Origin::File { .. })) = &self.settings.socket {
            return Err(CliError::Unusable(format!(
                "{origin}: socket = {}: the machine's service listens on {SYSTEM_SOCKET}, where \
                 members of its group look; take the key out of the file",
                path.display()
            )));
        }
        if changes && let Some(file) = self.settings.file.as_ref().filter(|file| is_hidden(file)) {
            return Err(CliError::Unusable(format!(
                "the settings file {} lies where the machine's service cannot see it; it reads \
                 {SYSTEM_FILE}",
                file.display()
            )));
        }
        self.settings.socket = None;
        self.settings.group = None;
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

fn is_hidden(path: &Path) -> bool {
    HOMES.iter().any(|home| path.starts_with(home))
}

fn is_answered(socket: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}
