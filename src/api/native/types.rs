use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::go_duration::format_keep_alive;
use crate::api::params::BACKEND;
use crate::domain::{KeepAlive, ModelConfig, ModelEntry, Removal};
use crate::protocol::Purpose;
use crate::scheduler::LoadedModel;

/// A model of the store. `config` is never absent: Docker's client reads it without looking.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Model)]
pub(super) struct WireModel<'a> {
    id: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'a [String],
    created: i64,
    config: WireConfig<'a>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = native::ModelConfig)]
struct WireConfig<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    format: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    quantization: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    parameters: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    architecture: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    size: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    gguf: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_size: Option<u32>,
}

impl<'a> From<&'a ModelEntry> for WireModel<'a> {
    fn from(entry: &'a ModelEntry) -> Self {
        let ModelEntry { id, tags, created, config } = entry;
        let ModelConfig {
            format,
            quantization,
            parameters,
            architecture,
            size,
            gguf,
            context_size,
        } = &**config;
        let config = WireConfig {
            format,
            quantization,
            parameters,
            architecture,
            size,
            gguf,
            context_size: *context_size,
        };
        Self { id: id.to_string(), tags, created: *created, config }
    }
}

/// One step of a deletion.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Removal)]
pub(super) enum WireRemoval {
    Untagged(String),
    Deleted(String),
}

impl From<Removal> for WireRemoval {
    fn from(removal: Removal) -> Self {
        match removal {
            Removal::Untagged(tag) => Self::Untagged(tag),
            Removal::Deleted(id) => Self::Deleted(id.to_string()),
        }
    }
}

/// The answer to a new tag.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Tagged)]
pub(super) struct Tagged {
    pub(super) message: String,
    pub(super) target: String,
}

/// The last line of a progress stream, and the only one of a load.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Loaded)]
pub(super) struct Loaded {
    r#type: &'static str,
    message: &'static str,
    total: u64,
    layer: Layer,
    mode: &'static str,
    /// An extension: the id, so that the client can tag what it loaded.
    model: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = native::Layer)]
struct Layer {
    size: u64,
    current: u64,
}

impl Loaded {
    pub(super) fn new(entry: &ModelEntry) -> Self {
        Self {
            r#type: "success",
            message: "Model loaded successfully",
            total: 0,
            layer: Layer { size: 0, current: 0 },
            mode: "pull",
            model: entry.id.to_string(),
        }
    }
}

/// A loaded model in `GET /engines/ps`.
#[derive(Serialize, ToSchema)]
#[schema(as = native::LoadedModel)]
pub(super) struct WireLoaded {
    backend_name: &'static str,
    model_name: String,
    mode: &'static str,
    last_used: String,
    #[serde(skip_serializing_if = "is_false")]
    in_use: bool,
    #[serde(skip_serializing_if = "is_false")]
    loading: bool,
    keep_alive: String,
    // What follows is ours; Docker's client does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_size: Option<u32>,
    running: u32,
    waiting: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    sandbox: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl From<&LoadedModel> for WireLoaded {
    fn from(model: &LoadedModel) -> Self {
        let in_use = model.running > 0 || model.waiting > 0;
        let loading = model.loading.is_some();
        let last_used = Timestamp::try_from(model.last_used).ok().filter(|_| !in_use && !loading);
        Self {
            backend_name: BACKEND,
            model_name: model.name.clone(),
            mode: mode_of(model.purpose),
            // Go's zero time says that it is not idle.
            last_used: last_used.map_or_else(|| "0001-01-01T00:00:00Z".into(), |at| at.to_string()),
            in_use,
            loading,
            keep_alive: format_keep_alive(
                model.keep_alive.map_or(KeepAlive::Forever, KeepAlive::For),
            ),
            pid: model.pid,
            context_size: model.info.as_ref().map(|info| info.context_size),
            running: model.running,
            waiting: model.waiting,
            sandbox: model.sandbox.clone(),
        }
    }
}

/// The body of `POST /engines/unload`.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = native::UnloadRequest)]
pub(super) struct Unload {
    pub(super) all: Option<bool>,
    pub(super) backend: Option<String>,
    pub(super) models: Option<Vec<String>>,
}

/// Its answer.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Unloaded)]
pub(super) struct Unloaded {
    pub(super) unloaded_runners: usize,
}

/// What a model is for, as Docker Model Runner says it.
pub(super) fn mode_of(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Generate => "completion",
        Purpose::Embed => "embedding",
        Purpose::Rerank => "reranking",
    }
}
