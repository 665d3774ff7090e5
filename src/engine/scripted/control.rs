use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, watch};

use crate::domain::{Constraint, Error, ErrorKind, JobId, Prompt};
use crate::engine::{Exit, Start};
use crate::protocol::LoadSpec;

/// Steps a [`ScriptedFactory`](super::ScriptedFactory) and its engines and tells what they did.
/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    pub(super) shared: Arc<Shared>,
}

/// The state that one factory shares with its engines and controls.
#[derive(Debug)]
pub(super) struct Shared {
    /// One permit lets one piece out, where the factory is stepped by hand.
    pub(super) steps: Semaphore,
    /// One permit lets one load finish, where loads are held.
    pub(super) loads: Semaphore,
    /// False holds back the places of requests that are over.
    pub(super) releasing: watch::Sender<bool>,
    pub(super) record: Mutex<Record>,
}

#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) loads: Vec<LoadSpec>,
    pub(super) unloads: usize,
    pub(super) prompts: Vec<Prompt>,
    pub(super) constraints: Vec<Constraint>,
    pub(super) started: Vec<JobId>,
    pub(super) starts: Vec<Start>,
    pub(super) live: usize,
    pub(super) steps: HashMap<JobId, usize>,
    pub(super) engines: Vec<watch::Sender<Option<Exit>>>,
}

impl Shared {
    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    pub(super) fn new() -> Self {
        let shared = Shared {
            steps: Semaphore::new(0),
            loads: Semaphore::new(0),
            releasing: watch::Sender::new(true),
            record: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Lets `pieces` more pieces out, over all jobs together, where the factory is `by_hand`.
    pub fn step(&self, pieces: usize) {
        self.shared.steps.add_permits(pieces);
    }

    /// Lets one load finish, where the factory is `holding_loads`.
    pub fn finish_load(&self) {
        self.shared.loads.add_permits(1);
    }

    /// From now on engines keep the places of requests that have ended or are cancelled, until
    /// [`Control::release`].
    pub fn hold_places(&self) {
        self.shared.releasing.send_replace(false);
    }

    /// Lets go of the places that were held, and of all later ones.
    pub fn release(&self) {
        self.shared.releasing.send_replace(true);
    }

    /// Every engine that is loaded dies, as a worker killed by a signal would.
    pub fn crash(&self) {
        let error = Error::new(ErrorKind::EngineCrashed, "the scripted engine was crashed");
        for engine in &self.shared.record().engines {
            die(engine, error.clone(), false);
        }
    }

    /// Loads begun so far.
    pub fn loads(&self) -> usize {
        self.shared.record().loads.len()
    }

    /// What was loaded each time, in order.
    pub fn load_specs(&self) -> Vec<LoadSpec> {
        self.shared.record().loads.clone()
    }

    /// Engines shut down so far.
    pub fn unloads(&self) -> usize {
        self.shared.record().unloads
    }

    /// Every prompt that was prepared, in order.
    pub fn prompts(&self) -> Vec<Prompt> {
        self.shared.record().prompts.clone()
    }

    /// What each of these prompts' answers had to look like.
    pub fn constraints(&self) -> Vec<Constraint> {
        self.shared.record().constraints.clone()
    }

    /// How each job was started, in the order of [`Control::started`].
    pub fn starts(&self) -> Vec<Start> {
        self.shared.record().starts.clone()
    }

    /// Every job that was started, in order.
    pub fn started(&self) -> Vec<JobId> {
        self.shared.record().started.clone()
    }

    /// Pieces computed for one job: stands still once its request is cancelled.
    pub fn steps(&self, job: JobId) -> usize {
        self.shared.record().steps.get(&job).copied().unwrap_or(0)
    }

    /// Pieces computed in all.
    pub fn total_steps(&self) -> usize {
        self.shared.record().steps.values().sum()
    }

    /// Jobs that are computing now.
    pub fn live(&self) -> usize {
        self.shared.record().live
    }
}

/// Marks an engine as gone, if it is not already.
pub(super) fn die(engine: &watch::Sender<Option<Exit>>, error: Error, requested: bool) {
    engine.send_if_modified(|exit| {
        let alive = exit.is_none();
        if alive {
            *exit = Some(Exit { error, requested });
        }
        alive
    });
}
