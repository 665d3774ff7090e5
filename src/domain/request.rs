use std::collections::BTreeMap;
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

/// Everything a worker needs to generate one answer, in one choice or several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerateRequest {
    /// What to continue.
    pub prompt: Prompt,
    /// What the answer has to look like.
    pub constraint: Constraint,
    /// How to choose tokens.
    pub sampling: Sampling,
    /// When to stop.
    pub limits: Limits,
    /// What to say besides the text.
    pub output: OutputOptions,
}

impl GenerateRequest {
    /// A request for one unconstrained answer with every default.
    pub fn new(prompt: Prompt) -> Self {
        Self {
            prompt,
            constraint: Constraint::None,
            sampling: Sampling::default(),
            limits: Limits::default(),
            output: OutputOptions::default(),
        }
    }
}

/// What the model is asked to continue or to compute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Prompt {
    /// A conversation, rendered by the model's own chat template inside the worker.
    Chat(ChatPrompt),
    /// Text as it stands; the tokenizer adds its BOS where the model wants one.
    Text(String),
    /// Tokens as they stand; nothing is added. Checked against the vocabulary in the worker.
    Tokens(Vec<i32>),
    /// The gap between two texts, by the model's fill-in-the-middle tokens.
    Fill {
        /// What stands before the gap.
        prefix: String,
        /// What stands behind it.
        suffix: String,
    },
    /// Vectors of an embedding model, or scores of a reranker, instead of an answer.
    Embed(Vec<EmbedInput>),
}

/// One thing to embed or to score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EmbedInput {
    /// A text; the tokenizer adds its special tokens.
    Text(String),
    /// Tokens of this model's vocabulary.
    Tokens(Vec<i32>),
    /// A query and a document, for a reranker.
    Pair {
        /// What is looked for.
        query: String,
        /// What may hold it.
        document: String,
    },
}

impl EmbedInput {
    fn text_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Tokens(tokens) => tokens.len().saturating_mul(BYTES_PER_TOKEN),
            Self::Pair { query, document } => query.len().saturating_add(document.len()),
        }
    }
}

/// About so many bytes of text make a token.
const BYTES_PER_TOKEN: usize = 3;

impl Prompt {
    /// Bytes of text in the prompt: the queue estimates tokens as a third of it until the model's
    /// own tokenizer has counted.
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Tokens(tokens) => tokens.len().saturating_mul(BYTES_PER_TOKEN),
            Self::Fill { prefix, suffix } => prefix.len().saturating_add(suffix.len()),
            Self::Embed(inputs) => inputs.iter().map(EmbedInput::text_bytes).sum(),
            Self::Chat(chat) => chat.text_bytes(),
        }
    }
}

/// A conversation and how to render it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatPrompt {
    /// The turns, oldest first; never empty. A last turn by the assistant is a prefill: the answer
    /// goes on from its end.
    pub messages: Vec<Message>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether it may or must.
    pub tool_choice: ToolChoice,
    /// Whether one answer may hold several calls.
    pub parallel_tool_calls: bool,
    /// How much the model thinks before it answers.
    pub thinking: Thinking,
    /// Variables of the template, by name, as JSON text (`enable_thinking` → `false`).
    pub template_kwargs: BTreeMap<String, String>,
}

impl ChatPrompt {
    /// A conversation without tools.
    pub fn new(messages: Vec<Message>) -> Self {
        Self { messages, ..Self::default() }
    }

    fn text_bytes(&self) -> usize {
        let tool = |tool: &Tool| tool.name.len() + tool.description.len() + tool.parameters.len();
        self.messages.iter().map(Message::text_bytes).sum::<usize>()
            + self.tools.iter().map(tool).sum::<usize>()
    }
}

/// A function that the model may call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name, `[A-Za-z0-9_.-]{1,128}`.
    pub name: String,
    /// What it does; empty: not said.
    pub description: String,
    /// The JSON schema of its arguments, as JSON text of an object.
    pub parameters: String,
    /// The arguments have to obey the schema to the letter.
    pub strict: bool,
}

/// Whether the model may or must call tools.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// It must not, though it may read what there would be.
    None,
    /// It must call at least one.
    Required,
    /// It must call this one.
    Named(String),
}

/// How much the model thinks before it answers, where it can.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thinking {
    /// `None`: as the template does by itself.
    pub enabled: Option<bool>,
    /// For templates that know levels (`reasoning_effort`): `low`, `medium`, `high`.
    pub effort: Option<String>,
    /// At most so many tokens of thought; then the thought is ended for the model.
    pub budget: Option<u32>,
}

/// What an answer has to look like, whatever the model would rather say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Constraint {
    /// Anything.
    #[default]
    None,
    /// A JSON object.
    JsonObject,
    /// A JSON value that obeys this JSON schema (JSON text).
    JsonSchema(String),
    /// A text that this regular expression matches as a whole.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// A text of this grammar in llama.cpp's GBNF.
    Gbnf(String),
    /// A text of this grammar in llguidance's Lark.
    Lark(String),
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
    /// Images and sounds, by where in `content` they stand, the earliest first.
    pub media: Vec<MediaAt>,
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
            media: Vec::new(),
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The id the result refers to.
    pub id: String,
    /// The function's name.
    pub name: String,
    /// Its arguments as JSON text.
    pub arguments: String,
}

/// An image or a sound in a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaAt {
    /// It stands before this byte of the message's content; a character boundary.
    pub offset: usize,
    /// What it is.
    pub media: Media,
}

/// An image or a sound, as the client sent it: encoded. Decoded in the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    /// What it is.
    pub kind: MediaKind,
    /// The file's bytes (PNG, JPEG, WebP, GIF, BMP; WAV, MP3, FLAC).
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// Images and sounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MediaKind {
    /// A picture.
    Image,
    /// A recording.
    Audio,
}

/// What an answer says besides its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputOptions {
    /// How many answers to the one prompt, at least 1.
    pub choices: u32,
    /// The probabilities of the tokens; within it, how many alternatives to each (0 to 20).
    pub logprobs: Option<u32>,
    /// The prompt is part of the answer (legacy completions), with its probabilities.
    pub echo: bool,
}

impl Default for OutputOptions {
    fn default() -> Self {
        Self { choices: 1, logprobs: None, echo: false }
    }
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
    /// What happens when the context is full; `None`: the answer ends.
    pub shift: Option<Shift>,
}

/// An answer goes on when the context is full: the older half of what is not kept is forgotten, again
/// and again, up to ten contexts of answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shift {
    /// Tokens at the beginning that stay, half of the context at most. `None`: the prompt, if it is no
    /// longer than that, else the first four.
    pub keep: Option<u32>,
}
