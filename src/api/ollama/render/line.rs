use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::{FinishReason, TokenLogprob, ToolCall};

use super::fold::End;
use super::logprobs::WireToken;
use super::metrics::Metrics;

/// Which of the two kinds of answers it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api::ollama) enum Shape {
    /// `message`
    Chat,
    /// `response`
    Generate,
}

/// What all lines of an answer have in common.
#[derive(Debug, Clone)]
pub(in crate::api::ollama) struct Meta {
    /// The name that the client asked for.
    pub(in crate::api::ollama) model: String,
    /// Which kind.
    pub(in crate::api::ollama) shape: Shape,
    /// Where the tokens of the conversation are by the time of its end.
    pub(in crate::api::ollama) context: Arc<Mutex<Vec<i32>>>,
}

/// One line of an answer, or the whole of it.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    model: &'a str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<WireMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<&'a str>,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    done_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    context: Vec<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logprobs: Vec<WireToken>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    metrics: Option<Metrics>,
}

#[derive(Debug, Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
}

#[derive(Debug, Serialize)]
struct WireCall<'a> {
    id: String,
    function: WireFunction<'a>,
}

#[derive(Debug, Serialize)]
struct WireFunction<'a> {
    index: u32,
    name: &'a str,
    arguments: Cow<'a, RawValue>,
}

/// What a line says.
#[derive(Debug, Default)]
pub(super) struct Said<'a> {
    pub(super) content: &'a str,
    pub(super) thinking: &'a str,
    pub(super) calls: &'a [(u32, ToolCall)],
    pub(super) tokens: &'a [TokenLogprob],
}

impl Meta {
    pub(in crate::api::ollama) fn new(model: String, shape: Shape) -> Self {
        Self { model, shape, context: Arc::default() }
    }

    /// A line within an answer.
    pub(super) fn line<'a>(&'a self, said: Said<'a>) -> Line<'a> {
        let Said { content, thinking, calls, tokens } = said;
        let thinking = (!thinking.is_empty()).then_some(thinking);
        let tool_calls = calls.iter().filter_map(|(index, call)| wire(*index, call)).collect();
        let chat = self.shape == Shape::Chat;
        let message = WireMessage { role: "assistant", content, thinking, tool_calls };
        Line {
            model: &self.model,
            created_at: jiff::Timestamp::now().to_string(),
            message: chat.then_some(message),
            response: (!chat).then_some(content),
            thinking: thinking.filter(|_| !chat),
            done: false,
            done_reason: None,
            context: Vec::new(),
            logprobs: tokens.iter().map(WireToken::from).collect(),
            metrics: None,
        }
    }

    /// The last line, which may say all that there is to say.
    pub(super) fn last<'a>(&'a self, said: Said<'a>, end: &End) -> Line<'a> {
        let reason = match end.finish {
            FinishReason::Stop | FinishReason::StopString(_) | FinishReason::ToolCalls => "stop",
            FinishReason::Length => "length",
        };
        let context = self.context.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Line { context, metrics: Some(Metrics::new(&end.outcome)), ..self.without(said, reason) }
    }

    /// The object where nothing was asked.
    pub(in crate::api::ollama) fn nothing(&self, reason: &'static str) -> impl Serialize + '_ {
        self.without(Said::default(), reason)
    }

    fn without<'a>(&'a self, said: Said<'a>, reason: &'static str) -> Line<'a> {
        Line { done: true, done_reason: Some(reason), ..self.line(said) }
    }
}

fn wire(index: u32, call: &ToolCall) -> Option<WireCall<'_>> {
    // It is one, or there would be no call.
    let arguments = serde_json::from_str::<&RawValue>(call.arguments.trim()).ok()?;
    let arguments = Cow::Borrowed(arguments);
    let function = WireFunction { index, name: &call.name, arguments };
    Some(WireCall { id: format!("call_{}", call.id), function })
}
