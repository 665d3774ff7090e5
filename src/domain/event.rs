use serde::{Deserialize, Serialize};

/// What a request hears while it is served, in this order: any number of `Waiting` and `Loading`,
/// one `Started`, any number of `Delta` with one `Ended` for each choice (or of `Vector`), one
/// `Finished`. An error may come instead of any of them and is the last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// It waits; so many requests of the same model are served before it.
    Waiting {
        /// 0: the next one.
        position: u32,
    },
    /// Its model is being loaded.
    Loading {
        /// From 0 to 1.
        fraction: f32,
    },
    /// It is being computed.
    Started {
        /// Tokens in the rendered prompt.
        prompt_tokens: u32,
        /// How many of them the prefix cache saved; smaller than `prompt_tokens`.
        cached_tokens: u32,
    },
    /// A piece of an answer, always whole UTF-8.
    Delta {
        /// Which answer, from 0; 0 unless several were asked for.
        choice: u32,
        /// The piece.
        delta: Delta,
    },
    /// One of the answers is complete.
    Ended {
        /// Which one.
        choice: u32,
        /// Why.
        finish: FinishReason,
    },
    /// The vector of an input, or a reranker's one score.
    Vector {
        /// Which input, from 0, in order.
        index: u32,
        /// Its values, as the model pools them: not normalised.
        values: Vec<f32>,
    },
    /// The end of all of it, with the counts.
    Finished(Outcome),
}

impl Event {
    /// Text of the first answer.
    pub fn content(text: impl Into<String>) -> Self {
        Self::Delta { choice: 0, delta: Delta::Content(text.into()) }
    }
}

/// A piece of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Delta {
    /// Text for the reader.
    Content(String),
    /// Thinking that precedes it.
    Reasoning(String),
    /// A piece of a call.
    ToolCall(ToolCallDelta),
    /// The tokens of the next piece of content.
    Logprobs(Vec<TokenLogprob>),
}

/// A piece of a tool call. The first of each call has id and name, the later ones arguments alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCallDelta {
    /// Which call of the answer, from 0, in order.
    pub index: u32,
    /// In the first piece: an id unique within the conversation, `[A-Za-z0-9]{9,}` without a
    /// dialect's prefix.
    pub id: Option<String>,
    /// In the first piece: the function.
    pub name: Option<String>,
    /// More of the arguments' JSON text; all pieces joined are one JSON object.
    pub arguments: String,
}

/// A token of an answer and how likely it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// Its id.
    pub token: i32,
    /// Its bytes, not necessarily whole UTF-8.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability, before any filter; `None` for the first token of
    /// an echoed prompt. Never minus infinity: at least -9999.
    pub logprob: Option<f32>,
    /// The likeliest tokens with theirs, the likeliest first; as many as were asked for.
    pub top: Vec<(i32, Vec<u8>, f32)>,
}

/// What the answers cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Tokens, of all choices together.
    pub usage: Usage,
    /// Times.
    pub timings: Timings,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FinishReason {
    /// The model ended it.
    Stop,
    /// One of the request's stop strings came up; this one.
    StopString(String),
    /// `max_tokens` or the end of the context.
    Length,
    /// The model ended it after calls that somebody has to make.
    ToolCalls,
}

/// Real token counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens in the rendered prompt, cached ones included.
    pub prompt_tokens: u32,
    /// Of these, taken from the prefix cache.
    pub cached_tokens: u32,
    /// Tokens sampled, the end-of-generation token included.
    pub completion_tokens: u32,
    /// Of these, spent on thinking.
    pub reasoning_tokens: u32,
}

/// Where the time went, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// From acceptance to the start of prefill, loading included. Filled by the scheduler.
    pub queue_ms: f64,
    /// Of these, waiting for the model to load. Filled by the scheduler.
    pub load_ms: f64,
    /// Prefill of what was not cached.
    pub prompt_ms: f64,
    /// From the first token to the last.
    pub decode_ms: f64,
}
