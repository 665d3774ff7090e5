use crate::worker::compute::{BatchToken, DecodeError, SeqId};

/// What a pooling context can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Tokens of one input. One that is longer than `max_batch` is computed piece by piece.
    pub longest: u32,
    /// Tokens in one batch.
    pub max_batch: usize,
    /// Sequence ids that may be used.
    pub max_sequences: u32,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Values of a vector; 1 for scores.
    pub width: usize,
}

/// One context that turns sequences into vectors.
pub trait Pool {
    /// What it can do; constant.
    fn limits(&self) -> PoolLimits;

    /// Computes a batch, not empty and at most `max_batch` long. Sequences begin at position 0 or go
    /// on where the last batch left them.
    fn decode(&mut self, batch: &[BatchToken]) -> Result<(), DecodeError>;

    /// The vector of a sequence of the last batch, up to its last token. Valid until the next
    /// `decode`. Empty if there is none.
    fn vector(&mut self, seq: SeqId) -> &[f32];

    /// Forgets every sequence.
    fn clear(&mut self);
}
