use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::{HeaderValue, StatusCode};
use oci_client::secrets::RegistryAuth;
use secrecy::{ExposeSecret as _, SecretString};

use super::cache::{Cache, Key};
use super::challenge::{self, Challenge, Unusable};
use super::credential::{basic, bearer};
use super::exchange::{Exchange, NoToken};
use super::{Credential, Credentials, Found, realm};
use crate::domain::ErrorKind;
use crate::registry::egress::{Egress, EgressRequest, EgressResponse};
use crate::registry::{FetchError, RegistryHost, Scope};

/// For how many registries it is remembered what they want.
const MAX_CHALLENGES: usize = 256;

/// Sends requests to registries and proves the user where they ask for it; cheap to clone.
#[derive(Clone)]
pub struct Authorizer {
    inner: Arc<Inner>,
}

struct Inner {
    egress: Egress,
    credentials: Credentials,
    tokens: Cache,
    challenges: Mutex<HashMap<RegistryHost, Challenge>>,
}

/// What a request carries to prove its user.
pub(super) struct Proof {
    carried: Carried,
    /// Why it is less than the user has.
    pub(super) note: Option<String>,
}

/// The two forms of it, and none.
enum Carried {
    Nothing,
    Basic { username: String, password: SecretString },
    Bearer(SecretString),
}

impl Proof {
    fn of(carried: Carried) -> Self {
        Self { carried, note: None }
    }

    pub(super) fn header(&self) -> Option<HeaderValue> {
        match &self.carried {
            Carried::Nothing => None,
            Carried::Basic { username, password } => basic(username, password),
            Carried::Bearer(token) => bearer(token),
        }
    }

    fn bearer(&self) -> Option<&SecretString> {
        match &self.carried {
            Carried::Bearer(token) => Some(token),
            Carried::Nothing | Carried::Basic { .. } => None,
        }
    }
}

impl Authorizer {
    /// Sends through `egress`, with what `credentials` finds.
    pub fn new(egress: Egress, credentials: Credentials) -> Self {
        let inner =
            Inner { egress, credentials, tokens: Cache::default(), challenges: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Sends the request that `build` makes to the registry `host`; its `authorization` is
    /// overwritten. Where the answer is 401, the user is proven as it demands, and the request is
    /// built and sent once more. What a registry demanded is remembered, so that later requests
    /// carry it at once. `token` is what the client sent along for this one request.
    ///
    /// # Errors
    /// `RegistryUnauthorized` where there is nothing to prove the user with, or it is refused;
    /// `RegistryInvalid` for demands that break the protocol; those of the egress policy. Every
    /// other status is an answer.
    pub async fn send(
        &self,
        host: &RegistryHost,
        scope: &Scope,
        token: Option<&SecretString>,
        build: &(dyn Fn() -> EgressRequest + Sync),
    ) -> Result<EgressResponse, FetchError> {
        let mut refused = None;
        let mut request = build();
        request.authorization = None;
        if let Some(challenge) = self.remembered(host) {
            let found = self.inner.credentials.lookup(&host.name, token).await;
            match self.prove(host, scope, &challenge, &found, None).await {
                Ok(proof) => {
                    request.authorization = proof.header();
                    refused = proof.bearer().cloned();
                }
                // The registry may want something else by now, and will say so.
                Err(_) => self.forget_challenge(host),
            }
        }
        let response = self.inner.egress.send(request).await?;
        if response.status != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let challenge = self.challenge(host, &response)?;
        drop(response);
        // What was found a while ago may be what is refused.
        self.inner.credentials.forget(&host.name);
        let found = self.inner.credentials.lookup(&host.name, token).await;
        let proof = self.prove(host, scope, &challenge, &found, refused.as_ref()).await?;
        let Some(authorization) = proof.header() else {
            return Err(unauthorized(host, scope, &found, proof.note.as_deref()));
        };
        let mut request = build();
        request.authorization = Some(authorization);
        let response = self.inner.egress.send(request).await?;
        if response.status == StatusCode::UNAUTHORIZED {
            if let Some(token) = proof.bearer() {
                self.forget_token(host, scope, &found, token).await;
            }
            return Err(unauthorized(host, scope, &found, proof.note.as_deref()));
        }
        Ok(response)
    }

    /// What `oci-client` is to send, ready to be used: it exchanges nothing itself. Tokens live for
    /// minutes; ask again for every blob of a long upload (that is cheap), and after a 401
    /// [`Authorizer::forget`] first.
    ///
    /// # Errors
    /// As [`Authorizer::send`]; `RegistryUnavailable` where the registry does not say what it wants.
    pub async fn oci_auth(
        &self,
        host: &RegistryHost,
        scope: &Scope,
        token: Option<&SecretString>,
    ) -> Result<RegistryAuth, FetchError> {
        let challenge = match self.remembered(host) {
            Some(challenge) => challenge,
            None => {
                let response = self.ping(host, None).await?;
                if response.status != StatusCode::UNAUTHORIZED {
                    return open_or_broken(host, response.status).map(|()| RegistryAuth::Anonymous);
                }
                self.challenge(host, &response)?
            }
        };
        let found = self.inner.credentials.lookup(&host.name, token).await;
        let proof = self.prove(host, scope, &challenge, &found, None).await?;
        match proof.carried {
            Carried::Nothing => Err(unauthorized(host, scope, &found, proof.note.as_deref())),
            Carried::Basic { username, password } => {
                Ok(RegistryAuth::Basic(username, password.expose_secret().to_owned()))
            }
            Carried::Bearer(token) => Ok(RegistryAuth::Bearer(token.expose_secret().to_owned())),
        }
    }

    /// Forgets what the registry demanded, its tokens, and which credentials were found for it.
    pub fn forget(&self, host: &RegistryHost) {
        self.forget_challenge(host);
        self.inner.tokens.forget(host);
        self.inner.credentials.forget(&host.name);
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.inner.credentials
    }

    pub(super) fn egress(&self) -> &Egress {
        &self.inner.egress
    }

    /// Asks for the registry's root, which says what it demands
    /// (<https://github.com/opencontainers/distribution-spec/blob/main/spec.md>, end-1).
    pub(super) async fn ping(
        &self,
        host: &RegistryHost,
        authorization: Option<HeaderValue>,
    ) -> Result<EgressResponse, FetchError> {
        let url = host.endpoint.join("v2/").map_err(|e| {
            FetchError::fatal(ErrorKind::RegistryInvalid, format!("{host} has no API root: {e}"))
        })?;
        let mut request = EgressRequest::get(url, host.endpoint.clone());
        request.authorization = authorization;
        Ok(self.inner.egress.send(request).await?)
    }

    /// Reads and remembers what a 401 demands.
    pub(super) fn challenge(
        &self,
        host: &RegistryHost,
        response: &EgressResponse,
    ) -> Result<Challenge, FetchError> {
        if response.url.origin() != host.endpoint.origin() {
            // Credentials are the registry's; whoever it redirects to has no claim to them.
            let other = response.url.host_str().unwrap_or_default();
            let text = format!("{host} redirects to {other}, which wants credentials of its own");
            return Err(FetchError::fatal(ErrorKind::RegistryInvalid, text));
        }
        let challenge = challenge::strongest(&response.headers).map_err(|unusable| {
            let (kind, text) = match unusable {
                Unusable::Absent => (
                    ErrorKind::RegistryUnauthorized,
                    format!("{host} wants a login, but does not say which kind"),
                ),
                Unusable::Schemes(schemes) => (
                    ErrorKind::RegistryUnauthorized,
                    format!("{host} wants a login by {schemes}; modeld knows Basic and Bearer"),
                ),
                Unusable::Broken(problem) => (
                    ErrorKind::RegistryInvalid,
                    format!("what {host} demands for a login cannot be read: {problem}"),
                ),
            };
            FetchError::fatal(kind, text)
        })?;
        let mut challenges = self.inner.challenges.lock().unwrap_or_else(PoisonError::into_inner);
        if challenges.len() >= MAX_CHALLENGES {
            challenges.clear();
        }
        challenges.insert(host.clone(), challenge.clone());
        Ok(challenge)
    }

    /// Turns what was found into what the challenge demands. `refused` is a token that is known to
    /// be no good.
    pub(super) async fn prove(
        &self,
        host: &RegistryHost,
        scope: &Scope,
        challenge: &Challenge,
        found: &Found,
        refused: Option<&SecretString>,
    ) -> Result<Proof, FetchError> {
        let trusted = realm::endpoint_is_trusted(host);
        let own = found.credential.as_ref().filter(|_| trusted);
        let (issuer, service) = match (challenge, own) {
            (_, Some(Credential::RegistryToken(token))) => {
                return Ok(Proof::of(Carried::Bearer(token.clone())));
            }
            (Challenge::Basic, Some(Credential::Password { username, password })) => {
                let (username, password) = (username.clone(), password.clone());
                return Ok(Proof::of(Carried::Basic { username, password }));
            }
            (Challenge::Basic, Some(Credential::IdentityToken(_))) => {
                let note = "it takes a user name and a password, not a token";
                return Ok(Proof { carried: Carried::Nothing, note: Some(note.to_owned()) });
            }
            (Challenge::Basic, None) => return Ok(Proof::of(Carried::Nothing)),
            (Challenge::Bearer { realm, service }, _) => (realm, service.as_deref()),
        };
        let realm = realm::check(issuer, host, &self.inner.egress).map_err(|problem| {
            let shown: String = issuer.chars().take(200).collect();
            let text = format!("{host} wants tokens from {shown:?}, which is not asked: {problem}");
            FetchError::fatal(ErrorKind::RegistryInvalid, text)
        })?;
        let own = own.filter(|_| realm.trusted);
        let note = (found.credential.is_some() && own.is_none()).then(|| {
            let issuer = realm.url.host_str().unwrap_or_default();
            format!(
                "the credentials were not sent, because the tokens are issued by {issuer}, which \
                 does not belong to {}",
                host.name
            )
        });
        let slot = self.inner.tokens.slot(key(host, scope, own));
        let exchange =
            Exchange { egress: &self.inner.egress, registry: host, realm: &realm, service, scope };
        match slot.get(Instant::now(), refused, exchange.run(own)).await {
            Ok(token) => Ok(Proof { carried: Carried::Bearer(token), note }),
            Err(NoToken::Refused) => Err(unauthorized(host, scope, found, note.as_deref())),
            Err(NoToken::Failed(error)) => Err(error),
        }
    }

    fn remembered(&self, host: &RegistryHost) -> Option<Challenge> {
        self.inner.challenges.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }

    fn forget_challenge(&self, host: &RegistryHost) {
        self.inner.challenges.lock().unwrap_or_else(PoisonError::into_inner).remove(host);
    }

    async fn forget_token(
        &self,
        host: &RegistryHost,
        scope: &Scope,
        found: &Found,
        token: &SecretString,
    ) {
        for credential in [found.credential.as_ref(), None] {
            self.inner.tokens.slot(key(host, scope, credential)).forget(token).await;
        }
    }
}

fn key(host: &RegistryHost, scope: &Scope, credential: Option<&Credential>) -> Key {
    Key {
        registry: host.clone(),
        scope: scope.clone(),
        credential: credential.map(Credential::fingerprint),
    }
}

/// Whether a registry that did not ask for credentials works at all.
pub(super) fn open_or_broken(host: &RegistryHost, status: StatusCode) -> Result<(), FetchError> {
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(FetchError::passing(format!("{host} answers {status}; try again later")));
    }
    Ok(())
}

fn unauthorized(
    host: &RegistryHost,
    scope: &Scope,
    found: &Found,
    note: Option<&str>,
) -> FetchError {
    let what = match (scope.repository.as_str(), scope.push) {
        ("", _) => String::new(),
        (repository, true) => format!(" to write {repository}"),
        (repository, false) => format!(" to read {repository}"),
    };
    let name = &host.name;
    let mut text = match (&found.source, note) {
        (Some(source), None) => format!(
            "{name} does not allow the credentials of {source}{what}; if they are out of date, \
             log in again with `modeld login {name}`"
        ),
        (Some(source), Some(note)) => {
            format!("{name} does not allow anonymous users{what}; of {source}: {note}")
        }
        (None, _) => format!(
            "{name} does not allow anonymous users{what}; log in with `modeld login {name}`, if \
             the name is right"
        ),
    };
    for problem in &found.problems {
        text.push_str("; passed over: ");
        text.push_str(problem);
    }
    FetchError::fatal(ErrorKind::RegistryUnauthorized, text)
}
