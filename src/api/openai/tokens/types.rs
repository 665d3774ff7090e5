use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::OneOfBuilder;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::api::describe::{Schemas, array, named};
use crate::api::openai::types::WireMessage;

/// The body of `POST …/tokenize`: llama-server's `content` or vLLM's `prompt` or `messages`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::TokenizeRequest)]
pub(in crate::api::openai) struct TokenizeRequest {
    #[schema(required, nullable = false)]
    pub(in crate::api::openai) model: Option<String>,
    pub(in crate::api::openai) content: Option<String>,
    pub(in crate::api::openai) prompt: Option<String>,
    /// Read as those of a chat completion.
    #[schema(value_type = Option<Vec<WireMessage>>)]
    pub(in crate::api::openai) messages: Option<IgnoredAny>,
    pub(in crate::api::openai) add_special: Option<bool>,
    pub(in crate::api::openai) add_special_tokens: Option<bool>,
    pub(in crate::api::openai) parse_special: Option<bool>,
    pub(in crate::api::openai) with_pieces: Option<bool>,
    pub(in crate::api::openai) return_token_strs: Option<bool>,
}

/// The body of `POST …/detokenize`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::DetokenizeRequest)]
pub(in crate::api::openai) struct DetokenizeRequest {
    #[schema(required, nullable = false)]
    pub(in crate::api::openai) model: Option<String>,
    #[schema(required, nullable = false)]
    pub(in crate::api::openai) tokens: Option<Vec<i32>>,
}

/// The answer to `tokenize`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::TokenizeAnswer)]
pub(in crate::api::openai) struct TokenizeAnswer {
    pub(in crate::api::openai) tokens: Tokens,
    pub(in crate::api::openai) count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::api::openai) token_strs: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(in crate::api::openai) enum Tokens {
    Ids(Vec<i32>),
    Pieces(Vec<TokenPiece>),
}

impl PartialSchema for Tokens {
    fn schema() -> RefOr<Schema> {
        // One array of either: an empty one is both.
        let piece = Ref::from_schema_name(TokenPiece::name());
        array(OneOfBuilder::new().item(i32::schema()).item(piece))
    }
}

impl ToSchema for Tokens {
    fn name() -> std::borrow::Cow<'static, str> {
        "openai.Tokens".into()
    }

    fn schemas(schemas: &mut Schemas) {
        let _ = named::<TokenPiece>(schemas);
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::TokenPiece)]
pub(in crate::api::openai) struct TokenPiece {
    pub(in crate::api::openai) id: i32,
    pub(in crate::api::openai) piece: Piece,
}

/// A token's text, or its bytes where they are no whole characters.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = openai::Piece)]
pub(in crate::api::openai) enum Piece {
    Text(String),
    Bytes(Vec<u8>),
}

/// The answer to `detokenize`: the text under both names.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::DetokenizeAnswer)]
pub(in crate::api::openai) struct DetokenizeAnswer {
    pub(in crate::api::openai) content: String,
    pub(in crate::api::openai) prompt: String,
}
