use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::domain::{Digest, Error, ErrorKind, JobId, KeepAlive, Result, Wishes};
use crate::engine::EngineFactory;
use crate::protocol::{ModelInfo, Query, QueryAnswer};

use super::driver::{Command, Driver};
use super::{Generation, Runnable, SchedulerConfig, Snapshot, Submission, UnloadTarget};

/// Commands on their way to the driver. It never blocks, so this is only ever a burst.
const MAX_COMMANDS: usize = 256;

/// Requests count up from 1 and do not come here.
const FIRST_QUERY: u64 = 1 << 63;

/// The handle of the driver task; cheap to clone. When the last one goes, everything is ended and
/// unloaded.
#[derive(Clone)]
pub struct Scheduler {
    commands: mpsc::Sender<Command>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    /// The next question's number; far from those of requests.
    queries: Arc<AtomicU64>,
}

impl Scheduler {
    /// Starts the driver task on the current runtime. Memory is not budgeted.
    pub fn start(factory: Arc<dyn EngineFactory>, config: SchedulerConfig) -> Self {
        Self::start_within(factory, config, None)
    }

    /// Like [`Scheduler::start`]; all models together may take `memory_budget` bytes by their
    /// estimates.
    pub fn start_within(
        factory: Arc<dyn EngineFactory>,
        config: SchedulerConfig,
        memory_budget: Option<u64>,
    ) -> Self {
        let (commands, inbox) = mpsc::channel(MAX_COMMANDS);
        let (publish, snapshot) = watch::channel(Arc::default());
        tokio::spawn(Driver::run(factory, config, memory_budget, inbox, publish));
        Self { commands, snapshot, queries: Arc::new(AtomicU64::new(FIRST_QUERY)) }
    }

    /// Puts a request into the queue.
    ///
    /// # Errors
    /// `QueueFull` with a computed `retry_after`, also when the deadline cannot be met;
    /// `MemoryBusy`, `ModelTooLarge`, `ModelQuarantined`, `DeadlineExceeded`, `ShuttingDown`.
    pub async fn submit(&self, submission: Submission) -> Result<Generation> {
        self.ask(|reply| Command::Submit(Box::new(submission), reply)).await.unwrap_or_else(stopped)
    }

    /// Loads a model if it is not, or not as is wished, and returns when it is. Lifts its
    /// quarantine. The time that it stays when idle begins anew.
    ///
    /// # Errors
    /// Those of the load.
    pub async fn preload(&self, model: Runnable, wishes: Wishes) -> Result<ModelInfo> {
        let info = self.ask(|reply| Command::Preload(Box::new(model), wishes, reply)).await;
        info.unwrap_or_else(stopped)
    }

    /// Loads a model if it is not, and asks it something that needs no computing.
    ///
    /// # Errors
    /// Those of the load, `ModelQuarantined`, and those of [`crate::engine::Engine::query`].
    pub async fn query(&self, model: Runnable, query: Query) -> Result<QueryAnswer> {
        self.question(model, false, query).await
    }

    /// Asks a model something that needs no computing, if it is loaded.
    ///
    /// # Errors
    /// `Cancelled` if it is not, and those of [`crate::engine::Engine::query`].
    pub async fn query_loaded(&self, model: Runnable, query: Query) -> Result<QueryAnswer> {
        self.question(model, true, query).await
    }

    async fn question(
        &self,
        model: Runnable,
        only_loaded: bool,
        query: Query,
    ) -> Result<QueryAnswer> {
        let loan = self.ask(|reply| Command::Borrow(Box::new(model), only_loaded, reply)).await;
        let loan = loan.unwrap_or_else(stopped)?;
        let number = self.queries.fetch_add(1, Ordering::Relaxed);
        loan.engine.query(JobId(number), query).await
    }

    /// Unloads idle models; busy ones are left alone. Returns how many went, once their memory is
    /// free. A load in progress without waiting requests is cancelled.
    pub async fn unload(&self, target: UnloadTarget) -> usize {
        let gone = self.ask(|reply| Command::Unload(target, reply)).await.unwrap_or_default();
        let count = gone.len();
        for gone in gone {
            let _ = gone.await;
        }
        count
    }

    /// Lets a model go: an idle one is unloaded now, and its memory is free on return; a load that no
    /// request waits for is cancelled; one in use goes when its last request has ended.
    pub async fn release(&self, model: Digest) {
        if let Some(Some(gone)) = self.ask(|reply| Command::Release(model, reply)).await {
            let _ = gone.await;
        }
    }

    /// What is configured for a model has changed: if it is there, it now stays so long once idle.
    /// Later requests may say otherwise.
    pub async fn keep(&self, model: Digest, keep_alive: Option<KeepAlive>) {
        self.ask(|reply| Command::Keep(model, keep_alive, reply)).await;
    }

    /// Other bounds of the queues and another time for idle models, from now on. What waits already
    /// stays, also above the bounds.
    pub async fn reconfigure(&self, config: SchedulerConfig) {
        self.ask(|reply| Command::Reconfigure(config, reply)).await;
    }

    /// Ends every request of a model (with an error event that says `reason`) and unloads it.
    pub async fn evict(&self, model: Digest, reason: &str) {
        let reason = reason.to_owned();
        if let Some(Some(gone)) = self.ask(|reply| Command::Evict(model, reason, reply)).await {
            let _ = gone.await;
        }
    }

    /// The state now. Unlike in the last [`Scheduler::snapshot`], a request whose reader has its
    /// last event is over in it: who has an answer and asks for what needs an idle model gets it.
    pub async fn settled(&self) -> Arc<Snapshot> {
        self.ask(Command::Settle).await.unwrap_or_else(|| self.snapshot())
    }

    /// The state as of the last change.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// The state, and a notice of each change of it.
    pub fn changes(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// Stops: refuses what waits with `ShuttingDown`, lets running requests finish until `grace`
    /// has passed, then ends them with the same error, and unloads everything.
    pub async fn drain(&self, grace: Duration) {
        self.ask(|reply| Command::Drain(grace, reply)).await;
    }

    /// Sends a command and waits for its reply; `None`: the driver is gone.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}

fn stopped<T>() -> Result<T> {
    Err(Error::new(ErrorKind::ShuttingDown, "modeld is stopping"))
}
