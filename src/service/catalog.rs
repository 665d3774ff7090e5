use crate::domain::{Error, ErrorKind, ModelEntry, ModelRef, Removal, Result};
use crate::scheduler::UnloadTarget;

use super::Service;

impl Service {
    /// All models, newest first.
    ///
    /// # Errors
    /// `Internal` if the store cannot be read.
    pub async fn list(&self) -> Result<Vec<ModelEntry>> {
        self.models.list().await
    }

    /// One model, by any of its names.
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`.
    pub async fn inspect(&self, model: &str) -> Result<ModelEntry> {
        self.models.inspect(model).await
    }

    /// Untags a model or, with its last tag, deletes it. One that is loaded and idle is unloaded
    /// first; one with live requests stays, unless `force`, which ends them with an error.
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`; `Conflict` for a model with several tags that was named
    /// by its id without `force`, and for a busy one, with the number of its requests.
    pub async fn remove(&self, model: &str, force: bool) -> Result<Vec<Removal>> {
        // A bare word may find a model by the last part of its name, but never delete it so.
        let entry = self.models.named(model).await?;
        if deletes(model, &entry, force)? {
            self.make_idle(model, &entry, force).await?;
        }
        let removals = self.models.remove(model, force).await?;
        let deleted = |id| removals.contains(&Removal::Deleted(id));
        self.configured.forget(deleted).await;
        Ok(removals)
    }

    /// Gives a model a further tag and answers it, fully qualified.
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`.
    pub async fn tag(&self, model: &str, repo: &str, tag: &str) -> Result<String> {
        self.models.tag(model, &format!("{repo}:{tag}")).await
    }

    async fn make_idle(&self, model: &str, entry: &ModelEntry, force: bool) -> Result<()> {
        if force {
            self.scheduler.evict(entry.id, "the model was deleted").await;
            return Ok(());
        }
        let settled = self.scheduler.settled().await;
        if let Some(loaded) = settled.busy().find(|loaded| loaded.id == entry.id) {
            let message = format!(
                "{model} is in use: {} running and {} waiting requests; wait until they are done, \
                 or delete it with force=true, which ends them",
                loaded.running, loaded.waiting
            );
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        self.scheduler.unload(UnloadTarget::Models(vec![entry.id])).await;
        Ok(())
    }
}

/// Whether removing `model` takes its files along: its last tag does, and its id does if it has no
/// other tags or is told to.
fn deletes(model: &str, entry: &ModelEntry, force: bool) -> Result<bool> {
    let by_tag = match ModelRef::parse(model)? {
        ModelRef::Id(_) | ModelRef::ShortId(_) => false,
        ModelRef::Named(reference) => reference.digest().is_none(),
    };
    Ok(entry.tags.len() <= 1 || (force && !by_tag))
}
