#![expect(dead_code, reason = "what is ignored is named in `convert`, but never read")]

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::json::Object;

use super::shapes::{self, Options, Role};

/// The body of `POST /api/chat`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::ChatRequest)]
pub(super) struct ChatRequest {
    #[schema(required, nullable = false)]
    pub(super) model: Option<String>,
    pub(super) name: Option<String>,
    #[schema(value_type = Option<Vec<WireMessage>>)]
    pub(super) messages: Option<Vec<Object<WireMessage>>>,
    #[schema(value_type = Option<Vec<WireTool>>)]
    pub(super) tools: Option<Vec<Object<WireTool>>>,
    pub(super) stream: Option<bool>,
    #[schema(schema_with = shapes::format)]
    pub(super) format: Option<Value>,
    #[schema(value_type = Option<Options>)]
    pub(super) options: Option<Map<String, Value>>,
    #[schema(schema_with = shapes::keep_alive)]
    pub(super) keep_alive: Option<Value>,
    #[schema(schema_with = shapes::think)]
    pub(super) think: Option<Value>,
    pub(super) logprobs: Option<bool>,
    #[schema(minimum = 0, maximum = 20)]
    pub(super) top_logprobs: Option<i64>,
    pub(super) truncate: Option<bool>,
    pub(super) shift: Option<bool>,
    pub(super) _debug_render_only: Option<bool>,
}

/// The body of `POST /api/generate`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::GenerateRequest)]
pub(super) struct GenerateRequest {
    #[schema(required, nullable = false)]
    pub(super) model: Option<String>,
    pub(super) name: Option<String>,
    pub(super) prompt: Option<String>,
    pub(super) suffix: Option<String>,
    pub(super) images: Option<Vec<String>>,
    pub(super) system: Option<String>,
    pub(super) template: Option<String>,
    pub(super) context: Option<Vec<i32>>,
    pub(super) raw: Option<bool>,
    pub(super) stream: Option<bool>,
    #[schema(schema_with = shapes::format)]
    pub(super) format: Option<Value>,
    #[schema(value_type = Option<Options>)]
    pub(super) options: Option<Map<String, Value>>,
    #[schema(schema_with = shapes::keep_alive)]
    pub(super) keep_alive: Option<Value>,
    #[schema(schema_with = shapes::think)]
    pub(super) think: Option<Value>,
    pub(super) logprobs: Option<bool>,
    #[schema(minimum = 0, maximum = 20)]
    pub(super) top_logprobs: Option<i64>,
    pub(super) truncate: Option<bool>,
    pub(super) shift: Option<bool>,
    pub(super) _debug_render_only: Option<bool>,
}

/// The body of `POST /api/embed`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::EmbedRequest)]
pub(super) struct EmbedRequest {
    #[schema(required, nullable = false)]
    pub(super) model: Option<String>,
    pub(super) name: Option<String>,
    #[schema(schema_with = shapes::input)]
    pub(super) input: Option<Value>,
    pub(super) truncate: Option<bool>,
    #[schema(minimum = 0)]
    pub(super) dimensions: Option<i64>,
    #[schema(value_type = Option<Options>)]
    pub(super) options: Option<Map<String, Value>>,
    #[schema(schema_with = shapes::keep_alive)]
    pub(super) keep_alive: Option<Value>,
}

/// The body of `POST /api/embeddings`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::EmbeddingsRequest)]
pub(super) struct EmbeddingsRequest {
    #[schema(required, nullable = false)]
    pub(super) model: Option<String>,
    pub(super) name: Option<String>,
    pub(super) prompt: Option<String>,
    #[schema(value_type = Option<Options>)]
    pub(super) options: Option<Map<String, Value>>,
    #[schema(schema_with = shapes::keep_alive)]
    pub(super) keep_alive: Option<Value>,
}

/// The body of `POST /api/show`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::ShowRequest)]
pub(super) struct ShowRequest {
    pub(super) model: Option<String>,
    pub(super) name: Option<String>,
    pub(super) verbose: Option<bool>,
    pub(super) system: Option<Value>,
    pub(super) template: Option<Value>,
    pub(super) options: Option<Value>,
}

/// One entry of `messages`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::Message)]
pub(super) struct WireMessage {
    #[schema(value_type = Role, inline, required)]
    pub(super) role: Option<String>,
    pub(super) content: Option<String>,
    pub(super) thinking: Option<String>,
    pub(super) images: Option<Vec<String>>,
    #[schema(value_type = Option<Vec<WireCall>>)]
    pub(super) tool_calls: Option<Vec<Object<WireCall>>>,
    pub(super) tool_name: Option<String>,
    pub(super) tool_call_id: Option<String>,
}

/// A call that the model made.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::ToolCall)]
pub(super) struct WireCall {
    pub(super) id: Option<String>,
    #[schema(value_type = WireFunction, required)]
    pub(super) function: Option<Object<WireFunction>>,
}

/// What was called with what.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::CalledFunction)]
pub(super) struct WireFunction {
    pub(super) index: Option<Value>,
    #[schema(required, nullable = false)]
    pub(super) name: Option<String>,
    #[schema(schema_with = shapes::arguments)]
    pub(super) arguments: Option<Value>,
}

/// One entry of `tools`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::Tool)]
pub(super) struct WireTool {
    pub(super) r#type: Option<String>,
    #[schema(value_type = Definition, required)]
    pub(super) function: Option<Object<Definition>>,
}

/// What can be called.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ollama::FunctionDefinition)]
pub(super) struct Definition {
    #[schema(required, nullable = false)]
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) parameters: Option<Value>,
}
