use serde::{Deserialize, Serialize};

/// What a request hears while it is served, in this order: any number of `Waiting` and `Loading`,
/// one `Started`, any number of `Delta`, one `Finished`. An error may come instead of any of them
/// and is the last.
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
    /// A piece of the answer, always whole UTF-8.
    Delta(Delta),
    /// The end, with the counts.
    Finished(Outcome),
}

/// A piece of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Delta {
    /// Text for the reader.
    Content(String),
}

/// How an answer ended and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Why it ended.
    pub finish: FinishReason,
    /// Tokens.
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
