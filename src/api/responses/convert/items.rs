//! Items become turns: what the model said and called in a row is one turn of its own.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::checks::{missing, no_nul};
use crate::api::json::Object;
use crate::api::media;
use crate::domain::{Error, MediaAt, Message, Result, Role, ToolCall};

use super::super::callable::Callable;
use super::super::types::{WireAudio, WireItem, WirePart};
use super::fields::{invalid_choice, typed};
use super::input::kind_of;

/// The most turns of a conversation.
const MAX_TURNS: usize = 4_096;

/// A conversation in the making.
#[derive(Default)]
pub(super) struct Turns {
    done: Vec<Message>,
    /// A turn of the model that may go on.
    open: Option<Message>,
    /// The full names of what was called, by the call's id.
    called: BTreeMap<String, String>,
    /// Calls without a result so far, with the place of each.
    waiting: BTreeMap<String, String>,
}

impl Turns {
    /// Takes in the next item; `path` is where it stands in the request.
    pub(super) fn push(&mut self, item: &Value, path: &str) -> Result<()> {
        let item: WireItem = typed(item, path)?;
        let kind = kind_of(&item).to_owned();
        let WireItem {
            r#type: _,
            id: _,
            status: _,
            role,
            content,
            // Which answer is the last is not told to models here.
            phase: _,
            call_id,
            namespace,
            name,
            arguments,
            input,
            output,
            summary,
            // Only those who made it could read it.
            encrypted_content: _,
            caller: _,
            r#async: _,
        } = item;
        let field = |name: &str| format!("{path}.{name}");
        let call_id =
            || call_id.ok_or_else(|| missing(field("call_id"), "say which call this is about"));
        match kind.as_str() {
            "message" => {
                let role = role.ok_or_else(|| missing(field("role"), "say who speaks"))?;
                let role = match role.as_str() {
                    "system" | "developer" => Role::System,
                    "user" => Role::User,
                    "assistant" => Role::Assistant,
                    other => {
                        let choices = "user, assistant, system and developer";
                        return Err(invalid_choice(field("role"), other, choices));
                    }
                };
                let content =
                    content.ok_or_else(|| missing(field("content"), "send what is said"))?;
                let (text, media) = read_content(&content, &field("content"))?;
                if role == Role::Assistant {
                    self.said(text, media);
                } else {
                    self.close();
                    self.done.push(Message { media, ..Message::text(role, text) });
                }
            }
            "reasoning" => self.thought(reasoning(content.as_ref(), summary, path)?),
            "function_call" => {
                let arguments = arguments.unwrap_or_default();
                no_nul(&arguments, || field("arguments"))?;
                self.call(call_id()?, name, namespace.as_deref(), arguments, path)?;
            }
            "custom_tool_call" => {
                let arguments = json!({ "input": input.unwrap_or_default() }).to_string();
                self.call(call_id()?, name, namespace.as_deref(), arguments, path)?;
            }
            "function_call_output" | "custom_tool_call_output" => {
                let id = call_id()?;
                let output = output.ok_or_else(|| missing(field("output"), "send the result"))?;
                let (text, media) = read_content(&output, &field("output"))?;
                let Some(name) = self.called.get(&id).cloned() else {
                    let id: String = id.chars().take(128).collect();
                    let message =
                        format!("there is no call {id:?} before its result; send it, too");
                    return Err(Error::invalid(field("call_id"), message));
                };
                self.close();
                self.waiting.remove(&id);
                let turn = Message::text(Role::Tool, text);
                let (name, tool_call_id) = (Some(name), Some(id));
                self.done.push(Message { media, name, tool_call_id, ..turn });
            }
            other => {
                let other: String = other.chars().take(64).collect();
                let message = format!(
                    "items of type {other:?} are not understood; send message, reasoning, \
                     function_call, function_call_output, custom_tool_call, \
                     custom_tool_call_output and item_reference items"
                );
                return Err(Error::unsupported(field("type"), message));
            }
        }
        Ok(())
    }

    /// Text of the model: a new turn if there is some already.
    fn said(&mut self, text: String, media: Vec<MediaAt>) {
        if self.open.as_ref().is_some_and(|turn| !turn.content.is_empty()) {
            self.close();
        }
        let turn = self.turn();
        turn.content = text;
        turn.media = media;
    }

    /// Thinking belongs to what comes after it.
    fn thought(&mut self, text: String) {
        let over = |turn: &Message| !turn.content.is_empty() || !turn.tool_calls.is_empty();
        if self.open.as_ref().is_some_and(over) {
            self.close();
        }
        if text.is_empty() {
            return;
        }
        let reasoning = self.turn().reasoning.get_or_insert_default();
        if !reasoning.is_empty() {
            reasoning.push('\n');
        }
        reasoning.push_str(&text);
    }

    fn call(
        &mut self,
        id: String,
        name: Option<String>,
        namespace: Option<&str>,
        arguments: String,
        path: &str,
    ) -> Result<()> {
        let name = name.ok_or_else(|| missing(format!("{path}.name"), "say what was called"))?;
        let name = Callable::full_name(&name, namespace);
        no_nul(&name, || format!("{path}.name"))?;
        no_nul(&id, || format!("{path}.call_id"))?;
        if self.waiting.insert(id.clone(), path.to_owned()).is_some() {
            let message = "there are two calls with this id; give each its own";
            return Err(Error::invalid(format!("{path}.call_id"), message));
        }
        self.called.insert(id.clone(), name.clone());
        self.turn().tool_calls.push(ToolCall { id, name, arguments });
        Ok(())
    }

    fn turn(&mut self) -> &mut Message {
        self.open.get_or_insert_with(|| Message::text(Role::Assistant, ""))
    }

    /// Ends the model's turn. Thinking that led to nothing is forgotten.
    fn close(&mut self) {
        if let Some(turn) = self.open.take()
            && (!turn.content.is_empty() || !turn.tool_calls.is_empty() || turn.reasoning.is_none())
        {
            self.done.push(turn);
        }
    }

    /// The turns after `first`.
    pub(super) fn finish(mut self, first: Option<Message>) -> Result<Vec<Message>> {
        self.close();
        if let Some((id, path)) = self.waiting.first_key_value() {
            let id: String = id.chars().take(128).collect();
            let message =
                format!("the call {id:?} has no result; send a function_call_output for it");
            return Err(Error::invalid(path.clone(), message));
        }
        if self.done.is_empty() {
            return Err(missing("input", "send a text or items"));
        }
        let turns = self.done.len();
        if turns > MAX_TURNS {
            let message =
                format!("the conversation has {turns} turns; at most {MAX_TURNS} are taken");
            return Err(Error::invalid("input", message));
        }
        Ok(first.into_iter().chain(self.done).collect())
    }
}

/// Thinking as it was, where the item has it, else as it was shown.
fn reasoning(
    content: Option<&Value>,
    summary: Option<Vec<Object<WirePart>>>,
    path: &str,
) -> Result<String> {
    let text = match content {
        Some(content) => read_content(content, &format!("{path}.content"))?.0,
        None => String::new(),
    };
    if !text.is_empty() {
        return Ok(text);
    }
    let parts = summary.unwrap_or_default().into_iter();
    let texts: Vec<String> = parts.filter_map(|Object(part)| part.text).collect();
    let text = texts.join("\n");
    no_nul(&text, || format!("{path}.summary"))?;
    Ok(text)
}

/// A content's text, its parts joined in order, and what is to be seen or heard in it.
fn read_content(content: &Value, path: &str) -> Result<(String, Vec<MediaAt>)> {
    let parts = match content {
        Value::String(text) => {
            no_nul(text, || path.to_owned())?;
            return Ok((text.clone(), Vec::new()));
        }
        Value::Array(parts) => parts,
        _ => {
            let message = format!("`{path}` must be a string or an array of parts");
            return Err(Error::invalid(path, message));
        }
    };
    let (mut whole, mut media) = (String::new(), Vec::new());
    for (i, part) in parts.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let field = |name: &str| format!("{path}.{name}");
        let WirePart {
            r#type,
            text,
            refusal,
            image_url,
            file_id,
            // Images are seen as large as the model sees them.
            detail: _,
            input_audio,
            annotations: _,
            logprobs: _,
        } = typed(part, &path)?;
        let kind = r#type.ok_or_else(|| missing(field("type"), "send \"input_text\""))?;
        let offset = whole.len();
        match kind.as_str() {
            "input_text" | "output_text" | "summary_text" | "reasoning_text" | "text" => {
                let text = text.ok_or_else(|| missing(field("text"), "send the text"))?;
                no_nul(&text, || field("text"))?;
                whole.push_str(&text);
            }
            "refusal" => {
                let text = refusal.ok_or_else(|| missing(field("refusal"), "send the text"))?;
                no_nul(&text, || field("refusal"))?;
                whole.push_str(&text);
            }
            "input_image" => {
                let url = match (image_url, file_id) {
                    (Some(url), _) => url,
                    (None, Some(_)) => {
                        let message =
                            "there are no uploaded files; send `image_url` as a data: URL";
                        return Err(Error::unsupported(field("file_id"), message));
                    }
                    (None, None) => {
                        return Err(missing(field("image_url"), "send a data: URL"));
                    }
                };
                media.push(MediaAt { offset, media: media::from_url(&url, &field("image_url"))? });
            }
            "input_audio" => {
                let Object(audio) = input_audio
                    .ok_or_else(|| missing(field("input_audio"), "send the recording"))?;
                // The format is recognised by the bytes.
                let WireAudio { data, format: _ } = audio;
                let param = field("input_audio.data");
                let data = data.ok_or_else(|| missing(&param, "send the recording as base64"))?;
                media.push(MediaAt { offset, media: media::from_base64(&data, &param)? });
            }
            "input_file" => {
                let message = "files are not read; send their text as an input_text part";
                return Err(Error::unsupported(path, message));
            }
            other => {
                let choices = "input_text, input_image, input_audio, output_text and refusal";
                return Err(invalid_choice(field("type"), other, choices));
            }
        }
    }
    Ok((whole, media))
}
