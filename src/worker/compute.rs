//! The seam between the step loop and llama.cpp: all that the loop may ask of a context.
//!
//! `llama` implements it with bounds checks before every foreign call; tests of the step loop
//! implement it with a table of next tokens.

/// A token id of the model's vocabulary; valid ones are `0..vocab_size`.
pub type Token = i32;

/// A sequence id, `0..max_sequences`.
pub type SeqId = u32;

/// One token of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchToken {
    /// Which token.
    pub token: Token,
    /// Its position in its sequence, from 0, without gaps.
    pub pos: u32,
    /// Its sequence.
    pub seq: SeqId,
    /// Whether the logits after it are wanted.
    pub logits: bool,
}

/// What a context can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComputeLimits {
    /// KV cells shared by all sequences.
    pub cells: u32,
    /// Tokens in one batch.
    pub max_batch: usize,
    /// Sequence ids that may be used.
    pub max_sequences: u32,
    /// Tokens in the vocabulary: the length of a logits row.
    pub vocab_size: usize,
    /// Whether a sequence can be cut back to any earlier position and a prefix shared between
    /// sequences. False for recurrent and sliding-window models: there a sequence is reused only
    /// whole, when the new prompt goes on exactly where it ended.
    pub can_rewind: bool,
}

/// Why a batch was not computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No room among the KV cells; nothing has changed.
    #[error("no free KV cells for a batch of {tokens} tokens")]
    NoCells {
        /// Size of the batch.
        tokens: usize,
    },
    /// The abort flag was set. Positions of this batch that were computed already may remain: cut
    /// the sequences back to where they were.
    #[error("aborted")]
    Aborted,
    /// The batch is not valid (token, position or sequence out of range); nothing has changed.
    #[error("invalid batch: {0}")]
    Invalid(String),
    /// llama.cpp failed; the context cannot be trusted any more.
    #[error("llama_decode failed: {0}")]
    Fatal(String),
}

/// One llama.cpp context.
pub trait Compute {
    /// What it can do; constant.
    fn limits(&self) -> ComputeLimits;

    /// Computes a batch, not empty and at most `max_batch` long.
    fn decode(&mut self, batch: &[BatchToken]) -> Result<(), DecodeError>;

    /// The logits row after the batch's token at `index`, which asked for it. Valid until the next
    /// `decode`. Empty if there is none.
    fn logits(&mut self, index: usize) -> &[f32];

    /// Removes the positions `from..` of a sequence; false if the model cannot (then nothing
    /// changed). `from` 0 always works.
    fn truncate(&mut self, seq: SeqId, from: u32) -> bool;

    /// Makes `to` (empty before) share the first `len` positions of `from`; costs no cells.
    fn share_prefix(&mut self, from: SeqId, to: SeqId, len: u32);
}

/// What the step loop needs of the vocabulary.
pub trait Vocab: Send + Sync {
    /// Whether the token ends a generation (EOS, EOT, …).
    fn is_end(&self, token: Token) -> bool;

    /// Appends the token's bytes: not necessarily whole UTF-8, nothing for control tokens.
    fn piece(&self, token: Token, out: &mut Vec<u8>);
}
