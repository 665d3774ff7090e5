use std::collections::HashSet;

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
    let Definition { name, description, parameters } = definition;
    let name = name.ok_or_else(|| missing(format!("{path}.name"), "name the function"))?;
    if let Some(description) = &description {
        no_nul(description, || format!("{path}.description"))?;
    }
    tool(name, description, parameters, false, (&path, "parameters"))
}
