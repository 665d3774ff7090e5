use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The body of `POST …/rerank`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RerankRequest {
    pub(super) model: Option<String>,
    pub(super) query: Option<WireText>,
    pub(super) documents: Option<Vec<WireText>>,
    pub(super) top_n: Option<i64>,
    pub(super) return_documents: Option<bool>,
    pub(super) max_tokens_per_doc: Option<Value>,
    pub(super) max_chunks_per_doc: Option<Value>,
    pub(super) truncate_prompt_tokens: Option<Value>,
    pub(super) rank_fields: Option<Value>,
    pub(super) priority: Option<Value>,
    pub(super) user: Option<Value>,
}

/// The body of `POST …/score`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ScoreRequest {
    pub(super) model: Option<String>,
    pub(super) text_1: Option<Texts>,
    pub(super) text_2: Option<Texts>,
    pub(super) truncate_prompt_tokens: Option<Value>,
    pub(super) priority: Option<Value>,
    pub(super) user: Option<Value>,
}

/// A text, bare or as `{"text": …}`.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a string or an object with `text`")]
pub(super) enum WireText {
    Bare(String),
    Object { text: String },
}

impl WireText {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Bare(text) | Self::Object { text } => text,
        }
    }
}

/// One text or several.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a string or an array of strings")]
pub(super) enum Texts {
    One(String),
    Many(Vec<String>),
}

/// The answer to `rerank`.
#[derive(Debug, Serialize)]
pub(super) struct RerankAnswer {
    pub(super) id: String,
    pub(super) object: &'static str,
    pub(super) model: String,
    pub(super) results: Vec<Ranked>,
    pub(super) usage: WireUsage,
    pub(super) meta: Meta,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Ranked {
    pub(super) index: usize,
    pub(super) relevance_score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) document: Option<Document>,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Document {
    pub(super) text: String,
}

#[derive(Debug, Serialize)]
pub(super) struct WireUsage {
    pub(super) prompt_tokens: u32,
    pub(super) total_tokens: u32,
}

/// Cohere's place for what a request cost.
#[derive(Debug, Serialize)]
pub(super) struct Meta {
    pub(super) tokens: MetaTokens,
}

#[derive(Debug, Serialize)]
pub(super) struct MetaTokens {
    pub(super) input_tokens: u32,
}

/// The answer to `score`.
#[derive(Debug, Serialize)]
pub(super) struct ScoreAnswer {
    pub(super) id: String,
    pub(super) object: &'static str,
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) data: Vec<Scored>,
    pub(super) usage: WireUsage,
}

#[derive(Debug, Serialize)]
pub(super) struct Scored {
    pub(super) index: usize,
    pub(super) object: &'static str,
    pub(super) score: f64,
}
