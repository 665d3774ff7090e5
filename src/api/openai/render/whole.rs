use bytes::Bytes;
use serde::Serialize;

use crate::domain::{Choice as Spoken, Error, FinishReason, Result, ToolCall, Transcript};

use super::layout::{Layout, Shape};
use super::logprobs::{Offset, WireLogprobs};
use super::parts::{Meta, NO_ARGUMENTS, WireTimings, WireUsage, call_id, finish_reason};

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: Vec<Choice<'a>>,
    usage: WireUsage,
    timings: WireTimings,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    #[serde(flatten)]
    piece: Piece<'a>,
    logprobs: Option<WireLogprobs>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Piece<'a> {
    Message(WireMessage<'a>),
    Text(&'a str),
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    /// Null where there are only calls.
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reasoning_content: &'a str,
    refusal: Option<()>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<WireFunction<'a>>,
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: String,
    r#type: &'static str,
    function: WireFunction<'a>,
}

#[derive(Serialize)]
struct WireFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

/// The body of an answer that is not streamed. `echoed` says for each prompt how many of the tokens
/// of its answers are its own.
///
/// # Errors
/// `Internal` if the transcript is not complete.
pub(in crate::api::openai) fn whole(
    layout: &Layout,
    meta: &Meta,
    transcript: &Transcript,
    echoed: &[u32],
) -> Result<Bytes> {
    let outcome = transcript
        .outcome
        .as_ref()
        .ok_or_else(|| Error::internal("a generation ended without a result"))?;
    let told = told(layout, transcript, echoed);
    let choices = (0..).zip(told).map(|(index, spoken)| choice(layout, index, spoken));
    let answer = Answer {
        id: &meta.id,
        object: match layout.shape {
            Shape::Chat => "chat.completion",
            Shape::Text => "text_completion",
        },
        created: meta.created,
        model: &meta.model,
        system_fingerprint: &meta.system_fingerprint,
        choices: choices.collect(),
        usage: WireUsage::new(outcome.usage),
        timings: WireTimings::new(outcome),
    };
    serde_json::to_vec(&answer).map(Bytes::from).map_err(Error::internal)
}

fn choice<'a>(layout: &Layout, index: u32, spoken: &'a Spoken) -> Choice<'a> {
    let Spoken { content, reasoning, tool_calls, logprobs, finish } = spoken;
    let piece = match layout.shape {
        Shape::Chat => Piece::Message(message(layout, content, reasoning, tool_calls)),
        Shape::Text => Piece::Text(content),
    };
    let called = layout.shape == Shape::Chat && !tool_calls.is_empty();
    let logprobs = layout
        .logprobs
        .then(|| WireLogprobs::new(layout.shape, logprobs, &mut Offset::new(layout.offset(index))));
    let finish = finish.as_ref().unwrap_or(&FinishReason::Stop);
    Choice { index, piece, logprobs, finish_reason: finish_reason(finish, called, layout) }
}

fn message<'a>(
    layout: &Layout,
    content: &'a str,
    reasoning: &'a str,
    calls: &'a [ToolCall],
) -> WireMessage<'a> {
    let function = |call: &'a ToolCall| WireFunction {
        name: &call.name,
        arguments: if call.arguments.is_empty() { NO_ARGUMENTS } else { &call.arguments },
    };
    let wire = |call: &'a ToolCall| WireCall {
        id: call_id(&call.id),
        r#type: "function",
        function: function(call),
    };
    let (function_call, tool_calls) = if layout.legacy_functions {
        (calls.first().map(function), Vec::new())
    } else {
        (None, calls.iter().map(wire).collect())
    };
    WireMessage {
        role: "assistant",
        content: (calls.is_empty() || !content.is_empty()).then_some(content),
        reasoning_content: reasoning,
        refusal: None,
        tool_calls,
        function_call,
    }
}

/// The answers to tell: of each prompt's the likeliest, where there are more than were asked for.
fn told<'a>(layout: &Layout, transcript: &'a Transcript, echoed: &[u32]) -> Vec<&'a Spoken> {
    // What said nothing and never ended has no entry.
    static NOTHING: Spoken = Spoken {
        content: String::new(),
        reasoning: String::new(),
        tool_calls: Vec::new(),
        logprobs: Vec::new(),
        finish: None,
    };
    let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let (generated, wanted) = (size(layout.generated), size(layout.told));
    let mut all = Vec::new();
    for prompt in 0..layout.offsets.len() {
        let first = prompt.saturating_mul(generated);
        let numbers = first..first.saturating_add(generated);
        let mut group: Vec<&Spoken> =
            numbers.map(|number| transcript.choices.get(number).unwrap_or(&NOTHING)).collect();
        if generated > wanted {
            let echoed = if layout.echo { echoed.get(prompt).copied().unwrap_or(0) } else { 0 };
            let echoed = size(echoed);
            group.sort_by(|a, b| likelihood(b, echoed).total_cmp(&likelihood(a, echoed)));
        }
        all.extend(group.into_iter().take(wanted));
    }
    all
}

/// The mean log-probability of an answer's tokens, without those of the prompt.
fn likelihood(answer: &Spoken, echoed: usize) -> f64 {
    let tokens = answer.logprobs.iter().skip(echoed).filter_map(|token| token.logprob);
    let (sum, count) =
        tokens.fold((0.0, 0.0), |(sum, count), logprob| (sum + f64::from(logprob), count + 1.0));
    if count > 0.0 { sum / count } else { f64::NEG_INFINITY }
}
