//! What the client reads: every field optional that can be, unknown ones ignored.

use std::collections::BTreeMap;

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

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
    /// Of the file's metadata only the contexts, by key (`llama.context_length`): lists are long.
    #[serde(deserialize_with = "contexts")]
    pub gguf: BTreeMap<String, String>,
}

fn contexts<'de, D: Deserializer<'de>>(metadata: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Contexts;
    impl<'de> Visitor<'de> for Contexts {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("metadata by key")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = BTreeMap::new();
            while let Some(Key(key)) = map.next_key()? {
                match key {
                    Some(key) => drop(found.insert(key, map.next_value()?)),
                    None => drop(map.next_value::<IgnoredAny>()?),
                }
            }
            Ok(found)
        }
    }

    /// A key that is wanted.
    struct Key(Option<String>);
    impl<'de> Deserialize<'de> for Key {
        fn deserialize<D: Deserializer<'de>>(key: D) -> Result<Self, D::Error> {
            key.deserialize_str(KeyVisitor)
        }
    }

    struct KeyVisitor;
    impl Visitor<'_> for KeyVisitor {
        type Value = Key;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a key")
        }

        fn visit_str<E>(self, key: &str) -> Result<Key, E> {
            Ok(Key(key.ends_with(".context_length").then(|| key.to_owned())))
        }
    }

    metadata.deserialize_map(Contexts)
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

/// What to log in with; a user name with a password, or a token alone. Deliberately without Debug.
#[derive(Serialize)]
pub struct Login<'a> {
    /// The registry's host.
    pub registry: &'a str,
    /// The user name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<&'a str>,
    /// Its password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<&'a str>,
    /// A token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<&'a str>,
}

/// Who is logged in where.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LoggedIn {
    /// The registry's host.
    pub registry: String,
    /// The user name, where it is known.
    pub username: Option<String>,
    /// Whether the registry has just confirmed it.
    #[serde(default = "yes")]
    pub verified: bool,
}

fn yes() -> bool {
    true
}

/// What became of a logout.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LoggedOut {
    /// The registry's host.
    pub registry: String,
    /// Whether there was a login.
    pub removed: bool,
}

/// What a search found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Found {
    /// The models.
    pub results: Vec<Hit>,
    /// The sources that did not answer.
    pub errors: Vec<SearchFailure>,
}

/// A model that can be pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// What to pull.
    pub name: String,
    /// `docker.io` or `huggingface.co`.
    #[serde(default)]
    pub source: String,
    /// In one line.
    #[serde(default)]
    pub description: String,
    /// How often it was fetched.
    #[serde(default)]
    pub downloads: u64,
    /// Stars or likes.
    #[serde(default)]
    pub stars: u64,
    /// Unix seconds; 0 if nobody says.
    #[serde(default)]
    pub updated: i64,
    /// Whether the source says that it has GGUF files.
    #[serde(default)]
    pub gguf: bool,
}

/// A source that did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SearchFailure {
    /// `docker.io` or `huggingface.co`.
    pub source: String,
    /// For people.
    pub message: String,
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
    /// Bytes of all layers.
    #[serde(default)]
    pub total: u64,
    /// The one that moved.
    #[serde(default)]
    pub layer: Layer,
    /// The id of a model that was taken in.
    #[serde(default)]
    pub model: Option<String>,
}

/// How far a layer is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Layer {
    /// Its digest; empty where the line is about no layer.
    pub id: String,
    /// Bytes.
    pub size: u64,
    /// Bytes done.
    pub current: u64,
}

/// What to pull.
#[derive(Clone, Serialize)]
pub struct Create<'a> {
    /// The model.
    pub from: &'a str,
    /// A token for its registry.
    #[serde(rename = "bearer-token", skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<&'a str>,
    /// The daemon goes on alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub detach: bool,
}

/// A transfer, as `GET /modeld/transfers` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Transfer {
    /// `pull` or `push`.
    pub mode: String,
    /// The model's full name.
    pub reference: String,
    /// Bytes to move.
    #[serde(default)]
    pub total: u64,
    /// Bytes moved.
    #[serde(default)]
    pub current: u64,
    /// RFC 3339.
    #[serde(default)]
    pub started: String,
    /// Who watches it.
    #[serde(default)]
    pub watchers: u64,
    /// Goes on without watchers.
    #[serde(default)]
    pub detached: bool,
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
