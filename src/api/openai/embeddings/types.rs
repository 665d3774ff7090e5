#![expect(dead_code, reason = "what is ignored is named in `convert`, but never read")]

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::openapi::schema::{OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::api::describe::{array, of, text_or};
use crate::service::MAX_INPUTS;

/// The body of `POST /v1/embeddings`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::EmbeddingsRequest)]
pub(in crate::api::openai) struct EmbeddingsRequest {
    #[schema(required, nullable = false)]
    pub(in crate::api::openai) model: Option<String>,
    #[schema(required, nullable = false)]
    pub(in crate::api::openai) input: Option<Input>,
    pub(in crate::api::openai) encoding_format: Option<String>,
    pub(in crate::api::openai) dimensions: Option<i64>,
    pub(in crate::api::openai) user: Option<Value>,
}

/// `input`: a text, texts, tokens, or lists of tokens.
#[derive(Debug, PartialEq)]
pub(in crate::api::openai) enum Input {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<i32>),
    TokenLists(Vec<Vec<i32>>),
}

impl PartialSchema for Input {
    fn schema() -> RefOr<Schema> {
        let token = || of(Type::Integer);
        let one = OneOfBuilder::new().item(String::schema()).item(token()).item(array(token()));
        text_or(array(one))
    }
}

impl ToSchema for Input {
    fn name() -> std::borrow::Cow<'static, str> {
        "openai.EmbeddingsInput".into()
    }
}

/// The first element of a list says what the others have to be.
enum First {
    Text(String),
    Token(i32),
    Tokens(Vec<i32>),
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Input;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a string, an array of strings, or an array of tokens or of such arrays",
                )
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Input, E> {
                Ok(Input::Text(text.to_owned()))
            }

            fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Input, E> {
                Ok(Input::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Input, A::Error> {
                Ok(match list.next_element()? {
                    None => Input::Texts(Vec::new()),
                    Some(First::Text(text)) => Input::Texts(rest(list, text, MAX_INPUTS)?),
                    Some(First::Token(token)) => Input::Tokens(rest(list, token, usize::MAX)?),
                    Some(First::Tokens(tokens)) => {
                        Input::TokenLists(rest(list, tokens, MAX_INPUTS)?)
                    }
                })
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// Reads a list to its end; what is over `most` is not held first.
fn rest<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(
    mut list: A,
    first: T,
    most: usize,
) -> Result<Vec<T>, A::Error> {
    let mut all = vec![first];
    while let Some(next) = list.next_element()? {
        if all.len() >= most {
            return Err(A::Error::custom(format!("more than {most} inputs: send them in parts")));
        }
        all.push(next);
    }
    Ok(all)
}

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = First;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a token or an array of tokens")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<First, E> {
                Ok(First::Text(text.to_owned()))
            }

            fn visit_u64<E: serde::de::Error>(self, token: u64) -> Result<First, E> {
                let token = i32::try_from(token);
                token.map(First::Token).map_err(|_| E::custom("no vocabulary is as large"))
            }

            fn visit_i64<E: serde::de::Error>(self, token: i64) -> Result<First, E> {
                let token = i32::try_from(token);
                token.map(First::Token).map_err(|_| E::custom("no vocabulary is as large"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<First, A::Error> {
                let list = serde::de::value::SeqAccessDeserializer::new(list);
                Vec::deserialize(list).map(First::Tokens)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// The answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::EmbeddingsAnswer)]
pub(in crate::api::openai) struct EmbeddingsAnswer {
    pub(in crate::api::openai) object: &'static str,
    pub(in crate::api::openai) data: Vec<WireVector>,
    pub(in crate::api::openai) model: String,
    pub(in crate::api::openai) usage: WireUsage,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::Vector)]
pub(in crate::api::openai) struct WireVector {
    pub(in crate::api::openai) object: &'static str,
    pub(in crate::api::openai) index: usize,
    pub(in crate::api::openai) embedding: Numbers,
}

/// A vector as JSON numbers, or as base64 of little-endian 32-bit floats.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = openai::Numbers)]
pub(in crate::api::openai) enum Numbers {
    Floats(Vec<f32>),
    Base64(String),
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::EmbeddingsUsage)]
pub(in crate::api::openai) struct WireUsage {
    pub(in crate::api::openai) prompt_tokens: u32,
    pub(in crate::api::openai) total_tokens: u32,
}
