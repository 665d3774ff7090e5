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
        Some(mut schema @ Value::Object(_)) => {
            close(&mut schema);
            schema::check(&schema).map_err(|fault| {
                let message = format!("`format{}`: {fault}", fault.pointer);
                Error::invalid("format", message)
            })?;
            Ok(Constraint::JsonSchema(schema.to_string()))
        }
        Some(_) => {
            let message = "`format` must be \"json\" or a JSON schema, which is an object";
            Err(Error::invalid("format", message))
        }
    }
}

/// Ollama holds an object to the properties that its schema names, and clients rely on it: their
/// libraries write schemas that do not say so. Parts of an `allOf` are left as they are: closed ones
/// would exclude each other.
fn close(schema: &mut Value) {
    const OPENING: [&str; 5] =
        ["additionalProperties", "patternProperties", "propertyNames", "allOf", "$ref"];
    let Value::Object(map) = schema else { return };
    let names_all = map.get("properties").is_some_and(Value::is_object);
    if names_all && !OPENING.iter().any(|key| map.contains_key(*key)) {
        map.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    for (key, value) in map.iter_mut() {
        match (key.as_str(), value) {
            ("properties" | "$defs" | "definitions", Value::Object(all)) => {
                all.values_mut().for_each(close);
            }
            ("items" | "additionalProperties", value) => close(value),
            ("anyOf" | "oneOf" | "prefixItems", Value::Array(all)) => {
                all.iter_mut().for_each(close);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_closed_unless_they_say_otherwise() {
        let mut schema = json!({
            "type": "object",
            "properties": {
                "open": {"type": "object", "properties": {}, "additionalProperties": true},
                "list": {"type": "array", "items": {"type": "object", "properties": {"a": {}}}},
                "map": {"type": "object", "additionalProperties": {"type": "integer"}},
            },
            "$defs": {"d": {"anyOf": [{"properties": {}}, {"allOf": [{"properties": {}}]}]}},
        });
        close(&mut schema);
        let no = Value::Bool(false);
        let at = |place: &str| schema.pointer(place).cloned();
        assert_eq!(at("/additionalProperties"), Some(no.clone()));
        assert_eq!(at("/properties/open/additionalProperties"), Some(Value::Bool(true)));
        assert_eq!(at("/properties/list/items/additionalProperties"), Some(no.clone()));
        assert_eq!(at("/properties/map/additionalProperties/type"), Some("integer".into()));
        assert_eq!(at("/$defs/d/anyOf/0/additionalProperties"), Some(no));
        assert_eq!(at("/$defs/d/anyOf/1/allOf/0/additionalProperties"), None);
    }
}
