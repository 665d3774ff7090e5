use std::time::Duration;

use crate::domain::{Delta, Error, FinishReason, Outcome};

/// What the engine answers to one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// The answer, one `Delta` each.
    pub pieces: Vec<String>,
    /// What follows the pieces: any deltas, an answer for each choice. Where a request wants more
    /// choices than there are answers, these are said again from the first one on.
    pub answers: Vec<Vec<Delta>>,
    /// Said instead of an answer: one vector for each input, or a score.
    pub vectors: Vec<Vec<f32>>,
    /// How it ends.
    pub finish: FinishReason,
    /// How the choices end, by their number, those that do not end as `finish` says.
    pub finishes: Vec<FinishReason>,
    /// The counts and times at the end, instead of what was played.
    pub outcome: Option<Outcome>,
    /// Tokens that the prompt counts for.
    pub prompt_tokens: u32,
    /// How many of them the prefix cache saves.
    pub cached_tokens: u32,
    /// What questions about the prompt's tokens are answered; none: `prompt_tokens` without bytes.
    pub tokens: Vec<(i32, Vec<u8>)>,
    /// What `prepare` answers instead of a count.
    pub prepare_error: Option<Error>,
    /// Time before each piece; zero: none. With tokio's clock, so paused time works.
    pub piece_delay: Duration,
    /// The request fails with this error after so many pieces.
    pub fail_after: Option<(usize, Error)>,
    /// The engine dies after so many pieces of this answer; 0: right after `Started`.
    pub crash_after: Option<usize>,
    /// `Started` is all that ever comes, until the job is cancelled.
    pub hang: bool,
}

impl Script {
    /// These pieces, then a normal end. The prompt counts for 5 tokens, none of them cached.
    pub fn answering<I: IntoIterator<Item = S>, S: Into<String>>(pieces: I) -> Self {
        Self {
            pieces: pieces.into_iter().map(Into::into).collect(),
            answers: Vec::new(),
            vectors: Vec::new(),
            finish: FinishReason::Stop,
            finishes: Vec::new(),
            outcome: None,
            prompt_tokens: 5,
            cached_tokens: 0,
            tokens: Vec::new(),
            prepare_error: None,
            piece_delay: Duration::ZERO,
            fail_after: None,
            crash_after: None,
            hang: false,
        }
    }

    /// These deltas in every choice, then a normal end.
    pub fn deltas(deltas: impl IntoIterator<Item = Delta>) -> Self {
        Self::choices([deltas.into_iter().collect()])
    }

    /// Other deltas in each choice, said in turn.
    pub fn choices(answers: impl IntoIterator<Item = Vec<Delta>>) -> Self {
        Self { answers: answers.into_iter().collect(), ..Self::default() }
    }

    /// These vectors, one for each input.
    pub fn vectors(vectors: impl IntoIterator<Item = Vec<f32>>) -> Self {
        Self { vectors: vectors.into_iter().collect(), ..Self::default() }
    }

    /// The same with another end.
    #[must_use]
    pub fn ending(self, finish: FinishReason) -> Self {
        Self { finish, ..self }
    }
}

impl Default for Script {
    /// An empty answer.
    fn default() -> Self {
        Self::answering::<[String; 0], _>([])
    }
}
