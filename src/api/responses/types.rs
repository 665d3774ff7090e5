#![expect(dead_code, reason = "what is ignored is named in `convert`, but never read")]

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::json::Object;

use super::shapes::{FormatType, Input, Parts};

/// The body of `POST …/responses`: every field that clients are known to send. Fields that are only
/// looked at to refuse or ignore them are kept as [`Value`].
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = responses::CreateRequest)]
pub(super) struct CreateRequest {
    #[schema(required, nullable = false)]
    pub(super) model: Option<String>,
    #[schema(value_type = Option<Input>, inline)]
    pub(super) input: Option<Value>,
    pub(super) instructions: Option<String>,
    pub(super) previous_response_id: Option<String>,
    pub(super) conversation: Option<Value>,
    pub(super) prompt: Option<Value>,
    pub(super) max_output_tokens: Option<i64>,
    pub(super) max_tool_calls: Option<i64>,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) top_k: Option<i64>,
    pub(super) min_p: Option<f64>,
    pub(super) seed: Option<i64>,
    pub(super) top_logprobs: Option<i64>,
    pub(super) include: Option<Vec<String>>,
    #[schema(value_type = Option<Vec<WireTool>>)]
    pub(super) tools: Option<Vec<Value>>,
    pub(super) tool_choice: Option<Value>,
    pub(super) parallel_tool_calls: Option<bool>,
    #[schema(value_type = Option<TextConfig>)]
    pub(super) text: Option<Object<TextConfig>>,
    #[schema(value_type = Option<Reasoning>)]
    pub(super) reasoning: Option<Object<Reasoning>>,
    #[schema(value_type = Option<Object>)]
    pub(super) chat_template_kwargs: Option<Map<String, Value>>,
    #[schema(value_type = Option<Object>)]
    pub(super) metadata: Option<Map<String, Value>>,
    pub(super) truncation: Option<String>,
    pub(super) stream: Option<bool>,
    pub(super) stream_options: Option<Value>,
    pub(super) store: Option<bool>,
    pub(super) background: Option<bool>,
    pub(super) background_options: Option<Value>,
    pub(super) service_tier: Option<Value>,
    pub(super) user: Option<String>,
    pub(super) safety_identifier: Option<String>,
    pub(super) prompt_cache_key: Option<String>,
    pub(super) prompt_cache_options: Option<Value>,
    pub(super) prompt_cache_retention: Option<Value>,
    pub(super) context_management: Option<Value>,
    pub(super) moderation: Option<Value>,
    pub(super) access_programs: Option<Value>,
    pub(super) image: Option<Value>,
}

/// `text`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = responses::TextConfig)]
pub(super) struct TextConfig {
    #[schema(value_type = Option<TextFormat>)]
    pub(super) format: Option<Object<TextFormat>>,
    pub(super) verbosity: Option<Value>,
}

/// `text.format`, whose fields lie flat beside its type.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = responses::TextFormat)]
pub(super) struct TextFormat {
    #[schema(value_type = FormatType, inline, required)]
    pub(super) r#type: Option<String>,
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) schema: Option<Value>,
    pub(super) strict: Option<bool>,
}

/// `reasoning`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = responses::Reasoning)]
pub(super) struct Reasoning {
    pub(super) effort: Option<String>,
    pub(super) summary: Option<String>,
    pub(super) generate_summary: Option<String>,
    pub(super) context: Option<Value>,
    pub(super) mode: Option<Value>,
}

/// One entry of `tools`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = responses::Tool)]
pub(super) struct WireTool {
    #[schema(required, nullable = false)]
    pub(super) r#type: Option<String>,
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) parameters: Option<Value>,
    pub(super) strict: Option<bool>,
    pub(super) format: Option<Value>,
    #[schema(value_type = Option<Vec<WireTool>>, no_recursion)]
    pub(super) tools: Option<Vec<Object<WireTool>>>,
    pub(super) defer_loading: Option<Value>,
    pub(super) output_schema: Option<Value>,
    pub(super) allowed_callers: Option<Value>,
    pub(super) r#async: Option<Value>,
}

/// `tool_choice` in its long forms.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireChoice {
    pub(super) r#type: Option<String>,
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) mode: Option<String>,
    pub(super) tools: Option<Vec<Object<WireChoice>>>,
}

/// One entry of `input`; which fields there are depends on its type.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = responses::InputItem)]
pub(super) struct WireItem {
    pub(super) r#type: Option<String>,
    pub(super) id: Option<String>,
    pub(super) status: Option<Value>,
    pub(super) role: Option<String>,
    #[schema(value_type = Option<Parts>, inline)]
    pub(super) content: Option<Value>,
    pub(super) phase: Option<Value>,
    pub(super) call_id: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) arguments: Option<String>,
    pub(super) input: Option<String>,
    pub(super) output: Option<Value>,
    #[schema(value_type = Option<Vec<WirePart>>)]
    pub(super) summary: Option<Vec<Object<WirePart>>>,
    pub(super) encrypted_content: Option<Value>,
    pub(super) caller: Option<Value>,
    pub(super) r#async: Option<Value>,
}

/// One part of a content.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = responses::ContentPart)]
pub(super) struct WirePart {
    #[schema(required, nullable = false)]
    pub(super) r#type: Option<String>,
    pub(super) text: Option<String>,
    pub(super) refusal: Option<String>,
    pub(super) image_url: Option<String>,
    pub(super) file_id: Option<String>,
    pub(super) detail: Option<Value>,
    #[schema(value_type = Option<WireAudio>)]
    pub(super) input_audio: Option<Object<WireAudio>>,
    pub(super) annotations: Option<Value>,
    pub(super) logprobs: Option<Value>,
}

/// `input_audio`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = responses::Audio)]
pub(super) struct WireAudio {
    pub(super) data: Option<String>,
    pub(super) format: Option<Value>,
}
