use std::time::Duration;

use crate::domain::{Error, FinishReason};

/// What the engine answers to one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// The answer, one `Delta` each.
    pub pieces: Vec<String>,
    /// How it ends.
    pub finish: FinishReason,
    /// Tokens that the prompt counts for.
    pub prompt_tokens: u32,
    /// How many of them the prefix cache saves.
    pub cached_tokens: u32,
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
            finish: FinishReason::Stop,
            prompt_tokens: 5,
            cached_tokens: 0,
            prepare_error: None,
            piece_delay: Duration::ZERO,
            fail_after: None,
            crash_after: None,
            hang: false,
        }
    }
}

impl Default for Script {
    /// An empty answer.
    fn default() -> Self {
        Self::answering::<[String; 0], _>([])
    }
}
