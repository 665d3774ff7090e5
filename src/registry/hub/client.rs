use std::ops::Range;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _};
use http::{HeaderValue, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::domain::{Error, ErrorKind, ModelRef, Result};
use crate::registry::egress::{Egress, EgressRequest, EgressResponse};
use crate::registry::{FetchError, OutgoingModel, ProgressSink, Registry, RemoteModel};

use super::answer::{refusal, unexpected};
use super::assemble::assemble;
use super::choose::choose;
use super::listing;

/// Where a token comes from when the client sends none along; asked anew for each model.
pub type TokenSource = Arc<dyn Fn() -> BoxFuture<'static, Option<SecretString>> + Send + Sync>;

/// Where the Hub itself is.
pub const HUB_ENDPOINT: &str = "https://huggingface.co";

/// What a [`Hub`] is made of.
#[derive(Clone)]
pub struct HubOptions {
    /// The Hub itself ([`HUB_ENDPOINT`]) or a mirror of it.
    pub endpoint: Url,
    /// The user's token for this endpoint.
    pub token: Option<TokenSource>,
}

/// The Hugging Face Hub; cheap to clone.
#[derive(Clone)]
pub struct Hub {
    egress: Egress,
    options: Arc<HubOptions>,
}

/// One repository as one user sees it.
#[derive(Clone)]
pub(super) struct Access {
    /// `hf.co/org/repo`, for messages.
    pub(super) name: String,
    /// The repository's page for people.
    pub(super) page: String,
    /// The user's token as a header.
    pub(super) authorization: Option<HeaderValue>,
}

impl Hub {
    /// The Hub at `options.endpoint`, spoken to through `egress` alone.
    pub fn new(egress: Egress, options: HubOptions) -> Self {
        Self { egress, options: Arc::new(options) }
    }

    /// The endpoint with the parts of a path after it, each of which may hold slashes.
    pub(super) fn url(&self, parts: &[&str]) -> Result<Url> {
        let endpoint = &self.options.endpoint;
        let mut url = endpoint.clone();
        url.path_segments_mut()
            .map_err(|()| {
                let text = format!("the configured Hub {endpoint} is no http address");
                Error::new(ErrorKind::RegistryForbidden, text)
            })?
            .pop_if_empty()
            .extend(parts.iter().flat_map(|part| part.split('/')));
        Ok(url)
    }

    /// What `repo` may be asked with. The client's token goes before the user's own.
    pub(super) async fn access(&self, repo: &str, token: Option<&SecretString>) -> Result<Access> {
        let token = match (token, &self.options.token) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(source)) => source().await,
            (None, None) => None,
        };
        let token = token.filter(|token| !token.expose_secret().trim().is_empty());
        let authorization = token.map(|token| {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {}", token.expose_secret().trim()))
                    .map_err(|_| {
                        let text = "the token for the Hub holds characters that no token has";
                        Error::new(ErrorKind::RegistryUnauthorized, text)
                    })?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        });
        Ok(Access {
            name: format!("hf.co/{repo}"),
            page: self.url(&[repo])?.into(),
            authorization: authorization.transpose()?,
        })
    }

    /// Asks for `url`, in part if `range` says so. Only a 200 or, for a range, a 206 comes back.
    /// `what` is named in errors.
    pub(super) async fn get(
        &self,
        url: Url,
        access: &Access,
        range: Option<Range<u64>>,
        what: &str,
    ) -> std::result::Result<EgressResponse, FetchError> {
        let mut request = EgressRequest::get(url, self.options.endpoint.clone());
        request.authorization.clone_from(&access.authorization);
        request.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let in_part = range.is_some();
        if let Some(range) = range {
            let text = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
            if let Ok(value) = HeaderValue::from_str(&text) {
                request.headers.insert(header::RANGE, value);
            }
        }
        let response = self.egress.send(request).await?;
        match response.status.as_u16() {
            200 => Ok(response),
            206 if in_part => Ok(response),
            _ => {
                let from_hub = self.is_own(&response.url);
                Err(refusal(&response, access, what, from_hub))
            }
        }
    }

    /// Asks for what everyone may see.
    pub(super) async fn get_public(
        &self,
        url: Url,
        what: &str,
    ) -> std::result::Result<EgressResponse, FetchError> {
        let request = EgressRequest::get(url, self.options.endpoint.clone());
        let response = self.egress.send(request).await?;
        if response.status != StatusCode::OK {
            let host = response.url.host_str().unwrap_or_default();
            return Err(unexpected(response.status, &response.headers, host, what));
        }
        Ok(response)
    }

    /// Whether the Hub itself is at `url`.
    pub(super) fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.options.endpoint.origin()
    }

    async fn find(
        &self,
        reference: &ModelRef,
        token: Option<&SecretString>,
    ) -> Result<RemoteModel> {
        let ModelRef::Named(name) = reference else {
            let text = format!("{reference} is an id; the Hub knows models by name only");
            return Err(Error::new(ErrorKind::InvalidReference, text));
        };
        let asked = name.repository();
        if asked.split('/').count() > 2 {
            let text = format!(
                "{reference} is no repository of the Hub; names look like `hf.co/org/repo:Q4_K_M`"
            );
            return Err(Error::new(ErrorKind::InvalidReference, text));
        }
        let access = self.access(asked, token).await?;
        let repository = listing::repository(self, &access, asked).await?;
        let access = self.access(&repository.id, token).await?;
        let files = listing::files(self, &access, &repository).await?;
        let chosen = choose(&files, name.tag().unwrap_or("latest"), &access.name)?;
        let mut remote = assemble(self, &access, &repository, &chosen).await?;
        if !repository.id.eq_ignore_ascii_case(asked) {
            remote.warnings.insert(0, format!("hf.co/{asked} is now called {}", access.name));
        }
        match reference.digest() {
            Some(pinned) if pinned != remote.id => Err(Error::new(
                ErrorKind::RegistryNotFound,
                format!(
                    "{} is at commit {} now, which gives the model {}, not {pinned}; the Hub \
                     cannot be asked for a digest",
                    access.name, repository.commit, remote.id
                ),
            )),
            _ => Ok(remote),
        }
    }
}

impl Registry for Hub {
    fn resolve<'a>(
        &'a self,
        reference: &'a ModelRef,
        token: Option<&'a SecretString>,
    ) -> BoxFuture<'a, Result<RemoteModel>> {
        self.find(reference, token).boxed()
    }

    /// Always `Unsupported`: the Hub takes commits of files, not artifacts.
    fn push<'a>(
        &'a self,
        reference: &'a ModelRef,
        _model: OutgoingModel,
        _token: Option<&'a SecretString>,
        _progress: ProgressSink,
    ) -> BoxFuture<'a, Result<()>> {
        let text = format!(
            "{reference} is on the Hugging Face Hub, to which modeld does not upload; upload the \
             GGUF file with `hf upload`, or tag the model for an OCI registry and push it there"
        );
        std::future::ready(Err(Error::new(ErrorKind::Unsupported, text))).boxed()
    }
}
