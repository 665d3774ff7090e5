//! OpenAI's chunks and Ollama's lines, each in one piece. What is missing from an event, or of
//! another type than it should be, is passed over: nothing here may fail.

use serde_json::{Map, Value, json};

use super::fold::MAX_TEXT;

/// Text that grows by pieces, up to a bound for all of them together.
#[derive(Debug)]
pub(super) struct Room {
    left: usize,
    cut: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self { left: MAX_TEXT, cut: 0 }
    }
}

impl Room {
    /// Appends a piece of text to what is at `key`.
    pub(super) fn append(&mut self, to: &mut Map<String, Value>, key: &str, piece: &str) {
        if piece.len() > self.left {
            self.cut = self.cut.saturating_add(piece.len() as u64);
            return;
        }
        self.left = self.left.saturating_sub(piece.len());
        match to.get_mut(key) {
            Some(Value::String(text)) => text.push_str(piece),
            _ => drop(to.insert(key.to_owned(), piece.into())),
        }
    }

    /// Room for something that is kept as it is.
    pub(super) fn take(&mut self, value: &Value) -> bool {
        let bytes = value.to_string().len();
        if bytes > self.left {
            self.cut = self.cut.saturating_add(bytes as u64);
            return false;
        }
        self.left = self.left.saturating_sub(bytes);
        true
    }

    /// Bytes that found none.
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }
}

/// A chat or text completion.
#[derive(Debug, Default)]
pub(super) struct Completion {
    whole: Map<String, Value>,
    choices: Vec<Map<String, Value>>,
    room: Room,
}

/// More choices than a request may ask for.
const MAX_CHOICES: usize = 256;
const MAX_CALLS: usize = 256;

impl Completion {
    pub(super) fn push(&mut self, event: Value) {
        let Value::Object(event) = event else { return };
        for (key, value) in event {
            match (key.as_str(), value) {
                ("choices", Value::Array(choices)) => {
                    choices.into_iter().for_each(|choice| self.choice(choice));
                }
                ("object", Value::String(kind)) => {
                    let kind = kind.strip_suffix(".chunk").unwrap_or(&kind);
                    self.whole.insert(key, kind.into());
                }
                // Usage is null until it is known.
                (_, Value::Null) => {}
                (_, value) => drop(self.whole.insert(key, value)),
            }
        }
    }

    fn choice(&mut self, choice: Value) {
        let Value::Object(choice) = choice else { return };
        let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
        let known = |known: &Map<String, Value>| known.get("index") == Some(&index.into());
        let at = match self.choices.iter().position(known) {
            Some(at) => at,
            None if self.choices.len() >= MAX_CHOICES => return,
            None => {
                self.choices.push(Map::from_iter([("index".to_owned(), index.into())]));
                self.choices.len().saturating_sub(1)
            }
        };
        let Some(whole) = self.choices.get_mut(at) else { return };
        for (key, value) in choice {
            match (key.as_str(), value) {
                ("delta", Value::Object(delta)) => {
                    let message = whole.entry("message").or_insert_with(|| json!({}));
                    if let Value::Object(message) = message {
                        merge(message, delta, &mut self.room);
                    }
                }
                ("text", Value::String(text)) => self.room.append(whole, "text", &text),
                ("finish_reason", Value::Null) => {
                    whole.entry("finish_reason").or_insert(Value::Null);
                }
                (_, Value::Null) => {}
                (_, value) => {
                    if self.room.take(&value) {
                        whole.insert(key, value);
                    }
                }
            }
        }
    }

    /// The completion, and how many bytes found no room.
    pub(super) fn finish(self) -> (Value, u64) {
        let Self { mut whole, choices, room } = self;
        let choices: Vec<Value> = choices
            .into_iter()
            .map(|mut choice| {
                // After the message, as in an answer in one piece.
                if let Some(finish) = choice.shift_remove("finish_reason") {
                    choice.insert("finish_reason".to_owned(), finish);
                }
                Value::Object(choice)
            })
            .collect();
        whole.insert("choices".to_owned(), choices.into());
        (Value::Object(whole), room.cut())
    }
}

/// Adds a delta to a message: texts grow, calls by their index, the rest is taken over.
fn merge(message: &mut Map<String, Value>, delta: Map<String, Value>, room: &mut Room) {
    for (key, value) in delta {
        match (key.as_str(), value) {
            ("tool_calls", Value::Array(calls)) => {
                let known = message.entry("tool_calls").or_insert_with(|| json!([]));
                if let Value::Array(known) = known {
                    calls.into_iter().for_each(|call| merge_call(known, call, room));
                }
            }
            ("role", value @ Value::String(_)) => drop(message.insert(key, value)),
            (_, Value::String(piece)) => room.append(message, &key, &piece),
            (_, Value::Null) => {}
            (_, value) => {
                if room.take(&value) {
                    message.insert(key, value);
                }
            }
        }
    }
}

fn merge_call(known: &mut Vec<Value>, call: Value, room: &mut Room) {
    let index = call.get("index").cloned().unwrap_or(Value::Null);
    let Some(before) = known.iter_mut().find(|call| call.get("index") == Some(&index)) else {
        if known.len() < MAX_CALLS && room.take(&call) {
            known.push(call);
        }
        return;
    };
    let piece = call.pointer("/function/arguments").and_then(Value::as_str).unwrap_or_default();
    if let Some(Value::Object(function)) = before.get_mut("function") {
        room.append(function, "arguments", piece);
    }
}

/// Ollama's lines: the last one, with the text of all.
#[derive(Debug, Default)]
pub(super) struct Lines {
    last: Map<String, Value>,
    texts: Map<String, Value>,
    message: Map<String, Value>,
    room: Room,
}

impl Lines {
    pub(super) fn push(&mut self, line: Value) {
        let Value::Object(mut line) = line else { return };
        if let Some(Value::Object(message)) = line.get_mut("message").map(Value::take) {
            merge(&mut self.message, message, &mut self.room);
        }
        for key in ["response", "thinking"] {
            if let Some(Value::String(piece)) = line.get(key) {
                self.room.append(&mut self.texts, key, piece);
            }
        }
        // The context of old clients is the whole prompt in numbers.
        line.shift_remove("context");
        self.last = line;
    }

    pub(super) fn finish(self) -> (Value, u64) {
        let Self { mut last, texts, message, room } = self;
        last.extend(texts);
        if !message.is_empty() {
            last.insert("message".to_owned(), Value::Object(message));
        }
        (Value::Object(last), room.cut())
    }
}
