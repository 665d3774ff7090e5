use serde::Serialize;
use serde_json::{Map, Value};

/// The settings of a response, as its object repeats them: what is not given is null, for the
/// model's own.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Settings {
    pub(super) background: bool,
    pub(super) instructions: Option<String>,
    pub(super) max_output_tokens: Option<u32>,
    pub(super) max_tool_calls: Option<i64>,
    pub(super) metadata: Map<String, Value>,
    pub(super) model: String,
    pub(super) parallel_tool_calls: bool,
    pub(super) previous_response_id: Option<String>,
    pub(super) prompt_cache_key: Option<String>,
    pub(super) reasoning: ReasoningEcho,
    pub(super) safety_identifier: Option<String>,
    pub(super) service_tier: &'static str,
    pub(super) store: bool,
    pub(super) temperature: Option<f64>,
    pub(super) text: Value,
    pub(super) tool_choice: Value,
    pub(super) tools: Vec<Value>,
    pub(super) top_logprobs: i64,
    pub(super) top_p: Option<f64>,
    pub(super) truncation: String,
    pub(super) user: Option<String>,
}

/// `reasoning`, repeated.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct ReasoningEcho {
    pub(super) effort: Option<String>,
    pub(super) summary: Option<String>,
}

/// How far a response is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    #[default]
    Queued,
    InProgress,
    Completed,
    Incomplete,
    Failed,
    Cancelled,
}

impl Status {
    /// Whether nothing follows.
    pub(super) fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::InProgress)
    }
}

/// One thing that the model said or did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Item {
    Reasoning {
        id: String,
        summary: Vec<Summary>,
    },
    Message {
        id: String,
        status: Status,
        role: &'static str,
        content: Vec<Text>,
    },
    FunctionCall {
        id: String,
        status: Status,
        call_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        name: String,
        arguments: String,
    },
    CustomToolCall {
        id: String,
        status: Status,
        call_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        name: String,
        input: String,
    },
}

impl Item {
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Reasoning { id, .. }
            | Self::Message { id, .. }
            | Self::FunctionCall { id, .. }
            | Self::CustomToolCall { id, .. } => id,
        }
    }

    /// About so many bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        let text = match self {
            Self::Reasoning { summary, .. } => summary.iter().map(|part| part.text.len()).sum(),
            Self::Message { content, .. } => content.iter().map(Text::bytes).sum(),
            Self::FunctionCall { name, arguments, .. } => name.len() + arguments.len(),
            Self::CustomToolCall { name, input, .. } => name.len() + input.len(),
        };
        text.saturating_add(256)
    }
}

/// Thinking.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) r#type: &'static str,
    pub(super) text: String,
}

impl Summary {
    pub(super) fn new(text: String) -> Self {
        Self { r#type: "summary_text", text }
    }
}

/// Text for the reader.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Text {
    pub(super) r#type: &'static str,
    pub(super) text: String,
    pub(super) annotations: [(); 0],
    pub(super) logprobs: Vec<Logprob>,
}

impl Text {
    pub(super) fn new(text: String, logprobs: Vec<Logprob>) -> Self {
        Self { r#type: "output_text", text, annotations: [], logprobs }
    }

    fn bytes(&self) -> usize {
        let alternatives = self.logprobs.iter().map(|token| token.top_logprobs.len() + 1);
        self.text.len().saturating_add(alternatives.sum::<usize>().saturating_mul(64))
    }
}

/// A token and how likely it was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Logprob {
    pub(super) token: String,
    pub(super) bytes: Vec<u8>,
    pub(super) logprob: f32,
    pub(super) top_logprobs: Vec<TopLogprob>,
}

/// An alternative to a token.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct TopLogprob {
    pub(super) token: String,
    pub(super) bytes: Vec<u8>,
    pub(super) logprob: f32,
}

/// `usage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct WireUsage {
    pub(super) input_tokens: u32,
    pub(super) input_tokens_details: InputDetails,
    pub(super) output_tokens: u32,
    pub(super) output_tokens_details: OutputDetails,
    pub(super) total_tokens: u64,
}

/// What of the input was cheap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct InputDetails {
    pub(super) cached_tokens: u32,
    pub(super) cache_write_tokens: u32,
}

/// What of the output was thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct OutputDetails {
    pub(super) reasoning_tokens: u32,
}

/// Why a response failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct WireError<'a> {
    pub(super) code: &'static str,
    pub(super) message: &'a str,
}

/// Why a response is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct IncompleteDetails {
    pub(super) reason: &'static str,
}

/// A response as clients see it.
#[derive(Debug, Serialize)]
pub(super) struct Object<'a> {
    pub(super) id: &'a str,
    pub(super) object: &'static str,
    pub(super) created_at: u64,
    pub(super) completed_at: Option<u64>,
    pub(super) status: Status,
    pub(super) error: Option<WireError<'a>>,
    pub(super) incomplete_details: Option<IncompleteDetails>,
    pub(super) output: &'a [Item],
    pub(super) usage: Option<WireUsage>,
    #[serde(flatten)]
    pub(super) settings: &'a Settings,
}
