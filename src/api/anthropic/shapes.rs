//! The schemas of what is written in more ways than one, and of answers.

use std::borrow::Cow;

use utoipa::openapi::schema::{AllOfBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::api::describe::{Schemas, array, named, object, of, or_null, text_or, word, words};

use super::types::{Content, MessagesRequest, Source, WireBlock, WireSource};

words!(
    /// `messages[].role`.
    Role: "user", "assistant", "system",
);
words!(
    /// The types of blocks that are understood.
    BlockType: "text", "image", "document", "search_result", "thinking", "redacted_thinking",
        "tool_use", "tool_result",
);
words!(
    /// `tool_choice.type`.
    ChoiceType: "auto", "any", "none", "tool",
);

impl PartialSchema for Content {
    fn schema() -> RefOr<Schema> {
        text_or(array(Ref::from_schema_name(WireBlock::name())))
    }
}

impl ToSchema for Content {
    fn name() -> Cow<'static, str> {
        "anthropic.Content".into()
    }

    fn schemas(schemas: &mut Schemas) {
        let _ = named::<WireBlock>(schemas);
    }
}

impl PartialSchema for Source {
    fn schema() -> RefOr<Schema> {
        text_or(Ref::from_schema_name(WireSource::name()).into())
    }
}

impl ToSchema for Source {
    fn name() -> Cow<'static, str> {
        "anthropic.Source".into()
    }

    fn schemas(schemas: &mut Schemas) {
        let _ = named::<WireSource>(schemas);
    }
}

/// What an answer needs besides what a count needs.
pub(super) fn bounded(schemas: &mut Schemas) -> RefOr<Schema> {
    let bound = object([("max_tokens", of(Type::Integer).into())]);
    AllOfBuilder::new().item(named::<MessagesRequest>(schemas)).item(bound).into()
}

/// The answer.
pub(super) fn message(_: &mut Schemas) -> RefOr<Schema> {
    let count = || of(Type::Integer).into();
    let usage = object([("input_tokens", count()), ("output_tokens", count())]);
    object([
        ("id", String::schema()),
        ("type", word(["message"])),
        ("role", word(["assistant"])),
        ("model", String::schema()),
        ("content", array(object([("type", String::schema())]))),
        ("stop_reason", String::schema()),
        ("stop_sequence", or_null(String::schema())),
        ("usage", usage.into()),
    ])
    .into()
}
