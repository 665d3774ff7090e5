use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use super::job::{Job, Part};
use super::{Pool, PoolLimits};
use crate::domain::{Error, ErrorKind, Event, JobId};
use crate::protocol::ToDaemon;
use crate::worker::cancel::CancelBoard;
use crate::worker::compute::{BatchToken, DecodeError, SeqId, Token};
use crate::worker::step::{FrameSink, Heartbeat, StepCommand, StepSettings, Vitals};

/// How many jobs that were cancelled before their prompt came are remembered.
const CANCELLED_EARLY: usize = 4096;

/// Tokens of several inputs that share a batch: more of them gain nothing, because every token
/// of a batch is compared with every other one, of other inputs too.
const SHARED_BATCH: usize = 512;

/// The loop of one pooling context. One thread runs it until its commands end.
pub struct EmbedLoop<P: Pool> {
    pool: P,
    limits: PoolLimits,
    settings: StepSettings,
    board: Arc<CancelBoard>,
    out: Arc<dyn FrameSink>,
    prepared: HashMap<JobId, Vec<Vec<Token>>>,
    cancelled_early: VecDeque<JobId>,
    /// Started jobs; the first one's turn it is.
    jobs: VecDeque<Job>,
    /// The job whose input is half computed: its state is in the context.
    unfinished: Option<JobId>,
    /// What this batch says, in order.
    events: Vec<(JobId, Event)>,
    failed: Vec<(JobId, Error)>,
    batch: Vec<BatchToken>,
    batches: u64,
    vitals: Arc<Vitals>,
}

impl<P: Pool> EmbedLoop<P> {
    /// A loop over `pool`, whose frames go to `out`.
    pub fn new(
        pool: P,
        settings: StepSettings,
        board: Arc<CancelBoard>,
        out: Arc<dyn FrameSink>,
    ) -> Self {
        Self {
            limits: pool.limits(),
            pool,
            settings,
            board,
            out,
            prepared: HashMap::new(),
            cancelled_early: VecDeque::new(),
            jobs: VecDeque::new(),
            unfinished: None,
            events: Vec::new(),
            failed: Vec::new(),
            batch: Vec::new(),
            batches: 0,
            vitals: Arc::default(),
        }
    }

    /// Works until `commands` has no sender left.
    ///
    /// # Errors
    /// What llama.cpp said when the context can be used no more. The jobs have been told nothing:
    /// the daemon does that, once the process is gone, and tries them again.
    pub fn run(mut self, commands: Receiver<StepCommand>) -> Result<(), String> {
        let (vitals, out) = (Arc::clone(&self.vitals), Arc::clone(&self.out));
        let _heartbeat = Heartbeat::start(vitals, out, self.settings.alive_interval)
            .map_err(|error| format!("the heartbeat thread could not be started: {error}"))?;
        loop {
            loop {
                match commands.try_recv() {
                    Ok(command) => self.handle(command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            if !self.step()? {
                match commands.recv() {
                    Ok(command) => self.handle(command),
                    Err(_) => return Ok(()),
                }
            }
        }
    }

    pub(super) fn handle(&mut self, command: StepCommand) {
        match command {
            StepCommand::Prepared { job, prompt } => self.prepared(job, prompt.inputs),
            StepCommand::Start { job, sampling: _, limits: _, output: _ } => self.start(job),
            StepCommand::Cancel { job } => self.cancel(job),
        }
        self.show_vitals();
    }

    /// Computes one batch. False if there is nothing to do until the next command.
    pub(super) fn step(&mut self) -> Result<bool, String> {
        let parts = self.plan();
        if parts.is_empty() {
            return Ok(false);
        }
        self.begin(&parts);
        self.send();
        self.board.begin(parts.iter().filter_map(|part| Some(self.jobs.get(part.job)?.id)));
        let result = self.pool.decode(&self.batch);
        self.board.end();
        match result {
            Ok(()) => {
                self.batches = self.batches.saturating_add(1);
                self.take_in(&parts);
            }
            // Its jobs are all cancelled: the commands that say so are on their way.
            Err(DecodeError::Aborted) => self.forget_progress(&parts),
            Err(error @ (DecodeError::Invalid(_) | DecodeError::NoCells { .. })) => {
                self.fail_parts(&parts, &error);
            }
            Err(DecodeError::Fatal(cause)) => return Err(cause),
        }
        if self.unfinished.is_none() {
            self.pool.clear();
        }
        self.finish();
        self.send();
        self.show_vitals();
        Ok(true)
    }

    /// What the next batch computes: one input of each job in turn, until it is full.
    fn plan(&self) -> Vec<Part> {
        if let Some(job) = self.jobs.iter().position(|job| Some(job.id) == self.unfinished) {
            return self.piece(job).into_iter().collect();
        }
        let most = self.limits.max_batch.min(SHARED_BATCH);
        let mut parts = Vec::new();
        let mut tokens = 0usize;
        for round in 0.. {
            let mut found = false;
            for (place, job) in self.jobs.iter().enumerate() {
                let input = job.next.saturating_add(round);
                let Some(next) = job.inputs.get(input) else { continue };
                if self.board.is_cancelled(job.id) {
                    continue;
                }
                if parts.is_empty() && next.len() > self.limits.max_batch {
                    return self.piece(place).into_iter().collect();
                }
                let sum = tokens.saturating_add(next.len());
                if !parts.is_empty() && sum > most {
                    // Its inputs stay in order; others may still fit.
                    continue;
                }
                // A skipped input must not be overtaken by a later one of the same job.
                let in_order = round == 0
                    || parts.iter().any(|part: &Part| part.job == place && part.input + 1 == input);
                if !in_order {
                    continue;
                }
                parts.push(Part { job: place, input, from: 0, tokens: next.len() });
                tokens = sum;
                found = true;
                if parts.len() >= self.limits.max_sequences as usize || tokens >= most {
                    return parts;
                }
            }
            if !found {
                break;
            }
        }
        parts
    }

    /// The next piece of an input that is longer than a batch.
    fn piece(&self, place: usize) -> Option<Part> {
        let job = self.jobs.get(place)?;
        let left = job.inputs.get(job.next)?.len().saturating_sub(job.done);
        let tokens = left.min(self.limits.max_batch);
        Some(Part { job: place, input: job.next, from: job.done, tokens })
    }

    /// Fills the batch and tells the jobs that begin.
    fn begin(&mut self, parts: &[Part]) {
        let now = Instant::now();
        self.batch.clear();
        for (seq, part) in (0..).zip(parts) {
            let Some(job) = self.jobs.get_mut(part.job) else { continue };
            if job.began.is_none() {
                job.began = Some(now);
                let started = Event::Started { prompt_tokens: job.tokens(), cached_tokens: 0 };
                self.events.push((job.id, started));
            }
            let input = job.inputs.get(part.input).map(Vec::as_slice).unwrap_or_default();
            let end = part.from.saturating_add(part.tokens);
            let tokens = input.get(part.from..end).unwrap_or_default();
            self.batch.extend((part.from..).zip(tokens).map(|(pos, token)| BatchToken {
                token: *token,
                pos: u32::try_from(pos).unwrap_or(u32::MAX),
                seq,
                // A pooling context outputs every token.
                logits: true,
            }));
        }
    }

    /// After a computed batch: shows the vectors of the inputs that are complete.
    fn take_in(&mut self, parts: &[Part]) {
        self.unfinished = None;
        for (seq, part) in (0..).zip(parts) {
            let Some(job) = self.jobs.get_mut(part.job) else { continue };
            let end = part.from.saturating_add(part.tokens);
            if job.inputs.get(part.input).is_some_and(|input| end < input.len()) {
                job.done = end;
                self.unfinished = Some(job.id);
                continue;
            }
            job.done = 0;
            job.next = part.input.saturating_add(1);
            match vector(&mut self.pool, seq, self.limits.width, part.input) {
                Ok(event) => self.events.push((job.id, event)),
                Err(error) => self.failed.push((job.id, error)),
            }
        }
    }

    /// Nothing of an aborted batch counts, and the context no longer has what was before it.
    fn forget_progress(&mut self, parts: &[Part]) {
        self.unfinished = None;
        for part in parts {
            if let Some(job) = self.jobs.get_mut(part.job) {
                job.done = 0;
            }
        }
    }

    fn fail_parts(&mut self, parts: &[Part], error: &DecodeError) {
        self.unfinished = None;
        for part in parts {
            if let Some(job) = self.jobs.get(part.job)
                && !self.failed.iter().any(|(id, _)| *id == job.id)
            {
                self.failed.push((job.id, Error::internal(format!("{}: {error}", job.id))));
            }
        }
    }

    /// Lets go of the jobs that are over; the next batch begins with the next job.
    fn finish(&mut self) {
        let now = Instant::now();
        let failed = mem::take(&mut self.failed);
        // What a job said before it failed must not come after its end.
        self.events.retain(|(id, _)| !failed.iter().any(|(job, _)| job == id));
        self.jobs.retain(|job| {
            let over = failed.iter().any(|(id, _)| *id == job.id);
            if !over && job.is_done() {
                self.events.push((job.id, Event::Finished(job.outcome(now))));
            }
            !over && !job.is_done()
        });
        let mut told: Vec<JobId> = Vec::new();
        for (job, error) in failed {
            if !told.contains(&job) {
                told.push(job);
                self.out.send(ToDaemon::Failed { job, error });
            }
        }
        if !self.jobs.is_empty() && self.unfinished.is_none() {
            self.jobs.rotate_left(1);
        }
    }

    fn prepared(&mut self, job: JobId, inputs: Vec<Vec<Token>>) {
        if let Some(at) = self.cancelled_early.iter().position(|early| *early == job) {
            self.cancelled_early.remove(at);
        } else {
            self.prepared.insert(job, inputs);
        }
    }

    fn start(&mut self, id: JobId) {
        if self.jobs.iter().any(|job| job.id == id) {
            return tracing::warn!(job = %id, "started twice; the second is ignored");
        }
        let Some(inputs) = self.prepared.remove(&id) else {
            let cause = format!("{id} was started without prepared inputs");
            return self.out.send(ToDaemon::Failed { job: id, error: Error::internal(cause) });
        };
        if let Err(error) = self.check(&inputs) {
            return self.out.send(ToDaemon::Failed { job: id, error });
        }
        self.jobs.push_back(Job::new(id, inputs));
    }

    /// The prepare thread has refused what clients do wrong; this is for what it let through.
    fn check(&self, inputs: &[Vec<Token>]) -> Result<(), Error> {
        if inputs.is_empty() {
            return Err(Error::internal("a text was sent to a model that makes vectors"));
        }
        let longest = self.limits.longest as usize;
        let known = |token: &Token| {
            usize::try_from(*token).is_ok_and(|token| token < self.limits.vocab_size)
        };
        let fits = |input: &Vec<Token>| {
            !input.is_empty() && input.len() <= longest && input.iter().all(known)
        };
        match inputs.iter().position(|input| !fits(input)) {
            Some(at) => Err(Error::internal(format!("input {at} cannot be computed"))),
            None => Ok(()),
        }
    }

    fn cancel(&mut self, id: JobId) {
        self.board.forget(id);
        let unprepared = self.prepared.remove(&id).is_none();
        if let Some(at) = self.jobs.iter().position(|job| job.id == id) {
            self.jobs.remove(at);
            if self.unfinished == Some(id) {
                self.unfinished = None;
                self.pool.clear();
            }
        } else if unprepared {
            // Its inputs may still be on their way from the tokenizer.
            if self.cancelled_early.len() >= CANCELLED_EARLY {
                self.cancelled_early.pop_front();
            }
            self.cancelled_early.push_back(id);
        }
        self.out.send(ToDaemon::Released { job: id });
    }

    fn send(&mut self) {
        if !self.events.is_empty() {
            self.out.send(ToDaemon::Events(mem::take(&mut self.events)));
        }
    }

    fn show_vitals(&self) {
        let running = u32::try_from(self.jobs.len()).unwrap_or(u32::MAX);
        self.vitals.steps.store(self.batches, Ordering::Relaxed);
        self.vitals.running.store(running, Ordering::Relaxed);
    }
}

/// The vector of a sequence, if it is one.
fn vector(pool: &mut impl Pool, seq: SeqId, width: usize, input: usize) -> Result<Event, Error> {
    let values = pool.vector(seq);
    if values.len() != width {
        let cause = format!("input {input}: {} values instead of {width}", values.len());
        return Err(Error::internal(cause));
    }
    if !values.iter().all(|value| value.is_finite()) {
        let message = format!(
            "the model's vector for input {input} holds values that are no numbers: its file is \
             damaged or its quantization too coarse, try another one"
        );
        return Err(Error::new(ErrorKind::InvalidModel, message));
    }
    let index = u32::try_from(input).unwrap_or(u32::MAX);
    Ok(Event::Vector { index, values: values.to_vec() })
}
