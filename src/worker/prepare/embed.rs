use super::run::{Preparer, Ready};
use crate::domain::{EmbedInput, Error, JobId};

impl Preparer {
    /// The inputs of an embedding model or a reranker.
    pub(super) fn embed(&self, _job: JobId, _inputs: &[EmbedInput]) -> Result<Ready, Error> {
        Err(Error::unsupported("input", "embeddings are not done yet"))
    }
}
