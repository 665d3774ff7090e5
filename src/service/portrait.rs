use crate::domain::Result;
use crate::gguf::{self, Facts};
use crate::models::{Headers, Portrait};
use crate::protocol::{ModelInfo, Purpose};
use crate::scheduler::LoadedModel;

use super::Service;

/// A loaded model, with what there is to say about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// As the queue sees it.
    pub model: LoadedModel,
    /// Of its files.
    pub portrait: Portrait,
    /// Bytes of memory that it takes, as estimated; those of its files where that is not known.
    pub memory: u64,
}

impl Service {
    /// What there is to say about a model, by any of its names.
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`.
    pub async fn portrait(&self, model: &str) -> Result<Portrait> {
        self.models.portrait(model).await
    }

    /// The same of all models, in the order in which they came.
    ///
    /// # Errors
    /// `Internal` if the store cannot be read.
    pub async fn portraits(&self) -> Result<Vec<Portrait>> {
        self.models.portraits().await
    }

    /// What there is to say about a model, with the headers of its files.
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`, `InvalidModel`.
    pub async fn headers(&self, model: &str) -> Result<Headers> {
        self.models.headers(model).await
    }

    /// The loaded models that are still in the store.
    ///
    /// # Errors
    /// `Internal` if the store cannot be read.
    pub async fn loaded(&self) -> Result<Vec<Loaded>> {
        let snapshot = self.snapshot();
        if snapshot.models.is_empty() {
            return Ok(Vec::new());
        }
        let portraits = self.portraits().await?;
        let loaded = snapshot.models.iter().filter_map(|model| {
            let portrait = portraits.iter().find(|portrait| portrait.entry.id == model.id)?;
            let estimated = model.info.as_ref().zip(portrait.facts.as_deref());
            let memory = estimated.and_then(|(info, facts)| memory(info, facts));
            let memory = memory.unwrap_or(portrait.bytes);
            Some(Loaded { model: model.clone(), portrait: portrait.clone(), memory })
        });
        Ok(loaded.collect())
    }
}

fn memory(info: &ModelInfo, facts: &Facts) -> Option<u64> {
    let (context, sequences) = (info.context_size, info.max_sequences);
    let estimate = match info.purpose {
        Purpose::Generate => gguf::estimate(&facts.shape, context, sequences),
        Purpose::Embed | Purpose::Rerank => gguf::estimate_pooled(facts, context, sequences),
    };
    estimate.ok().map(|estimate| estimate.total())
}
