#![expect(dead_code, reason = "what is ignored is named in `convert`, but never read")]

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::json::Object;

use super::shapes::{BlockType, ChoiceType, Role};

/// The body of `POST /v1/messages` and of `…/count_tokens`: every field that clients are known to
/// send. Fields that are only looked at to refuse or ignore them are kept as [`Value`].
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = anthropic::MessagesRequest)]
pub(super) struct MessagesRequest {
    #[schema(required, nullable = false)]
    pub(super) model: Option<String>,
    #[schema(value_type = Vec<WireMessage>, required)]
    pub(super) messages: Option<Vec<Object<WireMessage>>>,
    pub(super) max_tokens: Option<i64>,
    pub(super) system: Option<Content>,
    pub(super) stream: Option<bool>,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) top_k: Option<i64>,
    pub(super) stop_sequences: Option<Vec<String>>,
    #[schema(value_type = Option<Vec<WireTool>>)]
    pub(super) tools: Option<Vec<Object<WireTool>>>,
    #[schema(value_type = Option<WireToolChoice>)]
    pub(super) tool_choice: Option<Object<WireToolChoice>>,
    #[schema(value_type = Option<WireThinking>)]
    pub(super) thinking: Option<Object<WireThinking>>,
    #[schema(value_type = Option<OutputConfig>)]
    pub(super) output_config: Option<Object<OutputConfig>>,
    #[schema(value_type = Option<Format>)]
    pub(super) output_format: Option<Object<Format>>,
    pub(super) mcp_servers: Option<Vec<Value>>,
    pub(super) container: Option<Value>,
    pub(super) context_management: Option<Value>,
    pub(super) cache_control: Option<Value>,
    pub(super) metadata: Option<Value>,
    pub(super) service_tier: Option<Value>,
    pub(super) speed: Option<Value>,
    pub(super) inference_geo: Option<Value>,
    pub(super) diagnostics: Option<Value>,
    pub(super) workspace_id: Option<Value>,
    pub(super) user_profile_id: Option<Value>,
    pub(super) betas: Option<Value>,
}

/// One entry of `messages`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = anthropic::Message)]
pub(super) struct WireMessage {
    #[schema(value_type = Role, inline, required)]
    pub(super) role: Option<String>,
    #[schema(required, nullable = false)]
    pub(super) content: Option<Content>,
}

/// One block of a content: the fields of all its types.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = anthropic::Block)]
pub(super) struct WireBlock {
    #[schema(value_type = BlockType, inline, required)]
    pub(super) r#type: Option<String>,
    pub(super) text: Option<String>,
    pub(super) source: Option<Source>,
    pub(super) title: Option<String>,
    pub(super) context: Option<String>,
    #[schema(no_recursion)]
    pub(super) content: Option<Content>,
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) input: Option<Value>,
    pub(super) tool_use_id: Option<String>,
    pub(super) is_error: Option<bool>,
    pub(super) thinking: Option<String>,
    pub(super) signature: Option<Value>,
    pub(super) data: Option<Value>,
    pub(super) citations: Option<Value>,
    pub(super) cache_control: Option<Value>,
    pub(super) caller: Option<Value>,
}

/// Where an image or a document comes from.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = anthropic::BlockSource)]
pub(super) struct WireSource {
    #[schema(required, nullable = false)]
    pub(super) r#type: Option<String>,
    pub(super) media_type: Option<Value>,
    pub(super) data: Option<String>,
    pub(super) url: Option<String>,
    #[schema(no_recursion)]
    pub(super) content: Option<Content>,
    pub(super) file_id: Option<Value>,
}

/// One entry of `tools`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = anthropic::Tool)]
pub(super) struct WireTool {
    pub(super) r#type: Option<String>,
    #[schema(required, nullable = false)]
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) input_schema: Option<Value>,
    pub(super) strict: Option<bool>,
    pub(super) input_examples: Option<Value>,
    pub(super) cache_control: Option<Value>,
    pub(super) defer_loading: Option<Value>,
    pub(super) allowed_callers: Option<Value>,
    pub(super) eager_input_streaming: Option<Value>,
}

/// `tool_choice`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = anthropic::ToolChoice)]
pub(super) struct WireToolChoice {
    #[schema(value_type = ChoiceType, inline, required)]
    pub(super) r#type: Option<String>,
    pub(super) name: Option<String>,
    pub(super) disable_parallel_tool_use: Option<bool>,
}

/// `thinking`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = anthropic::Thinking)]
pub(super) struct WireThinking {
    #[schema(required, nullable = false)]
    pub(super) r#type: Option<String>,
    pub(super) budget_tokens: Option<i64>,
    pub(super) display: Option<Value>,
}

/// `output_config`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = anthropic::OutputConfig)]
pub(super) struct OutputConfig {
    pub(super) effort: Option<String>,
    #[schema(value_type = Option<Format>)]
    pub(super) format: Option<Object<Format>>,
}

/// `output_config.format`, and `output_format` of the older beta.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = anthropic::Format)]
pub(super) struct Format {
    #[schema(required, nullable = false)]
    pub(super) r#type: Option<String>,
    pub(super) schema: Option<Value>,
}

/// A content: a string, or blocks.
#[derive(Debug)]
pub(super) enum Content {
    Text(String),
    Blocks(Vec<Object<WireBlock>>),
}

/// The `source` of a block: an object, but of a search result a string.
#[derive(Debug)]
pub(super) enum Source {
    Text(String),
    Object(Box<WireSource>),
}

// Both are read without buffering, so that an error inside keeps its path.

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of content blocks")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Content, E> {
                Ok(Content::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, blocks: A) -> Result<Content, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(blocks)).map(Content::Blocks)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Source;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Source, E> {
                Ok(Source::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Source, A::Error> {
                let source = WireSource::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Source::Object(Box::new(source)))
            }
        }

        deserializer.deserialize_any(Either)
    }
}
