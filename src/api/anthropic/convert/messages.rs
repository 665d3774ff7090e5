use crate::api::checks::missing;
use crate::api::json::Object;
use crate::domain::{Error, MediaAt, Message, Result, Role};

use super::super::types::{Content, WireMessage};
use super::blocks::{Calls, Parts, Place, read};

/// The most turns of a conversation.
const MAX_MESSAGES: usize = 4_096;

/// The conversation, checked. Turns of one speaker that follow each other become one, as upstream:
/// many templates insist on turns that alternate.
pub(super) fn convert(
    system: Option<Content>,
    messages: Option<Vec<Object<WireMessage>>>,
) -> Result<Vec<Message>> {
    let messages = messages.ok_or_else(|| missing("messages", "send the conversation"))?;
    if messages.is_empty() {
        return Err(Error::invalid("messages", "`messages` is empty; send at least one message"));
    }
    if messages.len() > MAX_MESSAGES {
        let message =
            format!("`messages` has {} entries; at most {MAX_MESSAGES} are taken", messages.len());
        return Err(Error::invalid("messages", message));
    }
    let mut turns = Vec::new();
    let mut calls = Calls::default();
    if let Some(system) = system {
        let parts = read(system, Place::System, "system", &mut calls)?;
        // Some clients always send the field.
        if !parts.text.is_empty() {
            add(&mut turns, Role::System, parts);
        }
    }
    for (i, Object(message)) in messages.into_iter().enumerate() {
        let WireMessage { role, content } = message;
        let field = |name: &str| format!("messages[{i}].{name}");
        let place = match role.as_deref() {
            Some("user") => Place::User,
            Some("assistant") => Place::Assistant,
            Some("system") => Place::System,
            Some(_) => {
                let message = "a role is user or assistant; instructions go into `system`";
                return Err(Error::invalid(field("role"), message));
            }
            None => return Err(missing(field("role"), "send user or assistant")),
        };
        let content = content.ok_or_else(|| missing(field("content"), "send what is said"))?;
        let mut parts = read(content, place, &field("content"), &mut calls)?;
        let results = std::mem::take(&mut parts.results);
        let nothing_else = !results.is_empty() && parts.text.is_empty() && parts.media.is_empty();
        // Templates want the results right behind the calls, whatever else the user says.
        turns.extend(results);
        match place {
            Place::User if nothing_else => {}
            Place::User | Place::Result => add(&mut turns, Role::User, parts),
            Place::Assistant => add(&mut turns, Role::Assistant, parts),
            Place::System => add(&mut turns, Role::System, parts),
        }
    }
    Ok(turns)
}

fn add(turns: &mut Vec<Message>, role: Role, parts: Parts) {
    let Parts { text, media, reasoning, calls, results: _ } = parts;
    let reasoning = Some(reasoning).filter(|reasoning| !reasoning.is_empty());
    let Some(last) = turns.last_mut().filter(|last| last.role == role) else {
        let message = Message { media, reasoning, tool_calls: calls, ..Message::text(role, text) };
        return turns.push(message);
    };
    if role != Role::Assistant && !last.content.is_empty() && !text.is_empty() {
        last.content.push('\n');
    }
    let shift = last.content.len();
    last.content.push_str(&text);
    let moved = |at: MediaAt| MediaAt { offset: at.offset.saturating_add(shift), ..at };
    last.media.extend(media.into_iter().map(moved));
    last.tool_calls.extend(calls);
    if let Some(reasoning) = reasoning {
        last.reasoning.get_or_insert_default().push_str(&reasoning);
    }
}
