use crate::api::checks::{missing, no_nul};
use crate::api::json::Object;
use crate::api::media;
use crate::domain::{Error, Media, MediaAt, Message, Result, Role, ToolCall};

use super::super::types::{
    Content, ImageObject, ImageUrl, InputAudio, InputFile, Part, WireCall, WireFunction,
    WireMessage,
};

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
    let (content, media) = match (content, refusal) {
        (Some(content), _) => parts_of(content, &field("content"))?,
        (None, Some(refusal)) if role == Role::Assistant => (refusal, Vec::new()),
        (None, _) if !calls.is_empty() => (String::new(), Vec::new()),
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

/// A content's text, its parts joined in order, and what stands between them.
fn parts_of(content: Content, path: &str) -> Result<(String, Vec<MediaAt>)> {
    let parts = match content {
        Content::Text(text) => return Ok((text, Vec::new())),
        Content::Parts(parts) => parts,
    };
    let (mut whole, mut media) = (String::new(), Vec::new());
    for (j, Object(part)) in parts.into_iter().enumerate() {
        match piece(part, &format!("{path}[{j}]"))? {
            Piece::Text(text) => whole.push_str(&text),
            Piece::Media(piece) => media.push(MediaAt { offset: whole.len(), media: piece }),
        }
    }
    Ok((whole, media))
}

enum Piece {
    Text(String),
    Media(Media),
}

fn piece(part: Part, here: &str) -> Result<Piece> {
    let Part { r#type, text, refusal, image_url, input_audio, file } = part;
    let field = |name: &str| format!("{here}.{name}");
    let kind = r#type.ok_or_else(|| missing(field("type"), "send \"text\""))?;
    match kind.as_str() {
        "text" => text.map(Piece::Text).ok_or_else(|| missing(field("text"), "send the text")),
        "refusal" => {
            refusal.map(Piece::Text).ok_or_else(|| missing(field("refusal"), "send the text"))
        }
        "image_url" => {
            let (url, path) = match image_url {
                Some(ImageUrl::Bare(url)) => (Some(url), field("image_url")),
                Some(ImageUrl::Object(ImageObject { url, detail: _ })) => {
                    (url, field("image_url.url"))
                }
                None => (None, field("image_url")),
            };
            let url = url.ok_or_else(|| missing(path.clone(), "send a data: URL"))?;
            media::from_url(&url, &path).map(Piece::Media)
        }
        "input_audio" => {
            let path = field("input_audio.data");
            // What the format is said to be does not matter: the bytes tell.
            let InputAudio { data, format: _ } = input_audio.map(|Object(a)| a).unwrap_or_default();
            let data = data.ok_or_else(|| missing(path.clone(), "send the sound as base64"))?;
            encoded(&data, &path).map(Piece::Media)
        }
        "file" => {
            let InputFile { file_data, file_id, filename: _ } =
                file.map(|Object(file)| file).unwrap_or_default();
            if file_data.is_none() && file_id.is_some() {
                let message = "there are no uploaded files; send the file's data";
                return Err(Error::unsupported(field("file.file_id"), message));
            }
            let path = field("file.file_data");
            let data = file_data.ok_or_else(|| missing(path.clone(), "send a data: URL"))?;
            encoded(&data, &path).map(Piece::Media)
        }
        _ => {
            let message =
                "the type of a content part is text, image_url, input_audio, file or refusal";
            Err(Error::invalid(field("type"), message))
        }
    }
}

/// Base64, bare or in a data URL.
fn encoded(data: &str, path: &str) -> Result<Media> {
    if data.starts_with("data:") {
        media::from_url(data, path)
    } else {
        media::from_base64(data, path)
    }
}
