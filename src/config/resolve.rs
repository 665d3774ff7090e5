use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::address::{TCP_PORT, address, loopback};
use super::containers::container_address;
use super::duration::{parse_duration, parse_keep_alive, parse_limit};
use super::resolved::{Config, Origin, Set};
use super::said::{Said, invalid, unset};
use super::tls::tls;
use super::values::{group_name, log_filter, log_format, number, origin_list, switch};
use super::{ConfigError, Env, RawConfig, dmr, registries, settings};

/// The longest socket path in bytes: macOS takes 104 with the closing zero, Linux 108. One limit
/// for both, so that a setup can move between machines.
pub const MAX_SOCKET_PATH: usize = 103;

/// The port of the bare `--ollama-port`, where Ollama's clients look.
const OLLAMA_PORT: u16 = 11434;

/// Turns what was typed into what holds.
///
/// # Errors
/// The first setting that cannot be used, named as the user wrote it.
pub fn resolve(raw: &RawConfig, env: &Env) -> Result<Config, ConfigError> {
    Ok(Config {
        socket: socket_path(raw.socket.as_deref(), env)?,
        socket_group: match Said::given(settings::SOCKET_GROUP, &raw.socket_group, env) {
            Some(said) => said.parse(group_name)?,
            None => unset(None),
        },
        tcp: match Said::given(settings::TCP, &raw.tcp, env) {
            Some(said) if said.is_off() => Set { value: None, origin: said.origin },
            Some(said) => said.map(|text| Ok(Some(address(text, said.name(), TCP_PORT)?)))?,
            None => off(settings::TCP, &raw.tcp, env),
        },
        require_token: Said::or_default(settings::REQUIRE_TOKEN, &raw.require_token, env)
            .parse(switch)?,
        tls: tls(raw, env)?,
        containers: match Said::given(settings::CONTAINERS, &raw.containers, env) {
            Some(said) if said.is_off() => Set { value: None, origin: said.origin },
            Some(said) => said.parse(container_address)?,
            None => off(settings::CONTAINERS, &raw.containers, env),
        },
        ollama: match Said::given(settings::OLLAMA_PORT, &raw.ollama_port, env) {
            Some(said) if said.is_off() => Set { value: None, origin: said.origin },
            Some(said) => said.map(|text| loopback(text, said.name(), OLLAMA_PORT).map(Some))?,
            None => off(settings::OLLAMA_PORT, &raw.ollama_port, env),
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
        idle_exit: Said::or_default(settings::IDLE_EXIT, &raw.idle_exit, env).parse(parse_limit)?,
        registry_mirrors: dmr::mirrors(
            Said::or_default(settings::REGISTRY_MIRROR, &raw.registry_mirror, env)
                .parse(registries::mirrors)?,
            env,
        )?,
        insecure_registries: dmr::insecure(
            Said::or_default(settings::INSECURE_REGISTRY, &raw.insecure_registry, env)
                .parse(registries::hosts)?,
            env,
        )?,
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
        config_dir: env.own_dir(),
        settings_file: env.own_file(),
        home: env.home.clone(),
        log: dmr::log(raw, env).parse(log_filter)?,
        log_format: Said::or_default(settings::LOG_FORMAT, &raw.log_format, env)
            .parse(log_format)?,
        log_file: log_file(raw, env)?,
        core_dumps: Said::or_default(settings::CORE_DUMPS, &raw.core_dumps, env).parse(switch)?,
        record_requests: Said::or_default(settings::RECORD_REQUESTS, &raw.record_requests, env)
            .parse(switch)?,
        metrics: Said::or_default(settings::NO_METRICS, &raw.no_metrics, env)
            .parse(|text| switch(text).map(|none| !none))?,
        log_time: !env.journald,
        notes: dmr::notes(env),
    })
}

/// A listener that nobody wants, or that a file has off: then it stays closed whoever passes its socket.
fn off<T>(setting: super::Setting, flag: &Option<String>, env: &Env) -> Set<Option<T>> {
    let origin = Said::off(setting, flag, env).unwrap_or(Origin::Default);
    Set { value: None, origin }
}

/// Where the socket is: the flag, `MODEL_RUNNER_SOCK`, the runtime directory, else below the home
/// directory. Clients look in the same place.
///
/// # Errors
/// [`ConfigError::SocketPathTooLong`], [`ConfigError::NoPlace`].
pub fn socket_path(flag: Option<&str>, env: &Env) -> Result<Set<PathBuf>, ConfigError> {
    let set = match Said::pick(settings::SOCKET, flag, env) {
        Some(said) => {
            said.map(|text| Ok(absolute(text.strip_prefix("unix://").unwrap_or(text), env)))?
        }
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

pub(super) fn absolute(text: &str, env: &Env) -> PathBuf {
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
    let ollama = || Said::foreign(setting, Env::OLLAMA_KEEP_ALIVE, env);
    let said = Said::given(setting, &raw.keep_alive, env).or_else(ollama);
    said.unwrap_or(Said::default_of(setting))
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

/// A machine without a home has no place for a log, and needs none.
fn log_file(raw: &RawConfig, env: &Env) -> Result<Set<Option<PathBuf>>, ConfigError> {
    let none = Said::or_default(settings::NO_LOG_FILE, &raw.no_log_file, env).parse(switch)?;
    let named = Said::given(settings::LOG_FILE, &raw.log_file, env);
    // Whoever names a file means it more than who says none in a place that counts for less.
    let outdone = |said: &Said<'_>| said.rank() > Said::rank_of(none.origin);
    if none.value && !named.as_ref().is_some_and(outdone) {
        return Ok(Set { value: None, origin: none.origin });
    }
    match named {
        Some(said) => said.map(|text| match text {
            "" => Err(invalid(said.name(), text, "name a file, or give --no-log-file")),
            text => Ok(Some(absolute(text, env))),
        }),
        None => Ok(dmr::log_file(env).unwrap_or_else(|| {
            unset(env.state_dir.as_ref().map(|dir| dir.join("modeld/modeld.log")))
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tls;
    use std::time::Duration;

    use super::super::LogFormat;
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
                socket_group: unset(None),
                require_token: unset(false),
                tls: unset(None),
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
                idle_exit: unset(None),
                registry_mirrors: unset(Vec::new()),
                insecure_registries: unset(Vec::new()),
                registry_private_hosts: unset(Vec::new()),
                registry_ca: unset(Vec::new()),
                hub_url: unset("https://huggingface.co".parse().unwrap()),
                signature_keys: unset(Vec::new()),
                config_dir: Some("/home/u/.config/modeld".into()),
                settings_file: Some("/home/u/.config/modeld/config.toml".into()),
                home: Some("/home/u".into()),
                log: unset("info".into()),
                log_format: unset(LogFormat::Text),
                log_file: unset(Some("/home/u/.local/state/modeld/modeld.log".into())),
                core_dumps: unset(false),
                record_requests: unset(false),
                metrics: unset(true),
                log_time: true,
                notes: Vec::new(),
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
        let named = |text: &str| path(&nowhere.clone().with("MODEL_RUNNER_SOCK", text));
        assert_eq!(named("m.sock"), Ok("/here/m.sock".into()));
        assert_eq!(named("unix:///s/m.sock"), Ok("/s/m.sock".into()));
    }

    #[test]
    fn a_socket_path_may_have_103_bytes() {
        let path = |n: usize| format!("/{}", "x".repeat(n - 1));
        assert!(socket_path(Some(&path(103)), &env()).is_ok());
        let error = socket_path(Some(&path(104)), &env()).unwrap_err();
        assert!(matches!(error, ConfigError::SocketPathTooLong { length: 104, limit: 103, .. }));
    }

    #[test]
    fn a_listener_can_be_said_to_be_off_anywhere() {
        for text in ["off", "false", "no", "OFF"] {
            let raw = RawConfig { tcp: Some(text.into()), ..RawConfig::default() };
            let variables = env().with("MODELD_CONTAINERS", text);
            let config = resolve(&raw, &variables.with("MODELD_OLLAMA_PORT", text)).unwrap();
            let tcp = (config.tcp.value, config.tcp.origin);
            assert_eq!(tcp, (None, Origin::Flag("--tcp")), "{text}");
            let containers = (config.containers.value, config.containers.origin);
            assert_eq!(containers, (None, Origin::Env("MODELD_CONTAINERS")), "{text}");
            let ollama = (config.ollama.value, config.ollama.origin);
            assert_eq!(ollama, (None, Origin::Env("MODELD_OLLAMA_PORT")), "{text}");
        }
    }

    #[test]
    fn who_has_a_listener_off_is_known() {
        let file = super::super::ConfigFile::parse(
            Path::new("/c.toml"),
            "containers = false\ntcp = false\n",
            None,
        );
        let env = Env { files: vec![file.unwrap()], ..env() };
        let config = resolve(&RawConfig::default(), &env).unwrap();
        let at = |line| Origin::File { path: Path::new("/c.toml"), line };
        assert_eq!(config.tcp, Set { value: None, origin: at(2) });
        assert_eq!(config.containers, Set { value: None, origin: at(1) });
        assert_eq!(config.ollama, unset(None));
        let raw = RawConfig { tcp: Some("5".into()), ..RawConfig::default() };
        assert_eq!(resolve(&raw, &env).unwrap().tcp.origin, Origin::Flag("--tcp"));
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
            // Others need a token, and without one the daemon does not start.
            ("0.0.0.0:5", "0.0.0.0:5"),
            ("[::]:6", "[::]:6"),
            ("192.168.1.2:7", "192.168.1.2:7"),
        ] {
            assert_eq!(tcp(text), Ok(Some(address.to_owned())), "{text}");
        }
        for text in ["x", "127.0.0.1:", "65536", "-1", "example.com:5"] {
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
    fn tls_has_one_source_and_both_of_its_files() {
        let tls = |own: Option<&str>, cert: Option<&str>, key: Option<&str>| {
            let text = |text: Option<&str>| text.map(str::to_owned);
            let (tls, tls_cert, tls_key) = (text(own), text(cert), text(key));
            let raw = RawConfig { tls, tls_cert, tls_key, ..RawConfig::default() };
            resolve(&raw, &env()).map(|config| config.tls.value)
        };
        assert_eq!(tls(None, None, None), Ok(None));
        assert_eq!(tls(Some("off"), None, None), Ok(None));
        assert_eq!(tls(Some("self-signed"), None, None), Ok(Some(Tls::SelfSigned)));
        let files = Tls::Files { cert: "/here/c".into(), key: "/k".into() };
        assert_eq!(tls(None, Some("c"), Some("/k")), Ok(Some(files)));
        for (own, cert, key) in
            [(Some("self-signed"), Some("c"), Some("k")), (Some("on"), None, None)]
        {
            let error = tls(own, cert, key).unwrap_err();
            assert!(matches!(error, ConfigError::Invalid { .. }), "{own:?} {cert:?} {key:?}");
        }
        for (cert, key, given, missing) in
            [(Some("c"), None, "--tls-cert", "tls-key"), (None, Some("k"), "--tls-key", "tls-cert")]
        {
            let given = given.to_owned();
            assert_eq!(tls(None, cert, key), Err(ConfigError::HalfTls { given, missing }));
        }
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
