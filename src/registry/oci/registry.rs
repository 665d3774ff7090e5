use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use oci_client::Reference;
use secrecy::SecretString;

use crate::domain::{Digest, Error, ErrorKind, ModelRef, Result};
use crate::registry::egress::Egress;
use crate::registry::signature::Keyring;
use crate::registry::{FetchError, OutgoingModel, ProgressSink, Registry, RemoteModel};

use super::blobs::OciBlobs;
use super::push::Push;
use super::resolve::Found;
use super::retry::Patience;
use super::signatures::Wanted;
use super::source::Source;
use super::upload::Limits;
use crate::registry::RegistryHost;

use super::{Access, Gateway, MirrorTable, resolve, signatures, tags};

/// What the OCI registries are spoken to with, besides the policy.
#[derive(Debug, Clone, Default)]
pub struct OciOptions {
    /// Who stands in for whom when pulling.
    pub mirrors: MirrorTable,
    /// PEM files with certificate authorities that uploads trust besides the system's; the same
    /// as the policy's.
    pub ca_files: Vec<PathBuf>,
    /// Whose signatures models must have to be pulled.
    pub signatures: Keyring,
}

/// Every registry that speaks the OCI distribution API.
pub struct OciRegistry {
    egress: Egress,
    access: Arc<dyn Access>,
    gateway: Arc<dyn Gateway>,
    options: OciOptions,
    pub(super) patience: Patience,
    pub(super) limits: Limits,
}

impl OciRegistry {
    /// Speaks to registries through `access`, and uploads through `gateway`; `egress` says which
    /// of them have no TLS.
    pub fn new(
        egress: Egress,
        access: Arc<dyn Access>,
        gateway: Arc<dyn Gateway>,
        options: OciOptions,
    ) -> Self {
        let (patience, limits) = (Patience::default(), Limits::default());
        Self { egress, access, gateway, options, patience, limits }
    }

    async fn find(
        &self,
        reference: &ModelRef,
        token: Option<&SecretString>,
    ) -> Result<RemoteModel> {
        let named = name_of(reference)?;
        let pinned = reference.digest();
        let what = match pinned {
            Some(digest) => digest.to_string(),
            None => named.tag().unwrap_or("latest").to_owned(),
        };
        let mut sources = self.sources(named, token)?;
        let mut warnings = Vec::new();
        loop {
            let Some(source) = sources.first() else {
                return Err(Error::internal("a reference without a source"));
            };
            match self.find_at(source, &sources, named, &what, pinned).await {
                Ok(found) => {
                    return Ok(RemoteModel {
                        id: Digest::of(&found.manifest),
                        manifest: found.manifest,
                        artifact: found.artifact,
                        config: found.config,
                        blobs: Arc::new(OciBlobs::new(Arc::clone(&self.access), sources)),
                        warnings,
                    });
                }
                Err(error) if source.is_mirror => {
                    let mirror = &source.host.name;
                    tracing::warn!(%mirror, %error, "a mirror was passed over");
                    warnings.push(format!("the mirror {mirror} was passed over: {error}"));
                    sources.remove(0);
                }
                Err(error) if pinned.is_none() => {
                    let access = self.access.as_ref();
                    return Err(tags::with_suggestions(access, source, &what, error.error).await);
                }
                Err(error) => return Err(error.error),
            }
        }
    }

    /// What the first of these sources has, if it is signed as it must be. Of what a mirror has, the
    /// signatures may be there as well or with those that come after it.
    async fn find_at(
        &self,
        source: &Source,
        sources: &[Source],
        named: &Reference,
        what: &str,
        pinned: Option<Digest>,
    ) -> std::result::Result<Found, FetchError> {
        let found = resolve::resolve(&self.access, source, what, pinned, self.patience).await?;
        if let Some(demand) = self.options.signatures.demand(named) {
            let wanted = Wanted { demand, named, manifest: found.signed };
            signatures::require(self.access.as_ref(), sources, wanted, self.patience).await?;
        }
        Ok(found)
    }

    /// Mirrors first, the registry itself last.
    fn sources(&self, named: &Reference, token: Option<&SecretString>) -> Result<Vec<Source>> {
        let host = RegistryHost::of(named, &self.egress)?;
        let mirrors = self.options.mirrors.of(&host.name).iter().cloned();
        let mut sources = mirrors
            .map(|mirror| Source::new(mirror, named, false, None, true))
            .collect::<Result<Vec<Source>>>()?;
        sources.push(Source::new(host, named, false, token, false)?);
        Ok(sources)
    }

    async fn upload(
        &self,
        reference: &ModelRef,
        model: OutgoingModel,
        token: Option<&SecretString>,
        progress: ProgressSink,
    ) -> Result<()> {
        let named = name_of(reference)?;
        let (None, Some(tag)) = (named.digest(), named.tag()) else {
            return Err(Error::new(
                ErrorKind::InvalidReference,
                format!("{reference} cannot be pushed to: a push needs a tag, as in NAME:TAG"),
            ));
        };
        let host = RegistryHost::of(named, &self.egress)?;
        let source = Source::new(host, named, true, token, false)?;
        let push = Push {
            access: Arc::clone(&self.access),
            source,
            tag: tag.to_owned(),
            patience: self.patience,
            limits: self.limits,
            progress,
        };
        push.run(self.gateway.as_ref(), &self.options.ca_files, model).await
    }
}

impl Registry for OciRegistry {
    fn resolve<'a>(
        &'a self,
        reference: &'a ModelRef,
        token: Option<&'a SecretString>,
    ) -> BoxFuture<'a, Result<RemoteModel>> {
        self.find(reference, token).boxed()
    }

    fn push<'a>(
        &'a self,
        reference: &'a ModelRef,
        model: OutgoingModel,
        token: Option<&'a SecretString>,
        progress: ProgressSink,
    ) -> BoxFuture<'a, Result<()>> {
        self.upload(reference, model, token, progress).boxed()
    }
}

fn name_of(reference: &ModelRef) -> Result<&Reference> {
    match reference {
        ModelRef::Named(named) => Ok(named),
        ModelRef::Id(_) | ModelRef::ShortId(_) => Err(Error::new(
            ErrorKind::InvalidReference,
            format!(
                "{reference} is the id of a model, which says nothing about where it is; use its \
                 name, as in `ai/smollm2` or `ai/smollm2@sha256:…`"
            ),
        )),
    }
}
