use utoipa::openapi::{RefOr, Schema};

use crate::api::anthropic::MESSAGES;
use crate::api::describe::Schemas;
use crate::api::fields::{Field, Table, Treatment};
use crate::api::ollama::OLLAMA;
use crate::api::openai::{CHAT, EMBEDDINGS, TEXT};
use crate::api::responses::CREATE;

/// The schemas that the tables are about, in the order of the tables.
const NOTED: [(&[&str], &[Table]); 6] = [
    (
        &[
            "openai.ChatRequest",
            "openai.Message",
            "openai.ContentPart",
            "openai.ToolCall",
            "openai.Tool",
            "openai.FunctionDefinition",
            "openai.Reasoning",
            "openai.ResponseFormat",
            "openai.NamedSchema",
            "openai.StructuredOutputs",
            "openai.StreamOptions",
        ],
        CHAT,
    ),
    (&["openai.TextRequest"], TEXT),
    (&["openai.EmbeddingsRequest"], EMBEDDINGS),
    (&["responses.CreateRequest"], CREATE),
    (&["anthropic.MessagesRequest"], MESSAGES),
    (
        &[
            "ollama.ChatRequest",
            "ollama.Message",
            "ollama.GenerateRequest",
            "ollama.EmbedRequest",
            "ollama.EmbeddingsRequest",
            "ollama.Options",
        ],
        OLLAMA,
    ),
];

/// Tells of each field what the tables of fields say.
pub(super) fn annotate(schemas: &mut Schemas) {
    for (names, tables) in NOTED {
        for (name, table) in names.iter().zip(tables) {
            let of_name = schemas.iter_mut().filter(|(other, _)| other == name);
            of_name.for_each(|(_, schema)| annotate_one(schema, table.fields));
        }
    }
}

fn annotate_one(schema: &mut RefOr<Schema>, fields: &[Field]) {
    let RefOr::T(Schema::Object(object)) = schema else { return };
    for field in fields {
        if let Some(property) = object.properties.get_mut(field.name) {
            describe(property, note(field));
        }
    }
}

fn note(field: &Field) -> String {
    match (field.treatment, field.note) {
        (Treatment::Honoured, note) => note.to_owned(),
        (Treatment::Refused, note) => format!("refused: {note}"),
        (Treatment::Ignored, note) => format!("ignored: {note}"),
    }
}

fn describe(property: &mut RefOr<Schema>, note: String) {
    if note.is_empty() {
        return;
    }
    match property {
        RefOr::Ref(reference) => reference.description = note,
        RefOr::T(Schema::Object(object)) => object.description = Some(note),
        RefOr::T(Schema::Array(array)) => array.description = Some(note),
        RefOr::T(Schema::OneOf(either)) => either.description = Some(note),
        RefOr::T(Schema::AllOf(all)) => all.description = Some(note),
        RefOr::T(Schema::AnyOf(any)) => any.description = Some(note),
        RefOr::T(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openapi::document::document;

    #[test]
    fn what_the_tables_say_is_in_the_document() {
        let document = serde_json::to_value(document()).expect("a document");
        for (names, tables) in NOTED {
            assert_eq!(names.len(), tables.len());
            for (name, table) in names.iter().zip(tables) {
                for field in table.fields {
                    let property =
                        &document["components"]["schemas"][name]["properties"][field.name];
                    assert!(property.is_object(), "{name} has no {}", field.name);
                    let told = property["description"].as_str().unwrap_or_default();
                    assert!(told.ends_with(field.note), "{name}.{}: {told:?}", field.name);
                }
            }
        }
    }
}
