//! Tool definitions, as all dialects check them.

use serde_json::{Value, json};

use crate::domain::{Error, Result, Tool};

/// Tools in one request.
pub(super) const MAX_TOOLS: usize = 512;
/// The longest name of a tool, in bytes.
const MAX_NAME: usize = 128;

/// A tool from its parts; `path` is where it stands in the request (`tools[0].function`), and
/// `schema_field` what the dialect calls its parameters.
///
/// # Errors
/// `InvalidValue` with the field.
pub(super) fn tool(
    name: String,
    description: Option<String>,
    parameters: Option<Value>,
    strict: bool,
    (path, schema_field): (&str, &str),
) -> Result<Tool> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(legal) {
        let message = format!(
            "the name of a tool has 1 to {MAX_NAME} letters, digits, underscores, dashes or dots"
        );
        return Err(Error::invalid(format!("{path}.name"), message));
    }
    let parameters = match parameters {
        None | Some(Value::Null) => json!({ "type": "object", "properties": {} }),
        Some(schema @ Value::Object(_)) => schema,
        Some(_) => {
            let message = "the parameters of a tool are a JSON schema: an object";
            return Err(Error::invalid(format!("{path}.{schema_field}"), message));
        }
    };
    Ok(Tool {
        name,
        description: description.unwrap_or_default(),
        parameters: parameters.to_string(),
        strict,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_has_a_plain_name_and_an_object_for_its_parameters() {
        let at = ("tools[0].function", "parameters");
        let made = tool("get_time".into(), None, None, false, at).expect("a tool");
        assert_eq!(made.parameters, r#"{"type":"object","properties":{}}"#);
        let long = "a".repeat(MAX_NAME + 1);
        for name in ["", "a b", "é", long.as_str()] {
            let error = tool(name.into(), None, None, false, at).expect_err("refused");
            assert_eq!(error.param.as_deref(), Some("tools[0].function.name"), "{name:?}");
        }
        let error = tool("f".into(), None, Some(json!([])), false, at).expect_err("refused");
        assert_eq!(error.param.as_deref(), Some("tools[0].function.parameters"));
    }
}
