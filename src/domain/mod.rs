//! The words that every other module speaks: requests going down, events coming up, errors, names.
//!
//! Nothing here knows HTTP, a dialect, the runtime or the disk. `serde` is derived only on what
//! crosses to a worker process ([`crate::protocol`]); no dialect may serialise a domain type.

mod digest;
mod error;
mod event;
mod media_limits;
mod model;
mod model_ref;
mod request;
mod sampling;
mod transcript;
mod transfer;
mod wishes;

pub use digest::{Digest, DigestError};
pub use error::{Error, ErrorKind, Result};
pub use event::{Delta, Event, FinishReason, Outcome, Timings, TokenLogprob, ToolCallDelta, Usage};
pub use media_limits::{
    MAX_AUDIO_SECONDS, MAX_IMAGE_PIXELS, MAX_IMAGE_RATIO, MAX_IMAGE_SIDE, MAX_MEDIA,
    MAX_MEDIA_BYTES,
};
pub use model::{ModelConfig, ModelEntry, Removal};
pub use model_ref::ModelRef;
pub use request::{
    ChatPrompt, ClientKey, Constraint, EmbedInput, GenerateRequest, JobId, Limits, Media, MediaAt,
    MediaKind, Message, OutputOptions, Prompt, Role, Shift, Thinking, Tool, ToolCall, ToolChoice,
};
pub use sampling::Sampling;
pub use transcript::{Choice, Transcript};
pub use transfer::{LayerProgress, Pulled, TransferEvent, TransferPlan};
pub use wishes::{KeepAlive, Wishes};
