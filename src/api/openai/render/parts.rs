use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::api::ids;
use crate::domain::{FinishReason, Outcome, Usage};
use crate::protocol::BUILD_ID;

use super::layout::{Layout, Shape};

/// What all chunks of an answer have in common.
#[derive(Debug, Clone)]
pub(in crate::api::openai) struct Meta {
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) system_fingerprint: String,
}

impl Meta {
    /// For an answer that begins now; `model` is the name as the client asked for it.
    pub(in crate::api::openai) fn new(shape: Shape, model: String) -> Self {
        let prefix = match shape {
            Shape::Chat => "chatcmpl-",
            Shape::Text => "cmpl-",
        };
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        Self {
            id: ids::answer_id(prefix),
            created,
            model,
            system_fingerprint: format!("fp_{BUILD_ID}"),
        }
    }
}

/// `usage`.
#[derive(Debug, Serialize)]
pub(super) struct WireUsage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Debug, Serialize)]
struct PromptDetails {
    cached_tokens: u32,
}

#[derive(Debug, Serialize)]
struct CompletionDetails {
    reasoning_tokens: u32,
}

impl WireUsage {
    pub(super) fn new(usage: Usage) -> Self {
        let Usage { prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens } = usage;
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: u64::from(prompt_tokens) + u64::from(completion_tokens),
            prompt_tokens_details: PromptDetails { cached_tokens },
            completion_tokens_details: CompletionDetails { reasoning_tokens },
        }
    }
}

/// `timings`, an extension with llama-server's names, and the time in the queue.
#[derive(Debug, Serialize)]
pub(super) struct WireTimings {
    cache_n: u32,
    prompt_n: u32,
    prompt_ms: f64,
    prompt_per_token_ms: f64,
    prompt_per_second: f64,
    predicted_n: u32,
    predicted_ms: f64,
    predicted_per_token_ms: f64,
    predicted_per_second: f64,
    queue_ms: f64,
    load_ms: f64,
}

impl WireTimings {
    pub(super) fn new(outcome: &Outcome) -> Self {
        let Usage { prompt_tokens, cached_tokens, completion_tokens, .. } = outcome.usage;
        let computed = prompt_tokens.saturating_sub(cached_tokens);
        let timings = outcome.timings;
        Self {
            cache_n: cached_tokens,
            prompt_n: computed,
            prompt_ms: round(timings.prompt_ms),
            prompt_per_token_ms: ratio(timings.prompt_ms, f64::from(computed)),
            prompt_per_second: ratio(f64::from(computed) * 1000.0, timings.prompt_ms),
            predicted_n: completion_tokens,
            predicted_ms: round(timings.decode_ms),
            predicted_per_token_ms: ratio(timings.decode_ms, f64::from(completion_tokens)),
            predicted_per_second: ratio(f64::from(completion_tokens) * 1000.0, timings.decode_ms),
            queue_ms: round(timings.queue_ms),
            load_ms: round(timings.load_ms),
        }
    }
}

/// 0 where there is nothing to divide by: JSON has no infinity.
fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { round(a / b) } else { 0.0 }
}

/// Microseconds are enough.
fn round(ms: f64) -> f64 {
    if ms.is_finite() { (ms * 1000.0).round() / 1000.0 } else { 0.0 }
}

/// Why an answer ended. One that calls ended for that, however the model said so.
pub(super) fn finish_reason(finish: &FinishReason, called: bool, layout: &Layout) -> &'static str {
    match finish {
        FinishReason::Length => "length",
        FinishReason::Stop | FinishReason::StopString(_) if !called => "stop",
        FinishReason::Stop | FinishReason::StopString(_) | FinishReason::ToolCalls => {
            if layout.legacy_functions { "function_call" } else { "tool_calls" }
        }
    }
}

/// A call's id in OpenAI's form.
pub(super) fn call_id(id: &str) -> String {
    format!("call_{id}")
}

/// The arguments of a call that has none.
pub(super) const NO_ARGUMENTS: &str = "{}";
