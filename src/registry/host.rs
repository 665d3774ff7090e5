use std::fmt;

use oci_client::Reference;
use url::Url;

use super::egress::Egress;
use crate::domain::{Error, ErrorKind, Result};

/// What Docker Hub is called in references, and here.
pub(super) const DOCKER_HUB: &str = "docker.io";
/// What the Hugging Face Hub is called here.
pub(super) const HUGGING_FACE: &str = "huggingface.co";

/// Where Docker Hub answers the distribution API.
const DOCKER_HUB_ENDPOINT: &str = "registry-1.docker.io";

/// The longest host text that is looked at, in bytes: a DNS name of 253, a port, a scheme.
const MAX_BYTES: usize = 300;

/// A registry: what users and credential files call it, and where it answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RegistryHost {
    /// `docker.io`, or `host[:port]` in lower case.
    pub name: String,
    /// The root that `v2/…` is joined to; ends in `/`.
    pub endpoint: Url,
}

impl RegistryHost {
    /// The registry of a reference.
    ///
    /// # Errors
    /// As [`RegistryHost::parse`].
    pub fn of(reference: &Reference, egress: &Egress) -> Result<Self> {
        Self::parse(reference.registry(), egress)
    }

    /// The registry that a user or a credential file calls `text`: `ghcr.io`, `localhost:5000`,
    /// `https://index.docker.io/v1/`. All names of Docker Hub are one. TLS is left out only where
    /// the policy of `egress` says so, whatever the scheme in `text`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidReference`] for what is no host name.
    pub fn parse(text: &str, egress: &Egress) -> Result<Self> {
        let name = host_name(text).ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            let message = format!(
                "{shown:?} is not the name of a registry; names look like `ghcr.io` or \
                 `localhost:5000`"
            );
            Error::new(ErrorKind::InvalidReference, message)
        })?;
        let at = if name == DOCKER_HUB { DOCKER_HUB_ENDPOINT } else { name.as_str() };
        let scheme = if egress.is_insecure(&name) { "http" } else { "https" };
        let endpoint = Url::parse(&format!("{scheme}://{at}/")).map_err(Error::internal)?;
        Ok(Self { name, endpoint })
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What a request to a registry is about; becomes the `scope` of its token
/// (<https://distribution.github.io/distribution/spec/auth/scope/>).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Scope {
    /// `ai/smollm2`; empty for requests about the registry itself.
    pub repository: String,
    /// Whether it writes.
    pub push: bool,
}

impl Scope {
    /// The right to read a repository.
    pub fn pull(repository: impl Into<String>) -> Self {
        Self { repository: repository.into(), push: false }
    }

    /// The right to read and write a repository.
    pub fn push(repository: impl Into<String>) -> Self {
        Self { repository: repository.into(), push: true }
    }
}

/// The name that `text` has here: without scheme, path and the port that https implies, in lower
/// case, and with the aliases of one registry joined. `None` for what is no host name.
pub(super) fn host_name(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() > MAX_BYTES || text.bytes().any(|b| !(0x21..0x7f).contains(&b)) {
        return None;
    }
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let bare = bare.unwrap_or(text);
    let authority = bare.split('/').next().unwrap_or(bare);
    if authority.contains(['@', '?', '#', '\\', '%']) {
        return None;
    }
    let url = Url::parse(&format!("https://{authority}/")).ok()?;
    let host = url.host_str().filter(|host| !host.is_empty())?;
    let name = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    Some(match name.as_str() {
        "index.docker.io" | DOCKER_HUB_ENDPOINT => DOCKER_HUB.to_owned(),
        "hf.co" | "www.huggingface.co" => HUGGING_FACE.to_owned(),
        _ => name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::egress::EgressOptions;

    fn egress() -> Egress {
        let insecure = vec!["registry.lan:5000".to_owned()];
        Egress::new(EgressOptions { insecure, ..EgressOptions::default() }).unwrap()
    }

    #[test]
    fn names_and_endpoints() {
        for (text, name, endpoint) in [
            ("docker.io", "docker.io", "https://registry-1.docker.io/"),
            ("https://index.docker.io/v1/", "docker.io", "https://registry-1.docker.io/"),
            ("registry-1.docker.io", "docker.io", "https://registry-1.docker.io/"),
            ("index.docker.io", "docker.io", "https://registry-1.docker.io/"),
            ("GHCR.io", "ghcr.io", "https://ghcr.io/"),
            ("https://ghcr.io:443/v2/", "ghcr.io", "https://ghcr.io/"),
            ("http://ghcr.io", "ghcr.io", "https://ghcr.io/"),
            ("localhost:5000", "localhost:5000", "http://localhost:5000/"),
            ("registry.lan:5000", "registry.lan:5000", "http://registry.lan:5000/"),
            ("registry.lan:5001", "registry.lan:5001", "https://registry.lan:5001/"),
            ("[::1]:5000", "[::1]:5000", "http://[::1]:5000/"),
            ("hf.co", "huggingface.co", "https://huggingface.co/"),
        ] {
            let host = RegistryHost::parse(text, &egress()).unwrap();
            assert_eq!((host.name.as_str(), host.endpoint.as_str()), (name, endpoint), "{text}");
        }
    }

    #[test]
    fn the_host_of_a_reference() {
        let reference = "docker.io/ai/smollm2:latest".parse().unwrap();
        let host = RegistryHost::of(&reference, &egress()).unwrap();
        assert_eq!(host.endpoint.as_str(), "https://registry-1.docker.io/");
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long = "a".repeat(400);
        for text in ["", " ", "/", "https://", "a b", "user@ghcr.io", "a:99999", "é.com", "a%41"]
            .into_iter()
            .chain([long.as_str()])
        {
            let error = RegistryHost::parse(text, &egress()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidReference, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_name_is_its_own_name(text in "\\PC{0,40}") {
            if let Some(name) = host_name(&text) {
                proptest::prop_assert_eq!(host_name(&name), Some(name.clone()));
            }
        }
    }
}
