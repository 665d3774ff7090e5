use crate::domain::{Digest, Result};
use crate::models::{Base, Created, Recipe};

use super::Service;

impl Service {
    /// Makes a model of a recipe, see [`crate::models::Models::create`]. The model that had the name
    /// before and has no other goes with its last name, unless it is in use: then it stays without
    /// one.
    ///
    /// # Errors
    /// As [`crate::models::Models::create`].
    pub async fn create_model(&self, target: &str, recipe: Recipe) -> Result<Created> {
        let mut files: Vec<Digest> = recipe.adapters.iter().map(|(_, digest)| *digest).collect();
        if let Base::Files(named) = &recipe.base {
            files.extend(named.iter().map(|(_, digest)| *digest));
        }
        let created = self.models.create(target, recipe).await?;
        self.unshelve(files);
        if let Some(orphan) = created.orphaned {
            self.remove_orphan(orphan).await;
        }
        Ok(created)
    }

    /// Gives a model a further name, which moves away from whatever has it; the model that had it
    /// and has no other goes, unless it is in use. Answers the qualified name.
    ///
    /// # Errors
    /// `InvalidReference`, with `source` or `destination` as the field; `ModelNotFound`.
    pub async fn copy_model(&self, source: &str, destination: &str) -> Result<String> {
        let id = self.models.inspect(source).await.map_err(|e| e.with_param("source"))?.id;
        let before = self.models.named_exactly(destination).await;
        let before = before.map_err(|e| e.with_param("destination"))?;
        let tag = self.models.tag(&id.to_string(), destination).await;
        let tag = tag.map_err(|e| e.with_param("destination"))?;
        if let Some(before) = before.filter(|before| *before != id) {
            self.remove_orphan(before).await;
        }
        Ok(tag)
    }

    /// What cannot be removed now is no reason to say that the change failed.
    async fn remove_orphan(&self, id: Digest) {
        let id = id.to_string();
        let untagged = self.models.inspect(&id).await.is_ok_and(|entry| entry.tags.is_empty());
        if untagged && let Err(error) = self.remove(&id, false).await {
            tracing::info!(%error, "a model that lost its name stays without one");
        }
    }
}
