use bytes::BytesMut;
use serde::Serialize;

use crate::api::body::{Render, sse_json};
use crate::domain::{Delta, Error, Event, FinishReason, TokenLogprob, ToolCallDelta};

use super::super::error::Envelope;
use super::layout::{Layout, Shape};
use super::logprobs::{Offset, WireLogprobs};
use super::parts::{Meta, NO_ARGUMENTS, WireTimings, WireUsage, call_id, finish_reason};

/// Turns events into the chunks of a stream, in OpenAI's order: the role of each answer (chat
/// only), its pieces, an empty delta with the reason of its end; when all have ended the usage, if
/// asked for, and `[DONE]`.
pub(in crate::api::openai) struct ChunkStream {
    layout: Layout,
    meta: Meta,
    include_usage: bool,
    answers: Vec<Answer>,
    /// How the last answer to end ended; told with the times.
    last: Option<(u32, FinishReason)>,
}

/// What was told of one answer.
struct Answer {
    begun: bool,
    ended: bool,
    /// Tokens whose text has not come yet.
    tokens: Vec<TokenLogprob>,
    offset: Offset,
    call: Option<Call>,
}

/// The call that is being told.
struct Call {
    index: u32,
    argued: bool,
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: &'a [Choice<'a>],
    /// Absent unless usage was asked for; then null in all chunks but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<WireUsage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<WireTimings>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    #[serde(flatten)]
    piece: Piece<'a>,
    logprobs: Option<WireLogprobs>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Piece<'a> {
    Delta(WireDelta<'a>),
    Text(&'a str),
}

#[derive(Default, Serialize)]
struct WireDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[WireCall<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<WireFunction<'a>>,
}

/// `id`, `type` and `name` come once: clients join what comes twice.
#[derive(Serialize)]
struct WireCall<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: WireFunction<'a>,
}

#[derive(Serialize)]
struct WireFunction<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

impl ChunkStream {
    pub(in crate::api::openai) fn new(layout: Layout, meta: Meta, include_usage: bool) -> Self {
        let answer = |number| Answer {
            begun: false,
            ended: false,
            tokens: Vec::new(),
            offset: Offset::new(layout.offset(number)),
            call: None,
        };
        let answers = (0..layout.choices()).map(answer).collect();
        Self { layout, meta, include_usage, answers, last: None }
    }

    fn chunk<'a>(&'a self, choices: &'a [Choice<'a>]) -> Chunk<'a> {
        let Meta { id, created, model, system_fingerprint } = &self.meta;
        let object = match self.layout.shape {
            Shape::Chat => "chat.completion.chunk",
            Shape::Text => "text_completion",
        };
        let usage = self.include_usage.then_some(None);
        Chunk {
            id,
            object,
            created: *created,
            model,
            system_fingerprint,
            choices,
            usage,
            timings: None,
        }
    }

    fn answer(&mut self, number: u32) -> Option<&mut Answer> {
        self.answers.get_mut(usize::try_from(number).ok()?)
    }

    /// The first chunk of an answer in a chat, once.
    fn role(&mut self, number: u32, out: &mut BytesMut) {
        let Some(answer) = self.answer(number) else { return };
        if std::mem::replace(&mut answer.begun, true) || self.layout.shape == Shape::Text {
            return;
        }
        let delta =
            WireDelta { role: Some("assistant"), content: Some(""), ..WireDelta::default() };
        self.piece(number, Piece::Delta(delta), out);
    }

    fn piece(&self, number: u32, piece: Piece<'_>, out: &mut BytesMut) {
        let choice = Choice { index: number, piece, logprobs: None, finish_reason: None };
        sse_json(out, &self.chunk(&[choice]));
    }

    fn delta(&mut self, number: u32, delta: Delta, out: &mut BytesMut) {
        match delta {
            Delta::Content(text) => self.text(number, &text, out),
            Delta::Logprobs(tokens) if self.layout.logprobs => {
                if let Some(answer) = self.answer(number) {
                    answer.tokens.extend(tokens);
                }
            }
            Delta::Logprobs(_) => {}
            // Text completions are what the model said, thoughts and calls included.
            Delta::Reasoning(_) | Delta::ToolCall(_) if self.layout.shape == Shape::Text => {}
            Delta::Reasoning(text) if text.is_empty() => {}
            Delta::Reasoning(text) => {
                let delta = WireDelta { reasoning_content: Some(&text), ..WireDelta::default() };
                self.piece(number, Piece::Delta(delta), out);
            }
            Delta::ToolCall(delta) => self.call(number, &delta, out),
        }
    }

    /// Text, with the tokens that it was made of.
    fn text(&mut self, number: u32, text: &str, out: &mut BytesMut) {
        let shape = self.layout.shape;
        let piece = match shape {
            Shape::Chat => Piece::Delta(WireDelta { content: Some(text), ..WireDelta::default() }),
            Shape::Text => Piece::Text(text),
        };
        let Some(answer) = self.answer(number) else { return };
        let tokens = std::mem::take(&mut answer.tokens);
        let logprobs =
            (!tokens.is_empty()).then(|| WireLogprobs::new(shape, &tokens, &mut answer.offset));
        let choice = Choice { index: number, piece, logprobs, finish_reason: None };
        sse_json(out, &self.chunk(&[choice]));
    }

    fn call(&mut self, number: u32, delta: &ToolCallDelta, out: &mut BytesMut) {
        let ToolCallDelta { index, id, name, arguments } = delta;
        if self.layout.legacy_functions && *index > 0 {
            // The old form has room for one.
            return;
        }
        let known = self.answer(number).and_then(|answer| answer.call.as_ref());
        if known.is_none_or(|call| call.index != *index) {
            self.end_call(number, out);
            if let Some(answer) = self.answer(number) {
                answer.call = Some(Call { index: *index, argued: false });
            }
            let head = WireFunction { name: name.as_deref(), arguments: "" };
            let id = id.as_deref().map(call_id);
            self.call_piece(number, *index, id, head, out);
        }
        if !arguments.is_empty() {
            if let Some(call) = self.answer(number).and_then(|answer| answer.call.as_mut()) {
                call.argued = true;
            }
            self.call_piece(number, *index, None, WireFunction { name: None, arguments }, out);
        }
    }

    /// What is joined is JSON, even of a call without arguments.
    fn end_call(&mut self, number: u32, out: &mut BytesMut) {
        let Some(call) = self.answer(number).and_then(|answer| answer.call.as_mut()) else {
            return;
        };
        if !std::mem::replace(&mut call.argued, true) {
            let (index, nothing) = (call.index, NO_ARGUMENTS);
            let function = WireFunction { name: None, arguments: nothing };
            self.call_piece(number, index, None, function, out);
        }
    }

    fn call_piece(
        &self,
        number: u32,
        index: u32,
        id: Option<String>,
        function: WireFunction<'_>,
        out: &mut BytesMut,
    ) {
        let mut delta = WireDelta::default();
        if self.layout.legacy_functions {
            delta.function_call = Some(function);
        } else {
            let r#type = function.name.map(|_| "function");
            delta.tool_calls = Some([WireCall { index, id, r#type, function }]);
        }
        self.piece(number, Piece::Delta(delta), out);
    }

    /// Notes an end, and tells it unless it is the last.
    fn ended(&mut self, number: u32, finish: FinishReason, out: &mut BytesMut) {
        let Some(answer) = self.answer(number) else { return };
        if std::mem::replace(&mut answer.ended, true) {
            return;
        }
        if self.answers.iter().all(|answer| answer.ended) {
            self.last = Some((number, finish));
        } else {
            self.finish(number, &finish, None, out);
        }
    }

    fn finish(
        &mut self,
        number: u32,
        finish: &FinishReason,
        timings: Option<WireTimings>,
        out: &mut BytesMut,
    ) {
        self.role(number, out);
        self.end_call(number, out);
        let Some(answer) = self.answer(number) else { return };
        let called = answer.call.is_some();
        if !answer.tokens.is_empty() {
            // Of these no text came: a stop string, or half a character.
            self.text(number, "", out);
        }
        let piece = match self.layout.shape {
            Shape::Chat => Piece::Delta(WireDelta::default()),
            Shape::Text => Piece::Text(""),
        };
        let reason = Some(finish_reason(finish, called, &self.layout));
        let choice = Choice { index: number, piece, logprobs: None, finish_reason: reason };
        let choices = [choice];
        let mut chunk = self.chunk(&choices);
        chunk.timings = timings;
        sse_json(out, &chunk);
    }

    fn numbers(&self) -> std::ops::Range<u32> {
        0..self.layout.choices()
    }
}

impl Render for ChunkStream {
    fn event(&mut self, event: Event, out: &mut BytesMut) {
        match event {
            Event::Waiting { .. } | Event::Loading { .. } | Event::Vector { .. } => {}
            Event::Started { .. } => {
                for number in self.numbers() {
                    self.role(number, out);
                }
            }
            Event::Delta { choice, delta } => {
                self.role(choice, out);
                self.delta(choice, delta, out);
            }
            Event::Ended { choice, finish } => self.ended(choice, finish, out),
            Event::Finished(outcome) => {
                for number in self.numbers() {
                    self.ended(number, FinishReason::Stop, out);
                }
                if let Some((number, finish)) = self.last.take() {
                    self.finish(number, &finish, Some(WireTimings::new(&outcome)), out);
                }
                if self.include_usage {
                    let mut usage = self.chunk(&[]);
                    usage.usage = Some(Some(WireUsage::new(outcome.usage)));
                    sse_json(out, &usage);
                }
                out.extend_from_slice(b"data: [DONE]\n\n");
            }
        }
    }

    fn error(&mut self, error: &Error, out: &mut BytesMut) {
        sse_json(out, &Envelope::new(error));
    }
}
