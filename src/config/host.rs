use std::path::PathBuf;

use super::resolved::{Origin, Set};
use super::{ConfigError, Env, resolve::socket_path};

/// Where clients find the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DaemonHost {
    /// A Unix socket.
    Unix(PathBuf),
    /// An `http://` or `https://` URL without a trailing slash; may have a base path.
    Http {
        /// The URL.
        base: String,
        /// Whose certificates to believe besides the system's: modeld's own authority, where TLS is
        /// spoken and there is a place for it.
        authority: Option<PathBuf>,
    },
}

/// The variables that clients read, first one first.
pub(super) struct DaemonHostVars;

impl DaemonHostVars {
    pub(super) const NAMES: [&'static str; 2] = ["MODELD_HOST", "MODEL_RUNNER_HOST"];
}

/// Finds the daemon as `modeld serve` would place it: `--host`, `MODELD_HOST`,
/// `MODEL_RUNNER_HOST`, else the socket. Hosts are `unix:///path`, `http://host[:port][/base]` or
/// the same with `https://`; without a scheme they are `http://`.
///
/// # Errors
/// [`ConfigError::Invalid`] for other schemes, and the errors of the socket path.
pub fn daemon_host(flag: Option<&str>, env: &Env) -> Result<Set<DaemonHost>, ConfigError> {
    let flag = flag.map(|text| (Origin::Flag("--host"), "--host", text));
    let named = |name: &&'static str| Some((Origin::Env(name), *name, env.get(name)?));
    match flag.or_else(|| DaemonHostVars::NAMES.iter().find_map(named)) {
        Some((origin, from, text)) => Ok(Set { value: parse(from, text, env)?, origin }),
        None => {
            let Set { value, origin } = socket_path(None, env)?;
            Ok(Set { value: DaemonHost::Unix(value), origin })
        }
    }
}

fn parse(from: &'static str, text: &str, env: &Env) -> Result<DaemonHost, ConfigError> {
    let invalid = |problem: &str| ConfigError::Invalid {
        from,
        value: without_user(text),
        problem: problem.to_owned(),
    };
    if let Some(path) = text.strip_prefix("unix://") {
        if path.is_empty() {
            return Err(invalid("a path has to follow unix://"));
        }
        return Ok(DaemonHost::Unix(socket_path(Some(path), env)?.value));
    }
    if text.starts_with('/') {
        return Ok(DaemonHost::Unix(socket_path(Some(text), env)?.value));
    }
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
        Some(_) => return Err(invalid("only http://, https:// and unix:// are known")),
        None => ("http", text),
    };
    let base = format!("{scheme}://{}", rest.trim_end_matches('/'));
    let parsed: http::Uri = base.parse().map_err(|_| invalid("it is not a URL"))?;
    if parsed.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(invalid("a token for it belongs into MODELD_TOKEN, not into the URL"));
    }
    let authority = (scheme == "https").then(|| env.own_authority()).flatten();
    match parsed.host() {
        Some(host) if !host.is_empty() && parsed.query().is_none() => {
            Ok(DaemonHost::Http { base, authority })
        }
        Some(_) | None => Err(invalid("it names no host")),
    }
}

/// The text as it may be shown: what stands before an `@` may be a password.
fn without_user(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(flag: Option<&str>, env: &Env) -> Result<DaemonHost, ConfigError> {
        daemon_host(flag, env).map(|host| host.value)
    }

    fn http(base: &str) -> DaemonHost {
        DaemonHost::Http { base: base.to_owned(), authority: None }
    }

    fn env() -> Env {
        Env {
            runtime_dir: Some("/run/user/7".into()),
            current_dir: "/here".into(),
            ..Env::default()
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_shown() {
        for text in ["http://user:s3cr3t@127.0.0.1:1", "ftp://user:s3cr3t@h", "user:s3cr3t@h/a@b?c"]
        {
            let said = found(Some(text), &env()).unwrap_err().to_string();
            assert!(!said.contains("s3cr3t"), "{said}");
        }
        let said = found(Some("https://user@host"), &env()).unwrap_err().to_string();
        assert!(said.contains("MODELD_TOKEN"), "{said}");
    }

    #[test]
    fn the_socket_is_the_default() {
        let usual = found(None, &env()).unwrap();
        assert_eq!(usual, DaemonHost::Unix("/run/user/7/modeld/modeld.sock".into()));
        let moved = found(None, &env().with("MODEL_RUNNER_SOCK", "/s/x.sock")).unwrap();
        assert_eq!(moved, DaemonHost::Unix("/s/x.sock".into()));
    }

    #[test]
    fn flag_then_own_variable_then_the_shared_one() {
        let shared = env().with("MODEL_RUNNER_HOST", "http://localhost:1");
        assert_eq!(found(None, &shared).unwrap(), http("http://localhost:1"));
        let own = shared.with("MODELD_HOST", "http://localhost:2");
        assert_eq!(found(None, &own).unwrap(), http("http://localhost:2"));
        let flag = found(Some("unix:///s/f.sock"), &own).unwrap();
        assert_eq!(flag, DaemonHost::Unix("/s/f.sock".into()));
    }

    #[test]
    fn every_spelling() {
        for (text, host) in [
            ("localhost:12434", http("http://localhost:12434")),
            ("http://127.0.0.1:9/", http("http://127.0.0.1:9")),
            ("http://h/exp/vDD4.40", http("http://h/exp/vDD4.40")),
            ("unix://rel.sock", DaemonHost::Unix("/here/rel.sock".into())),
            ("/abs.sock", DaemonHost::Unix("/abs.sock".into())),
        ] {
            assert_eq!(found(Some(text), &env()).unwrap(), host, "{text}");
        }
        let tls = found(Some("https://h:1/"), &Env { config_dir: Some("/c".into()), ..env() });
        let authority = Some("/c/modeld/authority.pem".into());
        assert_eq!(tls, Ok(DaemonHost::Http { base: "https://h:1".into(), authority }));
        for text in ["ftp://h", "unix://", "http://", "http://a b", "http://h?q=1"] {
            assert!(found(Some(text), &env()).is_err(), "{text}");
        }
    }
}
