use serde::Serialize;

use crate::api::ids;
use crate::domain::{FinishReason, Usage};

use super::blocks::Block;

/// What the ids of calls begin with, on the wire alone: templates have ids of their own taste.
pub(in crate::api::anthropic) const CALL_PREFIX: &str = "toolu_";

/// What all of an answer has in common.
#[derive(Debug, Clone)]
pub(in crate::api::anthropic) struct Meta {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) stops: Vec<String>,
}

impl Meta {
    /// For an answer that begins now; `model` is the name as the client asked for it, `stops` the
    /// texts at which it asked to stop.
    pub(in crate::api::anthropic) fn new(model: String, stops: Vec<String>) -> Self {
        Self { id: ids::answer_id("msg_"), model, stops }
    }

    /// The message with these blocks.
    pub(super) fn message<'a>(
        &'a self,
        content: &'a [Block],
        stop: Stop<'a>,
        usage: WireUsage,
    ) -> WireMessage<'a> {
        WireMessage {
            id: &self.id,
            r#type: "message",
            role: "assistant",
            model: &self.model,
            content,
            stop,
            usage,
        }
    }

    /// Why it ended, in Anthropic's words.
    pub(super) fn stop<'a>(&self, finish: Option<&'a FinishReason>) -> Stop<'a> {
        let (reason, sequence) = match finish {
            // Formats have stop texts of their own, about which nobody has asked.
            Some(FinishReason::StopString(text)) if self.stops.contains(text) => {
                ("stop_sequence", Some(text.as_str()))
            }
            Some(FinishReason::Stop | FinishReason::StopString(_)) | None => ("end_turn", None),
            Some(FinishReason::Length) => ("max_tokens", None),
            Some(FinishReason::ToolCalls) => ("tool_use", None),
        };
        Stop { stop_reason: Some(reason), stop_sequence: sequence }
    }
}

/// A message as a whole, or as it begins.
#[derive(Debug, Serialize)]
pub(super) struct WireMessage<'a> {
    id: &'a str,
    r#type: &'static str,
    role: &'static str,
    model: &'a str,
    content: &'a [Block],
    #[serde(flatten)]
    stop: Stop<'a>,
    usage: WireUsage,
}

/// Why an answer ended; both null while it goes on.
#[derive(Debug, Default, Serialize)]
pub(super) struct Stop<'a> {
    stop_reason: Option<&'static str>,
    stop_sequence: Option<&'a str>,
}

/// `usage`: what came from the prefix cache is not part of `input_tokens`.
#[derive(Debug, Serialize)]
pub(super) struct WireUsage {
    input_tokens: u32,
    cache_creation_input_tokens: u32,
    cache_read_input_tokens: u32,
    output_tokens: u32,
    /// Only of models that think.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Serialize)]
struct OutputDetails {
    thinking_tokens: u32,
}

impl WireUsage {
    pub(super) fn new(usage: Usage) -> Self {
        let Usage { prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens } = usage;
        let thought =
            (reasoning_tokens > 0).then_some(OutputDetails { thinking_tokens: reasoning_tokens });
        Self {
            input_tokens: prompt_tokens.saturating_sub(cached_tokens),
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: cached_tokens,
            output_tokens: completion_tokens,
            output_tokens_details: thought,
        }
    }
}
