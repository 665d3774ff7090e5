//! What the client reads: every field optional that can be, unknown ones ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A model, as `GET /models` lists it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Model {
    /// `sha256:…`
    pub id: String,
    /// Fully qualified tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Unix seconds; 0 where unknown.
    #[serde(default)]
    pub created: i64,
    /// What its config says.
    #[serde(default)]
    pub config: ModelConfig,
}

/// What a model says of itself.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ModelConfig {
    /// `134.52M`
    pub parameters: String,
    /// `Q4_K_M`
    pub quantization: String,
    /// `llama`
    pub architecture: String,
    /// `93.81MiB`
    pub size: String,
    /// The packaged context in tokens.
    pub context_size: Option<u64>,
    /// Metadata of the file.
    pub gguf: BTreeMap<String, String>,
}

/// What a deletion did.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub enum Removed {
    /// This tag is gone.
    Untagged(String),
    /// This model is gone.
    Deleted(String),
}

/// A loaded model, as `GET /engines/ps` lists it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Running {
    /// `llama.cpp`
    #[serde(default)]
    pub backend_name: String,
    /// The name that it was asked for.
    pub model_name: String,
    /// `completion`, `embedding`, …
    #[serde(default)]
    pub mode: String,
    /// RFC 3339.
    #[serde(default)]
    pub last_used: String,
    /// Whether it serves a request right now.
    #[serde(default)]
    pub in_use: bool,
    /// Whether it is still being loaded.
    #[serde(default)]
    pub loading: bool,
    /// How long it stays when idle; negative means for ever.
    pub keep_alive: Option<String>,
}

/// What to unload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Unload {
    /// Everything.
    pub all: bool,
    /// Only on this backend, where not empty.
    pub backend: String,
    /// These.
    pub models: Vec<String>,
}

/// What was unloaded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Unloaded {
    /// How many.
    pub unloaded_runners: u64,
}

/// The daemon's version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Version {
    /// `0.1.0`
    pub version: String,
}

/// One line of a progress stream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Progress {
    /// `progress`, `success`, `warning` or `error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// The id of a model that was taken in.
    #[serde(default)]
    pub model: Option<String>,
}

/// What another model is to be made of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Repackage {
    /// Its name.
    pub target: String,
    /// Its largest context, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_size: Option<u32>,
    /// The text of its template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// Texts of further licences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub licenses: Vec<String>,
    /// The absolute path of its projector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mmproj: Option<String>,
    /// Absolute paths of further LoRA adapters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lora: Vec<String>,
}

/// A model that was made of another one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Repackaged {
    /// For people.
    #[serde(default)]
    pub message: String,
    /// Its id, from daemons that say it.
    #[serde(default)]
    pub model: Option<String>,
}

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `user` or `assistant`.
    pub role: &'static str,
    /// Its text.
    pub content: String,
}

/// A streaming chat request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chat<'a> {
    /// The model.
    pub model: &'a str,
    /// The conversation so far.
    pub messages: &'a [Message],
    /// True.
    pub stream: bool,
}

/// One event of a chat's stream: a piece of the answer, or the error that ended it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ChatChunk {
    /// One, or none in an event that only carries usage.
    #[serde(default)]
    pub choices: Vec<ChatChoice>,
    /// Present in the event that ends a failed stream.
    pub error: Option<ChatError>,
}

/// The only choice.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ChatChoice {
    /// What is new.
    #[serde(default)]
    pub delta: ChatDelta,
    /// Why it ended, in the last one.
    pub finish_reason: Option<String>,
}

/// What is new.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct ChatDelta {
    /// Text of the answer.
    pub content: Option<String>,
    /// Text of the thoughts before it.
    pub reasoning_content: Option<String>,
}

/// Why a stream failed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ChatError {
    /// For people.
    pub message: String,
}

/// The body of an import; absolute paths.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Import {
    /// Stores of Docker Model Runner.
    pub docker: Vec<String>,
    /// Ollama's directories.
    pub ollama: Vec<String>,
    /// LM Studio's.
    pub lm_studio: Vec<String>,
    /// llama.cpp's caches.
    pub llama_cpp: Vec<String>,
    /// Caches of Hugging Face's libraries.
    pub hub_cache: Vec<String>,
    /// Files, and directories of them.
    pub paths: Vec<String>,
    /// What to call the one of `paths`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Change nothing.
    pub dry_run: bool,
}

/// One line of what an import says.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[allow(missing_docs, reason = "the wire's own words, see the daemon's route")]
pub enum ImportLine {
    Reading {
        path: String,
        bytes: u64,
    },
    Imported {
        origin: String,
        id: Option<String>,
        tags: Vec<String>,
        bytes: u64,
        how: Option<String>,
        notes: Vec<String>,
    },
    Skipped {
        origin: String,
        what: String,
        why: String,
    },
    Success,
    Error {
        message: String,
    },
}
