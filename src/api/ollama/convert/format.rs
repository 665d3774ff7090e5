use serde_json::Value;

use crate::domain::{Constraint, Error, Result};
use crate::schema;

/// `format`: nothing, `"json"`, or a JSON schema.
///
/// # Errors
/// `InvalidValue` for anything else, and for a schema that cannot be guaranteed, with the place.
pub(super) fn convert(format: Option<Value>) -> Result<Constraint> {
    match format {
        None | Some(Value::Null) => Ok(Constraint::None),
        Some(Value::String(word)) if word.is_empty() => Ok(Constraint::None),
        Some(Value::String(word)) if word == "json" => Ok(Constraint::JsonObject),
        Some(schema @ Value::Object(_)) => match schema::check(&schema) {
            Ok(()) => Ok(Constraint::JsonSchema(schema.to_string())),
            Err(fault) => {
                let message = format!("`format{}`: {fault}", fault.pointer);
                Err(Error::invalid("format", message))
            }
        },
        Some(_) => {
            let message = "`format` must be \"json\" or a JSON schema, which is an object";
            Err(Error::invalid("format", message))
        }
    }
}
