use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::{Constraint, Error, Event, JobId, Limits, OutputOptions, Prompt, Sampling};

/// Raised with every change of a frame.
pub const PROTOCOL_VERSION: u32 = 3;

/// Which build speaks; the worker is the same binary, so anything else means that the file was
/// replaced under a running daemon.
pub const BUILD_ID: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("MODELD_BUILD_ID"));

/// What the worker says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerHello {
    /// [`PROTOCOL_VERSION`] of the worker.
    pub version: u32,
    /// [`BUILD_ID`] of the worker.
    pub build_id: String,
    /// Its process id.
    pub pid: u32,
    /// What Landlock and the rest of the sandbox enforce, in words, for `modeld ps --json`.
    pub sandbox: String,
}

/// From the daemon to the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToWorker {
    /// The first frame: the model to load. Sent once.
    Load(LoadSpec),
    /// Render and tokenise a prompt and keep it under `job`. Answered by `Prepared` or `Failed`.
    Prepare {
        /// The name for all that follows.
        job: JobId,
        /// What to render.
        prompt: Prompt,
        /// What the answer has to look like.
        constraint: Constraint,
    },
    /// A question about the vocabulary or the template, which needs no computing. Answered by
    /// `Answered` or `Failed`.
    Query {
        /// The name for the answer.
        job: JobId,
        /// The question.
        query: Query,
    },
    /// Generate from what was prepared under `job`. Answered by events, the last one `Finished` or
    /// `Failed`.
    Start {
        /// A prepared job.
        job: JobId,
        /// How to choose tokens.
        sampling: Sampling,
        /// When to stop.
        limits: Limits,
        /// What to say besides the text.
        output: OutputOptions,
    },
    /// Forget `job`, whatever its state. Answered by `Released` once nothing of it is left.
    Cancel {
        /// Which one.
        job: JobId,
    },
}

/// What can be asked of a loaded model without computing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Query {
    /// The tokens of a prompt, exactly as generating from it would see them. Never refused for its
    /// length.
    Tokenize(Prompt),
    /// The tokens of a text.
    TokenizeText {
        /// The text.
        text: String,
        /// Whether to add what the tokenizer puts before and behind a prompt.
        add_special: bool,
        /// Whether special tokens in the text are more than text.
        parse_special: bool,
    },
    /// The text of tokens.
    Detokenize(Vec<i32>),
}

/// The answer to a [`Query`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueryAnswer {
    /// Tokens, each with its bytes.
    Tokens(Vec<(i32, Vec<u8>)>),
    /// Text; bytes that are no UTF-8 became U+FFFD.
    Text(String),
}

/// What a model is loaded for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Text.
    #[default]
    Generate,
    /// Vectors, pooled as the model says.
    Embed,
    /// Scores of pairs.
    Rerank,
}

/// The files and settings of one loaded model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadSpec {
    /// The name for logs and messages.
    pub name: String,
    /// What it is loaded for.
    pub purpose: Purpose,
    /// The GGUF file; of a sharded model the first shard, the others lie beside it.
    pub weights: PathBuf,
    /// The multimodal projector, where the model has one.
    pub mmproj: Option<PathBuf>,
    /// A chat template that replaces the one in the GGUF.
    pub chat_template: Option<PathBuf>,
    /// LoRA adapters in GGUF, all of which are applied to the weights.
    pub adapters: Vec<PathBuf>,
    /// Every directory and file the worker may read besides system libraries.
    pub readable: Vec<PathBuf>,
    /// KV cells, shared by all sequences; also the longest single sequence.
    pub context_size: u32,
    /// Sequences at once, at most 200.
    pub max_sequences: u32,
    /// Threads for compute; 0: as many as physical cores that this process may use.
    pub threads: u32,
}

/// What a loaded model turned out to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// KV cells that all sequences share, after llama.cpp's rounding.
    pub context_size: u32,
    /// The context that the model was trained for.
    pub train_context: u32,
    /// Sequences at once.
    pub max_sequences: u32,
    /// Tokens in the vocabulary.
    pub vocab_size: u32,
    /// Whether the model carries a chat template of its own.
    pub has_chat_template: bool,
    /// `general.architecture`.
    pub architecture: String,
    /// What it was loaded for.
    pub purpose: Purpose,
    /// Values of a vector; 0 for models that generate.
    pub embedding_size: u32,
    /// Whether its projector takes images.
    pub vision: bool,
    /// Whether its projector takes sounds.
    pub audio: bool,
}

/// From the worker to the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToDaemon {
    /// The first frame.
    Hello(WorkerHello),
    /// Loading goes on; from 0 to 1.
    Progress(f32),
    /// The model is loaded.
    Ready(ModelInfo),
    /// Loading failed; the worker exits.
    LoadFailed(Error),
    /// A prompt was rendered and tokenised.
    Prepared {
        /// Which one.
        job: JobId,
        /// Its length.
        prompt_tokens: u32,
    },
    /// The answer to a question.
    Answered {
        /// Which one.
        job: JobId,
        /// The answer.
        answer: QueryAnswer,
    },
    /// What one step produced, for all its jobs.
    Events(Vec<(JobId, Event)>),
    /// `job` ended with an error; nothing of it is left in the worker.
    Failed {
        /// Which one.
        job: JobId,
        /// Why.
        error: Error,
    },
    /// `job` was cancelled and nothing of it is left in the worker.
    Released {
        /// Which one.
        job: JobId,
    },
    /// Sent at least every two seconds, whatever the step loop does.
    Alive {
        /// Steps since the load; stands still while a step hangs.
        steps: u64,
        /// KV cells in use.
        used_cells: u32,
        /// Sequences that are computing.
        running: u32,
    },
}
