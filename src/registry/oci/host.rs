use oci_client::Reference;
use url::Url;

use crate::domain::{Error, Result};
use crate::registry::egress::Egress;

/// A registry: what users and credential files call it, and where it answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RegistryHost {
    /// `docker.io`, or `host[:port]`.
    pub name: String,
    /// The root that `v2/…` is joined to; ends in `/`.
    pub endpoint: Url,
}

impl RegistryHost {
    /// The registry of a reference.
    ///
    /// # Errors
    /// For what is no host name.
    pub fn of(reference: &Reference, egress: &Egress) -> Result<Self> {
        let name = reference.registry();
        let at = if name == "docker.io" { "registry-1.docker.io" } else { name };
        let scheme = if egress.is_insecure(name) { "http" } else { "https" };
        let endpoint = Url::parse(&format!("{scheme}://{at}/")).map_err(Error::internal)?;
        Ok(Self { name: name.to_owned(), endpoint })
    }
}

/// What a request to a registry is about; becomes the `scope` of its token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Scope {
    /// `ai/smollm2`.
    pub repository: String,
    /// Whether it writes.
    pub push: bool,
}
