use crate::api::json::Object;
use crate::domain::{Error, ErrorKind, Message, Result, Role, ToolCall};

use super::super::types::{Content, Part, WireCall, WireFunction, WireMessage};
use super::knobs::{missing, no_nul};

/// The most turns of a conversation.
const MAX_MESSAGES: usize = 4_096;

/// The conversation, checked.
pub(super) fn convert(messages: Option<Vec<Object<WireMessage>>>) -> Result<Vec<Message>> {
    let messages = messages.ok_or_else(|| missing("messages", "send the conversation"))?;
    if messages.is_empty() {
        return Err(Error::invalid("messages", "`messages` is empty; send at least one message"));
    }
    if messages.len() > MAX_MESSAGES {
        let message =
            format!("`messages` has {} entries; at most {MAX_MESSAGES} are taken", messages.len());
        return Err(Error::invalid("messages", message));
    }
    messages.into_iter().enumerate().map(|(i, Object(message))| one(i, message)).collect()
}

fn one(i: usize, message: WireMessage) -> Result<Message> {
    let WireMessage {
        role,
        content,
        name,
        refusal,
        reasoning_content,
        reasoning,
        tool_calls,
        tool_call_id,
        function_call,
        // The id of an earlier audio answer, which we never give.
        audio: _,
    } = message;
    let field = |name: &str| format!("messages[{i}].{name}");
    let given = role.ok_or_else(|| missing(field("role"), "say who speaks"))?;
    let role = match given.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        _ => {
            let message = "a role is one of system, developer, user, assistant, tool and function";
            return Err(Error::invalid(field("role"), message));
        }
    };
    let legacy = given == "function";
    let mut calls = Vec::new();
    for (j, Object(call)) in tool_calls.unwrap_or_default().into_iter().enumerate() {
        calls.push(tool_call(call, &field(&format!("tool_calls[{j}]")))?);
    }
    if let Some(Object(function)) = function_call {
        let (name, arguments) = function_of(function, &field("function_call"))?;
        calls.push(ToolCall { id: legacy_id(&name), name, arguments });
    }
    if role != Role::Assistant && !calls.is_empty() {
        let message = "only an assistant message can have tool calls";
        return Err(Error::invalid(field("tool_calls"), message));
    }
    let content = match (content, refusal) {
        (Some(content), _) => text_of(content, &field("content"))?,
        (None, Some(refusal)) if role == Role::Assistant => refusal,
        (None, _) if !calls.is_empty() => String::new(),
        (None, _) => {
            return Err(missing(
                field("content"),
                "only an assistant message with tool calls can do without",
            ));
        }
    };
    let tool_call_id = match (tool_call_id, &name) {
        (None, Some(name)) if legacy => Some(legacy_id(name)),
        (id, _) => id,
    };
    let reasoning = reasoning_content.or(reasoning);
    for (text, param) in [
        (Some(&content), "content"),
        (reasoning.as_ref(), "reasoning_content"),
        (name.as_ref(), "name"),
        (tool_call_id.as_ref(), "tool_call_id"),
    ] {
        if let Some(text) = text {
            no_nul(text, || field(param))?;
        }
    }
    let media = Vec::new();
    Ok(Message { role, content, media, reasoning, tool_calls: calls, tool_call_id, name })
}

/// The functions of old had no ids; their name ties call and result together.
fn legacy_id(name: &str) -> String {
    format!("call_{name}")
}

fn tool_call(call: WireCall, path: &str) -> Result<ToolCall> {
    let WireCall { id, r#type, function } = call;
    if r#type.is_some_and(|kind| kind != "function") {
        return Err(Error::unsupported(format!("{path}.type"), "only function calls are known"));
    }
    let id = id.ok_or_else(|| missing(format!("{path}.id"), "repeat the id of the call"))?;
    no_nul(&id, || format!("{path}.id"))?;
    let Object(function) =
        function.ok_or_else(|| missing(format!("{path}.function"), "say what was called"))?;
    let (name, arguments) = function_of(function, &format!("{path}.function"))?;
    Ok(ToolCall { id, name, arguments })
}

fn function_of(function: WireFunction, path: &str) -> Result<(String, String)> {
    let WireFunction { name, arguments } = function;
    let name = name.ok_or_else(|| missing(format!("{path}.name"), "say what was called"))?;
    no_nul(&name, || format!("{path}.name"))?;
    let arguments = arguments.unwrap_or_default();
    no_nul(&arguments, || format!("{path}.arguments"))?;
    Ok((name, arguments))
}

/// The text of a content; its parts are joined in order.
fn text_of(content: Content, path: &str) -> Result<String> {
    let parts = match content {
        Content::Text(text) => return Ok(text),
        Content::Parts(parts) => parts,
    };
    let mut whole = String::new();
    for (j, Object(part)) in parts.into_iter().enumerate() {
        let Part { r#type, text, refusal } = part;
        let here = format!("{path}[{j}]");
        let text = match r#type.as_deref() {
            Some("text") => text.ok_or_else(|| missing(format!("{here}.text"), "send the text"))?,
            Some("refusal") => {
                refusal.ok_or_else(|| missing(format!("{here}.refusal"), "send the text"))?
            }
            Some(kind @ ("image_url" | "input_audio" | "file")) => {
                let message = format!("`{kind}` parts are not done yet; send text parts only");
                return Err(Error::new(ErrorKind::Unsupported, message).with_param(here));
            }
            Some(_) => {
                let message = "the type of a content part is text or refusal";
                return Err(Error::invalid(format!("{here}.type"), message));
            }
            None => return Err(missing(format!("{here}.type"), "send \"text\"")),
        };
        whole.push_str(&text);
    }
    Ok(whole)
}
