use serde_json::{Map, Value};

use super::merge::Room;

/// More blocks than an answer has.
const MAX_BLOCKS: usize = 1024;

/// An Anthropic message out of its events. What does not fit is passed over.
#[derive(Debug, Default)]
pub(super) struct Message {
    whole: Map<String, Value>,
    blocks: Vec<Block>,
    room: Room,
}

#[derive(Debug)]
struct Block {
    index: Option<u64>,
    content: Map<String, Value>,
    /// The text of a tool's input.
    input: Map<String, Value>,
}

impl Message {
    pub(super) fn push(&mut self, mut event: Value) {
        let index = event.get("index").and_then(Value::as_u64);
        let mut part = |key: &str| match event.get_mut(key).map(Value::take) {
            Some(Value::Object(part)) => Some(part),
            _ => None,
        };
        if let Some(message) = part("message") {
            self.whole = message;
        }
        if let Some(content) = part("content_block")
            && self.blocks.len() < MAX_BLOCKS
        {
            self.blocks.push(Block { index, content, input: Map::new() });
        }
        let usage = part("usage");
        if let Some(delta) = part("delta") {
            match self.blocks.iter_mut().find(|block| index.is_some() && block.index == index) {
                Some(block) => block.grow(&delta, &mut self.room),
                None => self.whole.extend(delta),
            }
        }
        if let Some(usage) = usage {
            match self.whole.get_mut("usage") {
                Some(Value::Object(known)) => known.extend(usage),
                _ => drop(self.whole.insert("usage".to_owned(), usage.into())),
            }
        }
    }

    /// The message, and how many bytes found no room.
    pub(super) fn finish(self) -> (Value, u64) {
        let Self { mut whole, blocks, room } = self;
        let blocks: Vec<Value> = blocks.into_iter().map(Block::finish).collect();
        whole.insert("content".to_owned(), blocks.into());
        (Value::Object(whole), room.cut())
    }
}

impl Block {
    fn grow(&mut self, delta: &Map<String, Value>, room: &mut Room) {
        for (key, value) in delta {
            match (key.as_str(), value) {
                ("partial_json", Value::String(piece)) => {
                    room.append(&mut self.input, "input", piece);
                }
                ("text" | "thinking" | "signature", Value::String(piece)) => {
                    room.append(&mut self.content, key, piece);
                }
                _ => {}
            }
        }
    }

    fn finish(mut self) -> Value {
        if let Some(Value::String(text)) = self.input.remove("input")
            && !text.is_empty()
        {
            let input = serde_json::from_str(&text).unwrap_or(Value::String(text));
            self.content.insert("input".to_owned(), input);
        }
        self.content.into()
    }
}
