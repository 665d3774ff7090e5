use std::collections::BTreeMap;

use url::Url;

use crate::registry::RegistryHost;

/// Which mirrors stand in for which registry, in the order in which they are asked. Only pulls use
/// them, and the registry itself is asked last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MirrorTable {
    hosts: BTreeMap<String, Vec<RegistryHost>>,
}

/// A mirror that is no URL of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is no mirror: {why}; mirrors look like `https://mirror.example.com/docker-hub`")]
pub struct MirrorError {
    url: String,
    why: String,
}

impl MirrorTable {
    /// Adds a mirror of the registry `host` (`docker.io`, `ghcr.io`, `registry.lan:5000`): a host
    /// or a base URL, `https` unless it says otherwise. A path in front of `/v2` is kept.
    ///
    /// # Errors
    /// [`MirrorError`] for what is no such URL, and for one with credentials, a query or a fragment.
    pub fn add(&mut self, host: &str, url: &str) -> Result<(), MirrorError> {
        let mirror = parse(url)?;
        let host = match host.trim().to_ascii_lowercase() {
            hub if matches!(hub.as_str(), "index.docker.io" | "registry-1.docker.io") => {
                "docker.io".to_owned()
            }
            other => other,
        };
        self.hosts.entry(host).or_default().push(mirror);
        Ok(())
    }

    /// Every mirror: what the policy for outgoing requests has to let through.
    pub fn all(&self) -> impl Iterator<Item = &RegistryHost> {
        self.hosts.values().flatten()
    }

    /// The mirrors of a registry, in their order.
    pub fn of(&self, host: &str) -> &[RegistryHost] {
        self.hosts.get(host).map(Vec::as_slice).unwrap_or_default()
    }
}

fn parse(text: &str) -> Result<RegistryHost, MirrorError> {
    let wrong = |why: &str| MirrorError { url: shown(text), why: why.to_owned() };
    let text = text.trim();
    let whole = match text.contains("://") {
        true => text.to_owned(),
        false => format!("https://{text}"),
    };
    let mut endpoint = Url::parse(&whole).map_err(|e| wrong(&e.to_string()))?;
    if !matches!(endpoint.scheme(), "http" | "https") {
        return Err(wrong("its scheme is neither https nor http"));
    }
    if !endpoint.username().is_empty() || endpoint.password().is_some() {
        return Err(wrong("it has credentials; log in with `modeld login HOST` instead"));
    }
    if endpoint.query().is_some() || endpoint.fragment().is_some() {
        return Err(wrong("it has a query or a fragment"));
    }
    let host = endpoint.host_str().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| wrong("it has no host"))?;
    let name = match endpoint.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    if !endpoint.path().ends_with('/') {
        let path = format!("{}/", endpoint.path());
        endpoint.set_path(&path);
    }
    Ok(RegistryHost { name, endpoint })
}

/// The text without what may be a password in it.
fn shown(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let dots = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{dots}{rest}").chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_keep_their_order_and_their_paths() {
        let mut table = MirrorTable::default();
        table.add("index.docker.io", "mirror.example").unwrap();
        table.add("docker.io", " http://10.0.0.1:5000/hub/v2 ").unwrap();
        table.add("GHCR.io", "https://cache.example/ghcr/").unwrap();
        let found = |host: &str| -> Vec<(String, String)> {
            table.of(host).iter().map(|m| (m.name.clone(), m.endpoint.to_string())).collect()
        };
        let pair = |name: &str, url: &str| (name.to_owned(), url.to_owned());
        assert_eq!(
            found("docker.io"),
            [
                pair("mirror.example", "https://mirror.example/"),
                pair("10.0.0.1:5000", "http://10.0.0.1:5000/hub/v2/"),
            ]
        );
        assert_eq!(found("ghcr.io"), [pair("cache.example", "https://cache.example/ghcr/")]);
        assert_eq!(found("quay.io"), []);
        assert_eq!(table.all().count(), 3);
    }

    #[test]
    fn what_is_no_mirror_is_refused_without_its_password() {
        for url in ["", "ftp://x", "https://", "https://u:hunter2@x/", "https://x/?a", "x/#f"] {
            let error = MirrorTable::default().add("docker.io", url).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
