use std::path::{Path, PathBuf};

use super::{Config, ConfigError, ConfigFile, Env, RawConfig, Shown, settings, shown};
use crate::files::{Regular, open_regular, shell_word};

/// The settings of the whole machine, below those of each user.
pub const SYSTEM_FILE: &str = "/etc/modeld/config.toml";

/// A settings file is a page of text; what is larger is something else.
const MAX_BYTES: u64 = 1 << 20;

/// Where settings come from: flags, variables and files, in the order in which they count. Kept, so
/// that they can be read again.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The flags.
    pub raw: RawConfig,
    /// The environment, without files.
    pub env: Env,
    /// The file that `--config` names.
    pub named: Option<PathBuf>,
    /// The file below all; `None`: there is none.
    pub system: Option<PathBuf>,
    /// Whether the user's own file is left out, as the machine's service never sees it.
    pub machine_only: bool,
}

impl Sources {
    /// Those of this process.
    pub fn of_process(raw: RawConfig, named: Option<PathBuf>) -> Self {
        let system = Some(PathBuf::from(SYSTEM_FILE));
        Self { raw, env: Env::from_process(), named, system, machine_only: false }
    }

    /// The user's file: the one that is named by the flag or `MODELD_CONFIG`, else the one in the
    /// directory for settings. `None`: without a home there is no place for it.
    pub fn user_file(&self) -> Option<PathBuf> {
        let own = || self.env.own_file().filter(|_| !self.machine_only);
        self.named_file().or_else(own)
    }

    /// The files that are read, the one that counts most first, and whether each has to exist.
    pub fn files(&self) -> Vec<(PathBuf, bool)> {
        let user = self.user_file().map(|path| (path, self.named_file().is_some()));
        user.into_iter().chain(self.system.clone().map(|path| (path, false))).collect()
    }

    /// The environment with what the files say.
    ///
    /// # Errors
    /// [`ConfigError::File`] and [`ConfigError::InFile`].
    pub fn read(&self) -> Result<Env, ConfigError> {
        let mut env = self.env.clone();
        for (path, must_exist) in self.files() {
            let file = read_file(&path, must_exist)?;
            let parsed = file.map(|text| ConfigFile::parse(&path, &text, env.home.as_deref()));
            env.files.extend(parsed.transpose()?);
        }
        Ok(env)
    }

    /// The same, with what can be used of files that are partly wrong: for whoever only looks for
    /// the daemon.
    pub fn read_usable(&self) -> Usable {
        let mut usable = Usable { env: self.env.clone(), problem: None, hides_the_socket: false };
        for (path, must_exist) in self.files() {
            let home = usable.env.home.clone();
            let read = match read_file(&path, must_exist) {
                Ok(None) => continue,
                Ok(Some(text)) => ConfigFile::usable(&path, &text, home.as_deref()),
                Err(error) => Err(error),
            };
            // What a file that counts more says is not hidden by this one.
            let names = |file: &ConfigFile| file.entry(&settings::SOCKET).is_some();
            let is_open = !usable.env.files.iter().any(names);
            match read {
                Ok((file, wrong)) => {
                    usable.env.files.push(file);
                    for (key, error) in wrong {
                        usable.hides_the_socket |= is_open && key == settings::SOCKET.key();
                        usable.problem.get_or_insert(error);
                    }
                }
                Err(error) => {
                    usable.hides_the_socket |= is_open;
                    usable.problem.get_or_insert(error);
                }
            }
        }
        usable
    }

    /// What holds, and how it is shown.
    ///
    /// # Errors
    /// Those of [`Sources::read`] and [`resolve`](super::resolve()).
    pub fn shown(&self) -> Result<(Config, Vec<Shown>), ConfigError> {
        let (config, shown) = shown(&self.raw, &self.read()?)?;
        Ok((Config { settings_file: self.user_file(), ..config }, shown))
    }

    /// The file that is named in the place of the user's own, by the flag or `MODELD_CONFIG`.
    pub fn named_file(&self) -> Option<PathBuf> {
        let named = self.named.clone();
        named
            .or_else(|| self.env.get(Env::CONFIG).map(PathBuf::from))
            .map(|path| self.env.current_dir.join(path))
    }
}

/// What can be used of settings files.
#[derive(Debug, Clone)]
pub struct Usable {
    /// The environment with what the files say.
    pub env: Env,
    /// The first thing that is wrong with them.
    pub problem: Option<ConfigError>,
    /// Whether they may say where the socket is in a part that cannot be used and would count more
    /// than any file that can be.
    pub hides_the_socket: bool,
}

/// Reads a settings file that nobody else can have written. `None`: it is not there, and need not be.
///
/// # Errors
/// [`ConfigError::File`].
pub fn read_file(path: &Path, must_exist: bool) -> Result<Option<String>, ConfigError> {
    let unusable = |problem: String| ConfigError::File { path: path.to_owned(), problem };
    let file = match open_regular(path) {
        Ok(file) => file,
        // There may also be a file where its directory should be.
        Err(error) if error.is_missing() => match path.read_link() {
            // Whoever made it means to have settings; without them the daemon would be another.
            Ok(target) => {
                return Err(unusable(format!(
                    "is a link to {}, which is not there; make that file or remove the link",
                    target.display()
                )));
            }
            Err(_) if !must_exist => return Ok(None),
            Err(_) => return Err(unusable(error.to_string())),
        },
        Err(error) => return Err(unusable(error.to_string())),
    };
    let us = rustix::process::geteuid().as_raw();
    let (owner, mode) = (file.owner(), file.mode());
    if owner != us && owner != 0 {
        return Err(unusable(format!(
            "belongs to user {owner}, who could change what modeld does; it has to be yours or root's"
        )));
    }
    if mode & 0o022 != 0 {
        return Err(unusable(format!(
            "can be written by others (mode {mode:03o}); chmod go-w {}",
            shell_word(path)
        )));
    }
    text_of(path, file).map(Some)
}

/// Reads a file that is none of settings yet, whoever can write it.
///
/// # Errors
/// [`ConfigError::File`], also where it is not there.
pub fn read_draft(path: &Path) -> Result<String, ConfigError> {
    let unusable = |problem: String| ConfigError::File { path: path.to_owned(), problem };
    text_of(path, open_regular(path).map_err(|error| unusable(error.to_string()))?)
}

fn text_of(path: &Path, file: Regular) -> Result<String, ConfigError> {
    let unusable = |problem: String| ConfigError::File { path: path.to_owned(), problem };
    let bytes = file.read(MAX_BYTES).map_err(|error| unusable(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        unusable(format!("is not UTF-8 from byte {at} on"))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::super::Origin;
    use super::*;

    struct Place {
        dir: TempDir,
        sources: Sources,
    }

    impl Place {
        fn new() -> Self {
            let dir = TempDir::new().unwrap();
            let env = Env {
                runtime_dir: Some("/run/user/7".into()),
                data_dir: Some("/d".into()),
                config_dir: Some(dir.path().to_owned()),
                current_dir: dir.path().to_owned(),
                ..Env::default()
            };
            let system = Some(dir.path().join("system.toml"));
            fs::create_dir(dir.path().join("modeld")).unwrap();
            Self { dir, sources: Sources { env, system, ..Sources::default() } }
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path
        }

        fn error(&self) -> String {
            let error = self.sources.shown().unwrap_err().to_string();
            error.replace(self.dir.path().to_str().unwrap(), "DIR")
        }
    }

    const USER: &str = "modeld/config.toml";

    #[test]
    fn each_layer_counts_more_than_the_one_below() {
        let mut place = Place::new();
        let queue = |place: &Place| place.sources.shown().unwrap().0.max_queue;
        assert_eq!(queue(&place).origin, Origin::Default);
        place.write("system.toml", "context = 512\nmax-queue = 1");
        assert_eq!(queue(&place).value, 1);
        let path = place.write(USER, "# mine\n\nmax-queue = 2");
        let found = queue(&place);
        assert_eq!(found.value, 2);
        assert_eq!(found.origin.to_string(), format!("{}:3", path.display()));
        assert_eq!(place.sources.shown().unwrap().0.context.value, 512);
        place.sources.env = place.sources.env.clone().with("MODELD_MAX_QUEUE", "3");
        assert_eq!(queue(&place).value, 3);
        place.sources.raw.max_queue = Some("4".into());
        assert_eq!(queue(&place).value, 4);
    }

    #[test]
    fn the_machines_service_goes_by_the_machines_file() {
        let mut place = Place::new();
        place.write(USER, "max-queue = 2\ntypo = 1");
        place.write("system.toml", "max-queue = 1");
        assert!(place.sources.shown().is_err());
        place.sources.machine_only = true;
        assert_eq!(place.sources.shown().unwrap().0.max_queue.value, 1);
    }

    #[test]
    fn off_in_the_users_file_hides_what_the_machine_says() {
        let place = Place::new();
        place.write("system.toml", "tcp = true");
        assert!(place.sources.shown().unwrap().0.tcp.value.is_some());
        place.write(USER, "tcp = false");
        assert!(place.sources.shown().unwrap().0.tcp.value.is_none());
    }

    #[test]
    fn variables_of_other_programs_count_less_than_a_file() {
        let mut place = Place::new();
        place.sources.env =
            place.sources.env.clone().with("OLLAMA_KEEP_ALIVE", "1h").with("LOG_LEVEL", "debug");
        place.write(USER, "keep-alive = \"2h\"\nlog = \"warn\"");
        let config = place.sources.shown().unwrap().0;
        assert_eq!(config.keep_alive.value, Some(std::time::Duration::from_secs(7200)));
        assert_eq!(config.log.value, "warn");
    }

    #[test]
    fn a_named_file_takes_the_place_of_the_users_own_and_has_to_exist() {
        let mut place = Place::new();
        place.write("system.toml", "context = 512");
        place.write(USER, "max-queue = 2");
        place.sources.env = place.sources.env.clone().with(Env::CONFIG, "other.toml");
        assert_eq!(
            place.error(),
            "the settings file DIR/other.toml cannot be read: No such file or directory \
             (os error 2)"
        );
        place.write("other.toml", "max-queue = 3");
        let config = place.sources.shown().unwrap().0;
        assert_eq!((config.max_queue.value, config.context.value), (3, 512));
        place.write("third.toml", "max-queue = 4");
        place.sources.named = Some("third.toml".into());
        assert_eq!(place.sources.shown().unwrap().0.max_queue.value, 4);
    }

    #[test]
    fn a_value_that_does_not_parse_is_said_with_its_place() {
        let place = Place::new();
        for (text, says) in [
            (
                "log = \"info\"\nmax-queue = 0",
                "2:13: max-queue: \"0\" is not valid: write a whole number from 1 to 100000",
            ),
            (
                "keep-alive = \"soon\"",
                "1:14: keep-alive: \"soon\" is not valid: write a duration such as 30s, 5m or 1h30m",
            ),
            (
                "ollama-port = \"0.0.0.0:1\"",
                "1:15: ollama-port: 0.0.0.0 would open this port to the network, where Ollama's \
                 clients have no tokens; use a loopback address: 127.0.0.1, [::1] or localhost, or \
                 --tcp, where tokens are required",
            ),
            ("models-path = ''", "1:15: models-path: \"\" is not valid: name a directory"),
        ] {
            place.write(USER, text);
            assert_eq!(place.error(), format!("DIR/{USER}:{says}"), "{text}");
        }
    }

    #[test]
    fn what_says_where_the_daemon_is_counts_though_the_rest_is_wrong() {
        let place = Place::new();
        for (text, socket, hides) in [
            ("typo = 1\nsocket = \"/s\"", "/s", false),
            ("max-queue = true", "/run/user/7/modeld/modeld.sock", false),
            ("socket = 5", "/run/user/7/modeld/modeld.sock", true),
            ("socket = \"/s", "/run/user/7/modeld/modeld.sock", true),
        ] {
            place.write(USER, text);
            let usable = place.sources.read_usable();
            let found = super::super::socket_path(None, &usable.env).unwrap().value;
            assert_eq!(found, PathBuf::from(socket), "{text}");
            assert!(usable.problem.is_some() && usable.hides_the_socket == hides, "{text}");
        }
        place.write(USER, "max-queue = 0");
        assert_eq!(place.sources.read_usable().problem, None);
        // The machine's file is no stand-in for one's own, which may name another daemon.
        for (own, machine, hides) in [
            ("socket = \"/own", "socket = \"/machine\"", true),
            ("socket = 5", "socket = \"/machine\"", true),
            ("socket = \"/own\"", "socket = \"/mach", false),
            ("typo = 1", "socket = \"/machine\"", false),
        ] {
            place.write(USER, own);
            place.write("system.toml", machine);
            assert_eq!(place.sources.read_usable().hides_the_socket, hides, "{own} {machine}");
        }
    }

    #[test]
    fn what_others_can_write_is_refused() {
        let place = Place::new();
        let path = place.write(USER, "max-queue = 2");
        for mode in [0o620, 0o602, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = place.error();
            assert!(
                error.contains(&format!("can be written by others (mode {mode:o})")),
                "{error}"
            );
            assert!(error.ends_with("chmod go-w DIR/modeld/config.toml"), "{error}");
        }
        for mode in [0o600, 0o644, 0o400] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(place.sources.shown().unwrap().0.max_queue.value, 2);
        }
    }

    #[test]
    fn what_is_no_readable_text_is_refused() {
        let mut place = Place::new();
        place.sources.named = Some("modeld".into());
        assert_eq!(
            place.error(),
            "the settings file DIR/modeld is a directory, not a regular file"
        );
        let path = place.write("x.toml", "");
        place.sources.named = Some("x.toml".into());
        fs::write(&path, b"log = \"\xff\"").unwrap();
        assert_eq!(place.error(), "the settings file DIR/x.toml is not UTF-8 from byte 7 on");
        fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
        assert_eq!(place.error(), "the settings file DIR/x.toml has more than 1048576 bytes");
        fs::remove_file(&path).unwrap();
        // A pipe that nobody writes to.
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &*name,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert_eq!(
            place.error(),
            "the settings file DIR/x.toml is a named pipe, not a regular file"
        );
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("gone.toml", &path).unwrap();
        assert_eq!(
            place.error(),
            "the settings file DIR/x.toml is a link to gone.toml, which is not there; make that \
             file or remove the link"
        );
        if !rustix::process::geteuid().is_root() {
            place.write("y.toml", "");
            let y = place.dir.path().join("y.toml");
            fs::set_permissions(&y, fs::Permissions::from_mode(0o000)).unwrap();
            place.sources.named = Some("y.toml".into());
            assert!(place.error().contains("Permission denied"));
        }
    }
}
