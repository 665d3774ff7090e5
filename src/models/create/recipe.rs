use serde_json::{Map, Value};

use crate::domain::Digest;
use crate::models::StoredMessage;

/// What a new model is made of. What it does not say is as in its base.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Where the weights come from.
    pub base: Base,
    /// Further LoRA adapters, blobs of the store by the names of their files.
    pub adapters: Vec<(String, Digest)>,
    /// A system prompt, in the place of the one that is there.
    pub system: Option<String>,
    /// Parameters, over those that are there.
    pub parameters: Map<String, Value>,
    /// Messages, in the place of those that are there.
    pub messages: Vec<StoredMessage>,
    /// A chat template in Jinja, in the place of the one that is there. One in Go's language is
    /// taken only where the base has the very same.
    pub template: Option<String>,
    /// Texts of further licences.
    pub licenses: Vec<String>,
    /// The quantisation that the weights must have.
    pub quantization: Option<String>,
}

/// Where weights come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Another model, by any of its names.
    Model(String),
    /// Blobs of the store by the names of their files: weights, all shards of them, and a projector.
    Files(Vec<(String, Digest)>),
}

/// A model that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub id: Digest,
    /// Its tag, qualified.
    pub tag: String,
    /// Its layers in order, the config last, and whether each was written for it.
    pub layers: Vec<(Digest, bool)>,
    /// The model that had the tag before and has no other.
    pub orphaned: Option<Digest>,
}
