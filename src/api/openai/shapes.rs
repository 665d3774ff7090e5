//! The schemas of what is written in more ways than one, and of answers.

use utoipa::openapi::schema::{OneOfBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::api::describe::{Schemas, array, named, object, of, or_null, text_or, word, words};

use super::types::{Content, ImageObject, ImageUrl, Part, Stop};

words!(
    /// `messages[].role`.
    Role: "system", "developer", "user", "assistant", "tool", "function",
);
words!(
    /// `tools[].type`.
    Function: "function",
);
words!(
    /// `messages[].content[].type`.
    PartType: "text", "image_url", "input_audio", "file", "refusal",
);
words!(
    /// `response_format.type`.
    FormatType: "text", "json_object", "json_schema",
);

/// `prompt`.
pub(super) enum Prompt {}

impl PartialSchema for Prompt {
    fn schema() -> RefOr<Schema> {
        let token = || of(Type::Integer);
        let one = OneOfBuilder::new().item(String::schema()).item(token()).item(array(token()));
        text_or(array(one))
    }
}

impl ToSchema for Prompt {}

impl PartialSchema for Content {
    fn schema() -> RefOr<Schema> {
        text_or(array(Ref::from_schema_name(Part::name())))
    }
}

impl ToSchema for Content {
    fn name() -> std::borrow::Cow<'static, str> {
        "openai.Content".into()
    }

    fn schemas(schemas: &mut Schemas) {
        let _ = named::<Part>(schemas);
    }
}

impl PartialSchema for ImageUrl {
    fn schema() -> RefOr<Schema> {
        text_or(Ref::from_schema_name(ImageObject::name()).into())
    }
}

impl ToSchema for ImageUrl {
    fn name() -> std::borrow::Cow<'static, str> {
        "openai.ImageUrl".into()
    }

    fn schemas(schemas: &mut Schemas) {
        let _ = named::<ImageObject>(schemas);
    }
}

impl PartialSchema for Stop {
    fn schema() -> RefOr<Schema> {
        text_or(array(String::schema()))
    }
}

impl ToSchema for Stop {
    fn name() -> std::borrow::Cow<'static, str> {
        "openai.Stop".into()
    }
}

/// The answer to a chat completion.
pub(super) fn chat(_: &mut Schemas) -> RefOr<Schema> {
    let message = object([
        ("role", word(["assistant"])),
        ("content", or_null(String::schema())),
        ("refusal", of(Type::Null).into()),
    ]);
    completion("chat.completion", "message", message.into())
}

/// The answer to a text completion.
pub(super) fn completion_of_text(_: &mut Schemas) -> RefOr<Schema> {
    completion("text_completion", "text", String::schema())
}

fn completion(kind: &str, what: &str, said: RefOr<Schema>) -> RefOr<Schema> {
    let choice = object([
        ("index", of(Type::Integer).into()),
        (what, said),
        ("finish_reason", String::schema()),
    ]);
    let count = || of(Type::Integer).into();
    let usage = object([
        ("prompt_tokens", count()),
        ("completion_tokens", count()),
        ("total_tokens", count()),
    ]);
    object([
        ("id", String::schema()),
        ("object", word([kind])),
        ("created", count()),
        ("model", String::schema()),
        ("choices", array(choice)),
        ("usage", usage.into()),
    ])
    .into()
}
