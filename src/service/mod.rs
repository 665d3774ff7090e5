//! stub: the public face that `api` and `daemon` rely on

use std::sync::Arc;
use std::time::Instant;

use crate::domain::{ClientKey, GenerateRequest, ModelEntry, Removal, Result};
use crate::scheduler::{Generation, Scheduler, Snapshot};

/// Who asks, and until when the answer is of use.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whose share it counts against.
    pub client: ClientKey,
    /// `x-request-timeout`, resolved.
    pub deadline: Option<Instant>,
}

/// Every use case, without HTTP. One value for the whole daemon; cheap to clone.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Scheduler>,
}

impl Service {
    /// service/generate.rs: resolves the model, checks its kind, submits.
    pub async fn generate(
        &self,
        _caller: Caller,
        _model: &str,
        _request: GenerateRequest,
    ) -> Result<Generation> {
        unimplemented!()
    }

    /// service/generate.rs: loads the model without generating (`X-Preload-Only`).
    pub async fn preload(&self, _model: &str) -> Result<()> {
        unimplemented!()
    }

    /// service/catalog.rs: all models, newest first.
    pub async fn list(&self) -> Result<Vec<ModelEntry>> {
        unimplemented!()
    }

    /// service/catalog.rs
    pub async fn inspect(&self, _model: &str) -> Result<ModelEntry> {
        unimplemented!()
    }

    /// service/catalog.rs: untags or deletes; 409 rules of DMR; busy models are a `Conflict` that
    /// names how many requests, unless `force`, which ends them.
    pub async fn remove(&self, _model: &str, _force: bool) -> Result<Vec<Removal>> {
        unimplemented!()
    }

    /// service/catalog.rs: answers the qualified tag.
    pub async fn tag(&self, _model: &str, _repo: &str, _tag: &str) -> Result<String> {
        unimplemented!()
    }

    /// service/archive.rs: takes in a Docker model tar from a blocking reader; answers its entry.
    pub async fn load_archive(&self, _tar: Box<dyn std::io::Read + Send>) -> Result<ModelEntry> {
        unimplemented!()
    }

    /// service/status.rs
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.snapshot()
    }

    /// service/status.rs: `names` empty means all; unknown names count as none. Answers how many went.
    pub async fn unload(&self, _names: &[String]) -> Result<usize> {
        unimplemented!()
    }
}
