use http::{HeaderMap, StatusCode};
use secrecy::ExposeSecret as _;

use super::authorizer::{Authorizer, open_or_broken};
use super::config_file::AuthEntry;
use super::credential::bearer;
use super::{Credential, Found};
use crate::domain::ErrorKind;
use crate::registry::egress::EgressRequest;
use crate::registry::host::HUGGING_FACE;
use crate::registry::{FetchError, RegistryHost, Scope};

/// The most bytes of what the Hugging Face Hub says about a user.
const MAX_WHOAMI_BYTES: usize = 1024 * 1024;

/// The logins that modeld keeps: in its own file alone, never in Docker's configuration and with no
/// credential helper.
#[derive(Clone)]
pub struct Login {
    authorizer: Authorizer,
}

/// How a login went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginReport {
    /// The registry.
    pub host: String,
    /// Who is logged in, where that is known.
    pub username: Option<String>,
    /// Whether the registry has confirmed it. One that asks nobody for credentials cannot.
    pub verified: bool,
}

/// A login as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginEntry {
    /// The registry.
    pub host: String,
    /// Who is logged in, where that is known.
    pub username: Option<String>,
}

impl Login {
    /// The logins that `authorizer` uses.
    pub fn new(authorizer: Authorizer) -> Self {
        Self { authorizer }
    }

    /// Checks a credential with its registry and keeps it. For the Hugging Face Hub, the secret is
    /// its token, whatever the kind of credential.
    ///
    /// # Errors
    /// `RegistryUnauthorized` where the registry refuses it, or would have it sent where it must
    /// not go; `Conflict` where the file of logins cannot be used; as [`Authorizer::send`].
    pub async fn login(
        &self,
        host: &RegistryHost,
        credential: Credential,
    ) -> Result<LoginReport, FetchError> {
        self.authorizer.forget(host);
        if credential.secret().expose_secret().is_empty() {
            return Err(refused(host, "the password or token is empty"));
        }
        let (entry, report) = if host.name == HUGGING_FACE {
            let credential = Credential::RegistryToken(credential.secret().clone());
            let username = self.who_am_i(host, &credential).await?;
            (AuthEntry::of(&credential, username.as_deref()), (username, true))
        } else {
            let verified = self.verify(host, &credential).await?;
            let username = credential.username().map(str::to_owned);
            (AuthEntry::of(&credential, None), (username, verified))
        };
        let name = host.name.clone();
        self.change(move |entries| {
            entries.insert(name, entry);
            true
        })
        .await?;
        self.authorizer.forget(host);
        let (username, verified) = report;
        Ok(LoginReport { host: host.name.clone(), username, verified })
    }

    /// Forgets the credential of a registry. Whether there was one.
    ///
    /// # Errors
    /// `Conflict` where the file of logins cannot be used.
    pub async fn logout(&self, host: &RegistryHost) -> Result<bool, FetchError> {
        let name = host.name.clone();
        let removed = self.change(move |entries| entries.remove(&name).is_some()).await?;
        self.authorizer.forget(host);
        Ok(removed)
    }

    /// All logins, by host; no secrets.
    ///
    /// # Errors
    /// `Conflict` where the file of logins cannot be used.
    pub async fn logins(&self) -> Result<Vec<LoginEntry>, FetchError> {
        let file = self.authorizer.credentials().login_file().read().await.map_err(unusable)?;
        let entries = file.into_entries().into_iter();
        Ok(entries.map(|(host, entry)| LoginEntry { host, username: entry.username() }).collect())
    }

    async fn change(
        &self,
        change: impl FnOnce(&mut std::collections::BTreeMap<String, AuthEntry>) -> bool + Send + 'static,
    ) -> Result<bool, FetchError> {
        let file = self.authorizer.credentials().login_file();
        file.change(change).await.map_err(unusable)
    }

    /// Whether the registry has confirmed the credential.
    async fn verify(
        &self,
        host: &RegistryHost,
        credential: &Credential,
    ) -> Result<bool, FetchError> {
        let response = self.authorizer.ping(host, None).await?;
        if response.status != StatusCode::UNAUTHORIZED {
            return open_or_broken(host, response.status).map(|()| false);
        }
        let challenge = self.authorizer.challenge(host, &response)?;
        let found = Found {
            credential: Some(credential.clone()),
            source: Some("this login".to_owned()),
            problems: Vec::new(),
        };
        let scope = Scope::default();
        let proof = self.authorizer.prove(host, &scope, &challenge, &found, None).await?;
        if let Some(note) = &proof.note {
            return Err(refused(host, note));
        }
        let Some(header) = proof.header() else {
            return Err(refused(host, "no request to it may carry this credential"));
        };
        let response = self.authorizer.ping(host, Some(header)).await?;
        match response.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(refused(host, "the user name, password or token is wrong"))
            }
            status => open_or_broken(host, status).map(|()| true),
        }
    }

    /// The user that a token of the Hugging Face Hub belongs to.
    async fn who_am_i(
        &self,
        host: &RegistryHost,
        credential: &Credential,
    ) -> Result<Option<String>, FetchError> {
        let invalid =
            |text: String| FetchError::fatal(ErrorKind::RegistryInvalid, format!("{host} {text}"));
        let url = host.endpoint.join("api/whoami-v2").map_err(|e| invalid(e.to_string()))?;
        let authorization = bearer(credential.secret());
        if authorization.is_none() {
            return Err(refused(host, "the token has characters that no header can carry"));
        }
        let request = EgressRequest {
            authorization,
            headers: HeaderMap::new(),
            ..EgressRequest::get(url, host.endpoint.clone())
        };
        let response = self.authorizer.egress().send(request).await?;
        match response.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(refused(host, "the token is wrong or expired"));
            }
            status => {
                open_or_broken(host, status)?;
                return Err(invalid(format!("answers {status} when asked who the user is")));
            }
        }
        let body = response.read(MAX_WHOAMI_BYTES).await?;
        let answer: serde_json::Value = serde_json::from_slice(&body)
            .map_err(|_| invalid("does not answer who the user is".to_owned()))?;
        let name = answer.get("name").and_then(serde_json::Value::as_str);
        Ok(name.map(|name| name.chars().filter(|c| !c.is_control()).take(128).collect()))
    }
}

fn refused(host: &RegistryHost, why: &str) -> FetchError {
    let text = format!("the login to {host} failed: {why}; nothing was stored");
    FetchError::fatal(ErrorKind::RegistryUnauthorized, text)
}

fn unusable(problem: String) -> FetchError {
    let text = format!("the logins that modeld keeps cannot be used: {problem}");
    FetchError::fatal(ErrorKind::Conflict, text)
}
