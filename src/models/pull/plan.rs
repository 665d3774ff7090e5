use std::sync::Arc;

use futures_util::StreamExt as _;
use secrecy::SecretString;
use tokio::sync::mpsc;

use crate::domain::{
    Error, ErrorKind, LayerProgress, ModelRef, Pulled, Result, TransferEvent, TransferPlan,
};
use crate::models::Models;
use crate::registry::{OutgoingModel, Registry, RemoteModel};
use crate::store::Blob;

/// A pull that is authorised and knows what it will move; nothing is moved yet.
pub struct PullPlan {
    models: Models,
    reference: ModelRef,
    remote: RemoteModel,
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
    /// `InvalidReference`; those of [`Registry::resolve`].
    pub async fn plan_pull(
        &self,
        reference: &str,
        token: Option<&SecretString>,
    ) -> Result<PullPlan> {
        let reference = ModelRef::parse(reference)?;
        let remote = self.registry()?.resolve(&reference, token).await?;
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

    /// Moves what is missing and makes the model visible. Dropping the future stops it.
    ///
    /// # Errors
    /// `DiskFull`, `RegistryInvalid` where bytes are not those that were promised,
    /// `RegistryUnavailable`, and those of the store.
    pub async fn run(self, events: impl Fn(TransferEvent) + Send + Sync) -> Result<Pulled> {
        let Self { models, reference, remote } = self;
        let store = models.store().clone();
        let artifact = &remote.artifact;
        let mut held: Vec<Blob> = Vec::new();
        let mut moved = false;
        for layer in artifact.layers.iter().map(|layer| layer.blob) {
            if store.blob_size(&layer.digest) == Some(layer.size) {
                continue;
            }
            moved = true;
            let mut body = remote.blobs.open(&layer, 0..layer.size).await?;
            let (sender, mut pieces) = mpsc::channel::<bytes::Bytes>(8);
            let writing = store.clone();
            let writer = tokio::task::spawn_blocking(move || -> Result<Blob> {
                let mut writer = writing.write_blob(Some(layer.size))?;
                while let Some(piece) = pieces.blocking_recv() {
                    writer.append(&piece)?;
                }
                Ok(writer.commit(Some(layer.digest))?)
            });
            let mut current = 0;
            while let Some(piece) = body.stream.next().await {
                let piece = piece?;
                current += piece.len() as u64;
                if sender.send(piece).await.is_err() {
                    break;
                }
                events(TransferEvent::Layer(LayerProgress {
                    layer: layer.digest,
                    size: layer.size,
                    current: current.min(layer.size),
                }));
            }
            drop(sender);
            held.push(writer.await.map_err(Error::internal)??);
        }
        let tag = reference.qualified_tag();
        let bytes = artifact.layer_bytes();
        let tags: Vec<String> = tag.iter().cloned().collect();
        let id = remote.id;
        models
            .blocking(move |inner| {
                let mut config = inner.store.write_blob(Some(remote.config.len() as u64))?;
                config.append(&remote.config)?;
                let config = config.commit(Some(remote.artifact.config.digest))?;
                inner.store.put_model(&remote.manifest, &tags)?;
                drop((config, held));
                Ok(())
            })
            .await?;
        Ok(Pulled { id, tag, cached: !moved, bytes })
    }
}
