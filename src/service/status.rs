use std::sync::Arc;

use crate::domain::{ErrorKind, Result};
use crate::metrics::{Metrics, ModelNow, Now};
use crate::scheduler::{Snapshot, UnloadTarget};

use super::Service;

impl Service {
    /// The loaded models as of the last change.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.scheduler.snapshot()
    }

    /// Everything that was counted, and what holds right now, as Prometheus reads it; `None`: nothing
    /// is counted.
    pub fn metrics_text(&self) -> Option<String> {
        let snapshot = self.scheduler.snapshot();
        let models = snapshot.models.iter().map(|model| ModelNow {
            name: model.name.clone(),
            loaded: model.loading.is_none(),
            running: model.running,
            waiting: model.waiting,
            memory: model.memory_bytes,
        });
        let now = Now { version: env!("CARGO_PKG_VERSION"), models: models.collect() };
        self.metrics.text(&now)
    }

    /// Where HTTP requests are counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Unloads idle models and answers how many went. No `names` means all; a name that is none of
    /// a model counts for nothing.
    ///
    /// # Errors
    /// `Internal` if the store cannot be read.
    pub async fn unload(&self, names: &[String]) -> Result<usize> {
        if names.is_empty() {
            return Ok(self.scheduler.unload(UnloadTarget::All).await);
        }
        let mut ids = Vec::new();
        for name in names {
            match self.models.inspect(name).await {
                Ok(entry) => ids.push(entry.id),
                Err(error) if is_no_model(error.kind) => {}
                Err(error) => return Err(error),
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(self.scheduler.unload(UnloadTarget::Models(ids)).await)
    }

    /// Lets a model go: one that is idle is unloaded now, one in use once its last request has
    /// ended, and a load that no request waits for is cancelled. One that is not loaded is no error.
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`; `Internal` if the store cannot be read.
    pub async fn release(&self, model: &str) -> Result<()> {
        let entry = self.models.inspect(model).await?;
        self.scheduler.release(entry.id).await;
        Ok(())
    }
}

fn is_no_model(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ModelNotFound | ErrorKind::InvalidReference | ErrorKind::InvalidDigest
    )
}
