use std::path::PathBuf;

use url::Url;

use super::Env;

/// What stands in for a registry when models are pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The registry whose models it has: `docker.io`, `registry.example.com:5000`.
    pub registry: String,
    /// Where it is; a path before `/v2` is kept.
    pub url: Url,
}

/// A public key that signs the models of some repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureKey {
    /// Which repositories: `docker.io/myorg/*`, or one of them in full.
    pub pattern: String,
    /// A PEM file with the public key.
    pub key: PathBuf,
}

/// `[HOST=]URL`, several with commas; without a host it is Docker Hub's, as for Docker Model Runner.
pub(super) fn mirrors(text: &str) -> Result<Vec<Mirror>, String> {
    parts(text)
        .map(|part| {
            let (registry, url) = match part.split_once('=') {
                Some((host, url)) if !host.contains("//") => (registry_name(host)?, url),
                _ => ("docker.io".to_owned(), part),
            };
            let url = if url.contains("://") { url.to_owned() } else { format!("https://{url}") };
            Ok(Mirror { registry, url: web_url(&url)? })
        })
        .collect()
}

/// `HOST[:PORT]`, several with commas.
pub(super) fn hosts(text: &str) -> Result<Vec<String>, String> {
    parts(text).map(registry_name).collect()
}

/// Files, several with commas; relative to where the user stands.
pub(super) fn files(text: &str, env: &Env) -> Vec<PathBuf> {
    parts(text).map(|part| env.current_dir.join(part)).collect()
}

/// `PATTERN=FILE`, several with commas.
pub(super) fn signature_keys(text: &str, env: &Env) -> Result<Vec<SignatureKey>, String> {
    parts(text)
        .map(|part| {
            let (pattern, file) = part.split_once('=').ok_or_else(|| {
                format!("write PATTERN=FILE, such as docker.io/myorg/*=cosign.pub, not {part:?}")
            })?;
            let known = |c: char| c.is_ascii_alphanumeric() || "._-/:*".contains(c);
            if pattern.is_empty() || !pattern.chars().all(known) {
                return Err(format!("{pattern:?} is no pattern of repositories"));
            }
            Ok(SignatureKey { pattern: pattern.to_owned(), key: env.current_dir.join(file) })
        })
        .collect()
}

/// An http or https URL without credentials.
pub(super) fn web_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("{text:?} is no URL: {e}"))?;
    let plain = url.username().is_empty() && url.password().is_none();
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() || !plain {
        return Err("write an http or https URL without a password".to_owned());
    }
    Ok(url)
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// A host and perhaps a port, in small letters.
pub(super) fn registry_name(host: &str) -> Result<String, String> {
    let host = host.to_ascii_lowercase();
    let bare = !host.contains(['/', '\\', '?', '#', '@']);
    // A URL knows best what a host with a port looks like.
    let parsed = Url::parse(&format!("https://{host}/")).ok();
    if !bare || parsed.is_none() {
        return Err(format!("{host:?} is no HOST or HOST:PORT"));
    }
    Ok(match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        _ => host,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_belong_to_a_registry() {
        let read = |text: &str| {
            mirrors(text).map(|all| {
                all.iter().map(|m| format!("{}={}", m.registry, m.url)).collect::<Vec<_>>()
            })
        };
        for (text, mirrors) in [
            ("", vec![]),
            ("https://m.example", vec!["docker.io=https://m.example/"]),
            ("m.example:5000/hub", vec!["docker.io=https://m.example:5000/hub"]),
            (
                "http://127.0.0.1:5000/?a=b, Quay.io=https://q.example",
                vec!["docker.io=http://127.0.0.1:5000/?a=b", "quay.io=https://q.example/"],
            ),
            ("index.docker.io=https://m.example", vec!["docker.io=https://m.example/"]),
        ] {
            assert_eq!(read(text), Ok(mirrors.iter().map(ToString::to_string).collect()), "{text}");
        }
        for text in ["ftp://x", "https://u:p@x", "a/b=https://x", "="] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_are_hosts() {
        assert_eq!(
            hosts("A.example, [::1]:5000"),
            Ok(vec!["a.example".into(), "[::1]:5000".into()])
        );
        for text in ["https://x", "a/b", "a:b", "u@h", "@h", "a#b", "a?b", "a\\b"] {
            assert!(hosts(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_signature_key_has_a_pattern() {
        let env = Env { current_dir: "/here".into(), ..Env::default() };
        let keys = signature_keys("docker.io/myorg/*=a.pub,ghcr.io/x/y=/k/b.pub", &env).unwrap();
        assert_eq!(keys[0].key, PathBuf::from("/here/a.pub"));
        assert_eq!((keys[1].pattern.as_str(), keys.len()), ("ghcr.io/x/y", 2));
        assert!(signature_keys("a.pub", &env).is_err());
        assert!(signature_keys("a b=c", &env).is_err());
    }
}
