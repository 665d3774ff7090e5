//! Models coming and going.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::domain::{Digest, Error, ErrorKind, Event, JobId, KeepAlive, Result, Wishes};
use crate::engine::{Engine, Exit};
use crate::scheduler::residency::Phase;
use crate::scheduler::{Runnable, SchedulerConfig, UnloadTarget};

use super::jobs::retry_after;
use super::loan::{LoadWaiter, Loan};
use super::model::{Load, Model};
use super::{Driver, Stage, report, stopping};

impl Driver {
    /// Loads a model for somebody beside the queue.
    pub(super) fn load(&mut self, runnable: Runnable, wishes: Wishes, waiter: LoadWaiter) {
        let id = runnable.id;
        if self.draining.is_some() {
            return waiter.fail(stopping());
        }
        self.enter(runnable, &wishes);
        let Some(model) = self.models.get_mut(&id) else { return };
        model.load_waiters.push(waiter);
        self.say_keep_alive(id, wishes.keep_alive);
        self.residency.touch(id, Instant::now().into_std());
        self.tell_loaded(id);
        self.want(id);
        self.settle(id);
    }

    /// Tells those who wait beside the queue, if the model is loaded.
    fn tell_loaded(&mut self, id: Digest) {
        let Some(model) = self.models.get_mut(&id) else { return };
        let Some(engine) = &model.engine else { return };
        for waiter in model.load_waiters.drain(..) {
            match waiter {
                LoadWaiter::Preload(reply) => drop(reply.send(Ok(engine.info().clone()))),
                LoadWaiter::Borrow(reply) => {
                    let over = CancellationToken::new();
                    let told = over.clone().drop_guard();
                    tokio::spawn(report::watch_loan(over, id, self.reports.clone()));
                    let held = Arc::clone(&model.loans);
                    let loan = Loan { engine: Arc::clone(engine), _held: held, _told: told };
                    // Nobody waits for it any more: it is back at once.
                    drop(reply.send(Ok(loan)));
                }
            }
        }
    }

    /// Somebody says how long a model stays once idle; `None`: they say nothing.
    pub(super) fn say_keep_alive(&mut self, id: Digest, keep_alive: Option<KeepAlive>) {
        if let Some(model) = self.models.get_mut(&id) {
            model.keep_alive = keep_alive.or(model.keep_alive);
            self.apply_keep_alive(id);
        }
    }

    /// What is configured for a model has changed.
    pub(super) fn keep(&mut self, id: Digest, keep_alive: Option<KeepAlive>) {
        if let Some(model) = self.models.get_mut(&id) {
            model.runnable.keep_alive = keep_alive;
            model.keep_alive = None;
            self.apply_keep_alive(id);
        }
    }

    /// What holds for models of which nobody says anything has changed.
    pub(super) fn reconfigure(&mut self, config: SchedulerConfig) {
        self.config = config;
        for id in self.models.keys().copied().collect::<Vec<_>>() {
            if let Some(model) = self.models.get_mut(&id) {
                model.rebound(&self.config);
            }
            self.apply_keep_alive(id);
        }
    }

    fn apply_keep_alive(&mut self, id: Digest) {
        let Some(model) = self.models.get(&id) else { return };
        let default = self.config.keep_alive.map_or(KeepAlive::Forever, KeepAlive::For);
        let keep_alive = model.keep_alive.or(model.runnable.keep_alive).unwrap_or(default);
        self.residency.set_keep_alive(id, keep_alive);
    }

    /// Unloads a model if it is idle, else once it is.
    pub(super) fn release(&mut self, id: Digest) -> Option<oneshot::Receiver<()>> {
        let gone = self.unload(UnloadTarget::Models(vec![id])).pop();
        // One that leaves already has nobody left to stay for.
        if gone.is_none() && self.models.get(&id).is_some_and(|model| model.live() > 0) {
            self.say_keep_alive(id, Some(KeepAlive::For(Duration::ZERO)));
        }
        gone
    }

    /// Unloads idle models; answers a receiver for each.
    pub(super) fn unload(&mut self, target: UnloadTarget) -> Vec<oneshot::Receiver<()>> {
        let ids = match target {
            UnloadTarget::All => self.models.keys().copied().collect(),
            UnloadTarget::Models(ids) => ids,
        };
        let mut leaving = Vec::new();
        for id in ids {
            self.catch_up(id);
            let Some(model) = self.models.get_mut(&id) else { continue };
            let unused =
                model.waiting.is_empty() && model.running.is_empty() && model.loaned() == 0;
            let there = self.residency.phase(id).is_some_and(|phase| phase != Phase::Unloading);
            if unused && there {
                let (gone, receiver) = oneshot::channel();
                model.leaving.push(gone);
                leaving.push(receiver);
                let message = format!("{} was unloaded while it was loading", model.runnable.name);
                self.fail_waiting(id, &Error::new(ErrorKind::Cancelled, message));
                self.begin_unload(id);
            }
        }
        leaving
    }

    /// Ends all that a model does and unloads it.
    pub(super) fn evict(&mut self, id: Digest, reason: &str) -> Option<oneshot::Receiver<()>> {
        let error = Error::new(ErrorKind::Conflict, reason);
        self.fail_waiting(id, &error);
        let model = self.models.get_mut(&id)?;
        let (gone, receiver) = oneshot::channel();
        model.leaving.push(gone);
        for job in model.running.keys().copied().collect::<Vec<JobId>>() {
            self.end(job, Some(error.clone()));
        }
        self.begin_unload(id);
        Some(receiver)
    }

    /// Enters a model as it is asked for now. One that is loaded stays as it is if that is enough or
    /// somebody uses it; else it is unloaded, to be loaded anew.
    pub(super) fn enter(&mut self, runnable: Runnable, wishes: &Wishes) {
        let id = runnable.id;
        let Some(model) = self.models.get_mut(&id) else {
            self.models.insert(id, Model::new(runnable, &self.config));
            return;
        };
        let outgrown = runnable.outgrows(&model.runnable, wishes);
        match self.residency.phase(id) {
            // What others wait for already is not made smaller for them.
            None | Some(Phase::Unloading) if outgrown || model.live() == 0 => {
                model.runnable = runnable;
            }
            Some(Phase::Ready) if outgrown && model.live() == 0 => {
                let (had, context) = (model.runnable.spec.context_size, runnable.spec.context_size);
                let name = runnable.name.as_str();
                if self.residency.could_become(id, runnable.memory_bytes) {
                    info!(model = name, had, context, "model is loaded anew");
                    let said = model.keep_alive;
                    model.runnable = runnable;
                    self.begin_unload(id);
                    self.say_keep_alive(id, said);
                } else {
                    // It serves as it is, and a prompt that does not fit is told so.
                    warn!(model = name, had, context, "no memory to load the model anew");
                }
            }
            _ => {}
        }
    }

    /// Makes sure that a model is loaded or on its way.
    pub(super) fn admit(&mut self, id: Digest) -> Result<()> {
        let now = Instant::now().into_std();
        for (id, model) in &self.models {
            // Loans end without a word.
            self.residency.set_live(*id, model.live(), now);
        }
        let Some(model) = self.models.get(&id) else { return Ok(()) };
        match self.residency.admit(id, model.runnable.memory_bytes) {
            Ok(victims) => {
                self.apply_keep_alive(id);
                for victim in victims {
                    self.begin_unload(victim);
                }
                self.start_loads();
                Ok(())
            }
            Err(denial) => Err(denial.into_error(&model.runnable.name, self.memory_free_after())),
        }
    }

    /// Sees to it that those who wait for a model will be served, or hear that they will not.
    pub(super) fn want(&mut self, id: Digest) {
        let wanted = |model: &Model| !model.waiting.is_empty() || !model.load_waiters.is_empty();
        if !self.models.get(&id).is_some_and(wanted) {
            return;
        }
        let admitted = if self.draining.is_some() { Err(stopping()) } else { self.admit(id) };
        match admitted {
            Ok(()) => self.prepare_waiting(id),
            Err(error) => self.fail_waiting(id, &error),
        }
    }

    /// Begins every load that there is room for.
    fn start_loads(&mut self) {
        for id in self.residency.startable() {
            let Some(model) = self.models.get_mut(&id) else {
                self.residency.gone(id);
                continue;
            };
            model.epoch = self.next_epoch;
            model.answered = false;
            self.next_epoch = self.next_epoch.saturating_add(1);
            let stop = CancellationToken::new();
            model.load = Some(Load { stop: stop.clone(), begun: Instant::now(), fraction: 0.0 });
            info!(model = model.runnable.name, "model loads");
            let (spec, place) = (model.runnable.spec.clone(), (id, model.epoch));
            let factory = Arc::clone(&self.factory);
            tokio::spawn(report::load(factory, spec, stop, place, self.reports.clone()));
        }
    }

    pub(super) fn progress(&mut self, id: Digest, epoch: u64, fraction: f32) {
        let Some(model) = self.models.get_mut(&id).filter(|model| model.epoch == epoch) else {
            return;
        };
        let Some(load) = &mut model.load else { return };
        load.fraction = fraction;
        for job in model.waiting.order() {
            if let Some(job) = self.jobs.get(&job) {
                job.events.send(Ok(Event::Loading { fraction }));
            }
        }
    }

    pub(super) fn loaded(
        &mut self,
        id: Digest,
        epoch: u64,
        result: Option<Result<Arc<dyn Engine>>>,
    ) {
        let Some(model) = self.models.get_mut(&id).filter(|model| model.epoch == epoch) else {
            return;
        };
        let Some(load) = model.load.take() else { return };
        let (name, begun) = (model.runnable.name.clone(), load.begun);
        match result {
            None => self.departed(id),
            Some(Err(error)) => {
                warn!(model = name, %error, cause = error.cause, "model could not be loaded");
                if matches!(error.kind, ErrorKind::EngineCrashed | ErrorKind::LoadCrashed) {
                    self.residency.died(id, &error.message);
                }
                self.fail_waiting(id, &error);
                self.departed(id);
            }
            Some(Ok(engine)) if load.stop.is_cancelled() => {
                // Nobody wanted it any more when it was just done.
                tokio::spawn(report::unload(engine, (id, epoch), self.reports.clone()));
            }
            Some(Ok(engine)) => {
                let load_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                info!(model = name, load_ms, pid = engine.pid(), "model is loaded");
                let exited = report::watch_exit(engine.exited(), (id, epoch), self.reports.clone());
                tokio::spawn(exited);
                for job in model.waiting.order() {
                    if let Some(job) = self.jobs.get(&job) {
                        job.times.loaded(begun);
                    }
                }
                model.engine = Some(engine);
                self.residency.ready(id, Instant::now().into_std());
                self.tell_loaded(id);
                self.prepare_waiting(id);
                self.settle(id);
            }
        }
    }

    /// Begins to unload a model, or cancels its load.
    pub(super) fn begin_unload(&mut self, id: Digest) {
        let Some(model) = self.models.get_mut(&id) else { return };
        // Whoever wants it next says how long anew.
        model.keep_alive = None;
        if let Some(load) = &model.load {
            load.stop.cancel();
            self.residency.unloading(id);
        } else if let Some(engine) = model.engine.take() {
            info!(model = model.runnable.name, "model unloads");
            self.residency.unloading(id);
            let place = (id, model.epoch);
            tokio::spawn(report::unload(engine, place, self.reports.clone()));
        } else if self.residency.phase(id) != Some(Phase::Unloading) {
            self.departed(id);
        }
    }

    pub(super) fn unloaded(&mut self, id: Digest, epoch: u64) {
        if self.models.get(&id).is_some_and(|model| model.epoch == epoch) {
            self.departed(id);
        }
    }

    pub(super) fn exited(&mut self, id: Digest, epoch: u64, exit: Exit) {
        if self.models.get(&id).is_some_and(|model| model.epoch == epoch) {
            self.bury(id, exit);
        }
    }

    /// Finds out about a death before its report comes.
    pub(super) fn bury_if_dead(&mut self, id: Digest) {
        let engine = self.models.get(&id).and_then(|model| model.engine.as_ref());
        let exit = engine.and_then(|engine| engine.exited().borrow().clone());
        if let Some(exit) = exit {
            self.bury(id, exit);
        }
    }

    /// An engine died. Those who wait start anew with the next one.
    fn bury(&mut self, id: Digest, exit: Exit) {
        let Some(model) = self.models.get_mut(&id) else { return };
        if model.engine.take().is_none() {
            return;
        }
        model.waiting.unprepare_all();
        model.waiting.release_all();
        let jobs = &self.jobs;
        let running = model.running.keys().filter_map(|job| jobs.get(job));
        let answering = |stage: &Stage| match stage {
            Stage::Running { attempt, .. } => attempt.answered(),
            _ => false,
        };
        if model.answered || running.map(|job| &job.stage).any(answering) {
            self.residency.forgive(id);
        } else if !exit.requested {
            self.residency.died(id, &exit.error.message);
        }
        for job_id in model.waiting.order() {
            let Some(job) = self.jobs.get_mut(&job_id) else { continue };
            let was = std::mem::replace(&mut job.stage, Stage::Waiting);
            // It may be what the engine died of.
            if matches!(was, Stage::Preparing { .. }) && std::mem::replace(&mut job.replayed, true)
            {
                self.end(job_id, Some(exit.error.clone()));
            }
        }
        self.departed(id);
    }

    /// A model's memory is free. Whoever wants it still starts its next load.
    fn departed(&mut self, id: Digest) {
        self.residency.gone(id);
        if let Some(model) = self.models.get_mut(&id) {
            model.load = None;
            model.engine = None;
            // What the engine held went with it.
            model.waiting.unprepare_all();
            model.waiting.release_all();
            for gone in model.leaving.drain(..) {
                let _ = gone.send(());
            }
        }
        self.want(id);
        self.start_loads();
        self.settle(id);
    }

    /// After every change of a model: starts who can start, tells who waits, and lets go of what
    /// nobody wants.
    pub(super) fn settle(&mut self, id: Digest) {
        self.pump(id);
        self.tell_positions(id);
        let Some(model) = self.models.get(&id) else { return };
        let live = model.live();
        self.residency.set_live(id, live, Instant::now().into_std());
        if live > 0 {
            return;
        }
        match self.residency.phase(id) {
            None => drop(self.models.remove(&id)),
            Some(Phase::WaitsForRoom | Phase::Loading) => self.begin_unload(id),
            Some(Phase::Ready) if self.draining.is_some() => self.begin_unload(id),
            Some(Phase::Ready | Phase::Unloading) => {}
        }
    }

    /// When some busy model's requests will be done, by the measured rates.
    fn memory_free_after(&self) -> Duration {
        let busy = self.models.iter().filter(|(_, model)| model.live() > 0);
        let waits = busy.map(|(id, model)| retry_after(model, self.rates.get(id), model.live()));
        waits.min().unwrap_or(Duration::from_secs(5))
    }
}
