use std::time::Instant;

use crate::domain::{Error, ErrorKind, FinishReason, TokenLogprob};
use crate::worker::compute::{Compute, Token, Vocab};
use crate::worker::sampling::{Scratch, logprobs};

use super::StepLoop;
use super::job::Job;

/// What answers say once their tokens are computed.
impl<C: Compute> StepLoop<C> {
    /// Chooses what follows a job's tokens, from the logits at `index` of the batch. A request for
    /// several answers becomes several jobs here, each of which draws from the same logits; the new
    /// ones wait for a sequence like any other job, and find their prompt computed.
    pub(super) fn choose(&mut self, at: usize, index: usize) {
        let now = self.now();
        let forked = self.jobs.len();
        let Some(job) = self.jobs.get_mut(at) else { return };
        job.prefilled(now);
        if job.further > 0
            && let Err(reason) = self.fork(at, now)
        {
            self.jobs.truncate(forked);
            let message = format!(
                "several answers cannot have this constraint: {reason}. Ask for one at a time"
            );
            return self.fail(at, Error::unsupported("n", message));
        }
        let row = self.compute.logits(index);
        let mut voice = Voice {
            vocab: &*self.vocab,
            end_tokens: &self.end_tokens,
            capacity: self.slots.cells().capacity(),
            piece: &mut self.piece,
            scratch: &mut self.scratch,
        };
        for at in std::iter::once(at).chain(forked..self.jobs.len()) {
            let Some(job) = self.jobs.get_mut(at) else { continue };
            match voice.next(job, row) {
                Ok(None) => job.speak(&mut self.events),
                Ok(Some(reason)) => self.ends.push((at, Ok(reason))),
                Err(error) => self.ends.push((at, Err(error))),
            }
        }
        for at in std::iter::once(at).chain(forked..self.jobs.len()) {
            if self.jobs.get_mut(at).is_some_and(Job::take_shifted) {
                self.recompute(at);
            }
        }
        let mut ends = std::mem::take(&mut self.ends);
        for (at, end) in ends.drain(..) {
            match end {
                Ok(reason) => self.finish(at, reason),
                Err(error) => self.fail(at, error),
            }
        }
        self.ends = ends;
    }

    /// Keeps the probabilities that the logits after these tokens of a job give to those behind
    /// them. The first of them is at `index` of the batch.
    pub(super) fn score(&mut self, at: usize, tokens: std::ops::Range<usize>, index: usize) {
        let Some(job) = self.jobs.get_mut(at) else { return };
        let Some(top) = job.logprobs else { return };
        for (index, at) in (index..).zip(tokens) {
            if let Some(token) = job.to_score(at) {
                let row = self.compute.logits(index);
                job.score(score(row, token, top, &*self.vocab, &mut self.scratch));
            }
        }
    }

    fn fork(&mut self, at: usize, now: Instant) -> Result<(), String> {
        let Some(job) = self.jobs.get_mut(at) else { return Ok(()) };
        let further = std::mem::take(&mut job.further);
        for choice in 1..=further {
            let Some(job) = self.jobs.get(at) else { continue };
            let fork = job.fork(choice, now)?;
            self.jobs.push(fork);
        }
        Ok(())
    }
}

/// What an answer needs to go on.
struct Voice<'a> {
    vocab: &'a dyn Vocab,
    end_tokens: &'a [Token],
    /// The most tokens of a sequence.
    capacity: usize,
    piece: &'a mut Vec<u8>,
    scratch: &'a mut Scratch,
}

impl Voice<'_> {
    /// Says what came without sampling, then the next token, chosen from `row`. Answers why the
    /// answer ends, if it does.
    fn next(&mut self, job: &mut Job, row: &[f32]) -> Result<Option<FinishReason>, Error> {
        job.echo(|token, piece| self.vocab.piece(token, piece));
        if job.is_prompt_only() {
            return Ok(Some(job.close(FinishReason::Length)));
        }
        while let Some((token, score)) = job.untold() {
            job.sampler.accept(token);
            self.piece.clear();
            self.vocab.piece(token, self.piece);
            if let Some(reason) = job.say(token, self.piece, score, self.capacity) {
                return Ok(Some(reason));
            }
        }
        if job.end_thought(self.capacity).map_err(broken)? {
            // The logits for the first of what comes now are here; those for the rest follow.
            if let (Some(top), Some(token)) = (job.logprobs, job.unscored()) {
                job.score(score(row, token, top, self.vocab, self.scratch));
            }
            return Ok(None);
        }
        let Some(token) = self.sample(job, row)? else { return Ok(Some(job.say_end())) };
        let score = job.logprobs.map(|top| score(row, token, top, self.vocab, self.scratch));
        self.piece.clear();
        self.vocab.piece(token, self.piece);
        if let Some(reason) = job.say(token, self.piece, score, self.capacity) {
            return Ok(Some(reason));
        }
        job.end_thought(self.capacity).map_err(broken)?;
        Ok(None)
    }

    /// The next token; `None`: the end.
    fn sample(&mut self, job: &mut Job, row: &[f32]) -> Result<Option<Token>, Error> {
        let masked = if job.ignore_end { self.end_tokens } else { &[] };
        let Some(constraint) = &mut job.constraint else {
            return match job.sampler.sample(row, masked, self.scratch) {
                Some(token) => Ok(Some(token).filter(|token| !self.is_end(*token))),
                None => Err(no_number(job, row)),
            };
        };
        let constraint = constraint.as_mut();
        let token = job
            .sampler
            .sample_allowed(row, masked, constraint, self.scratch)
            .map_err(broken)?
            .filter(|token| !self.is_end(*token));
        if let Some(token) = token {
            constraint.accept(token).map_err(broken)?;
            return Ok(Some(token));
        }
        // An end was chosen, or nothing was left: then it has to be allowed to end here.
        for end in self.end_tokens {
            if constraint.allows(*end).map_err(broken)? {
                return Ok(None);
            }
        }
        let message = "the answer came to a point where what it has to look like allows neither \
                       another token of this model nor its end: loosen the schema, grammar or bias";
        Err(Error::new(ErrorKind::InvalidValue, message))
    }

    fn is_end(&self, token: Token) -> bool {
        self.end_tokens.binary_search(&token).is_ok()
    }
}

fn no_number(job: &Job, row: &[f32]) -> Error {
    if row.iter().any(|logit| *logit > f32::NEG_INFINITY) {
        return Error::invalid("logit_bias", "the biases leave no token: forbid fewer of them");
    }
    Error::internal(format!("{}: {} logits, none of them a number", job.id, row.len()))
}

fn broken(reason: String) -> Error {
    let message = format!(
        "what the answer has to look like could not be held up: {reason}. Simplify the schema or \
         grammar"
    );
    Error::new(ErrorKind::InvalidValue, message)
}

fn score(
    row: &[f32],
    token: Token,
    top: usize,
    vocab: &dyn Vocab,
    scratch: &mut Scratch,
) -> TokenLogprob {
    let bytes = |token: Token| {
        let mut bytes = Vec::new();
        vocab.piece(token, &mut bytes);
        bytes
    };
    let found = logprobs(row, token, top, scratch);
    let top = found.top.into_iter().map(|(token, value)| (token, bytes(token), value)).collect();
    TokenLogprob { token, bytes: bytes(token), logprob: Some(found.token), top }
}
