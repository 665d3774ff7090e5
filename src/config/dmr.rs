//! Variables of Docker Model Runner that are no settings of ours: what becomes of each.

use url::Url;

use super::registries::{Mirror, registry_name, web_url};
use super::resolved::{Origin, Set};
use super::said::{Said, invalid};
use super::values::switch;
use super::{ConfigError, Env, RawConfig, SETTINGS, settings};

const LOG_LEVEL: &str = "LOG_LEVEL";
const LOG_DIR: &str = "MODEL_RUNNER_LOG_DIR";
const DEFAULT_REGISTRY: &str = "DEFAULT_REGISTRY";
const INSECURE_REGISTRY: &str = "INSECURE_REGISTRY";

/// A variable of another program, and what it does here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    /// Its name.
    pub name: &'static str,
    /// What becomes of it.
    pub meaning: &'static str,
    /// Whether somebody who sets it expects something that does not happen, and is told.
    pub ignored: bool,
}

const fn heeded(name: &'static str, meaning: &'static str) -> Foreign {
    Foreign { name, meaning, ignored: false }
}

const fn ignored(name: &'static str, meaning: &'static str) -> Foreign {
    Foreign { name, meaning, ignored: true }
}

/// Variables of other programs besides those in the table of settings, as the page on settings lists
/// them.
pub const FOREIGN: &[Foreign] = &[
    heeded(
        LOG_LEVEL,
        "what to log (debug, info, warn, error), where nobody says `log`; other words are ignored",
    ),
    heeded(LOG_DIR, "the directory of `modeld.log`, where nobody says `log-file`"),
    heeded(
        DEFAULT_REGISTRY,
        "a host that is asked before Docker Hub, as a `registry-mirror` is, after those that are named; \
         names of models stay as they are",
    ),
    heeded(
        INSECURE_REGISTRY,
        "`true`: the host of DEFAULT_REGISTRY may speak plain HTTP; without one it has no effect, since \
         `insecure-registry` names hosts",
    ),
    heeded(
        "DOCKER_USERNAME",
        "with DOCKER_PASSWORD the login to Docker Hub; DOCKER_HUB_USER and DOCKER_HUB_PASSWORD likewise",
    ),
    heeded("HF_TOKEN", "the token for the Hugging Face Hub"),
    heeded("MODEL_RUNNER_HOST", "where commands find the daemon, after `--host` and MODELD_HOST"),
    heeded("DO_NOT_TRACK", "nothing to do: there is no telemetry"),
    heeded(Env::OLLAMA_KEEP_ALIVE, "how long models stay, where nobody says `keep-alive`"),
    heeded(Env::OLLAMA_ORIGINS, "added to `origin`"),
    ignored("LLAMA_SERVER_PATH", "no effect: llama.cpp is part of modeld"),
    ignored("LLAMA_SERVER_VERSION", "no effect: llama.cpp is part of modeld"),
    ignored("DISABLE_SERVER_UPDATE", "no effect: nothing is downloaded but models"),
    ignored(
        "LLAMA_ARGS",
        "no effect: `modeld configure MODEL -- FLAGS` takes llama.cpp's flags for a model",
    ),
    ignored("VLLM_SERVER_PATH", "no effect: llama.cpp is the only engine"),
    ignored("VLLM_METAL_SERVER_PATH", "no effect: llama.cpp is the only engine"),
    ignored("SGLANG_SERVER_PATH", "no effect: llama.cpp is the only engine"),
    ignored("MLX_SERVER_PATH", "no effect: llama.cpp is the only engine"),
    ignored("DIFFUSERS_SERVER_PATH", "no effect: llama.cpp is the only engine"),
    ignored("MODEL_RUNNER_ENVIRONMENT", "no effect: `keep-alive` says how long models stay"),
];

/// The names of all that the daemon reads for settings.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FOREIGN.iter().map(|foreign| foreign.name)
}

/// A sentence for each variable that is set and does not do what it does elsewhere.
pub(super) fn notes(env: &Env) -> Vec<String> {
    let is_setting = |name: &str| SETTINGS.iter().any(|setting| setting.env == name);
    let set = FOREIGN.iter().filter(|it| it.ignored && !is_setting(it.name));
    let mut notes: Vec<String> = set
        .filter(|it| env.get(it.name).is_some())
        .map(|it| format!("{} has {}", it.name, it.meaning))
        .collect();
    if env.get(LOG_LEVEL).is_some() && level(env).is_none() {
        notes.push(format!("{LOG_LEVEL} has no effect: it is none of debug, info, warn and error"));
    }
    if env.get(INSECURE_REGISTRY).is_some_and(|text| switch(text) == Ok(true))
        && env.get(DEFAULT_REGISTRY).is_none()
    {
        notes.push(format!(
            "{INSECURE_REGISTRY} has no effect: it names no host; \
             {} does",
            settings::INSECURE_REGISTRY.flag
        ));
    }
    notes
}

/// What to log: our own words, else `LOG_LEVEL`.
pub(super) fn log<'a>(raw: &'a RawConfig, env: &'a Env) -> Said<'a> {
    let setting = settings::LOG;
    let foreign = || Some(Said::foreign(setting, LOG_LEVEL, env)?.meaning(level(env)?));
    let said = Said::given(setting, &raw.log, env).or_else(foreign);
    said.unwrap_or(Said::default_of(setting))
}

fn level(env: &Env) -> Option<&'static str> {
    let text = env.get(LOG_LEVEL)?;
    let level = |word: &str| ["debug", "info", "warn", "error"].into_iter().find(|w| *w == word);
    level(&text.to_ascii_lowercase()).or(text.eq_ignore_ascii_case("warning").then_some("warn"))
}

/// The log below `MODEL_RUNNER_LOG_DIR`.
pub(super) fn log_file(env: &Env) -> Option<Set<Option<std::path::PathBuf>>> {
    let value = Some(env.current_dir.join(env.get(LOG_DIR)?).join("modeld.log"));
    Some(Set { value, origin: Origin::Env(LOG_DIR) })
}

/// The mirrors, and the default registry behind them.
pub(super) fn mirrors(
    mut said: Set<Vec<Mirror>>,
    env: &Env,
) -> Result<Set<Vec<Mirror>>, ConfigError> {
    if let Some((url, _)) = default_registry(env)? {
        said.value.push(Mirror { registry: "docker.io".to_owned(), url });
        if said.origin == Origin::Default {
            said.origin = Origin::Env(DEFAULT_REGISTRY);
        }
    }
    Ok(said)
}

/// The hosts without TLS, and the default registry's if it is one.
pub(super) fn insecure(
    mut said: Set<Vec<String>>,
    env: &Env,
) -> Result<Set<Vec<String>>, ConfigError> {
    if let Some((_, host)) = default_registry(env)?
        && is_insecure(env)?
    {
        said.value.push(host);
        if said.origin == Origin::Default {
            said.origin = Origin::Env(INSECURE_REGISTRY);
        }
    }
    Ok(said)
}

fn is_insecure(env: &Env) -> Result<bool, ConfigError> {
    let Some(text) = env.get(INSECURE_REGISTRY) else { return Ok(false) };
    switch(text).map_err(|problem| invalid(INSECURE_REGISTRY, text, problem))
}

/// `HOST[:PORT]`, or a URL, and its host; `None`: it is Docker Hub, or nobody says.
fn default_registry(env: &Env) -> Result<Option<(Url, String)>, ConfigError> {
    let Some(text) = env.get(DEFAULT_REGISTRY) else { return Ok(None) };
    let wrong = |problem: String| invalid(DEFAULT_REGISTRY, text, problem);
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None if is_insecure(env)? => ("http", text),
        None => ("https", text),
    };
    let host = registry_name(rest.split('/').next().unwrap_or(rest)).map_err(wrong)?;
    if ["docker.io", "index.docker.io", "registry-1.docker.io"].contains(&host.as_str()) {
        return Ok(None);
    }
    let url = web_url(&format!("{scheme}://{rest}")).map_err(wrong)?;
    Ok(Some((url, host)))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, resolve};
    use super::*;

    fn env() -> Env {
        Env {
            runtime_dir: Some("/run/user/7".into()),
            data_dir: Some("/d".into()),
            current_dir: "/here".into(),
            ..Env::default()
        }
    }

    fn resolved(env: &Env) -> Config {
        resolve(&RawConfig::default(), env).unwrap()
    }

    #[test]
    fn no_variable_is_listed_twice() {
        let mut all: Vec<&str> = names().chain(SETTINGS.iter().map(|s| s.env)).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "{all:?}");
    }

    #[test]
    fn a_level_is_one_of_four_words_and_ours_count_more() {
        for (word, log) in [("DEBUG", "debug"), ("warn", "warn"), ("warning", "warn")] {
            let log_of = resolved(&env().with(LOG_LEVEL, word)).log;
            assert_eq!(log_of, Set { value: log.to_owned(), origin: Origin::Env(LOG_LEVEL) });
        }
        let odd = resolved(&env().with(LOG_LEVEL, "loud"));
        assert_eq!(odd.log, Set { value: "info".to_owned(), origin: Origin::Default });
        assert_eq!(odd.notes.len(), 1, "{:?}", odd.notes);
        let ours = env().with(LOG_LEVEL, "debug").with("MODELD_LOG", "trace");
        assert_eq!(resolved(&ours).log.value, "trace");
    }

    #[test]
    fn the_directory_of_logs() {
        let env = env().with(LOG_DIR, "/logs");
        let file = resolved(&env).log_file;
        assert_eq!(file.value, Some("/logs/modeld.log".into()));
        assert_eq!(file.origin, Origin::Env(LOG_DIR));
        assert_eq!(resolved(&env.clone().with("MODELD_NO_LOG_FILE", "1")).log_file.value, None);
        let named = resolved(&env.with("MODELD_LOG_FILE", "/x.log")).log_file;
        assert_eq!(named.value, Some("/x.log".into()));
    }

    #[test]
    fn a_default_registry_is_asked_before_docker_hub() {
        let mirrors = |env: &Env| {
            let all = resolved(env).registry_mirrors.value;
            all.into_iter().map(|m| format!("{} {}", m.registry, m.url)).collect::<Vec<_>>()
        };
        let env = env().with(DEFAULT_REGISTRY, "r.example.com:5000");
        assert_eq!(mirrors(&env), ["docker.io https://r.example.com:5000/"]);
        let both = env.clone().with("MODEL_RUNNER_REGISTRY_MIRRORS", "m.example.com");
        assert_eq!(
            mirrors(&both),
            ["docker.io https://m.example.com/", "docker.io https://r.example.com:5000/"]
        );
        let insecure = env.with(INSECURE_REGISTRY, "true");
        assert_eq!(mirrors(&insecure), ["docker.io http://r.example.com:5000/"]);
        assert_eq!(resolved(&insecure).insecure_registries.value, ["r.example.com:5000"]);
        assert_eq!(resolved(&insecure).notes, [""; 0]);
        let hub = insecure.with(DEFAULT_REGISTRY, "index.docker.io");
        assert_eq!(mirrors(&hub), [""; 0]);
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let all = FOREIGN.iter().filter(|it| it.ignored);
        for it in all {
            let notes = resolved(&env().with(it.name, "x")).notes;
            assert_eq!(notes, [format!("{} has {}", it.name, it.meaning)]);
        }
        let notes = resolved(&env().with(INSECURE_REGISTRY, "true")).notes;
        assert!(notes[0].contains("--insecure-registry"), "{notes:?}");
        for quiet in ["DO_NOT_TRACK", "HF_TOKEN"] {
            assert_eq!(resolved(&env().with(quiet, "1")).notes, [""; 0]);
        }
    }

    #[test]
    fn what_cannot_be_read_names_its_variable() {
        for (name, value) in [(DEFAULT_REGISTRY, "a b"), (INSECURE_REGISTRY, "maybe")] {
            let env = env().with(DEFAULT_REGISTRY, "r.example.com").with(name, value);
            let error = resolve(&RawConfig::default(), &env).unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
