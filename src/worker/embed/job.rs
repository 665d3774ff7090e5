use std::time::Instant;

use crate::domain::{JobId, Outcome, Timings, Usage};
use crate::worker::compute::Token;

/// One request: its inputs, and how far they are.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) inputs: Vec<Vec<Token>>,
    /// The input that is computed next.
    pub(super) next: usize,
    /// How much of that input earlier batches have computed.
    pub(super) done: usize,
    /// When its first batch began; its reader knows.
    pub(super) began: Option<Instant>,
}

/// A part of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Which job, by its place in the loop's list.
    pub(super) job: usize,
    /// Which of its inputs.
    pub(super) input: usize,
    /// From which token on.
    pub(super) from: usize,
    /// How many.
    pub(super) tokens: usize,
}

impl Job {
    pub(super) fn new(id: JobId, inputs: Vec<Vec<Token>>) -> Self {
        Self { id, inputs, next: 0, done: 0, began: None }
    }

    pub(super) fn is_done(&self) -> bool {
        self.next >= self.inputs.len()
    }

    /// Tokens of all inputs.
    pub(super) fn tokens(&self) -> u32 {
        let tokens = self.inputs.iter().map(Vec::len).sum::<usize>();
        u32::try_from(tokens).unwrap_or(u32::MAX)
    }

    /// The counts and times of a request that ends now.
    pub(super) fn outcome(&self, now: Instant) -> Outcome {
        let took = self
            .began
            .map_or(0.0, |began| now.saturating_duration_since(began).as_secs_f64() * 1000.0);
        Outcome {
            usage: Usage { prompt_tokens: self.tokens(), ..Usage::default() },
            timings: Timings { prompt_ms: took, ..Timings::default() },
        }
    }
}
