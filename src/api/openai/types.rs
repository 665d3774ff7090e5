use std::fmt;
use std::marker::PhantomData;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::api::json::Object;

/// The body of `POST /v1/chat/completions`: every field that clients are known to send. Fields
/// that are only looked at to refuse or ignore them are kept as [`Value`].
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ChatRequest {
    pub(super) model: Option<String>,
    pub(super) messages: Option<Vec<Object<WireMessage>>>,
    pub(super) stream: Option<bool>,
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
    pub(super) response_format: Option<Object<ResponseFormat>>,
    pub(super) grammar: Option<Value>,
    pub(super) json_schema: Option<Value>,
    pub(super) tools: Option<Vec<Value>>,
    pub(super) tool_choice: Option<Value>,
    pub(super) parallel_tool_calls: Option<Value>,
    pub(super) functions: Option<Vec<Value>>,
    pub(super) function_call: Option<Value>,
    pub(super) reasoning_effort: Option<Value>,
    pub(super) reasoning: Option<Value>,
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

/// The body of `POST /v1/completions`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TextRequest {
    pub(super) model: Option<String>,
    pub(super) prompt: Option<Value>,
    pub(super) suffix: Option<String>,
    pub(super) echo: Option<bool>,
    pub(super) best_of: Option<i64>,
    pub(super) stream: Option<bool>,
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
    pub(super) grammar: Option<Value>,
    pub(super) json_schema: Option<Value>,
    pub(super) user: Option<Value>,
}

/// `stream_options`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StreamOptions {
    pub(super) include_usage: Option<bool>,
}

/// `response_format`; only its type is looked at so far.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ResponseFormat {
    pub(super) r#type: Option<String>,
}

/// One entry of `messages`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireMessage {
    pub(super) role: Option<String>,
    pub(super) content: Option<Content>,
    pub(super) name: Option<String>,
    pub(super) refusal: Option<String>,
    pub(super) reasoning_content: Option<String>,
    pub(super) reasoning: Option<String>,
    pub(super) tool_calls: Option<Vec<Object<WireCall>>>,
    pub(super) tool_call_id: Option<String>,
    pub(super) function_call: Option<Object<WireFunction>>,
    pub(super) audio: Option<Value>,
}

/// A tool call of an earlier assistant turn.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireCall {
    pub(super) id: Option<String>,
    pub(super) r#type: Option<String>,
    pub(super) function: Option<Object<WireFunction>>,
}

/// What was called, with its arguments as JSON text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireFunction {
    pub(super) name: Option<String>,
    pub(super) arguments: Option<String>,
}

/// One part of a message's content.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Part {
    pub(super) r#type: Option<String>,
    pub(super) text: Option<String>,
    pub(super) refusal: Option<String>,
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
