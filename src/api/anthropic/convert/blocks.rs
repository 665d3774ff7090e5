//! The blocks of a content.

use std::collections::HashMap;

use serde_json::Value;

use crate::api::checks::{missing, no_nul};
use crate::api::json::Object;
use crate::api::media;
use crate::domain::{Error, Media, MediaAt, Message, Result, Role, ToolCall};

use super::super::render::CALL_PREFIX;
use super::super::types::{Content, Source, WireBlock, WireSource};

/// The names of the tools that were called so far, by the id of the call.
pub(super) type Calls = HashMap<String, String>;

/// Whose content it is: that decides which blocks may be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    System,
    User,
    Assistant,
    /// Within a `tool_result`, a search result or a document.
    Result,
}

impl Place {
    fn as_str(self) -> &'static str {
        match self {
            Self::System => "instructions",
            Self::User => "a user message",
            Self::Assistant => "an assistant message",
            Self::Result => "a result",
        }
    }

    /// Whether what is not text may be shown to the model there.
    fn shows(self) -> bool {
        matches!(self, Self::User | Self::Result)
    }
}

/// What a content comes to.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) text: String,
    pub(super) media: Vec<MediaAt>,
    pub(super) reasoning: String,
    pub(super) calls: Vec<ToolCall>,
    /// Turns of their own, which come before the rest.
    pub(super) results: Vec<Message>,
}

impl Parts {
    /// Texts are apart from each other, except that a model's own go on where the last one ended.
    fn say(&mut self, text: &str, place: Place, behind_text: bool) {
        let apart = behind_text && place != Place::Assistant;
        if apart && !self.text.is_empty() && !self.text.ends_with('\n') && !text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(text);
    }

    fn show(&mut self, media: Media) {
        self.media.push(MediaAt { offset: self.text.len(), media });
    }
}

/// Reads a content; `path` is where it stands in the request.
pub(super) fn read(content: Content, place: Place, path: &str, calls: &mut Calls) -> Result<Parts> {
    let mut parts = Parts::default();
    let blocks = match content {
        Content::Text(text) => {
            no_nul(&text, || path.to_owned())?;
            parts.text = text;
            return Ok(parts);
        }
        Content::Blocks(blocks) => blocks,
    };
    let mut behind_text = false;
    for (i, Object(block)) in blocks.into_iter().enumerate() {
        let shown = parts.media.len();
        one(block, place, &format!("{path}[{i}]"), behind_text, &mut parts, calls)?;
        behind_text = parts.media.len() == shown;
    }
    Ok(parts)
}

fn one(
    block: WireBlock,
    place: Place,
    path: &str,
    behind_text: bool,
    parts: &mut Parts,
    calls: &mut Calls,
) -> Result<()> {
    let WireBlock {
        r#type,
        text,
        source,
        title,
        context,
        content,
        id,
        name,
        input,
        tool_use_id,
        is_error,
        thinking,
        // Proves upstream's thinking to upstream; here thinking is taken as it comes.
        signature: _,
        // Thinking that only upstream can read.
        data: _,
        // No answer here cites.
        citations: _,
        // The prefix cache needs no marks.
        cache_control: _,
        // Only models call here.
        caller: _,
    } = block;
    let field = |name: &str| format!("{path}.{name}");
    let Some(kind) = r#type else { return Err(missing(field("type"), "send \"text\"")) };
    match kind.as_str() {
        "text" => {
            let text = text.ok_or_else(|| missing(field("text"), "send the text"))?;
            no_nul(&text, || field("text"))?;
            parts.say(&text, place, behind_text);
        }
        "image" if place.shows() => {
            let source = object(source, &field("source"))?;
            parts.show(image(source, &field("source"))?);
        }
        "document" if place.shows() => {
            let source = object(source, &field("source"))?;
            let text = document(source, &field("source"))?;
            parts.say(&titled([title, context], &text, path)?, place, behind_text);
        }
        "search_result" if place.shows() => {
            let source = match source {
                Some(Source::Text(source)) => Some(source),
                Some(Source::Object(_)) => {
                    let message = "the source of a search result is a string";
                    return Err(Error::invalid(field("source"), message));
                }
                None => None,
            };
            let text = inner_text(content, &field("content"))?;
            parts.say(&titled([title, source], &text, path)?, place, behind_text);
        }
        "thinking" if place == Place::Assistant => {
            let thinking = thinking.ok_or_else(|| missing(field("thinking"), "send the text"))?;
            no_nul(&thinking, || field("thinking"))?;
            parts.reasoning.push_str(&thinking);
        }
        "redacted_thinking" if place == Place::Assistant => {}
        "tool_use" if place == Place::Assistant => {
            let id = id.ok_or_else(|| missing(field("id"), "repeat the id of the call"))?;
            no_nul(&id, || field("id"))?;
            let name = name.ok_or_else(|| missing(field("name"), "say what was called"))?;
            no_nul(&name, || field("name"))?;
            let arguments = match input {
                None | Some(Value::Null) => "{}".to_owned(),
                Some(input @ Value::Object(_)) => input.to_string(),
                Some(_) => {
                    let message = "the input of a tool is an object";
                    return Err(Error::invalid(field("input"), message));
                }
            };
            let id = bare(&id);
            calls.insert(id.clone(), name.clone());
            parts.calls.push(ToolCall { id, name, arguments });
        }
        "tool_result" if place == Place::User => {
            let id = tool_use_id
                .ok_or_else(|| missing(field("tool_use_id"), "name the call that it answers"))?;
            no_nul(&id, || field("tool_use_id"))?;
            let result = match content {
                Some(content) => read(content, Place::Result, &field("content"), calls)?,
                None => Parts::default(),
            };
            parts.results.push(tool_turn(&id, result, is_error.unwrap_or(false), calls));
        }
        "text_editor_code_execution_tool_result"
        | "bash_code_execution_tool_result"
        | "code_execution_tool_result"
        | "container_upload"
        | "compaction"
        | "mcp_tool_result"
        | "mcp_tool_use"
        | "server_tool_use"
        | "tool_reference"
        | "tool_search_tool_result"
        | "web_fetch_tool_result"
        | "web_search_tool_result" => {
            let message = format!(
                "`{kind}` blocks belong to tools that run on Anthropic's side and are not done; \
                 leave them out, or send what they say as text"
            );
            return Err(Error::unsupported(path, message));
        }
        "image" | "document" | "search_result" | "thinking" | "redacted_thinking" | "tool_use"
        | "tool_result" => {
            let message = format!("a `{kind}` block cannot stand in {}", place.as_str());
            return Err(Error::invalid(field("type"), message));
        }
        _ => {
            let message = "a block is of type text, image, document, search_result, tool_use, tool_result, \
                 thinking or redacted_thinking";
            return Err(Error::invalid(field("type"), message));
        }
    }
    Ok(())
}

/// A turn with the result of a call. Templates have no mark for a call that failed, so the text
/// says it.
fn tool_turn(id: &str, result: Parts, failed: bool, calls: &Calls) -> Message {
    const FAILED: &str = "Error: ";
    let Parts { mut text, mut media, .. } = result;
    if failed {
        text.insert_str(0, FAILED);
        for at in &mut media {
            at.offset = at.offset.saturating_add(FAILED.len());
        }
    }
    let id = bare(id);
    let name = calls.get(&id).cloned();
    Message { media, name, tool_call_id: Some(id), ..Message::text(Role::Tool, text) }
}

/// The id as the model's template gets it: answers put the prefix before it.
fn bare(id: &str) -> String {
    match id.strip_prefix(CALL_PREFIX) {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ => id.to_owned(),
    }
}

fn object(source: Option<Source>, path: &str) -> Result<WireSource> {
    match source {
        Some(Source::Object(source)) => Ok(*source),
        Some(Source::Text(_)) => {
            Err(Error::invalid(path, format!("`{path}` must be an object with a `type`")))
        }
        None => Err(missing(path, "say where it comes from")),
    }
}

fn image(source: WireSource, path: &str) -> Result<Media> {
    // What the bytes are is read from the bytes.
    let WireSource { r#type, media_type: _, data, url, content: _, file_id: _ } = source;
    let field = |name: &str| format!("{path}.{name}");
    match r#type.as_deref() {
        Some("base64") => {
            let data = data.ok_or_else(|| missing(field("data"), "send the image in base64"))?;
            media::from_base64(&data, &field("data"))
        }
        Some("url") => {
            let url = url.ok_or_else(|| missing(field("url"), "send a data URL"))?;
            media::from_url(&url, &field("url"))
        }
        Some("file") => Err(no_files(path)),
        Some(_) => {
            let message = "the source of an image is of type base64 or url";
            Err(Error::invalid(field("type"), message))
        }
        None => Err(missing(field("type"), "send \"base64\"")),
    }
}

fn document(source: WireSource, path: &str) -> Result<String> {
    // The one type of a text source is text/plain.
    let WireSource { r#type, media_type: _, data, url: _, content, file_id: _ } = source;
    let field = |name: &str| format!("{path}.{name}");
    match r#type.as_deref() {
        Some("text") => {
            let data = data.ok_or_else(|| missing(field("data"), "send the text"))?;
            no_nul(&data, || field("data"))?;
            Ok(data)
        }
        Some("content") => inner_text(content, &field("content")),
        Some("file") => Err(no_files(path)),
        Some("base64" | "url") => {
            let message = "documents in base64 or by URL are not done: modeld reads no PDF; send \
                           the text as a source of type text";
            Err(Error::unsupported(path, message))
        }
        Some(_) => {
            let message = "the source of a document is of type text or content";
            Err(Error::invalid(field("type"), message))
        }
        None => Err(missing(field("type"), "send \"text\"")),
    }
}

fn no_files(path: &str) -> Error {
    Error::unsupported(path, "there are no uploaded files; send the content itself")
}

/// The text of a content in which only text can be.
fn inner_text(content: Option<Content>, path: &str) -> Result<String> {
    let content = content.ok_or_else(|| missing(path, "send the text"))?;
    let parts = read(content, Place::Result, path, &mut Calls::new())?;
    match parts.media.is_empty() {
        true => Ok(parts.text),
        false => Err(Error::unsupported(path, "images within documents are not done; send text")),
    }
}

/// A text below its headings.
fn titled(heads: [Option<String>; 2], text: &str, path: &str) -> Result<String> {
    let mut whole = String::new();
    for head in heads.into_iter().flatten().filter(|head| !head.is_empty()) {
        no_nul(&head, || path.to_owned())?;
        whole.push_str(&head);
        whole.push('\n');
    }
    whole.push_str(text);
    Ok(whole)
}
