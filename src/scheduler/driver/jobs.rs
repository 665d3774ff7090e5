//! The way of a request: in, counted, started, over.

use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant, SystemTime};

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::domain::{
    ClientKey, Digest, Error, ErrorKind, Event, GenerateRequest, JobId, Prompt, Result,
};
use crate::engine::{Attempt, AttemptEnd, EventSender, Start, outbox};
use crate::protocol::Purpose;
use crate::scheduler::queue::{Entry, Refusal};
use crate::scheduler::rates::Rates;
use crate::scheduler::ticket::Times;
use crate::scheduler::{Generation, Submission};

use super::model::Model;
use super::{Driver, report, stopping};

/// Output that is reserved for a request and counted against its client's share, in tokens; more
/// would keep others out for what most requests never use.
const MAX_RESERVED_OUTPUT: u32 = 512;

/// Bytes of a prompt that make a token, until the model has counted.
const BYTES_PER_TOKEN: u64 = 3;

/// One request on its way.
pub(super) struct Job {
    pub(super) model: Digest,
    pub(super) request: GenerateRequest,
    pub(super) client: ClientKey,
    pub(super) deadline: Option<StdInstant>,
    pub(super) events: EventSender,
    pub(super) times: Arc<Times>,
    pub(super) stage: Stage,
    /// An engine died of it, or beside it, once already.
    pub(super) replayed: bool,
    /// The position that its reader knows.
    pub(super) told: Option<usize>,
    /// Ends the task that waits for the client to leave.
    pub(super) _watch: DropGuard,
}

pub(super) enum Stage {
    Waiting,
    Preparing { epoch: u64 },
    Prepared,
    Running { epoch: u64, attempt: Attempt, since: Instant },
}

impl Job {
    pub(super) fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running { .. })
    }

    pub(super) fn deadline_passed(&self) -> Error {
        let waited = self.times.queued().as_secs_f64();
        let message = match &self.stage {
            Stage::Running { since, .. } => format!(
                "the request's timeout passed after {waited:.1} s in the queue and {:.1} s of \
                 computing",
                since.elapsed().as_secs_f64()
            ),
            _ => format!("the request's timeout passed after {waited:.1} s in the queue"),
        };
        Error::new(ErrorKind::DeadlineExceeded, message)
    }

    fn entry(&self, job: JobId) -> Entry {
        let tokens = (self.request.prompt.text_bytes() as u64).div_ceil(BYTES_PER_TOKEN);
        let output = match self.request.prompt {
            // Vectors are no tokens.
            Prompt::Embed(_) => 0,
            _ => self.request.limits.max_tokens.unwrap_or(MAX_RESERVED_OUTPUT),
        };
        Entry {
            job,
            client: self.client.clone(),
            prompt_tokens: tokens,
            output_tokens: output.min(MAX_RESERVED_OUTPUT).into(),
            prepared: false,
            deadline: self.deadline,
        }
    }
}

impl Driver {
    pub(super) fn submit(&mut self, submission: Submission) -> Result<Generation> {
        let Submission { model: runnable, request, client, deadline, wishes } = submission;
        if self.draining.is_some() {
            return Err(stopping());
        }
        let (events, receiver) = outbox();
        let cancel = CancellationToken::new();
        let job = Job {
            model: runnable.id,
            request,
            client,
            deadline,
            events,
            times: Arc::new(Times::new()),
            stage: Stage::Waiting,
            replayed: false,
            told: None,
            _watch: cancel.clone().drop_guard(),
        };
        if deadline.is_some_and(|deadline| deadline <= Instant::now().into_std()) {
            return Err(job.deadline_passed());
        }
        let (model_id, name) = (runnable.id, runnable.name.clone());
        let id = JobId(self.next_job);
        let entry = job.entry(id);
        self.check(model_id, &entry, &name)?;
        self.enter(runnable, &wishes);
        if let Err(error) = self.admit(model_id) {
            self.settle(model_id);
            return Err(error);
        }
        let Some(model) = self.models.get_mut(&model_id) else {
            return Err(Error::internal("a model vanished while it was admitted"));
        };
        let ahead = match model.waiting.try_push(entry) {
            Ok(ahead) => ahead,
            Err(refusal) => {
                let after = retry_after(model, self.rates.get(&model_id), 1);
                self.settle(model_id);
                return Err(refusal.into_error(&name, after));
            }
        };
        let position = if ahead < model.free_sequences() { 0 } else { ahead.saturating_add(1) };
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        if let Some(load) = model.load.as_ref().filter(|load| !load.stop.is_cancelled()) {
            job.events.send(Ok(Event::Loading { fraction: load.fraction }));
        }
        let generation = Generation::new(
            receiver,
            Arc::clone(&job.times),
            position,
            cancel.clone().drop_guard(),
        );
        self.next_job = self.next_job.saturating_add(1);
        self.jobs.insert(id, job);
        self.say_keep_alive(model_id, wishes.keep_alive);
        tokio::spawn(report::watch_client(cancel, id, self.reports.clone()));
        self.prepare_waiting(model_id);
        self.settle(model_id);
        Ok(generation)
    }

    /// Whether a request may wait at all, before anything happens for it.
    fn check(&self, model_id: Digest, entry: &Entry, name: &str) -> Result<()> {
        let Some(model) = self.models.get(&model_id) else { return Ok(()) };
        let rates = self.rates.get(&model_id);
        if let Err(refusal) = model.waiting.check(entry.prompt_tokens) {
            let leaving = match refusal {
                // So many of those who wait have to be started first.
                Refusal::TokensFull { waiting, limit } => {
                    let excess = waiting.saturating_add(entry.prompt_tokens).saturating_sub(limit);
                    let count = model.waiting.len() as u64;
                    count.saturating_mul(excess).div_ceil(waiting.max(1)).clamp(1, count.max(1))
                }
                Refusal::Full { .. } | Refusal::TooLate { .. } => 1,
            };
            let leaving = usize::try_from(leaving).unwrap_or(usize::MAX);
            return Err(refusal.into_error(name, retry_after(model, rates, leaving)));
        }
        let Some((deadline, rates)) = entry.deadline.zip(rates) else { return Ok(()) };
        let ahead = model.waiting.len().saturating_add(1).saturating_sub(model.free_sequences());
        let wait = rates.wait_for(ahead, model.parallel()).unwrap_or(Duration::ZERO);
        let prefill = rates.service_of(entry.prompt_tokens, 0).unwrap_or(Duration::ZERO);
        let left = deadline.saturating_duration_since(Instant::now().into_std());
        if ahead > 0 && wait.saturating_add(prefill) > left {
            let refusal = Refusal::TooLate { wait };
            return Err(refusal.into_error(name, retry_after(model, Some(rates), ahead)));
        }
        Ok(())
    }

    /// Has the engine, if there is one, count every prompt that it has not seen yet.
    pub(super) fn prepare_waiting(&mut self, model_id: Digest) {
        let Some(model) = self.models.get(&model_id) else { return };
        let Some(engine) = &model.engine else { return };
        let epoch = model.epoch;
        for id in model.waiting.order() {
            if let Some(job) = self.jobs.get_mut(&id)
                && matches!(job.stage, Stage::Waiting)
            {
                job.stage = Stage::Preparing { epoch };
                let asked = (job.request.prompt.clone(), job.request.constraint.clone());
                let (engine, reports) = (Arc::clone(engine), self.reports.clone());
                tokio::spawn(report::prepare(engine, asked, (id, model_id, epoch), reports));
            }
        }
    }

    pub(super) fn prepared(
        &mut self,
        id: JobId,
        (model_id, epoch): (Digest, u64),
        result: Result<u32>,
    ) {
        let current = |job: &&mut Job| matches!(job.stage, Stage::Preparing { epoch: current } if current == epoch);
        let Some(job) = self.jobs.get_mut(&id).filter(current) else {
            if result.is_ok() {
                self.forget_unwanted(id, (model_id, epoch));
            }
            return;
        };
        match result {
            Ok(tokens) => {
                job.stage = Stage::Prepared;
                if let Some(model) = self.models.get_mut(&model_id) {
                    model.waiting.prepared(id, tokens.into());
                }
            }
            Err(error) if error.kind == ErrorKind::EngineCrashed => {
                self.bury_if_dead(model_id);
                // With the engine buried the request waits for the next one, or has failed.
                if self
                    .jobs
                    .get(&id)
                    .is_some_and(|job| matches!(job.stage, Stage::Preparing { .. }))
                {
                    self.end(id, Some(error));
                }
            }
            // The engine holds nothing of a prompt that it refused.
            Err(error) => self.forget(id, Some(error)),
        }
        self.settle(model_id);
    }

    /// Has the engine let go of a prompt whose client left before the engine had heard of it: that
    /// cancellation found nothing.
    fn forget_unwanted(&mut self, id: JobId, (model_id, epoch): (Digest, u64)) {
        if let Some(model) = self.models.get_mut(&model_id).filter(|model| model.epoch == epoch)
            && let Some(engine) = model.engine.clone()
        {
            model.waiting.hold();
            let reports = self.reports.clone();
            tokio::spawn(report::release(engine, id, (model_id, epoch), reports));
        }
    }

    /// Starts whoever is next while there is room.
    pub(super) fn pump(&mut self, model_id: Digest) {
        let Some(model) = self.models.get_mut(&model_id) else { return };
        let Some(engine) = model.engine.clone() else { return };
        let (epoch, context) = (model.epoch, u64::from(engine.info().context_size));
        let purpose = engine.info().purpose;
        // A dead engine's report is on its way; starting on it would waste a replay.
        while engine.exited().borrow().is_none() && model.free_sequences() > 0 {
            let Some(next) = model.waiting.peek() else { break };
            let cells = match purpose {
                Purpose::Generate => next.prompt_tokens.saturating_add(next.output_tokens),
                // Its inputs share batches with those of others and keep no cells.
                Purpose::Embed | Purpose::Rerank => 0,
            };
            let cells = cells.min(context);
            let taken = model.running.values().fold(cells, |sum, cells| sum.saturating_add(*cells));
            if taken > context && !model.running.is_empty() {
                break;
            }
            let Some(entry) = model.waiting.pop() else { break };
            let id = entry.job;
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            model.running.insert(id, cells);
            let (sender, attempt) = job.events.attempt();
            job.stage = Stage::Running { epoch, attempt: attempt.clone(), since: Instant::now() };
            job.times.started();
            let GenerateRequest { sampling, limits, output, prompt: _, constraint: _ } =
                &job.request;
            let (sampling, limits) = (sampling.clone(), limits.clone());
            engine.start(id, Start { sampling, limits, output: output.clone() }, sender);
            let reports = self.reports.clone();
            tokio::spawn(report::follow(Arc::clone(&engine), attempt, id, reports));
        }
    }

    /// Enters the ends of a model's requests whose readers have their last event, while nobody waits
    /// for the places: the engine's word that it let go of them may be on its way still, and a
    /// client that has its answer should find the model idle.
    pub(super) fn catch_up(&mut self, id: Digest) {
        let Some(model) = self.models.get(&id).filter(|model| model.waiting.is_empty()) else {
            return;
        };
        let over = model.running.keys().filter_map(|id| match &self.jobs.get(id)?.stage {
            Stage::Running { attempt, .. } => match attempt.end_so_far()? {
                end @ (AttemptEnd::Finished(_) | AttemptEnd::Failed(_)) => Some((*id, end)),
                AttemptEnd::Crashed(_) | AttemptEnd::Abandoned => None,
            },
            _ => None,
        });
        for (id, end) in over.collect::<Vec<_>>() {
            self.over(id, end);
        }
    }

    /// An attempt has ended and its engine holds nothing of it any more.
    pub(super) fn over(&mut self, id: JobId, end: AttemptEnd) {
        let Some(job) = self.jobs.get(&id) else { return };
        let model_id = job.model;
        let Stage::Running { epoch, attempt, since } = &job.stage else { return };
        let (epoch, answered, served) = (*epoch, attempt.answered(), since.elapsed());
        if let Some(model) = self.models.get_mut(&model_id) {
            model.running.remove(&id);
            model.last_used = SystemTime::now();
            // An engine that is buried has had its answers counted.
            if answered && model.epoch == epoch {
                model.answered = true;
                self.residency.forgive(model_id);
            }
        }
        match end {
            AttemptEnd::Finished(outcome) => {
                self.rates.entry(model_id).or_default().record(served, &outcome);
                self.jobs.remove(&id);
            }
            AttemptEnd::Failed(_) | AttemptEnd::Abandoned => drop(self.jobs.remove(&id)),
            AttemptEnd::Crashed(error) => {
                // First the queue: a model that nobody waits for is let go of.
                self.replay(id, error, answered);
                self.bury_if_dead(model_id);
                self.want(model_id);
            }
        }
        self.settle(model_id);
    }

    /// Tries a request once more whose engine died before its reader saw anything.
    fn replay(&mut self, id: JobId, error: Error, answered: bool) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let model_id = job.model;
        if answered || job.replayed || self.draining.is_some() || job.events.is_closed() {
            return self.forget(id, Some(error));
        }
        job.replayed = true;
        job.stage = Stage::Waiting;
        job.told = None;
        let entry = job.entry(id);
        if let Some(model) = self.models.get_mut(&model_id) {
            model.waiting.push_front(entry);
        }
    }

    /// Ends a request, wherever it is; `error` is the last thing that its reader hears. What the
    /// engine holds of it keeps its place until it has let go.
    pub(super) fn end(&mut self, id: JobId, error: Option<Error>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let model_id = job.model;
        match &job.stage {
            Stage::Running { attempt, .. } => {
                job.deadline = None;
                // The rest comes with the report that it is over.
                attempt.abandon();
                if let Some(error) = error {
                    job.events.send(Err(error));
                }
            }
            Stage::Waiting => self.forget(id, error),
            Stage::Preparing { .. } | Stage::Prepared => {
                if let Some(model) = self.models.get_mut(&model_id)
                    && let Some(engine) = model.engine.clone()
                {
                    model.waiting.hold();
                    let place = (model_id, model.epoch);
                    tokio::spawn(report::release(engine, id, place, self.reports.clone()));
                }
                self.forget(id, error);
            }
        }
        self.settle(model_id);
    }

    pub(super) fn released(&mut self, model_id: Digest, epoch: u64) {
        if let Some(model) = self.models.get_mut(&model_id).filter(|model| model.epoch == epoch) {
            model.waiting.release();
        }
        self.settle(model_id);
    }

    /// Ends every request that waits for a model, in the queue or beside it.
    pub(super) fn fail_waiting(&mut self, model_id: Digest, error: &Error) {
        let Some(model) = self.models.get_mut(&model_id) else { return };
        for waiter in model.load_waiters.drain(..) {
            waiter.fail(error.clone());
        }
        for id in model.waiting.order() {
            self.end(id, Some(error.clone()));
        }
    }

    /// Tells those who wait where they stand, where that has changed.
    pub(super) fn tell_positions(&mut self, model_id: Digest) {
        let Some(model) = self.models.get(&model_id) else { return };
        let free = model.free_sequences();
        for (position, id) in model.waiting.order().into_iter().enumerate() {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            // Who only waits for the tokenizer does not stand in a queue.
            let counting = position < free && matches!(job.stage, Stage::Preparing { .. });
            if job.told != Some(position) && !counting {
                job.told = Some(position);
                let position = u32::try_from(position).unwrap_or(u32::MAX);
                job.events.send(Ok(Event::Waiting { position }));
            }
        }
    }

    /// Drops a request that no engine holds anything of.
    fn forget(&mut self, id: JobId, error: Option<Error>) {
        let Some(job) = self.jobs.remove(&id) else { return };
        if let Some(error) = error {
            job.events.send(Err(error));
        }
        if let Some(model) = self.models.get_mut(&job.model) {
            model.waiting.remove(id);
        }
    }
}

/// When to try again if so many requests of a model have to be started first.
pub(super) fn retry_after(model: &Model, rates: Option<&Rates>, requests: usize) -> Duration {
    rates.copied().unwrap_or_default().retry_after(requests, model.parallel())
}
