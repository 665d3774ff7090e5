use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::ids;
use crate::domain::{Delta, ToolCallDelta};

use super::parts::CALL_PREFIX;

/// A block of an answer.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block {
    /// Text for the reader.
    Text { text: String },
    /// Thinking that precedes it. The signature is upstream's proof of origin; here it is empty.
    Thinking { thinking: String, signature: &'static str },
    /// A call; its input is an object.
    ToolUse { id: String, name: String, input: Box<RawValue> },
}

/// More of a block.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type")]
pub(super) enum Piece {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: String },
}

/// What happens to the blocks of an answer: an event of its stream, as it is written.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type")]
pub(super) enum Step {
    #[serde(rename = "content_block_start")]
    Start { index: u32, content_block: Block },
    #[serde(rename = "content_block_delta")]
    Delta { index: u32, delta: Piece },
    #[serde(rename = "content_block_stop")]
    Stop { index: u32 },
}

impl Step {
    /// The name of the event.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Start { .. } => "content_block_start",
            Self::Delta { .. } => "content_block_delta",
            Self::Stop { .. } => "content_block_stop",
        }
    }
}

/// Cuts the pieces of one answer into blocks, numbered from 0 without a gap, of which one is open
/// at a time.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    open: Option<Kind>,
    /// The number of the open block, or of the next one.
    index: u32,
    /// Calls up to here have begun.
    calls: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Call(u32),
}

impl Blocks {
    /// Takes in the next piece.
    pub(super) fn push(&mut self, delta: Delta, emit: &mut impl FnMut(Step)) {
        match delta {
            Delta::Content(text) | Delta::Reasoning(text) if text.is_empty() => {}
            Delta::Content(text) => {
                let block = || Block::Text { text: String::new() };
                self.open(Kind::Text, block, emit);
                self.more(Piece::Text { text }, emit);
            }
            Delta::Reasoning(thinking) => {
                let block = || Block::Thinking { thinking: String::new(), signature: "" };
                self.open(Kind::Thinking, block, emit);
                self.more(Piece::Thinking { thinking }, emit);
            }
            Delta::ToolCall(call) => self.call(call, emit),
            // Anthropic's API has no place for them.
            Delta::Logprobs(_) => {}
        }
    }

    /// Ends the last block.
    pub(super) fn close(&mut self, emit: &mut impl FnMut(Step)) {
        if self.open.take().is_some() {
            emit(Step::Stop { index: self.index });
            self.index = self.index.saturating_add(1);
        }
    }

    fn call(&mut self, call: ToolCallDelta, emit: &mut impl FnMut(Step)) {
        let ToolCallDelta { index, id, name, arguments } = call;
        let kind = Kind::Call(index);
        if index < self.calls && self.open != Some(kind) {
            // A call that is over cannot go on: blocks do not overlap. Calls come in order.
            tracing::warn!(index, "a piece of a tool call came late and is lost");
            return;
        }
        let block = || Block::ToolUse {
            id: id.map_or_else(|| ids::answer_id(CALL_PREFIX), |id| format!("{CALL_PREFIX}{id}")),
            name: name.unwrap_or_default(),
            input: empty_object(),
        };
        self.open(kind, block, emit);
        self.calls = index.saturating_add(1);
        if !arguments.is_empty() {
            self.more(Piece::InputJson { partial_json: arguments }, emit);
        }
    }

    fn open(&mut self, kind: Kind, block: impl FnOnce() -> Block, emit: &mut impl FnMut(Step)) {
        if self.open != Some(kind) {
            self.close(emit);
            self.open = Some(kind);
            emit(Step::Start { index: self.index, content_block: block() });
        }
    }

    fn more(&self, delta: Piece, emit: &mut impl FnMut(Step)) {
        emit(Step::Delta { index: self.index, delta });
    }
}

/// The blocks of an answer put together again, as the reader of its stream would.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) blocks: Vec<Block>,
    /// The input of the open call so far.
    input: String,
}

impl Content {
    pub(super) fn apply(&mut self, step: Step) {
        match step {
            Step::Start { index: _, content_block } => {
                self.input.clear();
                self.blocks.push(content_block);
            }
            Step::Delta { index: _, delta } => match (self.blocks.last_mut(), delta) {
                (Some(Block::Text { text }), Piece::Text { text: more }) => {
                    text.push_str(&more);
                }
                (Some(Block::Thinking { thinking, .. }), Piece::Thinking { thinking: more }) => {
                    thinking.push_str(&more)
                }
                (Some(Block::ToolUse { .. }), Piece::InputJson { partial_json }) => {
                    self.input.push_str(&partial_json);
                }
                // The builder sends to an open block what belongs there.
                _ => {}
            },
            Step::Stop { index: _ } => {
                if let Some(Block::ToolUse { input, .. }) = self.blocks.last_mut() {
                    *input = object(&self.input);
                }
            }
        }
    }
}

/// The arguments of a call as an object. Where `max_tokens` cut them, what was complete is left.
fn object(text: &str) -> Box<RawValue> {
    let text = text.trim();
    let whole = |text: &str| {
        let raw = serde_json::from_str::<Box<RawValue>>(text).ok();
        raw.filter(|raw| raw.get().starts_with('{'))
    };
    whole(text).or_else(|| whole(&completed(text))).unwrap_or_else(empty_object)
}

/// JSON that broke off, up to its last complete member, and closed.
fn completed(text: &str) -> String {
    let mut open: Vec<char> = Vec::new();
    let (mut in_text, mut escaped) = (false, false);
    let (mut cut, mut ends) = (0, String::new());
    for (at, c) in text.char_indices() {
        let complete_to = match c {
            _ if escaped => {
                escaped = false;
                continue;
            }
            '\\' if in_text => {
                escaped = true;
                continue;
            }
            '"' => {
                in_text = !in_text;
                continue;
            }
            _ if in_text => continue,
            '{' | '[' => {
                open.push(if c == '{' { '}' } else { ']' });
                at.saturating_add(1)
            }
            '}' | ']' => {
                open.pop();
                at.saturating_add(1)
            }
            ',' => at,
            _ => continue,
        };
        cut = complete_to;
        ends = open.iter().rev().collect();
    }
    text.get(..cut).unwrap_or_default().to_owned() + &ends
}

fn empty_object() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn arguments_that_broke_off_keep_what_was_complete() {
        for (given, kept) in [
            ("", "{}"),
            ("  ", "{}"),
            ("{\"a\": 1}", "{\"a\": 1}"),
            (" {} ", "{}"),
            ("{", "{}"),
            ("{\"a", "{}"),
            ("{\"a\":", "{}"),
            ("{\"a\":\"x, y}", "{}"),
            ("{\"a\":1,\"b\":\"x", "{\"a\":1}"),
            ("{\"a\":[1,2", "{\"a\":[1]}"),
            ("{\"a\":{\"b\":\"\\\"}\"},\"c", "{\"a\":{\"b\":\"\\\"}\"}}"),
            ("[1]", "{}"),
            ("no JSON", "{}"),
            ("}}", "{}"),
        ] {
            assert_eq!(object(given).get(), kept, "{given}");
        }
    }

    #[test]
    fn every_beginning_of_an_object_becomes_an_object() {
        let whole = r#"{"a":[1,{"é":"\\\"\u00e9"},null],"b":{"c":[[],{}],"d":-1.5e3},"e":"x"}"#;
        for (at, _) in whole.char_indices() {
            let (begun, _) = whole.split_at(at);
            let value: Value = serde_json::from_str(object(begun).get()).expect("JSON");
            assert!(value.is_object(), "{begun}");
        }
    }
}
