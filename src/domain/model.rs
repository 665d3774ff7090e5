use std::collections::BTreeMap;
use std::sync::Arc;

use super::Digest;

/// A model in the store, as lists and `inspect` show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelEntry {
    /// The digest of its manifest.
    pub id: Digest,
    /// Fully qualified tags (`docker.io/ai/smollm2:latest`), oldest first.
    pub tags: Vec<String>,
    /// When the artifact was made, in Unix seconds; 0 where it does not say.
    pub created: i64,
    /// What its config says; shared, because lists are long and it never changes.
    pub config: Arc<ModelConfig>,
}

/// The inner `config` of a Docker model artifact. Empty strings mean that the artifact does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelConfig {
    /// `gguf`.
    pub format: String,
    /// The GGUF file type's name, `MOSTLY_Q4_1` written as llama.cpp does: `Q4_1`.
    pub quantization: String,
    /// For people: `134.52M`.
    pub parameters: String,
    /// `general.architecture`.
    pub architecture: String,
    /// For people: `93.81MiB`.
    pub size: String,
    /// The file's metadata as text; long arrays left out.
    pub gguf: BTreeMap<String, String>,
    /// The context it was packaged with, in tokens: a ceiling.
    pub context_size: Option<u32>,
}

/// What a deletion did, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// This tag is gone.
    Untagged(String),
    /// This model, and every blob that only it used.
    Deleted(Digest),
}
