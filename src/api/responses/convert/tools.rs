//! What the model may call.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::api::checks::missing;
use crate::api::json::Object;
use crate::api::tools::{self, MAX_TOOLS};
use crate::domain::{Error, Result, Tool, ToolChoice};

use super::super::callable::{Callable, Callables};
use super::super::types::{WireChoice, WireTool};
use super::fields::{invalid_choice, typed};
use super::text::check_schema;

/// What can be done about tools that run on OpenAI's side.
const POSSIBLE: &str = "modeld runs no tools itself; send tools of type function, custom or \
                        namespace and run the calls in the client";

/// The tools of a request.
#[derive(Debug, Default)]
pub(super) struct Tools {
    pub(super) tools: Vec<Tool>,
    pub(super) choice: ToolChoice,
    pub(super) callables: Callables,
    /// Those in effect, as they came.
    pub(super) echo: Vec<Value>,
}

/// Whether tools of this type are left out: agents offer them to every model, and a model that is
/// not told of them does without.
fn left_out(kind: &str) -> bool {
    kind.starts_with("web_search") || kind == "tool_search"
}

/// Maps, leaves out or refuses each tool, and the choice among them.
pub(super) fn convert(tools: Option<Vec<Value>>, choice: Option<&Value>) -> Result<Tools> {
    let mut made = Tools::default();
    for (i, value) in tools.unwrap_or_default().into_iter().enumerate() {
        let path = format!("tools[{i}]");
        if made.add(typed(&value, &path)?, &path, None)? {
            made.echo.push(value);
        }
        if made.tools.len() > MAX_TOOLS {
            let message = format!("there are more than {MAX_TOOLS} tools; send fewer");
            return Err(Error::invalid("tools", message));
        }
    }
    made.choose(choice)?;
    Ok(made)
}

impl Tools {
    /// Whether the tool is in effect.
    fn add(&mut self, tool: WireTool, path: &str, namespace: Option<&str>) -> Result<bool> {
        let WireTool {
            r#type,
            name,
            description,
            parameters,
            strict,
            format,
            tools: inner,
            // All tools are known to the model from the start.
            defer_loading: _,
            // Who calls and what comes back is between the client and its tools.
            output_schema: _,
            allowed_callers: _,
            r#async: _,
        } = tool;
        let kind = r#type.ok_or_else(|| missing(format!("{path}.type"), "send \"function\""))?;
        if left_out(&kind) && namespace.is_none() {
            return Ok(false);
        }
        let name = || name.ok_or_else(|| missing(format!("{path}.name"), "name the tool"));
        match kind.as_str() {
            "function" => {
                let name = name()?;
                let strict = strict.unwrap_or(false);
                if let (true, Some(schema)) = (strict, &parameters) {
                    check_schema(schema, &format!("{path}.parameters"))?;
                }
                let full = Callable::full_name(&name, namespace);
                let at = (path, "parameters");
                let tool = tools::tool(full, description, parameters, strict, at)?;
                self.insert(tool, name, namespace, false, path)?;
            }
            "custom" => {
                let name = name()?;
                let full = Callable::full_name(&name, namespace);
                let description = describe(description.unwrap_or_default(), format.as_ref());
                let parameters = json!({
                    "type": "object",
                    "properties": { "input": { "type": "string" } },
                    "required": ["input"],
                    "additionalProperties": false,
                });
                let (schema, at) = (Some(parameters), (path, "parameters"));
                let tool = tools::tool(full, Some(description), schema, true, at)?;
                self.insert(tool, name, namespace, true, path)?;
            }
            "namespace" if namespace.is_none() => {
                let name = name()?;
                for (j, Object(tool)) in inner.unwrap_or_default().into_iter().enumerate() {
                    self.add(tool, &format!("{path}.tools[{j}]"), Some(&name))?;
                }
            }
            other => {
                let other: String = other.chars().take(64).collect();
                let message = format!("tools of type {other:?} cannot be used; {POSSIBLE}");
                return Err(Error::unsupported(format!("{path}.type"), message));
            }
        }
        Ok(true)
    }

    fn insert(
        &mut self,
        tool: Tool,
        name: String,
        namespace: Option<&str>,
        custom: bool,
        path: &str,
    ) -> Result<()> {
        let namespace = namespace.map(str::to_owned);
        let callable = Callable { name, namespace, custom };
        if self.callables.insert(tool.name.clone(), callable).is_some() {
            let message = format!("there is another tool called {}; rename one", tool.name);
            return Err(Error::invalid(format!("{path}.name"), message));
        }
        self.tools.push(tool);
        Ok(())
    }

    fn choose(&mut self, choice: Option<&Value>) -> Result<()> {
        self.choice = match choice {
            None => ToolChoice::Auto,
            Some(Value::String(mode)) => self.mode(mode, "tool_choice")?,
            Some(long) => {
                let choice: WireChoice = typed(long, "tool_choice")?;
                let kind = choice.r#type.as_deref();
                match kind.ok_or_else(|| missing("tool_choice.type", "send \"function\""))? {
                    "function" | "custom" => ToolChoice::Named(self.named(choice, "tool_choice")?),
                    "allowed_tools" => self.only(choice)?,
                    other => {
                        let other: String = other.chars().take(64).collect();
                        let message = format!("a choice of {other:?} cannot be made; {POSSIBLE}");
                        return Err(Error::unsupported("tool_choice.type", message));
                    }
                }
            }
        };
        Ok(())
    }

    fn mode(&self, mode: &str, param: &str) -> Result<ToolChoice> {
        match mode {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" if self.tools.is_empty() => {
                let message = format!("`{param}` is \"required\", but there are no tools to call");
                Err(Error::invalid(param, message))
            }
            "required" => Ok(ToolChoice::Required),
            other => Err(invalid_choice(param, other, "auto, none and required")),
        }
    }

    /// The full name of the tool that a choice names.
    fn named(&self, choice: WireChoice, path: &str) -> Result<String> {
        let WireChoice { r#type: _, name, namespace, mode: _, tools: _ } = choice;
        let name = name.ok_or_else(|| missing(format!("{path}.name"), "name the tool"))?;
        let full = Callable::full_name(&name, namespace.as_deref());
        if self.callables.contains_key(&full) {
            return Ok(full);
        }
        let name: String = full.chars().take(128).collect();
        let message = format!("there is no tool called {name:?} among `tools`");
        Err(Error::invalid(format!("{path}.name"), message))
    }

    /// Leaves only those that are allowed.
    fn only(&mut self, choice: WireChoice) -> Result<ToolChoice> {
        let WireChoice { r#type: _, name: _, namespace: _, mode, tools } = choice;
        let mut allowed = BTreeSet::new();
        for (i, Object(tool)) in tools.unwrap_or_default().into_iter().enumerate() {
            let path = format!("tool_choice.tools[{i}]");
            match tool.r#type.as_deref() {
                Some("function" | "custom") | None => {
                    allowed.insert(self.named(tool, &path)?);
                }
                Some(kind) if left_out(kind) => {}
                Some(_) => {
                    let message = format!("this tool cannot be used; {POSSIBLE}");
                    return Err(Error::unsupported(format!("{path}.type"), message));
                }
            }
        }
        self.tools.retain(|tool| allowed.contains(&tool.name));
        match mode.as_deref() {
            None => Ok(ToolChoice::Auto),
            Some(mode @ ("auto" | "required")) => self.mode(mode, "tool_choice.mode"),
            Some(other) => Err(invalid_choice("tool_choice.mode", other, "auto and required")),
        }
    }
}

/// A grammar cannot be held to inside of a JSON string; the model is told of it instead.
fn describe(description: String, format: Option<&Value>) -> String {
    let definition = format.and_then(|format| format.get("definition")).and_then(Value::as_str);
    match definition {
        Some(grammar) => {
            format!("{description}\n\n`input` must match this grammar:\n{grammar}")
        }
        None => description,
    }
}
