use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

use crate::domain::{Constraint, Error, JobId, Limits, OutputOptions, Prompt, Result, Sampling};
use crate::protocol::{LoadSpec, ModelInfo, Query, QueryAnswer};

use super::EventSender;

/// A future that can be stored behind the trait objects of this module.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How a prepared job is to be computed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Start {
    /// How to choose tokens.
    pub sampling: Sampling,
    /// When to stop.
    pub limits: Limits,
    /// What to say besides the text.
    pub output: OutputOptions,
}

/// One loaded model.
///
/// A job is prepared, then started, and over when its last event or error has been sent or when
/// `cancel` has completed. All methods may be called from any task; none blocks.
pub trait Engine: Send + Sync + 'static {
    /// What was loaded.
    fn info(&self) -> &ModelInfo;

    /// The process that computes, where there is one.
    fn pid(&self) -> Option<u32>;

    /// What confines that process, in words, for `modeld status`.
    fn sandbox(&self) -> &str;

    /// Renders and tokenises a prompt and keeps it for [`Engine::start`]; answers its length in
    /// tokens. A prompt that can never fit is refused here with
    /// [`ErrorKind::ContextLengthExceeded`](crate::domain::ErrorKind::ContextLengthExceeded).
    ///
    /// A `constraint` that cannot be is refused here, too.
    fn prepare(
        &self,
        job: JobId,
        prompt: Prompt,
        constraint: Constraint,
    ) -> BoxFuture<'_, Result<u32>>;

    /// Starts a prepared job; everything that happens to it goes to `events`.
    fn start(&self, job: JobId, start: Start, events: EventSender);

    /// Answers a question about the vocabulary or the template. `job` names it and nothing else.
    fn query(&self, job: JobId, query: Query) -> BoxFuture<'_, Result<QueryAnswer>>;

    /// Ends a job, prepared or started; completes once the engine has let go of all it held.
    /// Unknown jobs complete at once.
    fn cancel(&self, job: JobId) -> BoxFuture<'_, ()>;

    /// Becomes `Some` when the engine can serve no more, for whatever reason.
    fn exited(&self) -> watch::Receiver<Option<Exit>>;

    /// Ends the engine and completes when its memory is free. Jobs still running get an error.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

/// Why an engine is gone.
#[derive(Debug, Clone, PartialEq)]
pub struct Exit {
    /// The error its jobs got; [`ErrorKind::EngineCrashed`](crate::domain::ErrorKind) unless it
    /// was asked to end.
    pub error: Error,
    /// Whether it was asked to.
    pub requested: bool,
}

/// How far a load is; from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LoadProgress(pub f32);

/// What loads models.
pub trait EngineFactory: Send + Sync + 'static {
    /// Loads a model. Dropping the future cancels the load and frees what it took.
    ///
    /// # Errors
    /// `InvalidModel` when the file is at fault, `ModelTooLarge` when memory is, `EngineCrashed`
    /// when the process died while loading, with what it last said.
    fn load(
        &self,
        spec: LoadSpec,
        progress: watch::Sender<LoadProgress>,
    ) -> BoxFuture<'_, Result<Arc<dyn Engine>>>;
}
