use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use llama_cpp_sys_2 as sys;

use super::context::{
    Context, ContextError, ContextSettings, MAX_CELLS, MAX_SEQUENCES, default_params,
};
use super::model::Model;
use super::shim;
use crate::gguf;
use crate::protocol::Purpose;
use crate::worker::compute::{BatchToken, Compute, DecodeError, SeqId};
use crate::worker::embed::{Pool, PoolLimits};

/// A context that turns each sequence into one vector or one score. Belongs to the thread that made
/// it.
pub struct PooledContext {
    context: Context,
    limits: PoolLimits,
    /// Values that llama.cpp has for a sequence; of a reranker's only the first is shown.
    row: usize,
    /// The row holds probabilities of "yes" and "no", as llama.cpp makes them for such models.
    yes_or_no: bool,
    score: [f32; 1],
    has_memory: bool,
}

impl PooledContext {
    /// Makes a context for inputs of at most `settings.cells` tokens and what the model was trained
    /// for. A raised `abort` ends the decode that is running (on the CPU).
    ///
    /// # Errors
    /// [`ContextError`]; `NoPooling` and `OtherPooling` for models that are not for `purpose`.
    pub fn new(
        model: Arc<Model>,
        settings: ContextSettings,
        purpose: Purpose,
        abort: Arc<AtomicBool>,
    ) -> Result<Self, ContextError> {
        let architecture = model.metadata("general.architecture").unwrap_or_default();
        let chunks = gguf::pools_in_chunks(&architecture, |key| model.metadata(key));
        // Positions beyond this have no embedding, and llama.cpp aborts where they are learned.
        let longest = settings.cells.min(model.train_context()).clamp(1, MAX_CELLS);
        let batch = if chunks { gguf::POOLED_CHUNK } else { longest.max(gguf::POOLED_CHUNK) };
        let mut params = default_params(settings.threads);
        params.n_ctx = longest.max(batch);
        params.n_batch = batch;
        // What is not causal has to be computed in one piece.
        params.n_ubatch = batch;
        params.n_seq_max = settings.sequences.clamp(1, MAX_SEQUENCES);
        params.n_outputs_max = batch;
        params.embeddings = true;
        let context = Context::with_params(Arc::clone(&model), params, abort)?;
        let has_memory = context.has_memory();
        // SAFETY: the context lives.
        let pooling = unsafe { sys::llama_pooling_type(context.raw.as_ptr()) };
        let scores = pooling == sys::LLAMA_POOLING_TYPE_RANK;
        if matches!(pooling, sys::LLAMA_POOLING_TYPE_NONE | sys::LLAMA_POOLING_TYPE_UNSPECIFIED) {
            return Err(ContextError::NoPooling);
        }
        if scores != (purpose == Purpose::Rerank) {
            return Err(ContextError::OtherPooling);
        }
        let row = if scores { model.score_width() } else { model.embedding_width() };
        if row == 0 {
            return Err(ContextError::NoPooling);
        }
        let inner = context.limits();
        let max_batch = inner.max_batch;
        let limits = PoolLimits {
            // An encoder forgets what was before the batch.
            longest: if has_memory { longest } else { longest.min(batch) },
            max_batch,
            max_sequences: inner.max_sequences,
            vocab_size: inner.vocab_size,
            width: if scores { 1 } else { row },
        };
        let yes_or_no = scores && row == 2 && architecture.starts_with("qwen3");
        Ok(Self { context, limits, row, yes_or_no, score: [0.0], has_memory })
    }
}

impl Pool for PooledContext {
    fn limits(&self) -> PoolLimits {
        self.limits
    }

    fn decode(&mut self, batch: &[BatchToken]) -> Result<(), DecodeError> {
        if let Some(item) = batch.iter().find(|item| item.pos >= self.limits.longest) {
            let what = format!("position {} is not below {}", item.pos, self.limits.longest);
            return Err(DecodeError::Invalid(what));
        }
        self.context.decode(batch)
    }

    fn vector(&mut self, seq: SeqId) -> &[f32] {
        let Ok(id) = i32::try_from(seq) else { return &[] };
        // SAFETY: the context lives; an unknown sequence is answered with null.
        let row = unsafe { shim::modeld_pooled(self.context.raw.as_ptr(), id) };
        if row.is_null() {
            return &[];
        }
        // SAFETY: a pooled row has `row` floats (as many as `new` asked the model for) and stays
        // until the next decode, which needs `&mut self`.
        let values = unsafe { std::slice::from_raw_parts(row, self.row) };
        if let (true, [yes, no]) = (self.yes_or_no, values) {
            // The logit that those of other rerankers are.
            self.score = [logit(*yes, *no)];
            return &self.score;
        }
        values.get(..self.limits.width).unwrap_or_default()
    }

    fn clear(&mut self) {
        if self.has_memory {
            // SAFETY: the context lives and has memory. An exception leaves cells behind, which the
            // next decode would run out of and say so.
            let _ = unsafe { shim::modeld_memory_clear(self.context.raw.as_ptr()) };
        }
    }
}

/// The logarithm of how much likelier `yes` is than `no`; bounded where one of them is nothing.
fn logit(yes: f32, no: f32) -> f32 {
    let ln = |probability: f32| probability.max(f32::MIN_POSITIVE).ln();
    if yes.is_nan() || no.is_nan() { f32::NAN } else { ln(yes) - ln(no) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logit_gives_back_its_probability_and_is_never_infinite() {
        for yes in [0.001f32, 0.25, 0.5, 0.9] {
            let back = 1.0 / (1.0 + (-logit(yes, 1.0 - yes)).exp());
            assert!((back - yes).abs() < 1e-5, "{yes} {back}");
        }
        assert!(logit(1.0, 0.0).is_finite() && logit(0.0, 1.0).is_finite());
        assert!(logit(f32::NAN, 0.0).is_nan(), "it must not become a number on the way");
    }
}
