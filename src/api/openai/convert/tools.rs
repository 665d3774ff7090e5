//! Tools in their present and their old form.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::api::checks::missing;
use crate::api::json::Object;
use crate::api::tools::{MAX_TOOLS, tool};
use crate::domain::{Error, Result, Tool, ToolChoice};

use super::super::types::{FunctionDefinition, WireTool};
use super::constraint;

/// The fields about tools, as they came.
pub(super) struct Asked {
    pub(super) tools: Option<Vec<Object<WireTool>>>,
    pub(super) tool_choice: Option<Value>,
    pub(super) parallel_tool_calls: Option<bool>,
    pub(super) functions: Option<Vec<Object<FunctionDefinition>>>,
    pub(super) function_call: Option<Value>,
}

/// What the model may and must call.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Toolbox {
    pub(super) tools: Vec<Tool>,
    pub(super) choice: ToolChoice,
    pub(super) parallel: bool,
    /// They came as `functions`, so the answer has a `function_call`.
    pub(super) legacy: bool,
}

impl Asked {
    pub(super) fn toolbox(self) -> Result<Toolbox> {
        let Self { tools, tool_choice, parallel_tool_calls, functions, function_call } = self;
        let functions = functions.unwrap_or_default();
        let tools = tools.unwrap_or_default();
        if !functions.is_empty() && !tools.is_empty() {
            let message = "`functions` is the old form of `tools`; send one of them";
            return Err(Error::invalid("functions", message));
        }
        if !functions.is_empty() {
            return legacy(functions, tool_choice.as_ref(), function_call.as_ref());
        }
        let given = of_tools(tools)?;
        let (choice, tools) = tool_choice_of(tool_choice.as_ref(), given)?;
        legacy_choice(function_call.as_ref(), &[])?;
        // Without tools there is nothing to run in parallel.
        let parallel = !tools.is_empty() && parallel_tool_calls.unwrap_or(true);
        Ok(Toolbox { tools, choice, parallel, legacy: false })
    }
}

fn legacy(
    functions: Vec<Object<FunctionDefinition>>,
    tool_choice: Option<&Value>,
    function_call: Option<&Value>,
) -> Result<Toolbox> {
    let mut tools = Tools::new("functions", functions.len())?;
    for (i, Object(definition)) in functions.into_iter().enumerate() {
        tools.add(definition, &format!("functions[{i}]"))?;
    }
    tool_choice_of(tool_choice, Vec::new())?;
    let choice = legacy_choice(function_call, &tools.all)?;
    Ok(Toolbox { tools: tools.all, choice, parallel: false, legacy: true })
}

fn of_tools(wire: Vec<Object<WireTool>>) -> Result<Vec<Tool>> {
    let mut tools = Tools::new("tools", wire.len())?;
    for (i, Object(WireTool { r#type, function })) in wire.into_iter().enumerate() {
        match r#type.as_deref() {
            Some("function") => {}
            None => return Err(missing(format!("tools[{i}].type"), "send \"function\"")),
            Some(_) => {
                let message = "only tools of type function are done";
                return Err(Error::unsupported(format!("tools[{i}].type"), message));
            }
        }
        let path = format!("tools[{i}].function");
        let Object(definition) =
            function.ok_or_else(|| missing(path.clone(), "say what can be called"))?;
        tools.add(definition, &path)?;
    }
    Ok(tools.all)
}

/// Tools of which no two have the same name.
struct Tools {
    all: Vec<Tool>,
    names: BTreeSet<String>,
}

impl Tools {
    fn new(field: &'static str, count: usize) -> Result<Self> {
        if count > MAX_TOOLS {
            let message = format!("`{field}` has {count} entries; at most {MAX_TOOLS} are taken");
            return Err(Error::invalid(field, message));
        }
        Ok(Self { all: Vec::with_capacity(count), names: BTreeSet::new() })
    }

    fn add(&mut self, definition: FunctionDefinition, path: &str) -> Result<()> {
        let FunctionDefinition { name, description, parameters, strict } = definition;
        let name = name.ok_or_else(|| missing(format!("{path}.name"), "name the function"))?;
        let strict = strict.unwrap_or(false);
        // What is not strict guides the model and is not promised.
        if let (true, Some(schema)) = (strict, &parameters) {
            constraint::check(schema, &format!("{path}.parameters"))?;
        }
        let tool = tool(name, description, parameters, strict, (path, "parameters"))?;
        if !self.names.insert(tool.name.clone()) {
            let message = format!("two tools are called `{}`; give each a name", tool.name);
            return Err(Error::invalid(format!("{path}.name"), message));
        }
        self.all.push(tool);
        Ok(())
    }
}

/// `tool_choice`, and the tools that it leaves: those of an `allowed_tools` choice alone.
fn tool_choice_of(choice: Option<&Value>, tools: Vec<Tool>) -> Result<(ToolChoice, Vec<Tool>)> {
    const FIELD: &str = "tool_choice";
    let choice = match choice {
        None => return Ok((ToolChoice::default(), tools)),
        Some(Value::String(word)) => return Ok((mode(word, FIELD, &tools)?, tools)),
        Some(choice) => choice,
    };
    match choice.get("type").and_then(Value::as_str) {
        Some("function") => {
            let name = called(choice, FIELD)?;
            known(&name, &tools, &format!("{FIELD}.function.name"))?;
            Ok((ToolChoice::Named(name), tools))
        }
        Some("allowed_tools") => {
            let path = format!("{FIELD}.allowed_tools");
            let Some(allowed) = choice.get("allowed_tools").filter(|inner| inner.is_object())
            else {
                return Err(missing(path, "send a mode and tools"));
            };
            allowed_tools(allowed, &path, tools)
        }
        _ => {
            let message = "`tool_choice` must be none, auto, required, or an object of type \
                           function or allowed_tools";
            Err(Error::invalid(FIELD, message))
        }
    }
}

fn allowed_tools(allowed: &Value, path: &str, tools: Vec<Tool>) -> Result<(ToolChoice, Vec<Tool>)> {
    let word = allowed.get("mode").and_then(Value::as_str).unwrap_or_default();
    if !matches!(word, "auto" | "required") {
        let message = format!("`{path}.mode` must be auto or required");
        return Err(Error::invalid(format!("{path}.mode"), message));
    }
    let entries = allowed.get("tools").and_then(Value::as_array).filter(|list| !list.is_empty());
    let Some(entries) = entries else {
        let message = format!("`{path}.tools` must be an array of at least one tool");
        return Err(Error::invalid(format!("{path}.tools"), message));
    };
    let mut names = BTreeSet::new();
    for (i, entry) in entries.iter().enumerate() {
        let path = format!("{path}.tools[{i}]");
        let name = called(entry, &path)?;
        known(&name, &tools, &format!("{path}.function.name"))?;
        names.insert(name);
    }
    let left: Vec<Tool> = tools.into_iter().filter(|tool| names.contains(&tool.name)).collect();
    Ok((mode(word, path, &left)?, left))
}

/// `{"function": {"name": …}}`.
fn called(value: &Value, path: &str) -> Result<String> {
    match value.pointer("/function/name") {
        Some(Value::String(name)) => Ok(name.clone()),
        Some(Value::Null) | None => {
            Err(missing(format!("{path}.function.name"), "name one of the tools"))
        }
        Some(_) => {
            let path = format!("{path}.function.name");
            Err(Error::invalid(path.clone(), format!("`{path}` must be a string")))
        }
    }
}

fn known(name: &str, tools: &[Tool], path: &str) -> Result<()> {
    if tools.iter().any(|tool| tool.name == name) {
        return Ok(());
    }
    let name: String = name.chars().take(128).collect();
    let message = format!("`{path}` is {name:?}, but none of the {} tools is", tools.len());
    Err(Error::invalid(path, message))
}

fn mode(word: &str, field: &str, tools: &[Tool]) -> Result<ToolChoice> {
    match word {
        "auto" => Ok(ToolChoice::Auto),
        // With no tools it says nothing.
        "none" if tools.is_empty() => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" if tools.is_empty() => {
            let message = format!("`{field}` asks for a call, but there are no tools");
            Err(Error::invalid(field, message))
        }
        "required" => Ok(ToolChoice::Required),
        _ => {
            let message = format!(
                "`{field}` must be none, auto, required, or an object of type function or \
                 allowed_tools"
            );
            Err(Error::invalid(field, message))
        }
    }
}

fn legacy_choice(choice: Option<&Value>, tools: &[Tool]) -> Result<ToolChoice> {
    const FIELD: &str = "function_call";
    match choice {
        None => Ok(ToolChoice::Auto),
        Some(Value::String(word)) if word == "auto" || word == "none" => mode(word, FIELD, tools),
        Some(Value::Object(call)) => match call.get("name") {
            Some(Value::String(name)) => {
                known(name, tools, "function_call.name")?;
                Ok(ToolChoice::Named(name.clone()))
            }
            _ => Err(missing("function_call.name", "name one of the functions")),
        },
        Some(_) => {
            let message = "`function_call` must be none, auto, or an object with a name";
            Err(Error::invalid(FIELD, message))
        }
    }
}
