use url::Url;

use crate::domain::{Error, ErrorKind, Result};
use crate::registry::auth::{Credential, Login, LoginEntry, LoginReport};
use crate::registry::egress::Egress;
use crate::registry::search::{Search, SearchResults};
use crate::registry::{HUB, RegistryHost};

use super::Service;

/// What logins and searches are made with.
#[derive(Clone)]
pub struct Accounts {
    /// The policy, which says how a registry is spoken to.
    pub egress: Egress,
    /// The logins that modeld keeps.
    pub login: Login,
    /// Where models are looked for.
    pub search: Search,
    /// The Hugging Face Hub, or what stands in for it.
    pub hub: Url,
}

impl Accounts {
    fn host(&self, registry: &str) -> Result<RegistryHost> {
        let mut host = RegistryHost::parse(registry, &self.egress)
            .map_err(|error| error.with_param("registry"))?;
        if host.name == HUB {
            host.endpoint = self.hub.clone();
            if !host.endpoint.path().ends_with('/') {
                host.endpoint.set_path(&format!("{}/", self.hub.path()));
            }
        }
        Ok(host)
    }
}

impl Service {
    /// Checks a credential with the registry that `registry` names and keeps it.
    ///
    /// # Errors
    /// `InvalidReference` for what names no registry; those of [`Login::login`].
    pub async fn login(&self, registry: &str, credential: Credential) -> Result<LoginReport> {
        let accounts = self.accounts()?;
        let report = accounts.login.login(&accounts.host(registry)?, credential).await?;
        tracing::info!(registry = report.host, verified = report.verified, "logged in");
        Ok(report)
    }

    /// Forgets the credential of a registry. Answers the registry's name, and whether there was one.
    ///
    /// # Errors
    /// `InvalidReference`; `Conflict` where the file of logins cannot be used.
    pub async fn logout(&self, registry: &str) -> Result<(String, bool)> {
        let accounts = self.accounts()?;
        let host = accounts.host(registry)?;
        let removed = accounts.login.logout(&host).await?;
        Ok((host.name, removed))
    }

    /// The registries that modeld keeps credentials for.
    ///
    /// # Errors
    /// `Conflict` where the file of logins cannot be used.
    pub async fn logins(&self) -> Result<Vec<LoginEntry>> {
        Ok(self.accounts()?.login.logins().await?)
    }

    /// Looks for models where they are published, see [`Search::find`].
    ///
    /// # Errors
    /// As [`Search::find`].
    pub async fn search(&self, query: &str, limit: usize) -> Result<SearchResults> {
        self.accounts()?.search.find(query, limit).await
    }

    fn accounts(&self) -> Result<&Accounts> {
        self.accounts.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::RegistryForbidden, "this daemon speaks to no registry")
        })
    }
}
