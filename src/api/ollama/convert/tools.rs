use std::collections::HashSet;

use serde_json::Value;

use crate::api::checks::{missing, no_nul};
use crate::api::json::Object;
use crate::api::tools::{MAX_TOOLS, tool};
use crate::domain::{Error, Result, Tool};

use super::super::types::{Definition, WireTool};

/// What the model may call.
pub(super) fn convert(tools: Option<Vec<Object<WireTool>>>) -> Result<Vec<Tool>> {
    let tools = tools.unwrap_or_default();
    if tools.len() > MAX_TOOLS {
        let message = format!("`tools` has {} entries; at most {MAX_TOOLS} are taken", tools.len());
        return Err(Error::invalid("tools", message));
    }
    let tools: Vec<Tool> = tools
        .into_iter()
        .enumerate()
        .map(|(i, Object(tool))| one(tool, &format!("tools[{i}]")))
        .collect::<Result<_>>()?;
    let mut names = HashSet::new();
    if let Some(twice) = tools.iter().position(|tool| !names.insert(tool.name.as_str())) {
        let param = format!("tools[{twice}].function.name");
        let message = format!("`{param}`: another tool has this name; give each one its own");
        return Err(Error::invalid(param, message));
    }
    Ok(tools)
}

fn one(wire: WireTool, path: &str) -> Result<Tool> {
    let WireTool { r#type, function } = wire;
    if r#type.as_deref().is_some_and(|kind| !kind.is_empty() && kind != "function") {
        let message = "only tools of type function are done";
        return Err(Error::unsupported(format!("{path}.type"), message));
    }
    let path = format!("{path}.function");
    let Object(definition) =
        function.ok_or_else(|| missing(path.clone(), "say what can be called"))?;
    let Definition { name, description, mut parameters } = definition;
    parameters.iter_mut().for_each(drop_absent);
    let name = name.ok_or_else(|| missing(format!("{path}.name"), "name the function"))?;
    if let Some(description) = &description {
        no_nul(description, || format!("{path}.description"))?;
    }
    tool(name, description, parameters, false, (&path, "parameters"))
}

/// Go's clients write what is not there as null, as an empty text or as an empty list.
fn drop_absent(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    map.retain(|key, value| match key.as_str() {
        "properties" | "required" | "items" | "$defs" | "anyOf" | "additionalProperties" => {
            !value.is_null()
        }
        "type" => !value.is_null() && value != "",
        "enum" => value.as_array().is_some_and(|values| !values.is_empty()),
        _ => true,
    });
    for (key, value) in map.iter_mut() {
        match (key.as_str(), value) {
            ("properties" | "$defs", Value::Object(all)) => all.values_mut().for_each(drop_absent),
            ("items" | "additionalProperties", value) => drop_absent(value),
            ("anyOf", Value::Array(all)) => all.iter_mut().for_each(drop_absent),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_there_may_be_written() {
        let mut schema = json!({
            "type": "object", "required": null, "items": null, "$defs": null,
            "properties": {"a": {"type": "", "enum": []}, "b": {"type": "string", "enum": ["x"]}},
        });
        drop_absent(&mut schema);
        let properties = json!({"a": {}, "b": {"type": "string", "enum": ["x"]}});
        assert_eq!(schema, json!({"type": "object", "properties": properties}));
        let mut empty = json!({"type": "object", "properties": null});
        drop_absent(&mut empty);
        assert_eq!(empty, json!({"type": "object"}));
    }
}
