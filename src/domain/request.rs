use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Sampling;

/// One request for generation, unique within the life of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job-{}", self.0)
    }
}

/// Whom the fair queue counts a request against: `uid:1000/pgid:4711`, `addr:127.0.0.1`, …
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientKey(pub Arc<str>);

/// Everything a worker needs to generate one answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerateRequest {
    /// What to continue.
    pub prompt: Prompt,
    /// How to choose tokens.
    pub sampling: Sampling,
    /// When to stop.
    pub limits: Limits,
}

/// What the model is asked to continue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Prompt {
    /// A conversation, rendered by the model's own chat template inside the worker.
    Chat(ChatPrompt),
    /// Text as it stands; the tokenizer adds its BOS where the model wants one.
    Text(String),
}

impl Prompt {
    /// Bytes of text in the prompt: the queue estimates tokens as a third of it until the model's
    /// own tokenizer has counted.
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Chat(chat) => chat.messages.iter().map(Message::text_bytes).sum(),
        }
    }
}

/// A conversation and how to render it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatPrompt {
    /// The turns, oldest first; never empty. A last turn by the assistant is a prefill: the answer
    /// goes on from its end.
    pub messages: Vec<Message>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Instructions (also OpenAI's `developer`).
    System,
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call (also OpenAI's legacy `function`).
    Tool,
}

impl Role {
    /// The name that chat templates know it by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One turn of a conversation. Text parts have been joined already.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said; empty for an assistant turn that only calls tools.
    pub content: String,
    /// Thinking that the client hands back with an assistant turn.
    pub reasoning: Option<String>,
    /// Calls that an assistant turn made.
    pub tool_calls: Vec<ToolCall>,
    /// For a tool turn: the call it answers.
    pub tool_call_id: Option<String>,
    /// The speaker's or tool's name, where the client gives one.
    pub name: Option<String>,
}

impl Message {
    /// A turn that is nothing but text.
    pub fn text(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            reasoning: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            name: None,
        }
    }

    fn text_bytes(&self) -> usize {
        let call = |call: &ToolCall| call.id.len() + call.name.len() + call.arguments.len();
        let extra = [&self.reasoning, &self.name, &self.tool_call_id];
        self.content.len()
            + extra.into_iter().flatten().map(String::len).sum::<usize>()
            + self.tool_calls.iter().map(call).sum::<usize>()
    }
}

/// A call that the model made in an earlier turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The id the result refers to.
    pub id: String,
    /// The function's name.
    pub name: String,
    /// Its arguments as JSON text.
    pub arguments: String,
}

/// When generation ends, besides the model ending it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// At most this many new tokens; `None`: the rest of the context.
    pub max_tokens: Option<u32>,
    /// The answer ends before the first of these; none of them is part of it.
    pub stop: Vec<String>,
    /// Go on when the model wants to end (for measurements), until `max_tokens`.
    pub ignore_eos: bool,
}
