use std::io::Read;
use std::sync::Arc;

use crate::domain::{Digest, Error, ModelEntry, ModelRef, Removal, Result};
use crate::registry::Registry;
use crate::store::{Store, StoreError};

use super::card::Cards;
use super::pull::Pulls;
use super::resolve::{FactsCache, LocalModel};

/// The models of a store; cheap to clone. The async methods work on threads that may block.
#[derive(Clone)]
pub struct Models {
    pub(super) inner: Arc<Inner>,
    pub(super) registry: Option<Arc<dyn Registry>>,
    pub(super) pulls: Pulls,
}

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) cards: Cards,
    pub(super) facts: FactsCache,
}

impl Models {
    /// The models of `store`.
    pub fn new(store: Store) -> Self {
        let inner = Inner { store, cards: Cards::default(), facts: FactsCache::default() };
        Self { inner: Arc::new(inner), registry: None, pulls: Pulls::default() }
    }

    /// The store itself.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// All models, newest first.
    ///
    /// # Errors
    /// `Internal` where the index cannot be read.
    pub async fn list(&self) -> Result<Vec<ModelEntry>> {
        self.blocking(|inner| {
            let models = inner.store.list()?;
            let entry = |model: &Arc<_>| inner.cards.entry(&inner.store, model);
            let mut entries: Vec<ModelEntry> = models.iter().map(entry).collect();
            entries.sort_by_key(|entry| std::cmp::Reverse(entry.created));
            Ok(entries)
        })
        .await
    }

    /// One model by any of its names.
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`.
    pub async fn inspect(&self, model: &str) -> Result<ModelEntry> {
        let model = model.to_owned();
        self.blocking(move |inner| {
            let found = inner.store.find(&model)?;
            Ok(inner.cards.entry(&inner.store, &found.model))
        })
        .await
    }

    /// The id of the model that has exactly this name, if any.
    ///
    /// # Errors
    /// `InvalidReference`; `Internal` where the index cannot be read.
    pub async fn named_exactly(&self, name: &str) -> Result<Option<Digest>> {
        let reference = ModelRef::parse(name)?;
        self.blocking(move |inner| match inner.store.resolve(&reference) {
            Ok(found) => Ok(Some(found.model.id)),
            Err(StoreError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        })
        .await
    }

    /// One model by the name that the text is, without guessing: see [`Store::named`].
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`.
    pub async fn named(&self, model: &str) -> Result<ModelEntry> {
        let model = model.to_owned();
        self.blocking(move |inner| {
            let found = inner.store.named(&model)?;
            Ok(inner.cards.entry(&inner.store, &found.model))
        })
        .await
    }

    /// Untags or deletes, see [`Store::remove`].
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`, `Conflict`.
    pub async fn remove(&self, model: &str, force: bool) -> Result<Vec<Removal>> {
        let model = model.to_owned();
        self.blocking(move |inner| {
            let removals = inner.store.remove(&model, force)?;
            for removal in &removals {
                if let Removal::Deleted(id) = removal {
                    inner.cards.forget(id);
                    inner.facts.forget(id);
                }
            }
            Ok(removals)
        })
        .await
    }

    /// Gives a model a further tag; answers the qualified one.
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`.
    pub async fn tag(&self, model: &str, target: &str) -> Result<String> {
        let (model, target) = (model.to_owned(), ModelRef::parse(target)?);
        self.blocking(move |inner| inner.store.tag(&model, &target)).await
    }

    /// The verified and leased files of a model, ready to be loaded.
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`; `UnsupportedModel` for what llama.cpp does not run;
    /// `InvalidModel` naming the rule that a file breaks, or the file that is missing.
    pub async fn resolve(&self, model: &str) -> Result<LocalModel> {
        let model = model.to_owned();
        self.blocking(move |inner| inner.resolve(&model)).await
    }

    /// Takes in a Docker model archive; answers its entry, which has no tag yet.
    ///
    /// # Errors
    /// `InvalidModel` for anything wrong with it, `DiskFull`; nothing is left then.
    pub async fn load_archive(&self, tar: Box<dyn Read + Send>) -> Result<ModelEntry> {
        self.blocking(move |inner| {
            let id = super::load_archive(&inner.store, tar)?;
            let found = inner.store.resolve(&ModelRef::Id(id))?;
            Ok(inner.cards.entry(&inner.store, &found.model))
        })
        .await
    }

    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner)).await.map_err(Error::internal)?
    }
}
