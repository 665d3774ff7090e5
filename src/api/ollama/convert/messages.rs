use std::collections::VecDeque;

use serde_json::Value;

use crate::api::checks::{missing, no_nul};
use crate::api::json::Object;
use crate::api::media;
use crate::domain::{Error, MediaAt, Message, Result, Role, ToolCall};
use crate::models::StoredMessage;

use super::super::types::{WireCall, WireFunction, WireMessage};

/// The most turns of a conversation.
const MAX_MESSAGES: usize = 4_096;

/// The conversation, checked.
pub(super) fn convert(messages: Vec<Object<WireMessage>>) -> Result<Vec<Message>> {
    if messages.len() > MAX_MESSAGES {
        let message =
            format!("`messages` has {} entries; at most {MAX_MESSAGES} are taken", messages.len());
        return Err(Error::invalid("messages", message));
    }
    let mut calls = Calls::default();
    messages.into_iter().enumerate().map(|(i, Object(m))| one(i, m, &mut calls)).collect()
}

/// What a model brings along. It came with a file, so what is odd in it is passed over.
pub(super) fn stored(messages: &[StoredMessage]) -> impl Iterator<Item = Message> {
    messages.iter().filter_map(|StoredMessage { role, content }| {
        let role = role_of(role).filter(|role| *role != Role::Tool)?;
        (!content.contains('\0')).then(|| Message::text(role, content.clone()))
    })
}

/// Images as they come in a list, before the text.
pub(super) fn images(images: Option<Vec<String>>, path: &str) -> Result<Vec<MediaAt>> {
    let images = images.unwrap_or_default().into_iter().enumerate();
    images
        .map(|(i, text)| {
            let param = format!("{path}[{i}]");
            // User interfaces often have them with the prefix of a data URL.
            let media = if text.starts_with("data:") {
                media::from_url(&text, &param)
            } else {
                media::from_base64(&text, &param)
            };
            media.map(|media| MediaAt { offset: 0, media })
        })
        .collect()
}

/// The calls that no result has come for, and how many there have been: their results need not
/// name them.
#[derive(Default)]
struct Calls {
    open: VecDeque<ToolCall>,
    count: usize,
}

impl Calls {
    /// An id in the form that all templates take: nine letters and digits.
    fn next_id(&mut self) -> String {
        self.count = self.count.saturating_add(1);
        format!("call{:05}", self.count)
    }

    /// The call that a result answers: the one that it names, else the first one.
    fn answered(&mut self, id: Option<&str>, name: Option<&str>) -> Option<ToolCall> {
        let by_id = |call: &ToolCall| id == Some(call.id.as_str());
        let by_name = |call: &ToolCall| name == Some(call.name.as_str());
        let at = match (id, name) {
            (Some(_), _) => self.open.iter().position(by_id),
            (None, Some(_)) => self.open.iter().position(by_name),
            (None, None) => Some(0),
        };
        self.open.remove(at?)
    }
}

fn role_of(role: &str) -> Option<Role> {
    Some(match role.to_lowercase().as_str() {
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        _ => return None,
    })
}

fn one(i: usize, message: WireMessage, calls: &mut Calls) -> Result<Message> {
    let WireMessage { role, content, thinking, images, tool_calls, tool_name, tool_call_id } =
        message;
    let field = |name: &str| format!("messages[{i}].{name}");
    let given = role.ok_or_else(|| missing(field("role"), "say who speaks"))?;
    let role = role_of(&given).ok_or_else(|| {
        Error::invalid(field("role"), "a role is one of system, user, assistant and tool")
    })?;
    let mut made = Vec::new();
    for (j, Object(call)) in tool_calls.unwrap_or_default().into_iter().enumerate() {
        made.push(tool_call(call, &field(&format!("tool_calls[{j}]")), calls)?);
    }
    if role != Role::Assistant && !made.is_empty() {
        let message = "only an assistant message can have tool calls";
        return Err(Error::invalid(field("tool_calls"), message));
    }
    calls.open.extend(made.iter().cloned());
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (mut call_id, mut name) = (given(tool_call_id), given(tool_name));
    if role == Role::Tool
        && let Some(call) = calls.answered(call_id.as_deref(), name.as_deref())
    {
        call_id.get_or_insert(call.id);
        name.get_or_insert(call.name);
    }
    let content = content.unwrap_or_default();
    let reasoning = given(thinking);
    for (text, param) in [
        (Some(&content), "content"),
        (reasoning.as_ref(), "thinking"),
        (name.as_ref(), "tool_name"),
        (call_id.as_ref(), "tool_call_id"),
    ] {
        if let Some(text) = text {
            no_nul(text, || field(param))?;
        }
    }
    let media = self::images(images, &field("images"))?;
    Ok(Message { role, content, media, reasoning, tool_calls: made, tool_call_id: call_id, name })
}

fn tool_call(call: WireCall, path: &str, calls: &mut Calls) -> Result<ToolCall> {
    let WireCall { id, function } = call;
    let Object(function) =
        function.ok_or_else(|| missing(format!("{path}.function"), "say what was called"))?;
    // Calls stand in their order.
    let WireFunction { index: _, name, arguments } = function;
    let path = format!("{path}.function");
    let name = name.ok_or_else(|| missing(format!("{path}.name"), "say what was called"))?;
    let arguments = match arguments {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(arguments @ Value::Object(_)) => arguments.to_string(),
        Some(Value::String(text)) => text,
        Some(_) => {
            let message = "the arguments of a call are an object";
            return Err(Error::invalid(format!("{path}.arguments"), message));
        }
    };
    let own = calls.next_id();
    let id = id.filter(|id| !id.is_empty()).unwrap_or(own);
    for (text, param) in [(&id, "id"), (&name, "name"), (&arguments, "arguments")] {
        no_nul(text, || format!("{path}.{param}"))?;
    }
    Ok(ToolCall { id, name, arguments })
}
