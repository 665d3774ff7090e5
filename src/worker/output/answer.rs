use std::time::{Duration, Instant};

use super::format::Format;
use super::logprobs::Logprobs;
use super::shown::showable;
use crate::domain::{Delta, FinishReason, TokenLogprob, ToolCallDelta};
use crate::worker::llama::{Parsed, ParsedCall};

/// The length of a call's id. Some templates take no other.
const ID_LEN: usize = 9;

/// One answer of a job.
#[derive(Debug)]
pub(super) struct Answer {
    /// All that the model wrote.
    raw: String,
    /// How much of `raw` was parsed.
    seen: usize,
    /// What was shown, and what the prompt had begun already.
    shown: Parsed,
    ids: Vec<String>,
    logprobs: Logprobs,
    /// When it may be parsed again.
    due: Option<Instant>,
}

impl Answer {
    pub(super) fn new(format: &Format) -> Self {
        Self {
            raw: String::new(),
            seen: 0,
            // Of an answer that goes on from a prefill the parser sees all of it.
            shown: format.parse("", true).unwrap_or_default(),
            ids: Vec::new(),
            logprobs: Logprobs::default(),
            due: None,
        }
    }

    pub(super) fn push(&mut self, text: &str) {
        self.raw.push_str(text);
    }

    pub(super) fn push_logprobs(&mut self, tokens: Vec<TokenLogprob>) {
        self.logprobs.push(tokens);
    }

    /// When there is something to parse.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        (self.seen < self.raw.len()).then(|| self.due.unwrap_or(now))
    }

    /// Parsed at `began`; it rests for `patience` times as long as that took.
    pub(super) fn rest(&mut self, began: Instant, patience: u32) {
        let took = began.elapsed().max(Duration::from_micros(1));
        self.due = began.checked_add(took.saturating_mul(patience));
    }

    /// What can be shown of what has come.
    pub(super) fn update(&mut self, format: &Format) -> Vec<Delta> {
        self.seen = self.raw.len();
        match format.parse(&self.raw, true) {
            Ok(parsed) => self.show(showable(parsed, false)),
            // It may make sense again with more text; if not, the end will tell.
            Err(_) => Vec::new(),
        }
    }

    /// All the rest of it, and why it ended.
    pub(super) fn end(
        &mut self,
        format: &Format,
        reason: FinishReason,
    ) -> (Vec<Delta>, FinishReason) {
        self.seen = self.raw.len();
        let (parsed, rest) = match format.parse(&self.raw, false) {
            Ok(parsed) => (parsed, String::new()),
            Err(_) => self.salvage(format),
        };
        let mut parsed = showable(parsed, true);
        let ended = match reason {
            FinishReason::StopString(text) if format.stops.contains(&text) => FinishReason::Stop,
            other => other,
        };
        if ended == FinishReason::Stop {
            for call in &mut parsed.calls {
                if matches!(call.arguments.trim(), "" | "{") {
                    call.arguments = "{}".to_owned();
                }
            }
        }
        let mut deltas = self.show(parsed);
        if !rest.is_empty() {
            self.content(rest, &mut deltas);
        }
        let calls = !self.shown.calls.is_empty() && ended == FinishReason::Stop;
        (deltas, if calls { FinishReason::ToolCalls } else { ended })
    }

    /// Of an answer that is not in the format: what can be read of it, and the rest as it stands.
    fn salvage(&self, format: &Format) -> (Parsed, String) {
        let mut parsed = format.parse(&self.raw, true).unwrap_or_else(|_| self.shown.clone());
        let mut index = 0;
        parsed.calls.retain(|call| {
            index += 1;
            let whole = serde_json::from_str::<serde_json::Value>(&call.arguments).is_ok();
            whole || index <= self.shown.calls.len()
        });
        let call = parsed.calls.last();
        let texts = [
            call.map_or("", |call| call.arguments.as_str()),
            call.map_or("", |call| call.name.as_str()),
            parsed.content.as_str(),
            parsed.reasoning.as_str(),
        ];
        // What was read ends with the last text that stands in it as it was written.
        let read = texts.iter().filter(|text| !text.is_empty());
        let end = read
            .filter_map(|text| Some(self.raw.rfind(text)? + text.len()))
            .max()
            .unwrap_or_default();
        let rest = self.raw.get(end..).unwrap_or_default().to_owned();
        (parsed, rest)
    }

    /// The difference between what was shown and what can be.
    fn show(&mut self, now: Parsed) -> Vec<Delta> {
        let mut deltas = Vec::new();
        let reasoning = addition(&self.shown.reasoning, &now.reasoning);
        if !reasoning.is_empty() {
            self.shown.reasoning.push_str(&reasoning);
            deltas.push(Delta::Reasoning(reasoning));
        }
        let content = addition(&self.shown.content, &now.content);
        if !content.is_empty() {
            self.content(content, &mut deltas);
        }
        for (index, call) in now.calls.iter().enumerate() {
            self.call(index, call, &mut deltas);
        }
        deltas
    }

    fn content(&mut self, text: String, deltas: &mut Vec<Delta>) {
        let tokens = self.logprobs.take(&text);
        if !tokens.is_empty() {
            deltas.push(Delta::Logprobs(tokens));
        }
        self.shown.content.push_str(&text);
        deltas.push(Delta::Content(text));
    }

    fn call(&mut self, index: usize, call: &ParsedCall, deltas: &mut Vec<Delta>) {
        let Ok(number) = u32::try_from(index) else { return };
        if index >= self.shown.calls.len() {
            let id = self.id(&call.id);
            let begun = ParsedCall { name: call.name.clone(), ..ParsedCall::default() };
            self.shown.calls.push(begun);
            deltas.push(Delta::ToolCall(ToolCallDelta {
                index: number,
                id: Some(id),
                name: Some(call.name.clone()),
                arguments: String::new(),
            }));
        }
        let Some(shown) = self.shown.calls.get_mut(index) else { return };
        let arguments = addition(&shown.arguments, &call.arguments);
        if !arguments.is_empty() {
            shown.arguments.push_str(&arguments);
            let piece = ToolCallDelta { index: number, arguments, ..ToolCallDelta::default() };
            deltas.push(Delta::ToolCall(piece));
        }
    }

    /// The model's own id where it is one, or a new one.
    fn id(&mut self, own: &str) -> String {
        let legal = own.len() >= ID_LEN
            && own.len() <= 64
            && own.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let id = if legal && !self.ids.iter().any(|id| id == own) {
            own.to_owned()
        } else {
            (0..ID_LEN).map(|_| fastrand::alphanumeric()).collect()
        };
        self.ids.push(id.clone());
        id
    }
}

/// What comes after `shown` in `now`; nothing if `now` is something else.
fn addition(shown: &str, now: &str) -> String {
    now.strip_prefix(shown).unwrap_or_default().to_owned()
}
