use serde_json::Value;

use super::cut::Cutter;
use super::merge::{Completion, Lines};
use super::messages::Message;

/// Bytes of an answer that are kept.
pub(super) const MAX_TEXT: usize = 256 << 10;
/// The longest line of a stream that is understood, in bytes.
const MAX_LINE: usize = 1 << 20;

/// Takes an answer's bytes as they come, and keeps what it says in one piece.
pub(super) enum Fold {
    /// It is in one piece.
    Whole(Cutter),
    /// Events, one JSON value each.
    Stream(Box<Stream>),
}

/// A stream of events, line by line.
#[derive(Default)]
pub(super) struct Stream {
    /// Whether values stand behind `data:`.
    sse: bool,
    line: Vec<u8>,
    /// The line is too long; what is left of it is not kept.
    skipping: bool,
    answer: Option<Answer>,
    error: Option<Value>,
    /// Lines that were not understood.
    lost: u64,
}

/// What a stream is in one piece, by the dialect of its first event.
enum Answer {
    Completion(Completion),
    Message(Message),
    /// Its later events carry the whole response.
    Response(Value),
    Lines(Lines),
}

impl Fold {
    pub(super) fn of(content_type: &str) -> Self {
        let sse = content_type.starts_with("text/event-stream");
        if sse || content_type.starts_with("application/x-ndjson") {
            return Self::Stream(Box::new(Stream { sse, ..Stream::default() }));
        }
        Self::Whole(Cutter::new(MAX_TEXT))
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Whole(cutter) => cutter.push(bytes),
            Self::Stream(stream) => stream.push(bytes),
        }
    }

    /// The answer as one text.
    pub(super) fn finish(self) -> String {
        match self {
            Self::Whole(cutter) => cutter.finish(),
            Self::Stream(stream) => stream.finish(),
        }
    }
}

impl Stream {
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len().saturating_add(piece.len()) > MAX_LINE {
                self.skipping = true;
            }
            if !self.skipping {
                self.line.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.skipping) {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        let value = match (self.sse, text.strip_prefix("data:")) {
            (true, Some(data)) => data.trim(),
            // Comments, names of events, and what parts them.
            (true, None) => return,
            (false, _) => text,
        };
        if value.is_empty() || value == "[DONE]" {
            return;
        }
        match serde_json::from_str(value) {
            Ok(value) => self.event(value),
            Err(_) => self.lost = self.lost.saturating_add(1),
        }
    }

    fn event(&mut self, mut event: Value) {
        let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
        let (object, kind) = (text("object"), text("type"));
        if kind == "error" || (event.get("error").is_some_and(|error| !error.is_null())) {
            self.error = Some(event);
            return;
        }
        if kind.starts_with("response.") {
            if let Some(response) = event.get_mut("response") {
                self.answer = Some(Answer::Response(response.take()));
            }
            return;
        }
        let completion = matches!(object, "chat.completion.chunk" | "text_completion");
        let message = kind.starts_with("message_") || kind.starts_with("content_block_");
        let answer = self.answer.get_or_insert_with(|| {
            if completion {
                Answer::Completion(Completion::default())
            } else if message {
                Answer::Message(Message::default())
            } else {
                Answer::Lines(Lines::default())
            }
        });
        match answer {
            Answer::Completion(completion) => completion.push(event),
            Answer::Message(message) => message.push(event),
            Answer::Lines(lines) => lines.push(event),
            Answer::Response(_) => {}
        }
    }

    fn finish(mut self) -> String {
        if !self.line.is_empty() {
            self.end_line();
        }
        let (answer, cut) = match self.answer {
            Some(Answer::Completion(completion)) => completion.finish(),
            Some(Answer::Message(message)) => message.finish(),
            Some(Answer::Response(response)) => (response, 0),
            Some(Answer::Lines(lines)) => lines.finish(),
            None => (Value::Null, 0),
        };
        let whole = match (answer, self.error) {
            (Value::Null, Some(error)) => error,
            (Value::Object(mut answer), Some(error)) => {
                let error = error.get("error").cloned().unwrap_or(error);
                answer.insert("error".to_owned(), error);
                Value::Object(answer)
            }
            (answer, _) => answer,
        };
        let mut text = match whole {
            Value::Null => String::new(),
            whole => {
                let mut cutter = Cutter::new(MAX_TEXT);
                cutter.push(whole.to_string().as_bytes());
                cutter.finish()
            }
        };
        if cut > 0 {
            text += &format!("...[truncated {cut} bytes]");
        }
        if self.lost > 0 {
            text += &format!("...[left out {} events]", self.lost);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fold(kind: &str, text: &str, piece: usize) -> String {
        let mut fold = Fold::of(kind);
        text.as_bytes().chunks(piece).for_each(|bytes| fold.push(bytes));
        fold.finish()
    }

    #[track_caller]
    fn folds(kind: &str, events: &[Value], expected: &Value) {
        let sse = kind.starts_with("text/event-stream");
        let text: String = events
            .iter()
            .map(|event| match sse {
                true => format!(": comment\n\nevent: x\ndata: {event}\n\n"),
                false => format!("{event}\n"),
            })
            .collect();
        for piece in [1, 7, 100_000] {
            let folded = fold(kind, &text, piece);
            let value: Value =
                serde_json::from_str(&folded).unwrap_or_else(|e| panic!("{e}: {folded}"));
            assert_eq!(&value, expected);
        }
    }

    const SSE: &str = "text/event-stream; charset=utf-8";

    #[test]
    fn chat_chunks_become_a_chat_completion() {
        let chunk = |delta: Value, finish: Value| {
            json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                   "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        };
        let call = |id: Value, name: Value, arguments: &str| {
            json!({"tool_calls": [{"index": 0, "id": id, "type": "function",
                   "function": {"name": name, "arguments": arguments}}]})
        };
        folds(
            SSE,
            &[
                chunk(json!({"role": "assistant", "content": ""}), Value::Null),
                chunk(json!({"reasoning_content": "hm"}), Value::Null),
                chunk(json!({"content": "Hel"}), Value::Null),
                chunk(json!({"content": "lo"}), Value::Null),
                chunk(call("x".into(), "f".into(), "{\"a\""), Value::Null),
                chunk(call(Value::Null, Value::Null, ":1}"), Value::Null),
                chunk(json!({}), "tool_calls".into()),
                json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                       "choices": [], "usage": {"total_tokens": 3}}),
            ],
            &json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello",
                    "reasoning_content": "hm", "tool_calls": [{"index": 0, "id": "x",
                    "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
                    "finish_reason": "tool_calls"}],
                "usage": {"total_tokens": 3}}),
        );
    }

    #[test]
    fn text_chunks_become_a_text_completion() {
        let chunk = |index: u32, text: &str| {
            json!({"object": "text_completion",
                   "choices": [{"index": index, "text": text, "finish_reason": null}]})
        };
        folds(
            SSE,
            &[chunk(0, "a"), chunk(1, "x"), chunk(0, "b")],
            &json!({"object": "text_completion", "choices": [
                {"index": 0, "text": "ab", "finish_reason": null},
                {"index": 1, "text": "x", "finish_reason": null}]}),
        );
    }

    #[test]
    fn anthropic_events_become_a_message() {
        let start = |index: u32, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
        let delta = |index: u32, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
        folds(
            SSE,
            &[
                json!({"type": "message_start", "message": {"id": "msg", "type": "message",
                       "role": "assistant", "content": [], "stop_reason": null,
                       "usage": {"input_tokens": 4, "output_tokens": 0}}}),
                start(0, json!({"type": "text", "text": ""})),
                delta(0, json!({"type": "text_delta", "text": "Hel"})),
                delta(0, json!({"type": "text_delta", "text": "lo"})),
                json!({"type": "content_block_stop", "index": 0}),
                start(1, json!({"type": "tool_use", "id": "t", "name": "f", "input": {}})),
                delta(1, json!({"type": "input_json_delta", "partial_json": "{\"a\""})),
                delta(1, json!({"type": "input_json_delta", "partial_json": ":1}"})),
                json!({"type": "content_block_stop", "index": 1}),
                json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"},
                       "usage": {"output_tokens": 7}}),
                json!({"type": "message_stop"}),
            ],
            &json!({"id": "msg", "type": "message", "role": "assistant", "content": [
                    {"type": "text", "text": "Hello"},
                    {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}],
                "stop_reason": "tool_use", "usage": {"input_tokens": 4, "output_tokens": 7}}),
        );
    }

    #[test]
    fn of_a_response_the_last_state_is_kept() {
        folds(
            SSE,
            &[
                json!({"type": "response.created", "response": {"status": "in_progress"}}),
                json!({"type": "response.output_text.delta", "delta": "x"}),
                json!({"type": "response.completed", "response": {"status": "completed"}}),
            ],
            &json!({"status": "completed"}),
        );
    }

    #[test]
    fn lines_of_ollama_become_its_last_one_with_all_text() {
        folds(
            "application/x-ndjson",
            &[
                json!({"model": "m", "message": {"role": "assistant", "content": "Hel"}, "done": false}),
                json!({"model": "m", "message": {"role": "assistant", "content": "lo"}, "done": false}),
                json!({"model": "m", "message": {"role": "assistant", "content": ""}, "done": true,
                       "eval_count": 2}),
            ],
            &json!({"model": "m", "message": {"role": "assistant", "content": "Hello"},
                    "done": true, "eval_count": 2}),
        );
        folds(
            "application/x-ndjson",
            &[
                json!({"response": "a", "thinking": "t", "done": false}),
                json!({"response": "b", "done": true}),
            ],
            &json!({"response": "ab", "thinking": "t", "done": true}),
        );
    }

    #[test]
    fn an_error_in_a_stream_is_kept_with_what_came_before() {
        folds(
            SSE,
            &[
                json!({"object": "text_completion", "choices": [{"index": 0, "text": "a"}]}),
                json!({"error": {"message": "gone"}}),
            ],
            &json!({"object": "text_completion", "choices": [{"index": 0, "text": "a"}],
                    "error": {"message": "gone"}}),
        );
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let chunk = json!({"object": "text_completion",
                           "choices": [{"index": 0, "text": "some words ".repeat(1000)}]});
        let text: String = (0..40).map(|_| format!("data: {chunk}\n\n")).collect();
        let folded = fold(SSE, &text, 4096);
        assert!(folded.len() < MAX_TEXT + 200, "{}", folded.len());
        assert!(folded.contains("...[truncated "), "it is not marked");
    }

    #[test]
    fn what_is_no_json_is_counted() {
        assert_eq!(fold(SSE, "data: {oops\n\n", 3), "...[left out 1 events]");
    }
}
