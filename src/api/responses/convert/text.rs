//! `text` and `reasoning`: what the answer looks like and how much is thought before it.

use serde_json::{Value, json};

use crate::api::checks::missing;
use crate::api::json::Object;
use crate::domain::{Constraint, Error, Result, Thinking};

use super::super::object::ReasoningEcho;
use super::super::types::{Reasoning, TextConfig, TextFormat};
use super::fields::invalid_choice;

/// The longest name of a schema.
const MAX_NAME: usize = 64;

/// What `text.format` demands, and `text` as it is repeated.
pub(super) fn format(text: Option<Object<TextConfig>>) -> Result<(Constraint, Value)> {
    let TextConfig { format, verbosity } = text.unwrap_or_default().0;
    let (constraint, format) = match format {
        None => (Constraint::None, json!({ "type": "text" })),
        Some(Object(format)) => constraint(format)?,
    };
    let mut echo = json!({ "format": format });
    // A hint about length that no model here knows; repeated and no more.
    if let (Some(verbosity), Some(echo)) = (verbosity, echo.as_object_mut()) {
        echo.insert("verbosity".to_owned(), verbosity);
    }
    Ok((constraint, echo))
}

fn constraint(format: TextFormat) -> Result<(Constraint, Value)> {
    let TextFormat { r#type, name, description, schema, strict } = format;
    let kind = r#type
        .ok_or_else(|| missing("text.format.type", "send text, json_object or json_schema"))?;
    match kind.as_str() {
        "text" => Ok((Constraint::None, json!({ "type": "text" }))),
        "json_object" => Ok((Constraint::JsonObject, json!({ "type": "json_object" }))),
        "json_schema" => {
            let name = name.ok_or_else(|| missing("text.format.name", "name the schema"))?;
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(legal) {
                let message = format!(
                    "the name of a schema has 1 to {MAX_NAME} letters, digits, underscores or dashes"
                );
                return Err(Error::invalid("text.format.name", message));
            }
            let schema =
                schema.ok_or_else(|| missing("text.format.schema", "send a JSON schema"))?;
            check_schema(&schema, "text.format.schema")?;
            // Held to the schema whether `strict` or not: a promise that is kept for free.
            let constraint = Constraint::JsonSchema(schema.to_string());
            let echo = json!({
                "type": "json_schema",
                "name": name,
                "description": description,
                "schema": schema,
                "strict": strict.unwrap_or(false),
            });
            Ok((constraint, echo))
        }
        other => {
            Err(invalid_choice("text.format.type", other, "text, json_object and json_schema"))
        }
    }
}

/// Refuses a schema that answers cannot be held to.
pub(super) fn check_schema(schema: &Value, param: &str) -> Result<()> {
    crate::schema::check(schema).map_err(|fault| {
        let place = match fault.pointer.as_str() {
            "" => String::new(),
            pointer => format!(" (at {pointer})"),
        };
        Error::invalid(param, format!("`{param}`: {fault}{place}"))
    })
}

/// How much is thought, and `reasoning` as it is repeated.
pub(super) fn thinking(reasoning: Option<Object<Reasoning>>) -> Result<(Thinking, ReasoningEcho)> {
    let Reasoning {
        effort,
        summary,
        generate_summary,
        // Which earlier thinking the model sees is up to its template; there is one mode.
        context: _,
        mode: _,
    } = reasoning.unwrap_or_default().0;
    let (enabled, level) = match effort.as_deref() {
        None => (None, None),
        Some("none") => (Some(false), None),
        // Templates know three levels; the others mean the nearest.
        Some("minimal" | "low") => (Some(true), Some("low")),
        Some("medium") => (Some(true), Some("medium")),
        Some("high" | "xhigh" | "max") => (Some(true), Some("high")),
        Some(other) => {
            let choices = "none, minimal, low, medium, high, xhigh and max";
            return Err(invalid_choice("reasoning.effort", other, choices));
        }
    };
    let (name, summary) = match (summary, generate_summary) {
        (None, old @ Some(_)) => ("reasoning.generate_summary", old),
        (summary, _) => ("reasoning.summary", summary),
    };
    if let Some(other) = summary.as_deref()
        && !matches!(other, "auto" | "concise" | "detailed" | "none")
    {
        return Err(invalid_choice(name, other, "auto, concise and detailed"));
    }
    let thinking = Thinking { enabled, effort: level.map(str::to_owned), budget: None };
    Ok((thinking, ReasoningEcho { effort, summary }))
}
