//! The schemas of what is written in more ways than one, and of answers.

use std::borrow::Cow;

use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::api::describe::{Schemas, array, object, of, text_or, word, words};

use super::convert::{Kind, OPTIONS};

words!(
    /// `messages[].role`.
    Role: "system", "user", "assistant", "tool",
);

/// `format`.
pub(super) fn format() -> Schema {
    let json = word(["", "json"]);
    OneOfBuilder::new().item(json).item(of(Type::Object)).item(of(Type::Null)).into()
}

/// `keep_alive`.
pub(super) fn keep_alive() -> Schema {
    let number = of(Type::Number);
    OneOfBuilder::new().item(String::schema()).item(number).item(of(Type::Null)).into()
}

/// `think`.
pub(super) fn think() -> Schema {
    let levels = word(["low", "medium", "high", "max"]);
    OneOfBuilder::new().item(of(Type::Boolean)).item(levels).item(of(Type::Null)).into()
}

/// `input`.
pub(super) fn input() -> Schema {
    let texts = array(String::schema());
    OneOfBuilder::new().item(String::schema()).item(texts).item(of(Type::Null)).into()
}

/// `arguments`.
pub(super) fn arguments() -> RefOr<Schema> {
    text_or(of(Type::Object).into())
}

/// `options`.
pub(super) enum Options {}

impl PartialSchema for Options {
    fn schema() -> RefOr<Schema> {
        let schema = |kind: &Kind| -> RefOr<Schema> {
            match kind {
                Kind::Integer | Kind::Number => of(Type::Number).into(),
                Kind::Texts => text_or(array(String::schema())),
                Kind::Any => ObjectBuilder::new().into(),
            }
        };
        let known = OPTIONS.iter();
        let all =
            known.fold(of(Type::Object), |all, (name, kind)| all.property(*name, schema(kind)));
        all.into()
    }
}

impl ToSchema for Options {
    fn name() -> Cow<'static, str> {
        "ollama.Options".into()
    }
}

fn counted<const N: usize>(members: [(&str, RefOr<Schema>); N]) -> ObjectBuilder {
    let done = object(members).property("done_reason", String::schema());
    [
        "total_duration",
        "load_duration",
        "prompt_eval_count",
        "prompt_eval_duration",
        "eval_count",
        "eval_duration",
    ]
    .into_iter()
    .fold(done, |done, name| done.property(name, of(Type::Integer)))
}

/// The answer of a chat, whole or a line of it.
pub(super) fn chat(_: &mut Schemas) -> RefOr<Schema> {
    let message = object([("role", word(["assistant"])), ("content", String::schema())])
        .property("thinking", String::schema())
        .property("tool_calls", array(of(Type::Object)));
    counted([
        ("model", String::schema()),
        ("created_at", String::schema()),
        ("message", message.into()),
        ("done", of(Type::Boolean).into()),
    ])
    .into()
}

/// The answer of a generation, whole or a line of it.
pub(super) fn generated(_: &mut Schemas) -> RefOr<Schema> {
    counted([
        ("model", String::schema()),
        ("created_at", String::schema()),
        ("response", String::schema()),
        ("done", of(Type::Boolean).into()),
    ])
    .property("thinking", String::schema())
    .property("context", array(of(Type::Integer)))
    .into()
}
