use std::path::PathBuf;

use super::said::Said;
use super::{
    Config, ConfigError, Env, Kind, Origin, RawConfig, SETTINGS, Setting, resolve, settings,
};

/// A setting as it is shown: what holds, in the words in which it could be written, and who said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Which one.
    pub setting: &'static Setting,
    /// Its value; credentials in it are left out.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// A setting that has another value than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its key.
    pub key: &'static str,
    /// What held.
    pub from: String,
    /// What is said now.
    pub to: String,
    /// Whether a running daemon takes it over; else it needs a restart.
    pub applied: bool,
}

/// All settings with their values, in the order of the table.
///
/// # Errors
/// Those of [`resolve`].
pub fn shown(raw: &RawConfig, env: &Env) -> Result<(Config, Vec<Shown>), ConfigError> {
    let config = resolve(raw, env)?;
    let flags = serde_json::to_value(raw).unwrap_or_default();
    let all = SETTINGS.iter().map(|setting| {
        let flag = flags.get(setting.key()).and_then(|text| text.as_str()).map(str::to_owned);
        let (value, origin) = match composed(setting, &config) {
            Some(composed) => composed,
            None => {
                let said = Said::or_default(*setting, &flag, env);
                (plain(setting, said.text, said.origin), said.origin)
            }
        };
        Shown { setting, value: without_credentials(&value), origin }
    });
    let all = all.collect();
    Ok((config, all))
}

/// A value for people: an empty list is shown as a word.
pub fn or_none(value: &str) -> &str {
    if value.is_empty() { "none" } else { value }
}

/// What differs between two readings of the same table.
pub fn changes(before: &[Shown], after: &[Shown]) -> Vec<Change> {
    let differing = before.iter().zip(after).filter(|(before, after)| before.value != after.value);
    let change = |(before, after): (&Shown, &Shown)| Change {
        key: after.setting.key(),
        from: before.value.clone(),
        to: after.value.clone(),
        applied: after.setting.reloads(),
    };
    differing.map(change).collect()
}

/// Settings whose value is put together from more than one place.
fn composed(setting: &Setting, config: &Config) -> Option<(String, Origin)> {
    let path = |path: &PathBuf| path.display().to_string();
    Some(match setting.flag {
        flag if flag == settings::SOCKET.flag => (path(&config.socket.value), config.socket.origin),
        // A file may have it off in so many words.
        flag if flag == settings::TCP.flag && config.tcp.value.is_none() => {
            (setting.default.to_owned(), config.tcp.origin)
        }
        flag if flag == settings::CONTAINERS.flag && config.containers.value.is_none() => {
            (setting.default.to_owned(), config.containers.origin)
        }
        flag if flag == settings::OLLAMA_PORT.flag && config.ollama.value.is_none() => {
            (setting.default.to_owned(), config.ollama.origin)
        }
        flag if flag == settings::MODELS_PATH.flag => {
            (path(&config.models_path.value), config.models_path.origin)
        }
        flag if flag == settings::LOG_FILE.flag => {
            let value = config.log_file.value.as_ref().map_or_else(|| "none".to_owned(), path);
            (value, config.log_file.origin)
        }
        flag if flag == settings::KEEP_ALIVE.flag => {
            let value = match config.keep_alive.value {
                // As the default is written, and the way to say it.
                Some(time) => go_like(time),
                None => "-1".to_owned(),
            };
            (value, config.keep_alive.origin)
        }
        flag if flag == settings::LOG.flag => (config.log.value.clone(), config.log.origin),
        flag if flag == settings::ORIGIN.flag => {
            (config.origins.value.join(","), config.origins.origin)
        }
        flag if flag == settings::INSECURE_REGISTRY.flag => {
            (config.insecure_registries.value.join(","), config.insecure_registries.origin)
        }
        flag if flag == settings::REGISTRY_MIRROR.flag => {
            let all = config.registry_mirrors.value.iter();
            let all = all.map(|mirror| format!("{}={}", mirror.registry, mirror.url));
            (all.collect::<Vec<_>>().join(","), config.registry_mirrors.origin)
        }
        _ => return None,
    })
}

/// `5m`, `1h30m`, `300ms`.
fn go_like(time: std::time::Duration) -> String {
    let (seconds, millis) = (time.as_secs(), time.subsec_millis());
    if millis > 0 {
        return format!("{}ms", time.as_millis());
    }
    let units = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let text: String =
        units.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if text.is_empty() { "0".to_owned() } else { text }
}

/// One spelling for what is said in several.
fn plain(setting: &Setting, text: &str, origin: Origin) -> String {
    match Kind::of(setting) {
        Kind::Switch => match super::values::switch(text) {
            Ok(true) => "on".to_owned(),
            Ok(false) => "off".to_owned(),
            Err(_) => text.to_owned(),
        },
        Kind::Listener if super::values::is_off(text) => "off".to_owned(),
        // The bare flag.
        Kind::Listener if text.is_empty() && origin != Origin::Default => "on".to_owned(),
        Kind::List => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            parts.collect::<Vec<_>>().join(",")
        }
        Kind::Number | Kind::Duration | Kind::Listener | Kind::Text => text.to_owned(),
    }
}

/// The text without what stands between `://` and `@` in it.
fn without_credentials(text: &str) -> String {
    let mut parts = text.split("://");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("://");
        let end = part.find(['/', ',', ' ']).unwrap_or(part.len());
        let (authority, rest) = part.split_at_checked(end).unwrap_or((part, ""));
        match authority.rsplit_once('@') {
            Some((_, host)) => out.push_str(&format!("***@{host}")),
            None => out.push_str(authority),
        }
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn env() -> Env {
        Env {
            runtime_dir: Some("/run/user/7".into()),
            data_dir: Some("/d".into()),
            current_dir: "/here".into(),
            ..Env::default()
        }
    }

    fn value(all: &[Shown], key: &str) -> (String, String) {
        let one = all.iter().find(|one| one.setting.key() == key).unwrap();
        (one.value.clone(), one.origin.to_string())
    }

    #[test]
    fn flags_are_found_by_their_keys() {
        let raw = serde_json::to_value(RawConfig::default()).unwrap();
        let fields: Vec<&String> = raw.as_object().unwrap().keys().collect();
        let keys: Vec<&str> = SETTINGS.iter().map(Setting::key).collect();
        for key in &keys {
            assert!(raw.get(key).is_some(), "{key} is no field of RawConfig");
        }
        assert_eq!(fields.len(), keys.len());
    }

    #[test]
    fn every_setting_is_shown_with_its_origin() {
        let raw =
            RawConfig { max_queue: Some("7".into()), tcp: Some("".into()), ..RawConfig::default() };
        let env = env().with("MODELD_AUTO_PULL", "1").with("OLLAMA_ORIGINS", "http://a");
        let (_, all) = shown(&raw, &env).unwrap();
        assert_eq!(all.len(), SETTINGS.len());
        for (key, text, origin) in [
            ("socket", "/run/user/7/modeld/modeld.sock", "default"),
            ("max-queue", "7", "--max-queue"),
            ("tcp", "on", "--tcp"),
            ("containers", "off", "default"),
            ("auto-pull", "on", "MODELD_AUTO_PULL"),
            ("origin", "http://a", "OLLAMA_ORIGINS"),
            ("keep-alive", "5m", "default"),
            ("log-file", "none", "default"),
            ("models-path", "/d/modeld/models", "default"),
        ] {
            assert_eq!(value(&all, key), (text.to_owned(), origin.to_owned()));
        }
    }

    #[test]
    fn who_has_a_listener_off_is_shown() {
        let path = std::path::Path::new("/c.toml");
        let file = super::super::ConfigFile::parse(path, "\ntcp = false\n", None).unwrap();
        let env = Env { files: vec![file], ..env() };
        let (_, all) = shown(&RawConfig::default(), &env).unwrap();
        assert_eq!(value(&all, "tcp"), ("off".to_owned(), "/c.toml:2".to_owned()));
        assert_eq!(value(&all, "ollama-port"), ("off".to_owned(), "default".to_owned()));
    }

    #[test]
    fn what_changes_is_told_with_what_becomes_of_it() {
        let of = |env: &Env| shown(&RawConfig::default(), env).unwrap().1;
        let before = of(&env());
        assert_eq!(changes(&before, &of(&env().with("MODELD_KEEP_ALIVE", "300s"))), []);
        let after = of(&env().with("MODELD_KEEP_ALIVE", "90").with("MODEL_RUNNER_PORT", "5"));
        let change = |key, from: &str, to: &str, applied| Change {
            key,
            from: from.to_owned(),
            to: to.to_owned(),
            applied,
        };
        let wanted = [change("tcp", "off", "5", false), change("keep-alive", "5m", "1m30s", true)];
        assert_eq!(changes(&before, &after), wanted);
    }

    #[test]
    fn durations_have_one_spelling() {
        for (time, text) in [
            (Duration::ZERO, "0"),
            (Duration::from_secs(300), "5m"),
            (Duration::from_secs(5401), "1h30m1s"),
            (Duration::from_millis(1500), "1500ms"),
        ] {
            assert_eq!(go_like(time), text);
        }
    }

    #[test]
    fn credentials_are_left_out() {
        for (text, shown) in [
            ("https://u:p@h/x,http://h2", "https://***@h/x,http://h2"),
            ("a=https://t@h:5", "a=https://***@h:5"),
            ("https://h/@x", "https://h/@x"),
            ("plain", "plain"),
        ] {
            assert_eq!(without_credentials(text), shown);
        }
    }
}
