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
    /// Tokens of one batch that may ask for logits; no fewer than sequences, unless the batch is
    /// shorter.
    pub max_outputs: usize,
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

/// What an answer may look like, token by token. One for each sequence; forked for each choice.
///
/// Never sees a token twice and is asked in order: what is allowed next, then what came.
pub trait TokenConstraint: Send + std::fmt::Debug {
    /// Whether `token` may come next; end tokens where the text may end.
    ///
    /// # Errors
    /// The constraint is broken and can say nothing more; the answer has to be failed.
    fn allows(&mut self, token: Token) -> Result<bool, String>;

    /// Sets the logits of all tokens that may not come next to minus infinity.
    ///
    /// # Errors
    /// As [`TokenConstraint::allows`].
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), String>;

    /// Takes in the token that was chosen; not called with an end token.
    ///
    /// # Errors
    /// As [`TokenConstraint::allows`]; also for a token that was not allowed.
    fn accept(&mut self, token: Token) -> Result<(), String>;

    /// A constraint in the same state.
    ///
    /// # Errors
    /// What is missing, in words.
    fn fork(&self) -> Result<Box<dyn TokenConstraint>, String>;
}

/// A prompt that is ready to be computed, with all that its answer depends on.
#[derive(Debug, Default)]
pub struct PreparedPrompt {
    /// All of it; the answer follows.
    pub tokens: Vec<Token>,
    /// What the answer has to look like; `None`: anything.
    pub constraint: Option<Box<dyn TokenConstraint>>,
    /// The answer begins with these, whatever the model would say; they are part of the answer and
    /// have been accepted by `constraint` already.
    pub forced: Vec<Token>,
    /// How the model marks its thoughts; `None`: it does not think, or nobody counts.
    pub thinking: Option<ThinkingMarks>,
    /// The inputs of an embedding model or reranker, instead of `tokens`.
    pub inputs: Vec<Vec<Token>>,
}

/// How thoughts begin and end in a model's output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ThinkingMarks {
    /// Whether the prompt has begun one already.
    pub open: bool,
    /// The tokens that begin one.
    pub start: Vec<Token>,
    /// The tokens that end one; the first of several ways is what is forced at the budget's end.
    pub ends: Vec<Vec<Token>>,
    /// At most so many tokens of thought.
    pub budget: Option<u32>,
}
