use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::{Digest, JobId, KeepAlive};
use crate::engine::Engine;
use crate::scheduler::queue::{Bounds, WaitingList};
use crate::scheduler::residency::Phase;
use crate::scheduler::{LoadedModel, Runnable, SchedulerConfig};

use super::loan::LoadWaiter;

/// One model that is wanted, in memory, or leaving.
pub(super) struct Model {
    /// What is loaded, on its way, or to come next.
    pub(super) runnable: Runnable,
    /// How long it stays once idle, as the last one said who said it.
    pub(super) keep_alive: Option<KeepAlive>,
    pub(super) waiting: WaitingList,
    /// Which load or engine is the current one.
    pub(super) epoch: u64,
    pub(super) load: Option<Load>,
    pub(super) engine: Option<Arc<dyn Engine>>,
    /// Whether this engine has answered anything yet.
    pub(super) answered: bool,
    /// Running requests, and the KV cells reserved for each.
    pub(super) running: HashMap<JobId, u64>,
    /// Who waits for the load beside the queue.
    pub(super) load_waiters: Vec<LoadWaiter>,
    /// Held by every [`Loan`](super::Loan) of its engines.
    pub(super) loans: Arc<()>,
    /// Who waits for it to be gone.
    pub(super) leaving: Vec<oneshot::Sender<()>>,
    pub(super) last_used: SystemTime,
}

/// A load in progress.
pub(super) struct Load {
    pub(super) stop: CancellationToken,
    pub(super) begun: Instant,
    pub(super) fraction: f32,
}

impl Model {
    pub(super) fn new(runnable: Runnable, config: &SchedulerConfig) -> Self {
        Self {
            runnable,
            keep_alive: None,
            waiting: WaitingList::new(bounds(config)),
            epoch: 0,
            load: None,
            engine: None,
            answered: false,
            running: HashMap::new(),
            load_waiters: Vec::new(),
            loans: Arc::new(()),
            leaving: Vec::new(),
            last_used: SystemTime::now(),
        }
    }

    /// The bounds of its queue have changed.
    pub(super) fn rebound(&mut self, config: &SchedulerConfig) {
        self.waiting.set_bounds(bounds(config));
    }

    /// How many want it.
    pub(super) fn live(&self) -> usize {
        let requests = self.waiting.len().saturating_add(self.running.len());
        requests.saturating_add(self.load_waiters.len()).saturating_add(self.loaned())
    }

    /// How many hold its engine beside the queue.
    pub(super) fn loaned(&self) -> usize {
        Arc::strong_count(&self.loans).saturating_sub(1)
    }

    /// Requests that compute at once, as far as anybody knows.
    pub(super) fn parallel(&self) -> usize {
        self.engine.as_ref().map_or(1, |engine| engine.info().max_sequences as usize)
    }

    /// Sequences that a request could get at once, without those who wait already.
    pub(super) fn free_sequences(&self) -> usize {
        match &self.engine {
            Some(_) => self.parallel().saturating_sub(self.running.len()),
            None => 0,
        }
    }

    /// For the snapshot; `None`: it is leaving, and not to come back.
    pub(super) fn describe(
        &self,
        id: Digest,
        phase: Phase,
        expiry: Option<std::time::Instant>,
        keep_alive: KeepAlive,
    ) -> Option<LoadedModel> {
        if phase == Phase::Unloading && self.live() == 0 {
            return None;
        }
        let fraction = self.load.as_ref().map_or(0.0, |load| load.fraction);
        let now = Instant::now().into_std();
        let expires = |at: std::time::Instant| {
            SystemTime::now().checked_add(at.saturating_duration_since(now))
        };
        let engine = self.engine.as_ref();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Some(LoadedModel {
            id,
            name: self.runnable.name.clone(),
            purpose: self.runnable.spec.purpose,
            loading: (phase != Phase::Ready).then_some(fraction),
            info: engine.map(|engine| engine.info().clone()),
            pid: engine.and_then(|engine| engine.pid()),
            sandbox: engine.map(|engine| engine.sandbox().to_owned()).unwrap_or_default(),
            memory_bytes: self.runnable.memory_bytes,
            running: count(self.running.len()),
            waiting: count(self.waiting.len()),
            last_used: self.last_used,
            expires: expiry.and_then(expires),
            keep_alive: match keep_alive {
                KeepAlive::For(time) => Some(time),
                KeepAlive::Forever => None,
            },
        })
    }
}

fn bounds(config: &SchedulerConfig) -> Bounds {
    Bounds { requests: config.max_waiting, prompt_tokens: config.max_waiting_tokens }
}
