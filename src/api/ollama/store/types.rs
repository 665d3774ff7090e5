use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The body of `POST /api/pull` and `POST /api/push`. `insecure` is ignored like unknown fields: the
/// daemon's configuration says which registries need no TLS.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::TransferRequest)]
pub(super) struct TransferRequest {
    /// The model's name.
    pub(super) model: Option<String>,
    /// The older name of the same field.
    pub(super) name: Option<String>,
    /// `false`: one object at the end.
    pub(super) stream: Option<bool>,
}

/// The body of `POST /api/create`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::CreateRequest)]
pub(super) struct CreateRequest {
    /// The new model's name.
    pub(super) model: Option<String>,
    /// The older name of the same field.
    pub(super) name: Option<String>,
    /// The model to start from; it is pulled where it is not there.
    pub(super) from: Option<String>,
    /// Uploaded GGUF files, name by digest.
    #[schema(value_type = Option<std::collections::HashMap<String, String>>)]
    pub(super) files: Option<Map<String, Value>>,
    /// Uploaded LoRA adapters in GGUF, likewise.
    #[schema(value_type = Option<std::collections::HashMap<String, String>>)]
    pub(super) adapters: Option<Map<String, Value>>,
    /// A chat template in Jinja.
    pub(super) template: Option<String>,
    /// A text, or several.
    #[schema(value_type = Option<Object>)]
    pub(super) license: Option<Value>,
    /// Comes first where a conversation begins with no system message.
    pub(super) system: Option<String>,
    /// What holds where the `options` of a request say nothing.
    #[schema(value_type = Option<Object>)]
    pub(super) parameters: Option<Map<String, Value>>,
    /// Come before those of every conversation.
    pub(super) messages: Option<Vec<CreateMessage>>,
    /// The quantisation that the weights have; nothing is quantised.
    pub(super) quantize: Option<String>,
    /// The older name of the same field.
    pub(super) quantization: Option<String>,
    /// `false`: one object at the end.
    pub(super) stream: Option<bool>,
    /// Refused: there are no draft models of a model.
    #[schema(value_type = Option<Object>)]
    pub(super) draft_files: Option<Map<String, Value>>,
    /// Refused likewise.
    pub(super) draft_quantize: Option<String>,
    /// Refused: models run here.
    pub(super) remote_host: Option<String>,
    /// Gone from Ollama's API as well, and refused: `from` and the others say it.
    pub(super) modelfile: Option<String>,
    /// Refused likewise.
    pub(super) path: Option<String>,
}

/// A message to store.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ollama::CreateMessage)]
pub(super) struct CreateMessage {
    /// `system`, `user` or `assistant`.
    pub(super) role: Option<String>,
    /// What is said.
    pub(super) content: Option<String>,
    /// Refused: texts alone are stored.
    #[schema(value_type = Option<Vec<String>>)]
    pub(super) images: Option<Vec<Value>>,
    /// Refused likewise.
    #[schema(value_type = Option<Vec<Object>>)]
    pub(super) tool_calls: Option<Vec<Value>>,
}

/// The body of `POST /api/copy`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::CopyRequest)]
pub(super) struct CopyRequest {
    /// The model.
    pub(super) source: Option<String>,
    /// Its further name, taken from whatever has it.
    pub(super) destination: Option<String>,
}

/// The body of `DELETE /api/delete`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::DeleteRequest)]
pub(super) struct DeleteRequest {
    /// The model's name.
    pub(super) model: Option<String>,
    /// The older name of the same field.
    pub(super) name: Option<String>,
    /// An extension: requests that it answers are ended.
    pub(super) force: Option<bool>,
}

/// A line of progress.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = ollama::Progress)]
pub(super) struct Progress<'a> {
    /// What happens; `success` at the end.
    #[schema(value_type = String)]
    pub(super) status: Cow<'a, str>,
    /// The layer that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
    /// Its size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) total: Option<u64>,
    /// How much of it is done; absent while nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) completed: Option<u64>,
}

/// The answer to `GET /api/status`.
#[derive(Serialize, ToSchema)]
#[schema(as = ollama::Status)]
pub(super) struct Status {
    pub(super) cloud: Cloud,
}

/// What modeld has of Ollama's own service: nothing.
#[derive(Serialize, ToSchema)]
#[schema(as = ollama::Cloud)]
pub(super) struct Cloud {
    pub(super) disabled: bool,
    pub(super) source: &'static str,
}

/// The answer to `GET /api/experimental/model-recommendations`.
#[derive(Serialize, ToSchema)]
#[schema(as = ollama::Recommendations)]
pub(super) struct Recommendations {
    /// Always empty.
    pub(super) recommendations: Vec<String>,
}

/// The name of a model, by whichever of the two fields has it.
pub(super) fn given(model: Option<String>, name: Option<String>) -> Option<String> {
    [model, name].into_iter().flatten().find(|text| !text.trim().is_empty())
}
