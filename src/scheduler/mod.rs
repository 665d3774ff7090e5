//! stub: the public face that the rest of the program relies on

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

use crate::domain::{ClientKey, Digest, Event, GenerateRequest, Result};
use crate::engine::EngineFactory;
use crate::protocol::{LoadSpec, ModelInfo};

/// How many may wait and how long models stay.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// Waiting requests per model (64).
    pub max_waiting: usize,
    /// Waiting prompt tokens per model.
    pub max_waiting_tokens: u64,
    /// How long an idle model stays loaded; `None`: for ever. Default five minutes.
    pub keep_alive: Option<Duration>,
}

/// A model that can be loaded: resolved, leased, estimated.
#[derive(Clone)]
pub struct Runnable {
    /// Its id.
    pub id: Digest,
    /// The tag or name it was first asked for, for `ps` and logs.
    pub name: String,
    /// What the worker needs.
    pub spec: LoadSpec,
    /// Estimated bytes of memory that it takes when loaded.
    pub memory_bytes: u64,
    /// Keeps its files in the store while anybody holds it.
    pub lease: Arc<dyn std::any::Any + Send + Sync>,
}

/// One request for the queue.
pub struct Submission {
    /// On which model.
    pub model: Runnable,
    /// What to generate.
    pub request: GenerateRequest,
    /// Whose share it counts against.
    pub client: ClientKey,
    /// After which it is of no use any more.
    pub deadline: Option<Instant>,
}

/// A request in the queue or running: a stream of events. Dropping it cancels the request; the
/// place is free when the engine has let go.
pub struct Generation {}

impl Generation {
    /// Waits until the request was started, has failed or `patience` is over; what came is still
    /// in the stream. `None`: without a bound.
    ///
    /// # Errors
    /// The error that ended the request before its first token.
    pub async fn ready(&mut self, _patience: Option<Duration>) -> Result<()> {
        Ok(())
    }

    /// Its place when it entered the queue; 0: it was started at once.
    pub fn queue_position(&self) -> u32 {
        0
    }

    /// How long it waited so far, or in all once it was started.
    pub fn queue_wait(&self) -> Duration {
        Duration::ZERO
    }
}

impl futures_core::Stream for Generation {
    type Item = Result<Event>;

    fn poll_next(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}

/// A model that is loaded or being loaded, as of the last change.
#[derive(Debug, Clone)]
pub struct LoadedModel {
    /// Its id.
    pub id: Digest,
    /// The name it was first asked for.
    pub name: String,
    /// `Some` while loading, from 0 to 1.
    pub loading: Option<f32>,
    /// What it turned out to be; `None` while loading.
    pub info: Option<ModelInfo>,
    /// Its worker process.
    pub pid: Option<u32>,
    /// What confines that process.
    pub sandbox: String,
    /// Requests that are computing.
    pub running: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// When it last finished a request.
    pub last_used: SystemTime,
    /// When it will be unloaded if nobody asks for it; `None`: never, or it is in use.
    pub expires: Option<SystemTime>,
    /// How long it stays when idle; `None`: for ever.
    pub keep_alive: Option<Duration>,
}

/// What everybody may read at any time without waiting for the driver.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Loaded models and those being loaded.
    pub models: Vec<LoadedModel>,
}

/// Which models to unload.
#[derive(Debug, Clone)]
pub enum UnloadTarget {
    /// All that are idle.
    All,
    /// These, if idle.
    Models(Vec<Digest>),
}

/// The handle of the driver task; cheap to clone.
#[derive(Clone)]
pub struct Scheduler {
    snapshot: watch::Receiver<Arc<Snapshot>>,
}

impl Scheduler {
    /// Starts the driver task.
    pub fn start(_factory: Arc<dyn EngineFactory>, _config: SchedulerConfig) -> Self {
        let (_, snapshot) = watch::channel(Arc::default());
        Self { snapshot }
    }

    /// Puts a request into the queue.
    ///
    /// # Errors
    /// `QueueFull` with a computed `retry_after`, `ShuttingDown`, `ModelQuarantined`.
    pub async fn submit(&self, _submission: Submission) -> Result<Generation> {
        Ok(Generation {})
    }

    /// Loads a model if it is not, and returns when it is.
    ///
    /// # Errors
    /// Those of the load.
    pub async fn preload(&self, _model: Runnable) -> Result<ModelInfo> {
        Err(crate::domain::Error::internal("stub"))
    }

    /// Unloads idle models; busy ones are left alone. Returns how many went, once their memory is
    /// free. A load in progress without waiting requests is cancelled.
    pub async fn unload(&self, _target: UnloadTarget) -> usize {
        0
    }

    /// Ends every request of a model (with an error event that says `reason`) and unloads it.
    pub async fn evict(&self, _model: Digest, _reason: &str) {}

    /// The state as of the last change.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// Stops: refuses what waits with `ShuttingDown`, lets running requests finish until `grace`
    /// has passed, then ends them with the same error, and unloads everything.
    pub async fn drain(&self, _grace: Duration) {}
}
