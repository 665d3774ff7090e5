use std::path::PathBuf;

use super::{ConfigError, Env, resolve::socket_path};

/// Where clients find the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DaemonHost {
    /// A Unix socket.
    Unix(PathBuf),
    /// An `http://` URL without a trailing slash; may have a base path.
    Http(String),
}

/// The variables that clients read, first one first.
pub(super) struct DaemonHostVars;

impl DaemonHostVars {
    pub(super) const NAMES: [&'static str; 2] = ["MODELD_HOST", "MODEL_RUNNER_HOST"];
}

/// Finds the daemon as `modeld serve` would place it: `--host`, `MODELD_HOST`,
/// `MODEL_RUNNER_HOST`, else the socket. Hosts are `unix:///path` or `http://host[:port][/base]`;
/// without a scheme they are `http://`.
///
/// # Errors
/// [`ConfigError::Invalid`] for other schemes, and the errors of the socket path.
pub fn daemon_host(flag: Option<&str>, env: &Env) -> Result<DaemonHost, ConfigError> {
    let said = flag
        .map(|v| ("--host", v))
        .or_else(|| DaemonHostVars::NAMES.iter().find_map(|n| Some((*n, env.get(n)?))));
    match said {
        Some((from, text)) => parse(from, text, env),
        None => Ok(DaemonHost::Unix(socket_path(None, env)?.value)),
    }
}

fn parse(from: &'static str, text: &str, env: &Env) -> Result<DaemonHost, ConfigError> {
    let invalid = |problem: &str| ConfigError::Invalid {
        from,
        value: text.to_owned(),
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
    let rest = match text.split_once("://") {
        Some(("http", rest)) => rest,
        Some(("https", _)) => {
            return Err(invalid("the commands do not speak TLS; use http:// or unix://"));
        }
        Some(_) => return Err(invalid("only http:// and unix:// are known")),
        None => text,
    };
    let url = format!("http://{}", rest.trim_end_matches('/'));
    let parsed: http::Uri = url.parse().map_err(|_| invalid("it is not a URL"))?;
    match parsed.host() {
        Some(host) if !host.is_empty() && parsed.query().is_none() => Ok(DaemonHost::Http(url)),
        Some(_) | None => Err(invalid("it names no host")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> Env {
        Env {
            runtime_dir: Some("/run/user/7".into()),
            current_dir: "/here".into(),
            ..Env::default()
        }
    }

    #[test]
    fn the_socket_is_the_default() {
        let found = daemon_host(None, &env()).unwrap();
        assert_eq!(found, DaemonHost::Unix("/run/user/7/modeld/modeld.sock".into()));
        let moved = daemon_host(None, &env().with("MODEL_RUNNER_SOCK", "/s/x.sock")).unwrap();
        assert_eq!(moved, DaemonHost::Unix("/s/x.sock".into()));
    }

    #[test]
    fn flag_then_own_variable_then_the_shared_one() {
        let shared = env().with("MODEL_RUNNER_HOST", "http://localhost:1");
        assert_eq!(
            daemon_host(None, &shared).unwrap(),
            DaemonHost::Http("http://localhost:1".into())
        );
        let own = shared.with("MODELD_HOST", "http://localhost:2");
        assert_eq!(daemon_host(None, &own).unwrap(), DaemonHost::Http("http://localhost:2".into()));
        let flag = daemon_host(Some("unix:///s/f.sock"), &own).unwrap();
        assert_eq!(flag, DaemonHost::Unix("/s/f.sock".into()));
    }

    #[test]
    fn every_spelling() {
        for (text, host) in [
            ("localhost:12434", DaemonHost::Http("http://localhost:12434".into())),
            ("http://127.0.0.1:9/", DaemonHost::Http("http://127.0.0.1:9".into())),
            ("http://h/exp/vDD4.40", DaemonHost::Http("http://h/exp/vDD4.40".into())),
            ("unix://rel.sock", DaemonHost::Unix("/here/rel.sock".into())),
            ("/abs.sock", DaemonHost::Unix("/abs.sock".into())),
        ] {
            assert_eq!(daemon_host(Some(text), &env()).unwrap(), host, "{text}");
        }
        for text in ["https://h", "ftp://h", "unix://", "http://", "http://a b", "http://h?q=1"] {
            assert!(daemon_host(Some(text), &env()).is_err(), "{text}");
        }
    }
}
