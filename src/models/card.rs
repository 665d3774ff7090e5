use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::{Digest, ModelEntry, Result};
use crate::registry::{Artifact, Config, MAX_CONFIG_BYTES};
use crate::store::{Store, StoredModel};

/// What never changes about a model: its manifest and config.
#[derive(Debug)]
pub(super) struct Card {
    pub(super) artifact: Artifact,
    pub(super) config: Config,
}

/// Cards by id, so that lists read each config once.
#[derive(Default)]
pub(super) struct Cards {
    by_id: Mutex<HashMap<Digest, Arc<Card>>>,
}

impl Cards {
    pub(super) fn get(&self, store: &Store, id: &Digest) -> Result<Arc<Card>> {
        if let Some(card) = self.lock().get(id) {
            return Ok(Arc::clone(card));
        }
        let artifact = Artifact::parse(&store.read_manifest(id)?)?;
        let bytes = store.read_blob(&artifact.config.digest, MAX_CONFIG_BYTES as u64)?;
        let config = Config::parse(&bytes, &artifact)?;
        let card = Arc::new(Card { artifact, config });
        self.lock().insert(*id, Arc::clone(&card));
        Ok(card)
    }

    /// The entry of a model. One whose config cannot be read is listed as well, so that it can be
    /// seen and removed.
    pub(super) fn entry(&self, store: &Store, model: &StoredModel) -> ModelEntry {
        let (config, created) = match self.get(store, &model.id) {
            Ok(card) => (Arc::clone(&card.config.model), card.config.created),
            Err(error) => {
                tracing::warn!(id = %model.id, %error, cause = error.cause, "a config is unreadable");
                (Arc::default(), 0)
            }
        };
        ModelEntry { id: model.id, tags: model.tags.clone(), created, config }
    }

    pub(super) fn forget(&self, id: &Digest) {
        self.lock().remove(id);
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Arc<Card>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
