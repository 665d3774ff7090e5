use std::ffi::c_void;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use llama_cpp_sys_2 as sys;

use super::logs;
use super::model::Model;
use super::shim::{self, Bytes, Status};
use crate::worker::compute::{BatchToken, Compute, ComputeLimits, DecodeError, MediaRows, SeqId};

/// Tokens in one batch: what llama.cpp takes at once.
const BATCH: u32 = 2048;
/// Tokens that go through the graph at once; an abort keeps what earlier ones computed.
const MICRO_BATCH: u32 = 512;
/// Rows of an image that can be computed at once, all looking at each other.
pub const MAX_WHOLE_ROWS: usize = MICRO_BATCH as usize;
/// llama.cpp rounds the number of cells up to a multiple of this.
const CELL_STEP: u32 = 256;
/// The most cells of a context: beyond it their bookkeeping alone exhausts memory.
pub(super) const MAX_CELLS: u32 = 1 << 22;
/// Sequence ids that llama.cpp can tell apart are 256; the rest is kept back.
pub(super) const MAX_SEQUENCES: u32 = 200;
/// Logits rows per sequence in one batch: one to sample from, the others to verify drafts.
const OUTPUTS_PER_SEQUENCE: u32 = 8;

/// How large a context is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextSettings {
    /// KV cells, shared by all sequences.
    pub cells: u32,
    /// Sequence ids.
    pub sequences: u32,
    /// Threads that compute.
    pub threads: u32,
}

/// Why there is no context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// The model remembers no earlier tokens (an embedder): it generates nothing.
    #[error("the model keeps no state between tokens")]
    NoMemoryOfTokens,
    /// The file does not say how the states of the tokens become one vector.
    #[error("the model has no pooling")]
    NoPooling,
    /// The model pools to scores where vectors were asked for, or the other way round.
    #[error("the model pools to something else")]
    OtherPooling,
    /// llama.cpp's own error lines, mostly about memory.
    #[error("{0}")]
    Llama(String),
}

/// The KV cells and compute buffers over one model. Belongs to the thread that made it.
pub struct Context {
    pub(super) raw: NonNull<sys::llama_context>,
    limits: ComputeLimits,
    batch: BatchArrays,
    /// Floats in a row that stands in the place of a token.
    row_width: usize,
    /// For each token of the last batch, whether it has a logits row; empty after a failure.
    rows: Vec<bool>,
    // llama.cpp holds pointers into both; they are dropped after `raw` is freed.
    pub(super) model: Arc<Model>,
    _abort: Arc<AtomicBool>,
}

impl Context {
    /// Makes a context. A raised `abort` ends the decode that is running (on the CPU).
    ///
    /// # Errors
    /// [`ContextError`].
    pub fn new(
        model: Arc<Model>,
        settings: ContextSettings,
        abort: Arc<AtomicBool>,
    ) -> Result<Self, ContextError> {
        let sequences = settings.sequences.clamp(1, MAX_SEQUENCES);
        let cells = settings.cells.clamp(CELL_STEP, MAX_CELLS).next_multiple_of(CELL_STEP);
        let batch = BATCH.min(cells);
        let outputs = sequences.saturating_mul(OUTPUTS_PER_SEQUENCE).min(batch);

        let mut params = default_params(settings.threads);
        params.n_ctx = cells;
        params.n_batch = batch;
        params.n_ubatch = MICRO_BATCH.min(batch);
        params.n_seq_max = sequences;
        params.n_outputs_max = outputs;
        let mut context = Self::with_params(model, params, abort)?;
        if !context.has_memory() {
            return Err(ContextError::NoMemoryOfTokens);
        }
        context.limits.max_outputs = outputs as usize;
        Ok(context)
    }

    /// Makes a context as `params` say, whose every token may be an output.
    pub(super) fn with_params(
        model: Arc<Model>,
        mut params: sys::llama_context_params,
        abort: Arc<AtomicBool>,
    ) -> Result<Self, ContextError> {
        let (batch, sequences) = (params.n_batch, params.n_seq_max);
        params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_AUTO;
        params.kv_unified = true;
        // Sliding-window layers keep all positions, so that their sequences can be cut back too.
        params.swa_full = true;
        params.no_perf = true;
        params.abort_callback = Some(is_raised);
        params.abort_callback_data = Arc::as_ptr(&abort).cast_mut().cast::<c_void>();

        logs::take_errors();
        let mut error = Bytes::empty();
        // SAFETY: the model and the flag live as long as the context (fields of `Self`, dropped
        // after it); this process makes one context per model, so nobody else changes the model.
        let raw =
            unsafe { shim::modeld_context_new(model.as_ptr().cast_mut(), params, &mut error) };
        let raw = NonNull::new(raw).ok_or_else(|| {
            let thrown = error.text();
            let thrown = if thrown.is_empty() { "no context was made" } else { &thrown };
            ContextError::Llama(logs::take_errors_or(thrown))
        })?;
        // SAFETY: `raw` is the context just made.
        let (cells, max_batch) =
            unsafe { (sys::llama_n_ctx(raw.as_ptr()), sys::llama_n_batch(raw.as_ptr())) };
        // SAFETY: the model lives.
        let row_width = unsafe { sys::llama_model_n_embd_inp(model.as_ptr()) };
        let row_width = usize::try_from(row_width).unwrap_or(0);
        let limits = ComputeLimits {
            cells,
            max_batch: max_batch.min(batch) as usize,
            max_sequences: sequences,
            max_outputs: max_batch.min(batch) as usize,
            vocab_size: usize::try_from(model.vocab_size()).unwrap_or(0),
            can_rewind: !model.is_recurrent(),
        };
        let context = Self {
            raw,
            limits,
            batch: BatchArrays::default(),
            row_width,
            rows: Vec::new(),
            model,
            _abort: abort,
        };
        context.apply_adapters()?;
        Ok(context)
    }

    /// Whether it keeps a state between batches; encoders do not.
    pub(super) fn has_memory(&self) -> bool {
        // SAFETY: the context lives.
        !unsafe { sys::llama_get_memory(self.raw.as_ptr()) }.is_null()
    }

    /// What is wrong with a batch. llama.cpp would answer some of it with an abort.
    fn check(&self, batch: &[BatchToken]) -> Result<(), DecodeError> {
        let invalid = |what: String| Err(DecodeError::Invalid(what));
        if batch.is_empty() {
            return invalid("it is empty".to_owned());
        }
        if batch.len() > self.limits.max_batch {
            return invalid(format!(
                "{} tokens are over the limit of {}",
                batch.len(),
                self.limits.max_batch
            ));
        }
        for (index, item) in batch.iter().enumerate() {
            let known = usize::try_from(item.token).is_ok_and(|id| id < self.limits.vocab_size);
            if !known {
                return invalid(format!(
                    "token {} at {index} is not in the vocabulary of {}",
                    item.token, self.limits.vocab_size
                ));
            }
            if item.seq >= self.limits.max_sequences {
                return invalid(format!(
                    "sequence {} at {index} is not below {}",
                    item.seq, self.limits.max_sequences
                ));
            }
            if item.pos >= self.limits.cells {
                return invalid(format!(
                    "position {} at {index} is beyond the {} cells",
                    item.pos, self.limits.cells
                ));
            }
        }
        let outputs = batch.iter().filter(|item| item.logits).count();
        if outputs > self.limits.max_outputs {
            return invalid(format!(
                "{outputs} tokens ask for logits, over the limit of {}",
                self.limits.max_outputs
            ));
        }
        Ok(())
    }

    /// What is wrong with rows at a place.
    fn check_rows(
        &self,
        seq: SeqId,
        first_pos: u32,
        rows: &MediaRows,
        which: &Range<usize>,
    ) -> Result<(), DecodeError> {
        let invalid = |what: String| Err(DecodeError::Invalid(what));
        let count = which.len();
        if count == 0 || which.end > rows.count {
            return invalid(format!("rows {which:?} of {}", rows.count));
        }
        if self.row_width == 0 || rows.count.checked_mul(self.row_width) != Some(rows.values.len())
        {
            return invalid(format!("{} rows of {} floats", rows.count, rows.values.len()));
        }
        let most = if rows.whole { MAX_WHOLE_ROWS } else { self.limits.max_batch };
        if count > most || (rows.whole && count != rows.count) {
            return invalid(format!("{count} of {} rows at once, {most} at most", rows.count));
        }
        if seq >= self.limits.max_sequences {
            return invalid(format!("sequence {seq} is not below {}", self.limits.max_sequences));
        }
        let end = u64::from(first_pos).saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if end > u64::from(self.limits.cells) {
            return invalid(format!("position {end} is beyond the {} cells", self.limits.cells));
        }
        Ok(())
    }

    /// What llama.cpp's answer to a batch of so many tokens means.
    fn outcome(
        status: Status,
        result: i32,
        error: &Bytes,
        tokens: usize,
    ) -> Result<(), DecodeError> {
        if status != Status::Ok {
            return Err(DecodeError::Fatal(error.text()));
        }
        match result {
            0 => Ok(()),
            1 => Err(DecodeError::NoCells { tokens }),
            2 => Err(DecodeError::Aborted),
            -1 => Err(DecodeError::Invalid(logs::take_errors_or("llama.cpp refused it"))),
            code => Err(DecodeError::Fatal(logs::take_errors_or(&format!("code {code}")))),
        }
    }

    fn is_sequence(&self, seq: SeqId) -> Option<i32> {
        i32::try_from(seq).ok().filter(|_| seq < self.limits.max_sequences)
    }
}

impl Compute for Context {
    fn limits(&self) -> ComputeLimits {
        self.limits
    }

    fn decode(&mut self, batch: &[BatchToken]) -> Result<(), DecodeError> {
        self.rows.clear();
        self.check(batch)?;
        let raw_batch = self.batch.fill(batch);
        let _decode = logs::Decode::begin();
        let mut result = 0i32;
        let mut error = Bytes::empty();
        // SAFETY: the context lives; `raw_batch` points into `self.batch`, which is not touched
        // until the call returns; sizes and ids were checked above.
        let status =
            unsafe { shim::modeld_decode(self.raw.as_ptr(), raw_batch, &mut result, &mut error) };
        Self::outcome(Status::from(status), result, &error, batch.len())?;
        self.rows.extend(batch.iter().map(|item| item.logits));
        Ok(())
    }

    fn decode_media(
        &mut self,
        seq: SeqId,
        first_pos: u32,
        rows: &MediaRows,
        which: Range<usize>,
    ) -> Result<(), DecodeError> {
        self.rows.clear();
        self.check_rows(seq, first_pos, rows, &which)?;
        let count = which.len();
        let floats = which.start * self.row_width..which.end * self.row_width;
        let values = rows.values.get(floats).unwrap_or_default();
        let raw_batch = self.batch.fill_rows(seq, first_pos, count, values);
        let _decode = logs::Decode::begin();
        let mut result = 0i32;
        let mut error = Bytes::empty();
        let call = if rows.whole { shim::modeld_decode_whole } else { shim::modeld_decode };
        // SAFETY: the context lives; `raw_batch` points into `self.batch` and `values`, which are
        // not touched until the call returns and which llama.cpp only reads; `values` has a row for
        // each position (`check_rows`), and as many rows as are looked at both ways fit into a
        // micro batch.
        let status = unsafe { call(self.raw.as_ptr(), raw_batch, &mut result, &mut error) };
        Self::outcome(Status::from(status), result, &error, count)
    }

    fn logits(&mut self, index: usize) -> &[f32] {
        if self.rows.get(index) != Some(&true) {
            return &[];
        }
        let Ok(index) = i32::try_from(index) else { return &[] };
        // SAFETY: the context lives, and the last decode gave this token a row.
        let row = unsafe { shim::modeld_logits(self.raw.as_ptr(), index) };
        if row.is_null() {
            return &[];
        }
        // SAFETY: a row has `vocab_size` floats and stays until the next decode, which needs
        // `&mut self` and so cannot happen while the slice is borrowed.
        unsafe { std::slice::from_raw_parts(row, self.limits.vocab_size) }
    }

    fn truncate(&mut self, seq: SeqId, from: u32) -> bool {
        let (Some(seq), Ok(from)) = (self.is_sequence(seq), i32::try_from(from)) else {
            return false;
        };
        let mut removed = false;
        // SAFETY: the context lives and the sequence id is in range.
        let status =
            unsafe { shim::modeld_sequence_remove(self.raw.as_ptr(), seq, from, &mut removed) };
        Status::from(status) == Status::Ok && removed
    }

    fn share_prefix(&mut self, from: SeqId, to: SeqId, len: u32) {
        let (Some(from), Some(to), Ok(len)) =
            (self.is_sequence(from), self.is_sequence(to), i32::try_from(len))
        else {
            return;
        };
        if from == to || len == 0 {
            return;
        }
        // SAFETY: the context lives, both ids are in range, and in a unified cache any range may be
        // shared. The only failure is an exception, after which the copy is incomplete; decoding
        // on top of it is then refused by llama.cpp for its positions.
        let _ = unsafe { shim::modeld_sequence_copy(self.raw.as_ptr(), from, to, len) };
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed once, before the model and the flag that it points to.
        unsafe { sys::llama_free(self.raw.as_ptr()) }
    }
}

/// llama.cpp's own parameters, with so many threads.
pub(super) fn default_params(threads: u32) -> sys::llama_context_params {
    let threads = i32::try_from(threads.clamp(1, 512)).unwrap_or(1);
    // SAFETY: returns a plain struct.
    let mut params = unsafe { sys::llama_context_default_params() };
    params.n_threads = threads;
    params.n_threads_batch = threads;
    params
}

/// ggml asks this between the nodes of its graph.
unsafe extern "C" fn is_raised(flag: *mut c_void) -> bool {
    if flag.is_null() {
        return false;
    }
    // SAFETY: `Context` keeps the flag alive as long as the context that calls this.
    let raised = unsafe { &*flag.cast::<AtomicBool>() }.load(Ordering::Acquire);
    if raised {
        logs::Decode::was_told_to_end();
    }
    raised
}

/// The columns of a `llama_batch`, kept to be reused.
#[derive(Default)]
struct BatchArrays {
    tokens: Vec<i32>,
    positions: Vec<i32>,
    sequence_counts: Vec<i32>,
    sequences: Vec<i32>,
    sequence_pointers: Vec<*mut i32>,
    logits: Vec<i8>,
}

impl BatchArrays {
    /// The batch in llama.cpp's form; its pointers are good until `self` is touched again.
    fn fill(&mut self, batch: &[BatchToken]) -> sys::llama_batch {
        self.tokens.clear();
        self.positions.clear();
        self.sequences.clear();
        self.logits.clear();
        // `check` has bounded all of them; a value that did not fit would be refused as negative.
        for item in batch {
            self.tokens.push(item.token);
            self.positions.push(i32::try_from(item.pos).unwrap_or(-1));
            self.sequences.push(i32::try_from(item.seq).unwrap_or(-1));
            self.logits.push(i8::from(item.logits));
        }
        self.sequence_counts.clear();
        self.sequence_counts.resize(batch.len(), 1);
        // Only now, as pushing may have moved the ids.
        self.sequence_pointers.clear();
        self.sequence_pointers.extend(self.sequences.iter_mut().map(std::ptr::from_mut));
        sys::llama_batch {
            n_tokens: i32::try_from(batch.len()).unwrap_or(0),
            token: self.tokens.as_mut_ptr(),
            embd: std::ptr::null_mut(),
            pos: self.positions.as_mut_ptr(),
            n_seq_id: self.sequence_counts.as_mut_ptr(),
            seq_id: self.sequence_pointers.as_mut_ptr(),
            logits: self.logits.as_mut_ptr(),
        }
    }

    /// The same for rows of one sequence, none of which asks for logits.
    fn fill_rows(
        &mut self,
        seq: SeqId,
        first_pos: u32,
        count: usize,
        values: &[f32],
    ) -> sys::llama_batch {
        let row = |pos| BatchToken { token: 0, pos, seq, logits: false };
        let rows: Vec<BatchToken> = (first_pos..).take(count).map(row).collect();
        let mut batch = self.fill(&rows);
        batch.token = std::ptr::null_mut();
        batch.embd = values.as_ptr().cast_mut();
        batch
    }
}
