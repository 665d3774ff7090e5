use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::domain::{ClientKey, Digest, GenerateRequest, KeepAlive, Wishes};
use crate::protocol::{LoadSpec, ModelInfo, Purpose};

/// How many may wait and how long models stay.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// Waiting requests per model (64).
    pub max_waiting: usize,
    /// Waiting prompt tokens per model (1,048,576).
    pub max_waiting_tokens: u64,
    /// How long an idle model stays loaded that nobody said anything about; `None`: for ever.
    /// Default five minutes.
    pub keep_alive: Option<Duration>,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            max_waiting: 64,
            max_waiting_tokens: 1 << 20,
            keep_alive: Some(Duration::from_secs(300)),
        }
    }
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
    /// How long it stays once idle, as is configured for it; `None`: as the daemon says.
    pub keep_alive: Option<KeepAlive>,
    /// Counts the changes of how it is to be loaded. One of a higher number takes the place of one
    /// that is loaded and idle.
    pub revision: u64,
    /// Keeps its files in the store while anybody holds it.
    pub lease: Arc<dyn std::any::Any + Send + Sync>,
}

impl Runnable {
    /// Whether this one, asked for with these wishes, is not served by `loaded` as it is. A smaller
    /// context always is.
    pub(super) fn outgrows(&self, loaded: &Self, wishes: &Wishes) -> bool {
        let wanted = wishes.context.is_some();
        let larger = self.spec.context_size > loaded.spec.context_size;
        self.revision > loaded.revision || (self.revision == loaded.revision && wanted && larger)
    }
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
    /// What it says of the model itself.
    pub wishes: Wishes,
}

/// A model that is loaded or being loaded, as of the last change.
#[derive(Debug, Clone)]
pub struct LoadedModel {
    /// Its id.
    pub id: Digest,
    /// The name it was first asked for.
    pub name: String,
    /// What it is loaded for.
    pub purpose: Purpose,
    /// `Some` while loading, from 0 to 1.
    pub loading: Option<f32>,
    /// What it turned out to be; `None` while loading.
    pub info: Option<ModelInfo>,
    /// Its worker process.
    pub pid: Option<u32>,
    /// What confines that process.
    pub sandbox: String,
    /// Estimated bytes of memory that it takes.
    pub memory_bytes: u64,
    /// Requests that are computing.
    pub running: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// When it last finished a request.
    pub last_used: SystemTime,
    /// When it will be unloaded if nobody asks for it; `None`: never, or it is in use.
    pub expires: Option<SystemTime>,
    /// How long it stays when idle; `None`: for ever, or until its memory is needed.
    pub keep_alive: Option<Duration>,
}

/// What everybody may read at any time without waiting for the driver.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Loaded models and those being loaded.
    pub models: Vec<LoadedModel>,
}

impl Snapshot {
    /// Those that requests run on or wait for.
    pub fn busy(&self) -> impl Iterator<Item = &LoadedModel> {
        self.models.iter().filter(|loaded| loaded.running > 0 || loaded.waiting > 0)
    }
}

/// Which models to unload.
#[derive(Debug, Clone)]
pub enum UnloadTarget {
    /// All that are idle.
    All,
    /// These, if idle.
    Models(Vec<Digest>),
}
