use std::collections::HashSet;

use crate::api::checks::{missing, no_nul};
use crate::api::json::Object;
use crate::api::tools::{MAX_TOOLS, tool};
use crate::domain::{Error, Result, Tool, ToolChoice};
use crate::schema;

use super::super::types::{WireTool, WireToolChoice};

/// What the model may call, and whether it has to.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) tools: Vec<Tool>,
    pub(super) choice: ToolChoice,
    pub(super) parallel: bool,
}

pub(super) fn convert(
    tools: Option<Vec<Object<WireTool>>>,
    choice: Option<Object<WireToolChoice>>,
) -> Result<Tools> {
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
        let param = format!("tools[{twice}].name");
        let message = format!("`{param}`: another tool has this name; give each one its own");
        return Err(Error::invalid(param, message));
    }
    let (choice, parallel) = choose(choice, &tools)?;
    Ok(Tools { tools, choice, parallel })
}

fn one(wire: WireTool, path: &str) -> Result<Tool> {
    let WireTool {
        r#type,
        name,
        description,
        input_schema,
        strict,
        // No template has a place for them.
        input_examples: _,
        // The prefix cache needs no marks.
        cache_control: _,
        // There is no search for tools: all of them are shown to the model.
        defer_loading: _,
        // Nothing but the model calls here.
        allowed_callers: _,
        // Arguments are always streamed as they come.
        eager_input_streaming: _,
    } = wire;
    match r#type.as_deref() {
        None | Some("custom") => {}
        // They have no schema here, and their models were trained for them; to run them or to
        // leave them out unasked would both be a surprise.
        Some(kind) => {
            let kind: String = kind.chars().take(64).collect();
            let message = format!(
                "tools of type `{kind}` are Anthropic's own and not done; leave it out, or \
                 describe it as a tool with an `input_schema`"
            );
            return Err(Error::unsupported(format!("{path}.type"), message));
        }
    }
    let name = name.ok_or_else(|| missing(format!("{path}.name"), "name the tool"))?;
    if let Some(description) = &description {
        no_nul(description, || format!("{path}.description"))?;
    }
    let strict = strict.unwrap_or(false);
    if strict
        && let Some(schema) = &input_schema
        && let Err(fault) = schema::check(schema)
    {
        let param = format!("{path}.input_schema");
        let message = format!("`{param}{}`: {fault}", fault.pointer);
        return Err(Error::invalid(param, message));
    }
    tool(name, description, input_schema, strict, (path, "input_schema"))
}

/// Several calls in one answer are allowed unless forbidden.
fn choose(choice: Option<Object<WireToolChoice>>, tools: &[Tool]) -> Result<(ToolChoice, bool)> {
    let Some(Object(choice)) = choice else { return Ok((ToolChoice::Auto, true)) };
    let WireToolChoice { r#type, name, disable_parallel_tool_use } = choice;
    let choice = match r#type.as_deref() {
        Some("auto") => ToolChoice::Auto,
        Some("none") => ToolChoice::None,
        Some("any") if tools.is_empty() => {
            let message = "`tool_choice` asks for a call, but there are no `tools`";
            return Err(Error::invalid("tool_choice", message));
        }
        Some("any") => ToolChoice::Required,
        Some("tool") => {
            let name = name.ok_or_else(|| missing("tool_choice.name", "name the tool"))?;
            if tools.iter().all(|tool| tool.name != name) {
                let message = "`tool_choice.name` is none of `tools`";
                return Err(Error::invalid("tool_choice.name", message));
            }
            ToolChoice::Named(name)
        }
        Some(_) => {
            let message = "`tool_choice.type` is auto, any, tool or none";
            return Err(Error::invalid("tool_choice.type", message));
        }
        None => return Err(missing("tool_choice.type", "send auto, any, tool or none")),
    };
    Ok((choice, !disable_parallel_tool_use.unwrap_or(false)))
}
