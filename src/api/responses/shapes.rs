//! The schemas of what is written in more ways than one, and of answers.

use utoipa::openapi::schema::Type;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::api::describe::{Schemas, array, named, object, of, or_null, text_or, word, words};

use super::types::{WireItem, WirePart};

words!(
    /// `text.format.type`.
    FormatType: "text", "json_object", "json_schema",
);

/// `input`.
pub(super) enum Input {}

impl PartialSchema for Input {
    fn schema() -> RefOr<Schema> {
        text_or(array(Ref::from_schema_name(WireItem::name())))
    }
}

impl ToSchema for Input {
    fn schemas(schemas: &mut Schemas) {
        let _ = named::<WireItem>(schemas);
    }
}

/// The content of an item.
pub(super) enum Parts {}

impl PartialSchema for Parts {
    fn schema() -> RefOr<Schema> {
        text_or(array(Ref::from_schema_name(WirePart::name())))
    }
}

impl ToSchema for Parts {
    fn schemas(schemas: &mut Schemas) {
        let _ = named::<WirePart>(schemas);
    }
}

/// The answer.
pub(super) fn response(_: &mut Schemas) -> RefOr<Schema> {
    let text = String::schema;
    let count = || of(Type::Integer).into();
    let status = word(["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]);
    let error = object([("code", text()), ("message", text())]);
    let usage =
        object([("input_tokens", count()), ("output_tokens", count()), ("total_tokens", count())]);
    object([
        ("id", text()),
        ("object", word(["response"])),
        ("created_at", count()),
        ("status", status),
        ("error", or_null(error)),
        ("incomplete_details", or_null(object([("reason", text())]))),
        ("model", text()),
        ("output", array(object([("type", text()), ("id", text())]))),
        ("previous_response_id", or_null(text())),
        ("usage", or_null(usage)),
    ])
    .into()
}

/// `stream` in a query.
pub(super) fn flag_word(_: &mut Schemas) -> RefOr<Schema> {
    word(["true", "false"])
}

/// `order` in a query.
pub(super) fn order_word(_: &mut Schemas) -> RefOr<Schema> {
    word(["asc", "desc"])
}
