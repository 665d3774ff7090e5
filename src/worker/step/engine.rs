use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use crate::domain::{
    Delta, Error, Event, FinishReason, JobId, Limits, OutputOptions, Sampling, TokenLogprob,
};
use crate::protocol::ToDaemon;
use crate::worker::cancel::CancelBoard;
use crate::worker::compute::{
    BatchToken, Compute, ComputeLimits, DecodeError, PreparedPrompt, Token, Vocab,
};
use crate::worker::sampling::{Scratch, resolve};

use super::admit::{MAX_ENTRIES, check};
use super::heartbeat::{Heartbeat, Vitals};
use super::job::Job;
use super::media::MediaMap;
use super::pace::Pace;
use super::plan::Part;
use super::slots::Slots;
use super::{FrameSink, StepCommand, StepSettings};

/// How many jobs that were cancelled before their prompt came are remembered.
const CANCELLED_EARLY: usize = 4096;

/// The step loop of one context. One thread runs it until its commands end.
pub struct StepLoop<C: Compute> {
    pub(super) compute: C,
    pub(super) limits: ComputeLimits,
    pub(super) settings: StepSettings,
    pub(super) board: Arc<CancelBoard>,
    /// Started jobs, the earliest first.
    pub(super) jobs: Vec<Job>,
    pub(super) slots: Slots,
    /// A sequence was sent back for want of cells, and none has ended since: no other is let in.
    pub(super) crowded: bool,
    pub(super) pace: Pace,
    /// What this step says, in order.
    pub(super) events: Vec<(JobId, Event)>,
    pub(super) epoch: Instant,
    pub(super) vocab: Arc<dyn Vocab>,
    pub(super) end_tokens: Vec<Token>,
    /// Answers that end while others are looked at.
    pub(super) ends: Vec<(usize, Result<FinishReason, Error>)>,
    pub(super) piece: Vec<u8>,
    pub(super) scratch: Scratch,
    out: Arc<dyn FrameSink>,
    prepared: HashMap<JobId, Box<PreparedPrompt>>,
    cancelled_early: VecDeque<JobId>,
    failed: Vec<(JobId, Error)>,
    pub(super) batch: Vec<BatchToken>,
    steps: u64,
    vitals: Arc<Vitals>,
    clock: Box<dyn Fn() -> Instant>,
}

impl<C: Compute> StepLoop<C> {
    /// A loop over `compute`, whose frames go to `out`.
    pub fn new(
        compute: C,
        vocab: Arc<dyn Vocab>,
        settings: StepSettings,
        board: Arc<CancelBoard>,
        out: Arc<dyn FrameSink>,
    ) -> Self {
        Self::with_clock(compute, vocab, settings, board, out, Box::new(Instant::now))
    }

    pub(super) fn with_clock(
        compute: C,
        vocab: Arc<dyn Vocab>,
        settings: StepSettings,
        board: Arc<CancelBoard>,
        out: Arc<dyn FrameSink>,
        clock: Box<dyn Fn() -> Instant>,
    ) -> Self {
        let limits = compute.limits();
        let tokens = Token::try_from(limits.vocab_size).unwrap_or(Token::MAX);
        Self {
            end_tokens: (0..tokens).filter(|token| vocab.is_end(*token)).collect(),
            slots: Slots::new(&limits),
            crowded: false,
            pace: Pace::new(&settings, limits.max_batch),
            epoch: clock(),
            compute,
            limits,
            settings,
            board,
            vocab,
            out,
            clock,
            jobs: Vec::new(),
            events: Vec::new(),
            ends: Vec::new(),
            prepared: HashMap::new(),
            cancelled_early: VecDeque::new(),
            failed: Vec::new(),
            batch: Vec::new(),
            piece: Vec::new(),
            scratch: Scratch::default(),
            steps: 0,
            vitals: Arc::default(),
        }
    }

    /// Works until `commands` has no sender left.
    ///
    /// # Errors
    /// What llama.cpp said when the context can be used no more. The jobs have been told nothing:
    /// the daemon does that, once the process is gone, and tries again those without output.
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
            StepCommand::Prepared { job, prompt } => self.prepared(job, prompt),
            StepCommand::Start { job, sampling, limits, output } => {
                self.start(job, &sampling, limits, &output);
            }
            StepCommand::Cancel { job } => self.cancel(job),
        }
        self.show_vitals();
    }

    /// Computes one step. False if there is nothing to do until the next command.
    pub(super) fn step(&mut self) -> Result<bool, String> {
        let parts = self.plan();
        self.send_events();
        let worked = !parts.is_empty();
        let (media, tokens): (Vec<Part>, Vec<Part>) =
            parts.into_iter().partition(|part| self.is_media(part));
        let mut result = self.compute_parts(tokens);
        for part in media {
            result = result.and_then(|()| self.compute_parts(vec![part]));
        }
        self.jobs.retain(|job| !job.ended);
        self.send_events();
        for (job, error) in mem::take(&mut self.failed) {
            self.out.send(ToDaemon::Failed { job, error });
        }
        self.show_vitals();
        result.map(|()| worked)
    }

    /// Computes one batch and takes in what comes of it.
    fn compute_parts(&mut self, mut parts: Vec<Part>) -> Result<(), String> {
        // What was to be computed before these may have taken a sequence away.
        parts.retain(|part| self.jobs.get(part.job).is_some_and(|job| job.seq.is_some()));
        while !parts.is_empty() {
            self.fill_batch(&parts);
            let began = self.now();
            match self.decode(&parts) {
                Ok(()) => {
                    let took = self.now().saturating_duration_since(began);
                    self.steps = self.steps.saturating_add(1);
                    let decoding = parts.iter().filter(|part| part.decoding).count();
                    self.pace.record(decoding, self.batch.len().saturating_sub(decoding), took);
                    self.take_in(&parts);
                    break;
                }
                Err(DecodeError::NoCells { .. }) => self.make_room(&mut parts),
                Err(DecodeError::Aborted) => {
                    self.undo(&parts);
                    break;
                }
                Err(DecodeError::Invalid(cause)) => {
                    self.fail_parts(&parts, &cause);
                    break;
                }
                Err(DecodeError::Fatal(cause)) => {
                    self.abandon_all(&cause);
                    return Err(cause);
                }
            }
        }
        Ok(())
    }

    pub(super) fn now(&self) -> Instant {
        (self.clock)()
    }

    /// Ends an answer, whether it has a sequence or not; its sequence stays as an idle prefix. The
    /// last answer of a request ends that.
    pub(super) fn finish(&mut self, at: usize, reason: FinishReason) {
        let now = self.now();
        let Some(job) = self.jobs.get_mut(at).filter(|job| !job.ended) else { return };
        job.ended = true;
        job.speak(&mut self.events);
        self.events.push((job.id, Event::Ended { choice: job.choice, finish: reason }));
        if let Some(seq) = job.seq.take() {
            self.slots.retire(&mut self.compute, seq);
            self.crowded = false;
        }
        let id = job.id;
        let cost = job.cost();
        let outcome = job.outcome(now);
        match self.jobs.iter_mut().find(|other| other.id == id && !other.ended) {
            Some(other) => other.add(cost),
            None => self.events.push((id, Event::Finished(outcome))),
        }
    }

    /// Ends a request with an error; nothing of its sequences is kept.
    pub(super) fn fail(&mut self, at: usize, error: Error) {
        let Some(id) = self.jobs.get(at).filter(|job| !job.ended).map(|job| job.id) else { return };
        self.crowded = false;
        for job in self.jobs.iter_mut().filter(|job| job.id == id) {
            job.ended = true;
            if let Some(seq) = job.seq.take() {
                self.slots.clear(&mut self.compute, seq);
            }
        }
        self.failed.push((id, error));
    }

    fn prepared(&mut self, job: JobId, prompt: Box<PreparedPrompt>) {
        if let Some(at) = self.cancelled_early.iter().position(|early| *early == job) {
            self.cancelled_early.remove(at);
        } else {
            self.prepared.insert(job, prompt);
        }
    }

    fn start(&mut self, id: JobId, sampling: &Sampling, limits: Limits, output: &OutputOptions) {
        if self.jobs.iter().any(|job| job.id == id) {
            return tracing::warn!(job = %id, "started twice; the second is ignored");
        }
        let Some(mut prompt) = self.prepared.remove(&id) else {
            let cause = format!("{id} was started without a prepared prompt");
            return self.out.send(ToDaemon::Failed { job: id, error: Error::internal(cause) });
        };
        let cells = self.slots.cells().capacity();
        let vocab_size = self.limits.vocab_size;
        if let Err(error) = check(&prompt, sampling, output, cells, vocab_size) {
            return self.out.send(ToDaemon::Failed { job: id, error });
        }
        let media = std::mem::take(&mut prompt.media);
        let media = match MediaMap::new(media, &prompt.tokens) {
            Ok(media) => media,
            Err(cause) => {
                return self.out.send(ToDaemon::Failed { job: id, error: Error::internal(cause) });
            }
        };
        let params = resolve(sampling, &self.settings.defaults);
        let mut job = Job::new(id, *prompt, params, limits, output, cells, self.now());
        job.media = media;
        let cached = self.slots.best_prefix(job.reusable()).len;
        job.expected = job.tokens.len().saturating_sub(cached);
        self.jobs.push(job);
    }

    fn cancel(&mut self, id: JobId) {
        self.board.forget(id);
        let unprepared = self.prepared.remove(&id).is_none();
        self.crowded = false;
        let before = self.jobs.len();
        let (slots, compute) = (&mut self.slots, &mut self.compute);
        self.jobs.retain(|job| {
            if let Some(seq) = job.seq.filter(|_| job.id == id) {
                slots.retire(compute, seq);
            }
            job.id != id
        });
        if self.jobs.len() == before && unprepared {
            // Its prompt may still be on its way from the tokenizer.
            if self.cancelled_early.len() >= CANCELLED_EARLY {
                self.cancelled_early.pop_front();
            }
            self.cancelled_early.push_back(id);
        }
        self.out.send(ToDaemon::Released { job: id });
    }

    fn fill_batch(&mut self, parts: &[Part]) {
        self.batch.clear();
        for part in parts {
            let Some(job) = self.jobs.get(part.job) else { continue };
            let Some(seq) = job.seq else { continue };
            let start = self.slots.len(seq);
            let end = start.saturating_add(part.tokens);
            let tokens = job.tokens.get(start..end).unwrap_or_default();
            for (pos, token) in (start..).zip(tokens) {
                self.batch.push(BatchToken {
                    token: *token,
                    pos: u32::try_from(pos).unwrap_or(u32::MAX),
                    seq,
                    logits: job.wants_logits(pos),
                });
            }
        }
    }

    fn decode(&mut self, parts: &[Part]) -> Result<(), DecodeError> {
        if self.batch.len() > self.slots.cells().free() {
            return Err(DecodeError::NoCells { tokens: self.batch.len() });
        }
        self.board.begin(parts.iter().filter_map(|part| Some(self.jobs.get(part.job)?.id)));
        let result = self.decode_parts(parts);
        self.board.end();
        result
    }

    /// After a computed batch: chooses tokens where a sequence has come to its end.
    fn take_in(&mut self, parts: &[Part]) {
        let mut next = 0;
        for part in parts {
            let first = next;
            next += part.tokens;
            let Some(job) = self.jobs.get_mut(part.job) else { continue };
            let Some(seq) = job.seq else { continue };
            let start = self.slots.len(seq);
            let end = start.saturating_add(part.tokens);
            self.slots.append(seq, job.tokens.get(start..end).unwrap_or_default());
            job.last_step = self.steps;
            let is_all = end == job.tokens.len();
            self.score(part.job, start..end, first);
            if is_all {
                self.choose(part.job, next.saturating_sub(1));
            }
        }
    }

    fn send_events(&mut self) {
        if self.events.is_empty() {
            return;
        }
        let mut events = mem::take(&mut self.events);
        // Echoed prompts with their probabilities can be too much for one frame.
        while let Some(at) = full_frame(&events) {
            let rest = events.split_off(at);
            self.out.send(ToDaemon::Events(mem::replace(&mut events, rest)));
        }
        self.out.send(ToDaemon::Events(events));
    }

    fn show_vitals(&self) {
        let running = self.jobs.iter().filter(|job| job.seq.is_some()).count();
        let count = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        self.vitals.steps.store(self.steps, Ordering::Relaxed);
        self.vitals.running.store(count(running), Ordering::Relaxed);
        self.vitals.used_cells.store(count(self.slots.cells().pinned()), Ordering::Relaxed);
    }
}

/// Where to cut so much to say that it might not fit into one frame.
fn full_frame(events: &[(JobId, Event)]) -> Option<usize> {
    let mut entries = 0usize;
    let full = events.iter().position(|(_, event)| {
        if let Event::Delta { delta: Delta::Logprobs(tokens), .. } = event {
            let each = |token: &TokenLogprob| token.top.len().saturating_add(1);
            entries = entries.saturating_add(tokens.iter().map(each).sum());
        }
        entries > MAX_ENTRIES
    })?;
    (full > 0).then_some(full)
}
