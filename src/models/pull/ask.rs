use secrecy::SecretString;

use crate::domain::{ModelEntry, ModelRef, Result, TransferPlan};
use crate::models::Models;
use crate::registry::{Config, OutgoingModel, ProgressSink};

impl Models {
    /// A model as its registry describes it. Nothing is moved; tags are those of the store, so it
    /// has none.
    ///
    /// # Errors
    /// `InvalidReference`; those of [`crate::registry::Registry::resolve`]; `InvalidModel` for a
    /// config that cannot be read.
    pub async fn inspect_remote(
        &self,
        reference: &str,
        token: Option<&SecretString>,
    ) -> Result<ModelEntry> {
        let reference = ModelRef::parse(reference)?;
        let remote = self.registry()?.resolve(&reference, token).await?;
        let config = Config::parse(&remote.config, &remote.artifact)?;
        Ok(ModelEntry {
            id: remote.id,
            tags: Vec::new(),
            created: config.created,
            config: config.model,
        })
    }

    /// Uploads what [`Models::outgoing`] prepared under `reference`.
    ///
    /// # Errors
    /// Those of [`crate::registry::Registry::push`].
    pub async fn push(
        &self,
        reference: &ModelRef,
        model: OutgoingModel,
        token: Option<&SecretString>,
        progress: ProgressSink,
    ) -> Result<()> {
        self.registry()?.push(reference, model, token, progress).await
    }
}

impl OutgoingModel {
    /// What a push of it moves.
    pub fn plan(&self) -> TransferPlan {
        let layers = self.artifact.layers.iter().map(|layer| layer.blob);
        TransferPlan {
            id: Some(crate::domain::Digest::of(&self.manifest)),
            layers: layers.chain([self.artifact.config]).map(|b| (b.digest, b.size)).collect(),
        }
    }
}
