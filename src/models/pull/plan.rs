use std::sync::Arc;

use secrecy::SecretString;

use crate::domain::{Error, ErrorKind, ModelRef, Result, TransferPlan};
use crate::models::Models;
use crate::registry::{Config, OutgoingModel, Registry, RemoteModel};

/// A pull that is authorised and knows what it will move; nothing is moved yet.
pub struct PullPlan {
    pub(super) models: Models,
    pub(super) reference: ModelRef,
    pub(super) remote: RemoteModel,
}

impl Models {
    /// Says where models come from and go to.
    #[must_use]
    pub fn with_registry(mut self, registry: Arc<dyn Registry>) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Asks the registry that `reference` names what it is. `token` is what the client sent along.
    ///
    /// # Errors
    /// `InvalidReference`; those of [`Registry::resolve`]; `UnsupportedModel` and `InvalidModel`
    /// for what could not be run: nobody is to find out after forty gigabytes.
    pub async fn plan_pull(
        &self,
        reference: &str,
        token: Option<&SecretString>,
    ) -> Result<PullPlan> {
        let reference = ModelRef::parse(reference)?;
        let remote = self.registry()?.resolve(&reference, token).await?;
        remote.artifact.require_runnable()?;
        Config::parse(&remote.config, &remote.artifact)?;
        Ok(PullPlan { models: self.clone(), reference, remote })
    }

    /// A stored model as it goes to a registry.
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`, `InvalidModel`.
    pub async fn outgoing(&self, model: &str) -> Result<OutgoingModel> {
        let model = model.to_owned();
        self.blocking(move |inner| {
            let id = inner.store.find(&model)?.model.id;
            let lease = inner.store.lease(&id)?;
            let manifest = inner.store.read_manifest(&id)?;
            let artifact = crate::registry::Artifact::parse(&manifest)?;
            let store = inner.store.clone();
            let open = Arc::new(move |digest: &crate::domain::Digest| {
                let _held = &lease;
                Ok(store.open_blob(digest)?)
            });
            Ok(OutgoingModel { manifest, artifact, open })
        })
        .await
    }

    pub(super) fn registry(&self) -> Result<Arc<dyn Registry>> {
        self.registry.clone().ok_or_else(|| {
            Error::new(ErrorKind::RegistryForbidden, "this daemon speaks to no registry")
        })
    }
}

impl PullPlan {
    /// What it will move.
    pub fn transfer(&self) -> TransferPlan {
        let artifact = &self.remote.artifact;
        let layers = artifact.layers.iter().map(|layer| layer.blob).chain([artifact.config]);
        TransferPlan {
            id: Some(self.remote.id),
            layers: layers.map(|blob| (blob.digest, blob.size)).collect(),
        }
    }
}
