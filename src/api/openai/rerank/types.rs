#![expect(dead_code, reason = "what is ignored is named in `convert`, but never read")]

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The body of `POST …/rerank`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::RerankRequest)]
pub(in crate::api::openai) struct RerankRequest {
    #[schema(required, nullable = false)]
    pub(in crate::api::openai) model: Option<String>,
    #[schema(required, nullable = false)]
    pub(in crate::api::openai) query: Option<WireText>,
    #[schema(required, nullable = false)]
    pub(in crate::api::openai) documents: Option<Vec<WireText>>,
    pub(in crate::api::openai) top_n: Option<i64>,
    pub(in crate::api::openai) return_documents: Option<bool>,
    pub(in crate::api::openai) max_tokens_per_doc: Option<Value>,
    pub(in crate::api::openai) max_chunks_per_doc: Option<Value>,
    pub(in crate::api::openai) truncate_prompt_tokens: Option<Value>,
    pub(in crate::api::openai) rank_fields: Option<Value>,
    pub(in crate::api::openai) priority: Option<Value>,
    pub(in crate::api::openai) user: Option<Value>,
}

/// The body of `POST …/score`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::ScoreRequest)]
pub(in crate::api::openai) struct ScoreRequest {
    #[schema(required, nullable = false)]
    pub(in crate::api::openai) model: Option<String>,
    #[schema(required, nullable = false)]
    pub(in crate::api::openai) text_1: Option<Texts>,
    #[schema(required, nullable = false)]
    pub(in crate::api::openai) text_2: Option<Texts>,
    pub(in crate::api::openai) truncate_prompt_tokens: Option<Value>,
    pub(in crate::api::openai) priority: Option<Value>,
    pub(in crate::api::openai) user: Option<Value>,
}

/// A text, bare or as `{"text": …}`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "a string or an object with `text`")]
#[schema(as = openai::Document)]
pub(in crate::api::openai) enum WireText {
    Bare(String),
    Object { text: String },
}

impl WireText {
    pub(in crate::api::openai) fn into_text(self) -> String {
        match self {
            Self::Bare(text) | Self::Object { text } => text,
        }
    }
}

/// One text or several.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "a string or an array of strings")]
#[schema(as = openai::Texts)]
pub(in crate::api::openai) enum Texts {
    One(String),
    Many(Vec<String>),
}

/// The answer to `rerank`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::RerankAnswer)]
pub(in crate::api::openai) struct RerankAnswer {
    pub(in crate::api::openai) id: String,
    pub(in crate::api::openai) object: &'static str,
    pub(in crate::api::openai) model: String,
    pub(in crate::api::openai) results: Vec<Ranked>,
    pub(in crate::api::openai) usage: WireUsage,
    pub(in crate::api::openai) meta: Meta,
}

#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = openai::Ranked)]
pub(in crate::api::openai) struct Ranked {
    pub(in crate::api::openai) index: usize,
    pub(in crate::api::openai) relevance_score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::api::openai) document: Option<Document>,
}

#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = openai::DocumentText)]
pub(in crate::api::openai) struct Document {
    pub(in crate::api::openai) text: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::InputUsage)]
pub(in crate::api::openai) struct WireUsage {
    pub(in crate::api::openai) prompt_tokens: u32,
    pub(in crate::api::openai) total_tokens: u32,
}

/// Cohere's place for what a request cost.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::RerankMeta)]
pub(in crate::api::openai) struct Meta {
    pub(in crate::api::openai) tokens: MetaTokens,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::RerankTokens)]
pub(in crate::api::openai) struct MetaTokens {
    pub(in crate::api::openai) input_tokens: u32,
}

/// The answer to `score`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::ScoreAnswer)]
pub(in crate::api::openai) struct ScoreAnswer {
    pub(in crate::api::openai) id: String,
    pub(in crate::api::openai) object: &'static str,
    pub(in crate::api::openai) created: u64,
    pub(in crate::api::openai) model: String,
    pub(in crate::api::openai) data: Vec<Scored>,
    pub(in crate::api::openai) usage: WireUsage,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::Scored)]
pub(in crate::api::openai) struct Scored {
    pub(in crate::api::openai) index: usize,
    pub(in crate::api::openai) object: &'static str,
    pub(in crate::api::openai) score: f64,
}
