//! The one task that owns every queue, every loaded model and every request on its way.
//!
//! It takes commands from [`Scheduler`](super::Scheduler) handles and reports from the small tasks
//! that it starts for whatever takes time, and never waits for anything itself. Events of a running
//! request do not pass through here: the engine puts them into the request's outbox.
//!
//! A request:
//!
//! ```text
//!             engine ready           counted            a sequence and cells free
//!  Waiting ────────────────▶ Preparing ──────▶ Prepared ────────────────────────▶ Running
//!     ▲                          │                │                                 │
//!     ├───────── engine died ────┴────────────────┘                                 │
//!     └───────── engine died, nothing answered yet: once ───────────────────────────┤
//!                                                                                   ▼
//!  from any of them: error, deadline, client gone  ─▶  engine.cancel() awaited ─▶  over
//! ```
//!
//! The place of a request, in the queue or among the running ones, is free when `cancel` has
//! completed and not before.
//!
//! A model moves as [`residency`](super::residency) says; its load belongs to the driver, however
//! many requests wait for it, and is cancelled when none is left. Each load and each engine has an
//! epoch of its own, so that a late report about an earlier one is recognised.

mod jobs;
mod loads;
mod loan;
mod model;
mod report;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::domain::{Digest, Error, ErrorKind, JobId, KeepAlive, Result, Wishes};
use crate::engine::EngineFactory;
use crate::protocol::ModelInfo;

use super::rates::Rates;
use super::residency::{Phase, Residency};
use super::{
    Generation, LoadedModel, Runnable, SchedulerConfig, Snapshot, Submission, UnloadTarget,
};
use jobs::{Job, Stage};
use loan::LoadWaiter;
pub(super) use loan::Loan;
use model::Model;
use report::Report;

/// Reports on their way to the driver; the tasks that send them can wait.
const MAX_REPORTS: usize = 256;

/// A running request whose reader took nothing for so long is ended.
const MAX_STALL: Duration = Duration::from_secs(30);

/// How often readers are looked at.
const STALL_CHECK: Duration = Duration::from_secs(5);

/// What handles ask for.
pub(super) enum Command {
    Submit(Box<Submission>, oneshot::Sender<Result<Generation>>),
    Preload(Box<Runnable>, Wishes, oneshot::Sender<Result<ModelInfo>>),
    /// Keeps it loaded for as long as the loan lasts; `false`: loads it if it is not.
    Borrow(Box<Runnable>, bool, oneshot::Sender<Result<Loan>>),
    /// Answers one receiver for each model that goes, resolved when its memory is free.
    Unload(UnloadTarget, oneshot::Sender<Vec<oneshot::Receiver<()>>>),
    /// Answers the same for one model; `None`: it was not there.
    Evict(Digest, String, oneshot::Sender<Option<oneshot::Receiver<()>>>),
    /// Answers the same; `None`: it was not there, or goes later.
    Release(Digest, oneshot::Sender<Option<oneshot::Receiver<()>>>),
    Keep(Digest, Option<KeepAlive>, oneshot::Sender<()>),
    Reconfigure(SchedulerConfig, oneshot::Sender<()>),
    /// Answers the state in which whoever has read an answer to its end is not running any more.
    Settle(oneshot::Sender<Arc<Snapshot>>),
    Drain(Duration, oneshot::Sender<()>),
}

/// All mutable state of the scheduler.
pub(super) struct Driver {
    factory: Arc<dyn EngineFactory>,
    config: SchedulerConfig,
    residency: Residency,
    /// Models that are wanted, in memory or on their way.
    models: HashMap<Digest, Model>,
    /// Measured speeds, also of models that are not loaded now.
    rates: HashMap<Digest, Rates>,
    jobs: HashMap<JobId, Job>,
    next_job: u64,
    next_epoch: u64,
    next_stall_check: Instant,
    draining: Option<Draining>,
    reports: mpsc::Sender<Report>,
    snapshot: watch::Sender<Arc<Snapshot>>,
}

struct Draining {
    /// When the running requests are ended; `None`: they have been.
    until: Option<Instant>,
    replies: Vec<oneshot::Sender<()>>,
}

impl Driver {
    /// Runs until every handle is gone and everything is unloaded.
    pub(super) async fn run(
        factory: Arc<dyn EngineFactory>,
        config: SchedulerConfig,
        memory_budget: Option<u64>,
        mut commands: mpsc::Receiver<Command>,
        snapshot: watch::Sender<Arc<Snapshot>>,
    ) {
        let (reports, mut inbox) = mpsc::channel(MAX_REPORTS);
        let mut driver = Self {
            factory,
            residency: Residency::new(memory_budget),
            config,
            models: HashMap::new(),
            rates: HashMap::new(),
            jobs: HashMap::new(),
            next_job: 1,
            next_epoch: 1,
            next_stall_check: Instant::now(),
            draining: None,
            reports,
            snapshot,
        };
        let mut handles = true;
        while handles || !driver.models.is_empty() {
            let wake = driver.next_wake();
            tokio::select! {
                () = sleep_until(wake) => driver.tick(),
                Some(report) = inbox.recv() => driver.report(report),
                command = commands.recv(), if handles => match command {
                    Some(command) => driver.command(command),
                    None => {
                        handles = false;
                        driver.drain(Duration::ZERO, None);
                    }
                },
            }
            driver.publish();
        }
    }

    fn command(&mut self, command: Command) {
        // A reply that nobody waits for any more is dropped; a dropped `Generation` cancels.
        match command {
            Command::Submit(submission, reply) => drop(reply.send(self.submit(*submission))),
            Command::Preload(model, wishes, reply) => {
                self.residency.forgive(model.id);
                self.load(*model, wishes, LoadWaiter::Preload(reply));
            }
            Command::Borrow(model, true, reply)
                if self.residency.phase(model.id) != Some(Phase::Ready) =>
            {
                let gone = Error::new(ErrorKind::Cancelled, "the model is not loaded any more");
                let _ = reply.send(Err(gone));
            }
            Command::Borrow(model, _, reply) => {
                self.load(*model, Wishes::default(), LoadWaiter::Borrow(reply));
            }
            Command::Unload(target, reply) => drop(reply.send(self.unload(target))),
            Command::Evict(model, reason, reply) => drop(reply.send(self.evict(model, &reason))),
            Command::Release(model, reply) => drop(reply.send(self.release(model))),
            Command::Keep(model, keep_alive, reply) => {
                self.keep(model, keep_alive);
                let _ = reply.send(());
            }
            Command::Reconfigure(config, reply) => {
                self.reconfigure(config);
                // Whoever asked looks next.
                self.publish();
                let _ = reply.send(());
            }
            Command::Settle(reply) => {
                for id in self.models.keys().copied().collect::<Vec<_>>() {
                    self.catch_up(id);
                }
                self.publish();
                drop(reply.send(self.snapshot.borrow().clone()));
            }
            Command::Drain(grace, reply) => self.drain(grace, Some(reply)),
        }
    }

    /// When there is something to do without any message.
    fn next_wake(&self) -> Option<Instant> {
        let queued = self.models.values().filter_map(|model| model.waiting.next_deadline());
        let expiring = self.residency.next_expiry();
        let running = self.jobs.values().filter(|job| job.is_running());
        let deadlines = running.clone().filter_map(|job| job.deadline);
        let stalls = running.map(|_| self.next_stall_check).next();
        let draining = self.draining.as_ref().and_then(|draining| draining.until);
        let instants = queued.chain(expiring).chain(deadlines).map(Instant::from_std);
        instants.chain(stalls).chain(draining).min()
    }

    /// Does what has become due.
    fn tick(&mut self) {
        let now = Instant::now();
        let late = |job: &Job| job.deadline.is_some_and(|deadline| deadline <= now.into_std());
        let mut over: Vec<JobId> = self
            .models
            .values_mut()
            .flat_map(|model| model.waiting.expire(now.into_std()))
            .collect();
        over.extend(
            self.jobs.iter().filter(|(_, job)| job.is_running() && late(job)).map(|j| *j.0),
        );
        for id in over {
            if let Some(job) = self.jobs.get(&id) {
                let error = job.deadline_passed();
                self.end(id, Some(error));
            }
        }
        if self.next_stall_check <= now {
            self.next_stall_check = now + STALL_CHECK;
            self.end_stalled();
        }
        for model in self.residency.expired(now.into_std()) {
            self.begin_unload(model);
        }
        if let Some(draining) = &mut self.draining
            && draining.until.take_if(|until| *until <= now).is_some()
        {
            for id in self.jobs.keys().copied().collect::<Vec<_>>() {
                self.end(id, Some(stopping()));
            }
            // A worker that does not let go is ended with its process.
            for model in self.models.keys().copied().collect::<Vec<_>>() {
                self.begin_unload(model);
            }
        }
    }

    fn end_stalled(&mut self) {
        let stalled = |job: &Job| job.is_running() && job.events.stalled_for() > MAX_STALL;
        let jobs: Vec<_> = self.jobs.iter().filter(|(_, job)| stalled(job)).map(|j| *j.0).collect();
        for job in jobs {
            let message = format!("the client read nothing for {} s", MAX_STALL.as_secs());
            self.end(job, Some(Error::new(ErrorKind::Cancelled, message)));
        }
    }

    fn drain(&mut self, grace: Duration, reply: Option<oneshot::Sender<()>>) {
        let until = Instant::now() + grace;
        let draining = self
            .draining
            .get_or_insert_with(|| Draining { until: Some(until), replies: Vec::new() });
        draining.until = draining.until.map(|before| before.min(until));
        draining.replies.extend(reply);
        for model in self.models.keys().copied().collect::<Vec<_>>() {
            self.fail_waiting(model, &stopping());
            self.settle(model);
        }
    }

    /// Publishes the state, and answers a drain that is done.
    fn publish(&mut self) {
        let mut models: Vec<LoadedModel> = self
            .models
            .iter()
            .filter_map(|(id, model)| {
                let phase = self.residency.phase(*id)?;
                let keep_alive = self.residency.keep_alive(*id)?;
                model.describe(*id, phase, self.residency.expiry(*id), keep_alive)
            })
            .collect();
        models.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        self.snapshot.send_replace(Arc::new(Snapshot { models }));
        if self.models.is_empty()
            && let Some(draining) = &mut self.draining
        {
            for reply in draining.replies.drain(..) {
                let _ = reply.send(());
            }
        }
    }
}

/// What requests are told once the daemon stops.
fn stopping() -> Error {
    Error::new(ErrorKind::ShuttingDown, "modeld is stopping; try again once it runs again")
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
