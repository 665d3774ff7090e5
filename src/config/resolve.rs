use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};

use super::containers::container_address;
use super::duration::{parse_duration, parse_keep_alive};
use super::resolved::{Config, LogFormat, Origin, Set};
use super::settings::{self, Setting};
use super::{ConfigError, Env, RawConfig, registries};

/// The longest socket path in bytes: macOS takes 104 with the closing zero, Linux 108. One limit
/// for both, so that a setup can move between machines.
pub const MAX_SOCKET_PATH: usize = 103;

/// The port of the bare `--tcp`, the one that clients of Docker Model Runner expect.
pub(super) const DEFAULT_PORT: u16 = 12434;
/// The port of the bare `--ollama-port`, where Ollama's clients look.
const OLLAMA_PORT: u16 = 11434;

/// Turns what was typed into what holds.
///
/// # Errors
/// The first setting that cannot be used, named as the user wrote it.
pub fn resolve(raw: &RawConfig, env: &Env) -> Result<Config, ConfigError> {
    Ok(Config {
        socket: socket_path(raw.socket.as_deref(), env)?,
        tcp: match Said::given(settings::TCP, &raw.tcp, env) {
            Some(said) => said.map(|text| tcp_address(text, said.name(), DEFAULT_PORT))?,
            None => unset(None),
        },
        containers: match Said::given(settings::CONTAINERS, &raw.containers, env) {
            Some(said) => said.parse(container_address)?,
            None => unset(None),
        },
        ollama: match Said::given(settings::OLLAMA_PORT, &raw.ollama_port, env) {
            Some(said) => said.map(|text| tcp_address(text, said.name(), OLLAMA_PORT))?,
            None => unset(None),
        },
        origins: origins(raw, env)?,
        models_path: models_path(Said::given(settings::MODELS_PATH, &raw.models_path, env), env)?,
        keep_alive: keep_alive(raw, env).parse(parse_keep_alive)?,
        max_queue: Said::or_default(settings::MAX_QUEUE, &raw.max_queue, env)
            .parse(|t| number(t, 1, 100_000))?,
        max_queue_tokens: Said::or_default(settings::MAX_QUEUE_TOKENS, &raw.max_queue_tokens, env)
            .parse(|t| number(t, 1, 1 << 40))?,
        context: Said::or_default(settings::CONTEXT, &raw.context, env)
            .parse(|t| number(t, 16, 1 << 24))?,
        max_pulls: Said::or_default(settings::MAX_PULLS, &raw.max_pulls, env).parse(|t| {
            number(t, 1, 64).map(|n| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN))
        })?,
        auto_pull: Said::or_default(settings::AUTO_PULL, &raw.auto_pull, env).parse(switch)?,
        grace: Said::or_default(settings::GRACE, &raw.grace, env).parse(parse_duration)?,
        registry_mirrors: Said::or_default(settings::REGISTRY_MIRROR, &raw.registry_mirror, env)
            .parse(registries::mirrors)?,
        insecure_registries: Said::or_default(
            settings::INSECURE_REGISTRY,
            &raw.insecure_registry,
            env,
        )
        .parse(registries::hosts)?,
        registry_private_hosts: Said::or_default(
            settings::REGISTRY_PRIVATE_HOST,
            &raw.registry_private_host,
            env,
        )
        .parse(registries::hosts)?,
        registry_ca: Said::or_default(settings::REGISTRY_CA, &raw.registry_ca, env)
            .parse(|text| Ok(registries::files(text, env)))?,
        hub_url: Said::or_default(settings::HUB_URL, &raw.hub_url, env)
            .parse(registries::web_url)?,
        signature_keys: Said::or_default(settings::SIGNATURE_KEY, &raw.signature_key, env)
            .parse(|text| registries::signature_keys(text, env))?,
        config_dir: env.config_dir.as_ref().map(|dir| dir.join("modeld")),
        home: env.home.clone(),
        log: Said::or_default(settings::LOG, &raw.log, env).parse(log_filter)?,
        log_format: Said::or_default(settings::LOG_FORMAT, &raw.log_format, env)
            .parse(log_format)?,
        log_file: log_file(raw, env)?,
        record_requests: Said::or_default(settings::RECORD_REQUESTS, &raw.record_requests, env)
            .parse(switch)?,
        metrics: Said::or_default(settings::NO_METRICS, &raw.no_metrics, env)
            .parse(|text| switch(text).map(|none| !none))?,
        log_time: !env.journald,
    })
}

/// Where the socket is: the flag, `MODEL_RUNNER_SOCK`, the runtime directory, else below the home
/// directory. Clients look in the same place.
///
/// # Errors
/// [`ConfigError::SocketPathTooLong`], [`ConfigError::NoPlace`].
pub fn socket_path(flag: Option<&str>, env: &Env) -> Result<Set<PathBuf>, ConfigError> {
    let set = match Said::pick(settings::SOCKET, flag, env) {
        Some(said) => said.map(|text| Ok(absolute(text, env)))?,
        None => {
            let below_runtime = env.runtime_dir.as_ref().map(|d| d.join("modeld"));
            let below_home = || env.home.as_ref().map(|d| d.join(".modeld/run"));
            let dir = below_runtime.or_else(below_home).ok_or(ConfigError::NoPlace {
                what: "the socket",
                tried: "XDG_RUNTIME_DIR",
                flag: settings::SOCKET.flag,
            })?;
            unset(dir.join("modeld.sock"))
        }
    };
    let length = set.value.as_os_str().len();
    if length > MAX_SOCKET_PATH {
        return Err(ConfigError::SocketPathTooLong {
            path: set.value.display().to_string(),
            length,
            limit: MAX_SOCKET_PATH,
        });
    }
    Ok(set)
}

/// A value that somebody gave, before it is understood.
#[derive(Debug, Clone, Copy)]
struct Said<'a> {
    text: &'a str,
    origin: Origin,
    setting: Setting,
}

impl<'a> Said<'a> {
    fn given(setting: Setting, flag: &'a Option<String>, env: &'a Env) -> Option<Self> {
        Self::pick(setting, flag.as_deref(), env)
    }

    fn or_default(setting: Setting, flag: &'a Option<String>, env: &'a Env) -> Self {
        let default = Self { text: setting.default, origin: Origin::Default, setting };
        Self::given(setting, flag, env).unwrap_or(default)
    }

    fn pick(setting: Setting, flag: Option<&'a str>, env: &'a Env) -> Option<Self> {
        let typed = flag.map(|text| Self { text, origin: Origin::Flag(setting.flag), setting });
        typed.or_else(|| {
            Some(Self { text: env.get(setting.env)?, origin: Origin::Env(setting.env), setting })
        })
    }

    /// What to call it in an error: the way it was given.
    fn name(self) -> &'static str {
        match self.origin {
            Origin::Flag(name) | Origin::Env(name) => name,
            Origin::Default => self.setting.name,
        }
    }

    fn map<T>(
        self,
        understand: impl FnOnce(&str) -> Result<T, ConfigError>,
    ) -> Result<Set<T>, ConfigError> {
        Ok(Set { value: understand(self.text)?, origin: self.origin })
    }

    fn parse<T>(
        self,
        understand: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Set<T>, ConfigError> {
        self.map(|text| understand(text).map_err(|problem| invalid(self.name(), text, problem)))
    }
}

fn unset<T>(value: T) -> Set<T> {
    Set { value, origin: Origin::Default }
}

fn invalid(from: &'static str, value: &str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Invalid { from, value: value.to_owned(), problem: problem.into() }
}

fn absolute(text: &str, env: &Env) -> PathBuf {
    env.current_dir.join(Path::new(text))
}

fn models_path(said: Option<Said<'_>>, env: &Env) -> Result<Set<PathBuf>, ConfigError> {
    match said {
        Some(said) => said.map(|text| match text {
            "" => Err(invalid(said.name(), text, "name a directory")),
            text => Ok(absolute(text, env)),
        }),
        None => env.data_dir.as_ref().map(|d| unset(d.join("modeld/models"))).ok_or(
            ConfigError::NoPlace {
                what: "the models",
                tried: "XDG_DATA_HOME",
                flag: settings::MODELS_PATH.flag,
            },
        ),
    }
}

/// `OLLAMA_KEEP_ALIVE` holds where nobody says anything in our own words.
fn keep_alive<'a>(raw: &'a RawConfig, env: &'a Env) -> Said<'a> {
    let setting = settings::KEEP_ALIVE;
    let ollama = || {
        let (text, name) = (env.get(Env::OLLAMA_KEEP_ALIVE)?, Env::OLLAMA_KEEP_ALIVE);
        Some(Said { text, origin: Origin::Env(name), setting })
    };
    let said = Said::given(setting, &raw.keep_alive, env).or_else(ollama);
    said.unwrap_or(Said { text: setting.default, origin: Origin::Default, setting })
}

/// The origins that may ask, and those of `OLLAMA_ORIGINS`.
fn origins(raw: &RawConfig, env: &Env) -> Result<Set<Vec<String>>, ConfigError> {
    let mut all = Said::or_default(settings::ORIGIN, &raw.origin, env).parse(origin_list)?;
    if let Some(text) = env.get(Env::OLLAMA_ORIGINS) {
        let name = Env::OLLAMA_ORIGINS;
        all.value.extend(origin_list(text).map_err(|problem| invalid(name, text, problem))?);
        if all.origin == Origin::Default {
            all.origin = Origin::Env(name);
        }
    }
    Ok(all)
}

fn origin_list(text: &str) -> Result<Vec<String>, String> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| match item.split_once("://") {
            _ if item == "*" => Ok(item.to_owned()),
            Some((scheme, host)) if !scheme.is_empty() && !host.is_empty() => {
                // A browser sends no path and no slash at the end.
                Ok(item.trim_end_matches('/').to_ascii_lowercase())
            }
            _ => Err("write origins such as https://example.com, app://* or *".to_owned()),
        })
        .collect()
}

/// A machine without a home has no place for a log, and needs none.
fn log_file(raw: &RawConfig, env: &Env) -> Result<Set<Option<PathBuf>>, ConfigError> {
    let none = Said::or_default(settings::NO_LOG_FILE, &raw.no_log_file, env).parse(switch)?;
    let named = Said::given(settings::LOG_FILE, &raw.log_file, env);
    // Whoever names a file on the command line means it more than a variable that says none.
    let outdone =
        |said: &Said<'_>| matches!((said.origin, none.origin), (Origin::Flag(_), Origin::Env(_)));
    if none.value && !named.as_ref().is_some_and(outdone) {
        return Ok(Set { value: None, origin: none.origin });
    }
    match named {
        Some(said) => said.map(|text| match text {
            "" => Err(invalid(said.name(), text, "name a file, or give --no-log-file")),
            text => Ok(Some(absolute(text, env))),
        }),
        None => Ok(unset(env.state_dir.as_ref().map(|dir| dir.join("modeld/modeld.log")))),
    }
}

fn tcp_address(
    text: &str,
    from: &'static str,
    default_port: u16,
) -> Result<Option<SocketAddr>, ConfigError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), default_port)));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port = port
        .parse::<u16>()
        .map_err(|_| invalid(from, text, "write PORT or HOST:PORT, the port from 0 to 65535"))?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let ip = match bare {
        "" | "localhost" => IpAddr::from(Ipv4Addr::LOCALHOST),
        address => match IpAddr::from_str(address) {
            Ok(ip) if ip.to_canonical().is_loopback() => ip,
            Ok(_) | Err(_) => {
                return Err(ConfigError::NotLoopback { from, host: host.to_owned() });
            }
        },
    };
    Ok(Some(SocketAddr::new(ip, port)))
}

fn number<T>(text: &str, least: u64, most: u64) -> Result<T, String>
where
    T: TryFrom<u64>,
{
    let problem = || format!("write a whole number from {least} to {most}");
    let value: u64 = text.parse().map_err(|_| problem())?;
    if !(least..=most).contains(&value) {
        return Err(problem());
    }
    T::try_from(value).map_err(|_| problem())
}

fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err("write on or off".to_owned()),
    }
}

/// A bare word has to be a level: the parser would take a misspelt one for a module's name, and
/// the log would stay empty.
fn log_filter(text: &str) -> Result<String, String> {
    let is_level = |word: &str| !word.is_empty() && LevelFilter::from_str(word).is_ok();
    if let Some(word) = text.split(',').find(|w| !w.contains('=') && !is_level(w)) {
        return Err(format!("{word:?} is no level: off, error, warn, info, debug or trace"));
    }
    Targets::from_str(text).map_err(|e| e.to_string())?;
    Ok(text.to_owned())
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("write text or json".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn env() -> Env {
        Env {
            runtime_dir: Some("/run/user/7".into()),
            home: Some("/home/u".into()),
            data_dir: Some("/home/u/.local/share".into()),
            config_dir: Some("/home/u/.config".into()),
            state_dir: Some("/home/u/.local/state".into()),
            current_dir: "/here".into(),
            ..Env::default()
        }
    }

    #[test]
    fn nobody_says_anything() {
        let config = resolve(&RawConfig::default(), &env()).unwrap();
        assert_eq!(
            config,
            Config {
                socket: unset("/run/user/7/modeld/modeld.sock".into()),
                tcp: unset(None),
                containers: unset(None),
                ollama: unset(None),
                origins: unset(Vec::new()),
                models_path: unset("/home/u/.local/share/modeld/models".into()),
                keep_alive: unset(Some(Duration::from_secs(300))),
                max_queue: unset(64),
                max_queue_tokens: unset(1 << 20),
                context: unset(32_768),
                max_pulls: unset(NonZeroUsize::new(3).unwrap()),
                auto_pull: unset(false),
                grace: unset(Duration::from_secs(10)),
                registry_mirrors: unset(Vec::new()),
                insecure_registries: unset(Vec::new()),
                registry_private_hosts: unset(Vec::new()),
                registry_ca: unset(Vec::new()),
                hub_url: unset("https://huggingface.co".parse().unwrap()),
                signature_keys: unset(Vec::new()),
                config_dir: Some("/home/u/.config/modeld".into()),
                home: Some("/home/u".into()),
                log: unset("info".into()),
                log_format: unset(LogFormat::Text),
                log_file: unset(Some("/home/u/.local/state/modeld/modeld.log".into())),
                record_requests: unset(false),
                metrics: unset(true),
                log_time: true,
            }
        );
    }

    #[test]
    fn a_flag_beats_a_variable_beats_the_default() {
        let env = env().with("MODELD_KEEP_ALIVE", "1h");
        let typed = RawConfig { keep_alive: Some("-1".into()), ..RawConfig::default() };
        let by_flag = resolve(&typed, &env).unwrap().keep_alive;
        assert_eq!(by_flag, Set { value: None, origin: Origin::Flag("--keep-alive") });
        let by_env = resolve(&RawConfig::default(), &env).unwrap().keep_alive;
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(by_env, Set { value: hour, origin: Origin::Env("MODELD_KEEP_ALIVE") });
    }

    #[test]
    fn the_log_file_is_where_it_is_wanted_or_nowhere() {
        let file = |flags: [Option<&str>; 2], env: &Env| {
            let [log_file, no_log_file] = flags.map(|flag| flag.map(str::to_owned));
            let raw = RawConfig { log_file, no_log_file, ..RawConfig::default() };
            resolve(&raw, env).map(|config| config.log_file.value)
        };
        let there = Some(PathBuf::from("/here/x.log"));
        assert_eq!(file([Some("x.log"), None], &env()), Ok(there.clone()));
        assert_eq!(file([None, Some("on")], &env()), Ok(None));
        assert_eq!(file([None, None], &env().with("MODELD_NO_LOG_FILE", "1")), Ok(None));
        let both = env().with("MODELD_NO_LOG_FILE", "1");
        assert_eq!(file([Some("x.log"), None], &both), Ok(there));
        assert_eq!(file([Some("x.log"), Some("on")], &env()), Ok(None));
        let homeless = Env { state_dir: None, ..env() };
        assert_eq!(file([None, None], &homeless), Ok(None));
    }

    #[test]
    fn metrics_are_counted_unless_somebody_disables_them() {
        let metrics = |env: Env| resolve(&RawConfig::default(), &env).map(|c| c.metrics.value);
        assert_eq!(metrics(env()), Ok(true));
        assert_eq!(metrics(env().with("DISABLE_METRICS", "true")), Ok(false));
        assert_eq!(metrics(env().with("DISABLE_METRICS", "0")), Ok(true));
    }

    #[test]
    fn the_socket_goes_where_there_is_room_for_it() {
        let path = |env: &Env| socket_path(None, env).map(|s| s.value);
        let no_runtime = Env { runtime_dir: None, ..env() };
        assert_eq!(path(&no_runtime), Ok("/home/u/.modeld/run/modeld.sock".into()));
        let nowhere = Env { home: None, ..no_runtime };
        assert!(matches!(path(&nowhere), Err(ConfigError::NoPlace { what: "the socket", .. })));
        assert_eq!(path(&nowhere.with("MODEL_RUNNER_SOCK", "m.sock")), Ok("/here/m.sock".into()));
    }

    #[test]
    fn a_socket_path_may_have_103_bytes() {
        let path = |n: usize| format!("/{}", "x".repeat(n - 1));
        assert!(socket_path(Some(&path(103)), &env()).is_ok());
        let error = socket_path(Some(&path(104)), &env()).unwrap_err();
        assert!(matches!(error, ConfigError::SocketPathTooLong { length: 104, limit: 103, .. }));
    }

    #[test]
    fn tcp_spellings() {
        let tcp = |text: &str| {
            let raw = RawConfig { tcp: Some(text.into()), ..RawConfig::default() };
            resolve(&raw, &env()).map(|c| c.tcp.value.map(|a| a.to_string()))
        };
        for (text, address) in [
            ("", "127.0.0.1:12434"),
            ("12500", "127.0.0.1:12500"),
            ("localhost:1", "127.0.0.1:1"),
            ("127.0.0.2:2", "127.0.0.2:2"),
            ("[::1]:3", "[::1]:3"),
            (":4", "127.0.0.1:4"),
        ] {
            assert_eq!(tcp(text), Ok(Some(address.to_owned())), "{text}");
        }
        for host in ["0.0.0.0", "[::]", "192.168.1.2", "example.com", "::ffff:8.8.8.8"] {
            let error = tcp(&format!("{host}:5")).unwrap_err();
            assert!(matches!(error, ConfigError::NotLoopback { .. }), "{host}: {error}");
        }
        for text in ["x", "127.0.0.1:", "65536", "-1"] {
            assert!(matches!(tcp(text), Err(ConfigError::Invalid { from: "--tcp", .. })), "{text}");
        }
    }

    #[test]
    fn a_port_variable_adds_a_listener_and_leaves_the_socket() {
        let config = resolve(&RawConfig::default(), &env().with("MODEL_RUNNER_PORT", "12434"));
        let config = config.unwrap();
        assert_eq!(config.tcp.value, Some("127.0.0.1:12434".parse().unwrap()));
        assert_eq!(config.tcp.origin, Origin::Env("MODEL_RUNNER_PORT"));
        assert_eq!(config.socket.value, PathBuf::from("/run/user/7/modeld/modeld.sock"));
    }

    #[test]
    fn the_port_of_ollama_is_for_those_who_ask() {
        let ollama = |text: Option<&str>| {
            let raw = RawConfig { ollama_port: text.map(str::to_owned), ..RawConfig::default() };
            resolve(&raw, &env()).map(|c| c.ollama.value.map(|address| address.to_string()))
        };
        assert_eq!(ollama(None), Ok(None));
        assert_eq!(ollama(Some("")), Ok(Some("127.0.0.1:11434".to_owned())));
        assert_eq!(ollama(Some("[::1]:7")), Ok(Some("[::1]:7".to_owned())));
        assert!(matches!(ollama(Some("0.0.0.0:1")), Err(ConfigError::NotLoopback { .. })));
        // What Ollama itself binds to is no wish of ours.
        let config = resolve(&RawConfig::default(), &env().with("OLLAMA_HOST", "0.0.0.0"));
        assert_eq!(config.unwrap().ollama.value, None);
    }

    #[test]
    fn ollamas_variables_hold_where_ours_say_nothing() {
        let env =
            env().with("OLLAMA_KEEP_ALIVE", "1h").with("OLLAMA_ORIGINS", "http://a, app://*/");
        let config = resolve(&RawConfig::default(), &env).unwrap();
        let hour = Some(Duration::from_secs(3600));
        let origin = Origin::Env("OLLAMA_KEEP_ALIVE");
        assert_eq!(config.keep_alive, Set { value: hour, origin });
        assert_eq!(config.origins.value, ["http://a", "app://*"]);
        let env = env.with("MODELD_KEEP_ALIVE", "2h").with("DMR_ORIGINS", "https://*.B.c");
        let config = resolve(&RawConfig::default(), &env).unwrap();
        assert_eq!(config.keep_alive.origin, Origin::Env("MODELD_KEEP_ALIVE"));
        assert_eq!(config.origins.value, ["https://*.b.c", "http://a", "app://*"]);
        let error = resolve(&RawConfig::default(), &env.with("OLLAMA_ORIGINS", "a.b")).unwrap_err();
        assert!(matches!(error, ConfigError::Invalid { from: "OLLAMA_ORIGINS", .. }), "{error}");
    }

    #[test]
    fn relative_paths_are_relative_to_where_the_user_stands() {
        let raw = RawConfig { models_path: Some("m".into()), ..RawConfig::default() };
        assert_eq!(resolve(&raw, &env()).unwrap().models_path.value, PathBuf::from("/here/m"));
    }

    #[test]
    fn what_is_wrong_names_its_source_and_value() {
        for (name, value, says) in [
            (
                "MODELD_MAX_QUEUE",
                "0",
                "MODELD_MAX_QUEUE: \"0\" is not valid: write a whole number from 1 to 100000",
            ),
            (
                "MODELD_CONTEXT",
                "many",
                "MODELD_CONTEXT: \"many\" is not valid: write a whole number from 16 to 16777216",
            ),
            (
                "MODELD_KEEP_ALIVE",
                "soon",
                "MODELD_KEEP_ALIVE: \"soon\" is not valid: write a duration such as 30s, 5m or 1h30m",
            ),
            (
                "MODELD_MAX_PULLS",
                "0",
                "MODELD_MAX_PULLS: \"0\" is not valid: write a whole number from 1 to 64",
            ),
            (
                "MODELD_AUTO_PULL",
                "maybe",
                "MODELD_AUTO_PULL: \"maybe\" is not valid: write on or off",
            ),
            ("MODELD_GRACE", "-1", "MODELD_GRACE: \"-1\" is not valid: it must not be negative"),
            (
                "MODELD_LOG_FORMAT",
                "xml",
                "MODELD_LOG_FORMAT: \"xml\" is not valid: write text or json",
            ),
        ] {
            let error = resolve(&RawConfig::default(), &env().with(name, value)).unwrap_err();
            assert_eq!(error.to_string(), says);
        }
        for filter in ["modeld=loud", "debgu", "info,,", ""] {
            let raw = RawConfig { log: Some(filter.into()), ..RawConfig::default() };
            let error = resolve(&raw, &env());
            assert!(matches!(error, Err(ConfigError::Invalid { from: "--log", .. })), "{filter}");
        }
    }
}
