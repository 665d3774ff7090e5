use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::{Error, Event, JobId, Limits, Prompt, Sampling};

/// Raised with every change of a frame.
pub const PROTOCOL_VERSION: u32 = 1;

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
    },
    /// Forget `job`, whatever its state. Answered by `Released` once nothing of it is left.
    Cancel {
        /// Which one.
        job: JobId,
    },
}

/// The files and settings of one loaded model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadSpec {
    /// The name for logs and messages.
    pub name: String,
    /// The GGUF file; of a sharded model the first shard, the others lie beside it.
    pub weights: PathBuf,
    /// The multimodal projector, where the model has one.
    pub mmproj: Option<PathBuf>,
    /// A chat template that replaces the one in the GGUF.
    pub chat_template: Option<PathBuf>,
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
