use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// The body of `POST …/tokenize`: llama-server's `content` or vLLM's `prompt` or `messages`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TokenizeRequest {
    pub(super) model: Option<String>,
    pub(super) content: Option<String>,
    pub(super) prompt: Option<String>,
    /// Read as those of a chat completion.
    pub(super) messages: Option<IgnoredAny>,
    pub(super) add_special: Option<bool>,
    pub(super) add_special_tokens: Option<bool>,
    pub(super) parse_special: Option<bool>,
    pub(super) with_pieces: Option<bool>,
    pub(super) return_token_strs: Option<bool>,
}

/// The body of `POST …/detokenize`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DetokenizeRequest {
    pub(super) model: Option<String>,
    pub(super) tokens: Option<Vec<i32>>,
}

/// The answer to `tokenize`.
#[derive(Debug, Serialize)]
pub(super) struct TokenizeAnswer {
    pub(super) tokens: Tokens,
    pub(super) count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_strs: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Tokens {
    Ids(Vec<i32>),
    Pieces(Vec<TokenPiece>),
}

#[derive(Debug, Serialize)]
pub(super) struct TokenPiece {
    pub(super) id: i32,
    pub(super) piece: Piece,
}

/// A token's text, or its bytes where they are no whole characters.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Piece {
    Text(String),
    Bytes(Vec<u8>),
}

/// The answer to `detokenize`: the text under both names.
#[derive(Debug, Serialize)]
pub(super) struct DetokenizeAnswer {
    pub(super) content: String,
    pub(super) prompt: String,
}
