#![expect(dead_code, reason = "what is ignored is named in `convert`, but never read")]

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::json::Object;

use super::shapes::{FormatType, Function, PartType, Prompt, Role};

/// The body of `POST /v1/chat/completions`: every field that clients are known to send. Fields
/// that are only looked at to refuse or ignore them are kept as [`Value`]. What becomes of each is
/// in [`CHAT`](super::fields::CHAT).
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::ChatRequest)]
pub(super) struct ChatRequest {
    #[schema(required, nullable = false)]
    pub(super) model: Option<String>,
    #[schema(value_type = Vec<WireMessage>, required)]
    pub(super) messages: Option<Vec<Object<WireMessage>>>,
    pub(super) stream: Option<bool>,
    #[schema(value_type = Option<StreamOptions>)]
    pub(super) stream_options: Option<Object<StreamOptions>>,
    pub(super) max_tokens: Option<i64>,
    pub(super) max_completion_tokens: Option<i64>,
    pub(super) n: Option<i64>,
    pub(super) stop: Option<Stop>,
    pub(super) ignore_eos: Option<bool>,
    pub(super) seed: Option<i64>,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) top_k: Option<i64>,
    pub(super) min_p: Option<f64>,
    pub(super) presence_penalty: Option<f64>,
    pub(super) frequency_penalty: Option<f64>,
    pub(super) repeat_penalty: Option<f64>,
    pub(super) repeat_last_n: Option<i64>,
    pub(super) typical_p: Option<f64>,
    pub(super) mirostat: Option<i64>,
    pub(super) logit_bias: Option<Value>,
    pub(super) logprobs: Option<bool>,
    pub(super) top_logprobs: Option<i64>,
    #[schema(value_type = Option<ResponseFormat>)]
    pub(super) response_format: Option<Object<ResponseFormat>>,
    pub(super) grammar: Option<String>,
    pub(super) json_schema: Option<Value>,
    pub(super) guided_json: Option<Value>,
    pub(super) guided_regex: Option<String>,
    pub(super) guided_choice: Option<Vec<String>>,
    pub(super) guided_grammar: Option<String>,
    #[schema(value_type = Option<StructuredOutputs>)]
    pub(super) structured_outputs: Option<Object<StructuredOutputs>>,
    #[schema(value_type = Option<Vec<WireTool>>)]
    pub(super) tools: Option<Vec<Object<WireTool>>>,
    pub(super) tool_choice: Option<Value>,
    pub(super) parallel_tool_calls: Option<bool>,
    #[schema(value_type = Option<Vec<FunctionDefinition>>)]
    pub(super) functions: Option<Vec<Object<FunctionDefinition>>>,
    pub(super) function_call: Option<Value>,
    pub(super) reasoning_effort: Option<String>,
    #[schema(value_type = Option<Reasoning>)]
    pub(super) reasoning: Option<Object<Reasoning>>,
    pub(super) thinking_budget: Option<i64>,
    pub(super) reasoning_budget: Option<i64>,
    #[schema(value_type = Option<Object>)]
    pub(super) chat_template_kwargs: Option<Map<String, Value>>,
    pub(super) modalities: Option<Vec<String>>,
    pub(super) audio: Option<Value>,
    pub(super) prediction: Option<Value>,
    pub(super) verbosity: Option<Value>,
    pub(super) web_search_options: Option<Value>,
    pub(super) service_tier: Option<Value>,
    pub(super) store: Option<Value>,
    pub(super) metadata: Option<Value>,
    pub(super) user: Option<Value>,
    pub(super) safety_identifier: Option<Value>,
    pub(super) prompt_cache_key: Option<Value>,
    pub(super) prompt_cache_options: Option<Value>,
    pub(super) prompt_cache_retention: Option<Value>,
    pub(super) moderation: Option<Value>,
}

/// The body of `POST /v1/completions`; [`TEXT`](super::fields::TEXT) says what becomes of it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::TextRequest)]
pub(super) struct TextRequest {
    #[schema(required, nullable = false)]
    pub(super) model: Option<String>,
    #[schema(value_type = Prompt, inline, required)]
    pub(super) prompt: Option<Value>,
    pub(super) suffix: Option<String>,
    pub(super) echo: Option<bool>,
    pub(super) best_of: Option<i64>,
    pub(super) stream: Option<bool>,
    #[schema(value_type = Option<StreamOptions>)]
    pub(super) stream_options: Option<Object<StreamOptions>>,
    pub(super) max_tokens: Option<i64>,
    pub(super) n: Option<i64>,
    pub(super) stop: Option<Stop>,
    pub(super) ignore_eos: Option<bool>,
    pub(super) seed: Option<i64>,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) top_k: Option<i64>,
    pub(super) min_p: Option<f64>,
    pub(super) presence_penalty: Option<f64>,
    pub(super) frequency_penalty: Option<f64>,
    pub(super) repeat_penalty: Option<f64>,
    pub(super) repeat_last_n: Option<i64>,
    pub(super) typical_p: Option<f64>,
    pub(super) mirostat: Option<i64>,
    pub(super) logit_bias: Option<Value>,
    pub(super) logprobs: Option<i64>,
    #[schema(value_type = Option<ResponseFormat>)]
    pub(super) response_format: Option<Object<ResponseFormat>>,
    pub(super) grammar: Option<String>,
    pub(super) json_schema: Option<Value>,
    pub(super) guided_json: Option<Value>,
    pub(super) guided_regex: Option<String>,
    pub(super) guided_choice: Option<Vec<String>>,
    pub(super) guided_grammar: Option<String>,
    #[schema(value_type = Option<StructuredOutputs>)]
    pub(super) structured_outputs: Option<Object<StructuredOutputs>>,
    pub(super) user: Option<Value>,
}

/// `stream_options`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::StreamOptions)]
pub(super) struct StreamOptions {
    pub(super) include_usage: Option<bool>,
    /// Padding against eavesdroppers on the wire; there is no wire.
    pub(super) include_obfuscation: Option<Value>,
}

/// `response_format`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::ResponseFormat)]
pub(super) struct ResponseFormat {
    #[schema(value_type = FormatType, inline, required)]
    pub(super) r#type: Option<String>,
    #[schema(value_type = Option<NamedSchema>)]
    pub(super) json_schema: Option<Object<NamedSchema>>,
    /// With `json_object`: llama-server's way to give a schema.
    pub(super) schema: Option<Value>,
}

/// `response_format.json_schema`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::NamedSchema)]
pub(super) struct NamedSchema {
    #[schema(required, nullable = false)]
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    #[schema(required, nullable = false)]
    pub(super) schema: Option<Value>,
    pub(super) strict: Option<bool>,
}

/// `structured_outputs`, as vLLM spells it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::StructuredOutputs)]
pub(super) struct StructuredOutputs {
    pub(super) json: Option<Value>,
    pub(super) regex: Option<String>,
    pub(super) choice: Option<Vec<String>>,
    pub(super) grammar: Option<String>,
    pub(super) json_object: Option<bool>,
    pub(super) structural_tag: Option<Value>,
}

/// `reasoning`, as OpenRouter spells it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::Reasoning)]
pub(super) struct Reasoning {
    pub(super) effort: Option<String>,
    pub(super) max_tokens: Option<i64>,
    pub(super) enabled: Option<bool>,
    pub(super) exclude: Option<bool>,
    /// How the Responses API wants thoughts told; here they are told whole.
    pub(super) summary: Option<Value>,
}

/// One entry of `tools`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::Tool)]
pub(super) struct WireTool {
    #[schema(value_type = Function, inline, required)]
    pub(super) r#type: Option<String>,
    #[schema(value_type = FunctionDefinition, required)]
    pub(super) function: Option<Object<FunctionDefinition>>,
}

/// What a function is called and takes; also an entry of `functions`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::FunctionDefinition)]
pub(super) struct FunctionDefinition {
    #[schema(required, nullable = false)]
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) parameters: Option<Value>,
    pub(super) strict: Option<bool>,
}

/// One entry of `messages`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::Message)]
pub(super) struct WireMessage {
    #[schema(value_type = Role, inline, required)]
    pub(super) role: Option<String>,
    pub(super) content: Option<Content>,
    pub(super) name: Option<String>,
    pub(super) refusal: Option<String>,
    pub(super) reasoning_content: Option<String>,
    pub(super) reasoning: Option<String>,
    #[schema(value_type = Option<Vec<WireCall>>)]
    pub(super) tool_calls: Option<Vec<Object<WireCall>>>,
    pub(super) tool_call_id: Option<String>,
    #[schema(value_type = Option<WireFunction>)]
    pub(super) function_call: Option<Object<WireFunction>>,
    pub(super) audio: Option<Value>,
}

/// A tool call of an earlier assistant turn.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::ToolCall)]
pub(super) struct WireCall {
    #[schema(required, nullable = false)]
    pub(super) id: Option<String>,
    pub(super) r#type: Option<String>,
    #[schema(value_type = WireFunction, required)]
    pub(super) function: Option<Object<WireFunction>>,
}

/// What was called, with its arguments as JSON text.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::FunctionCall)]
pub(super) struct WireFunction {
    #[schema(required, nullable = false)]
    pub(super) name: Option<String>,
    pub(super) arguments: Option<String>,
}

/// One part of a message's content.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::ContentPart)]
pub(super) struct Part {
    #[schema(value_type = PartType, inline, required)]
    pub(super) r#type: Option<String>,
    pub(super) text: Option<String>,
    pub(super) refusal: Option<String>,
    pub(super) image_url: Option<ImageUrl>,
    #[schema(value_type = Option<InputAudio>)]
    pub(super) input_audio: Option<Object<InputAudio>>,
    #[schema(value_type = Option<InputFile>)]
    pub(super) file: Option<Object<InputFile>>,
}

/// An image by its URL.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::ImageObject)]
pub(super) struct ImageObject {
    #[schema(required, nullable = false)]
    pub(super) url: Option<String>,
    /// How closely to look; the projector looks as closely as it can.
    pub(super) detail: Option<Value>,
}

/// A sound as base64.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::InputAudio)]
pub(super) struct InputAudio {
    #[schema(required, nullable = false)]
    pub(super) data: Option<String>,
    /// What it is said to be; the bytes themselves tell.
    pub(super) format: Option<String>,
}

/// A file; its content or the name of an uploaded one.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::InputFile)]
pub(super) struct InputFile {
    pub(super) file_data: Option<String>,
    pub(super) file_id: Option<String>,
    pub(super) filename: Option<String>,
}

/// `image_url`: an object, or the bare URL that some clients send.
#[derive(Debug)]
pub(super) enum ImageUrl {
    Bare(String),
    Object(ImageObject),
}

impl<'de> Deserialize<'de> for ImageUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = ImageUrl;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a url, or a URL")
            }

            fn visit_str<E: de::Error>(self, url: &str) -> Result<ImageUrl, E> {
                Ok(ImageUrl::Bare(url.to_owned()))
            }

            fn visit_string<E: de::Error>(self, url: String) -> Result<ImageUrl, E> {
                Ok(ImageUrl::Bare(url))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ImageUrl, A::Error> {
                ImageObject::deserialize(MapAccessDeserializer::new(map)).map(ImageUrl::Object)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// A message's content: a string, or parts.
#[derive(Debug)]
pub(super) enum Content {
    Text(String),
    Parts(Vec<Object<Part>>),
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let either = OneOrMany { what: "a string or an array of content parts" };
        Ok(match either.read(deserializer)? {
            Either::One(text) => Self::Text(text),
            Either::Many(parts) => Self::Parts(parts),
        })
    }
}

/// `stop`: a string, or several.
#[derive(Debug)]
pub(super) struct Stop(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Stop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let either = OneOrMany { what: "a string or an array of strings" };
        Ok(Self(match either.read(deserializer)? {
            // The empty string is how some clients say "none".
            Either::One(text) if text.is_empty() => Vec::new(),
            Either::One(text) => vec![text],
            Either::Many(texts) => texts,
        }))
    }
}

enum Either<T> {
    One(String),
    Many(Vec<T>),
}

/// Reads a string or an array without buffering, so that an error in the array keeps its path.
struct OneOrMany {
    what: &'static str,
}

impl OneOrMany {
    fn read<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
        self,
        deserializer: D,
    ) -> Result<Either<T>, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor { what: self.what, kind: PhantomData })
    }
}

struct OneOrManyVisitor<T> {
    what: &'static str,
    kind: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
    type Value = Either<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Either<T>, E> {
        Ok(Either::One(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Either<T>, E> {
        Ok(Either::One(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, parts: A) -> Result<Either<T>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(parts)).map(Either::Many)
    }
}
