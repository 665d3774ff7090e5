use super::{Facts, GgufError, Shape};

/// The smallest context that is worth loading a model for, in tokens.
pub const MIN_CONTEXT: u32 = 256;

/// Tokens of a piece, where a model makes vectors of its inputs piece by piece.
pub const POOLED_CHUNK: u32 = 512;

/// Tokens that llama.cpp computes at once (`n_ubatch`), which sizes its buffers.
const UBATCH: u128 = POOLED_CHUNK as u128;
/// llama.cpp rounds the KV cache up to a multiple of so many cells.
const KV_PADDING: u64 = 256;
/// Bytes of a KV element in f16, and of an activation in f32.
const F16: u128 = 2;
const F32: u128 = 4;
/// Graphs, tokenizer tables, allocator: what a loaded model takes besides everything that scales.
const OVERHEAD: u128 = 32 << 20;

/// The memory that a loaded model takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// The tensors of the file.
    pub weights: u64,
    /// The KV cache and recurrent state.
    pub kv: u64,
    /// Activations, logits, masks and the fixed overhead.
    pub compute: u64,
}

impl Estimate {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.kv).saturating_add(self.compute)
    }
}

/// Estimates what a model takes with `context_size` KV cells shared by `max_sequences` sequences.
/// Sliding windows are counted as if they were full, so the estimate errs on the safe side.
///
/// # Errors
/// [`GgufError::MemoryOverflow`] where the sum is over 2^64 bytes.
pub fn estimate(
    shape: &Shape,
    context_size: u32,
    max_sequences: u32,
) -> Result<Estimate, GgufError> {
    let cells = u128::from(u64::from(context_size).next_multiple_of(KV_PADDING));
    // Logits of one micro-batch.
    let outputs = UBATCH.min(cells) + u128::from(max_sequences.max(1));
    let need = Need { cells, kept: cells, batch: UBATCH, outputs, sequences: max_sequences };
    need.of(shape)
}

/// Estimates what a model takes that makes vectors of inputs of up to `context_size` tokens.
///
/// # Errors
/// As [`estimate`].
pub fn estimate_pooled(
    facts: &Facts,
    context_size: u32,
    max_sequences: u32,
) -> Result<Estimate, GgufError> {
    let cells = u128::from(u64::from(context_size).next_multiple_of(KV_PADDING));
    let chunks = pools_in_chunks(&facts.architecture, |key| facts.metadata.get(key).cloned());
    // llama.cpp has room for the logits of every token that goes through at once, even where there
    // are none.
    let batch = if chunks { UBATCH } else { cells.max(UBATCH) };
    let kept = if is_encoder(&facts.architecture) { 0 } else { cells };
    let need = Need { cells, kept, batch, outputs: batch, sequences: max_sequences };
    need.of(&facts.shape)
}

/// Whether a model computes an input of any length in pieces of [`POOLED_CHUNK`] tokens: its vector
/// is the state of the last token, and a token sees only what is before it. Others take an input in
/// one piece.
pub fn pools_in_chunks(architecture: &str, metadata: impl Fn(&str) -> Option<String>) -> bool {
    let says = |key: &str, values: &[&str]| {
        metadata(&format!("{architecture}.{key}")).is_some_and(|said| values.contains(&&*said))
    };
    // `LLAMA_POOLING_TYPE_LAST` and `_RANK`.
    !is_encoder(architecture)
        && says("pooling_type", &["3", "4"])
        && !says("attention.causal", &["false"])
        && !says("classifier.pooling_type", &["1"])
}

/// Encoders keep nothing between batches.
fn is_encoder(architecture: &str) -> bool {
    architecture.contains("bert") || architecture == "t5encoder"
}

/// What decides the memory of a context.
struct Need {
    /// The longest that a token can look back.
    cells: u128,
    /// KV cells.
    kept: u128,
    /// Tokens that go through at once.
    batch: u128,
    /// Of these, with a row of logits.
    outputs: u128,
    sequences: u32,
}

impl Need {
    fn of(&self, shape: &Shape) -> Result<Estimate, GgufError> {
        let Self { cells, kept, batch, outputs, sequences } = *self;
        let sequences = u128::from(sequences.max(1));
        let [per_token, state, embedding, feed_forward, vocabulary] = [
            shape.kv_per_token,
            shape.state_per_sequence,
            shape.embedding,
            shape.feed_forward,
            shape.vocabulary,
        ]
        .map(u128::from);

        let cache = product(&[kept, per_token, F16])?;
        let states = product(&[sequences, state, F32])?;
        let logits = product(&[outputs, vocabulary, F32])?;
        // The live activations of one layer, and the attention mask.
        let widths = product(&[embedding, 6])?
            .checked_add(product(&[feed_forward, 3])?)
            .ok_or(GgufError::MemoryOverflow)?;
        let activations = product(&[batch, widths, F32])?;
        let mask = product(&[batch, cells, F32 + F16])?;
        let estimate = Estimate {
            weights: shape.weight_bytes,
            kv: sum(&[cache, states])?,
            compute: sum(&[logits, activations, mask, OVERHEAD])?,
        };
        sum(&[estimate.weights.into(), estimate.kv.into(), estimate.compute.into()])?;
        Ok(estimate)
    }
}

/// The largest context out of `wanted`, `wanted / 2`, … down to [`MIN_CONTEXT`] with which the
/// model fits into `budget_bytes`; `None` if there is none. `estimate` answers the need of a
/// context.
///
/// # Errors
/// [`GgufError::MemoryOverflow`] where even the smallest need cannot be counted.
pub fn fit_context(
    wanted: u32,
    budget_bytes: u64,
    estimate: impl Fn(u32) -> Result<Estimate, GgufError>,
) -> Result<Option<u32>, GgufError> {
    let mut context = wanted.max(1);
    loop {
        match estimate(context) {
            Ok(needed) if needed.total() <= budget_bytes => return Ok(Some(context)),
            Err(error) if context <= MIN_CONTEXT => return Err(error),
            _ if context <= MIN_CONTEXT => return Ok(None),
            _ => context = (context / 2).max(MIN_CONTEXT),
        }
    }
}

fn product(factors: &[u128]) -> Result<u128, GgufError> {
    factors
        .iter()
        .try_fold(1u128, |acc, factor| acc.checked_mul(*factor))
        .ok_or(GgufError::MemoryOverflow)
}

fn sum(terms: &[u128]) -> Result<u64, GgufError> {
    terms
        .iter()
        .try_fold(0u128, |acc, term| acc.checked_add(*term))
        .and_then(|total| u64::try_from(total).ok())
        .ok_or(GgufError::MemoryOverflow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// SmolLM2-135M in Q4_1: 30 layers, 3 KV heads of 64.
    const SMOL: Shape = Shape {
        weight_bytes: 96_590_016,
        kv_per_token: 30 * 3 * 128,
        state_per_sequence: 0,
        embedding: 576,
        feed_forward: 1536,
        vocabulary: 49_152,
    };

    #[test]
    fn the_cache_is_exact_and_the_rest_is_near() {
        let estimate = estimate(&SMOL, 2048, 1).unwrap();
        assert_eq!(estimate.kv, 2048 * 30 * 3 * 128 * 2);
        let total = estimate.total() >> 20;
        assert!((200..400).contains(&total), "{total} MiB");
    }

    #[test]
    fn a_context_is_halved_until_it_fits() {
        let need = |context| estimate(&SMOL, context, 4);
        let whole = need(8192).unwrap().total();
        assert_eq!(fit_context(8192, whole, need), Ok(Some(8192)));
        assert_eq!(fit_context(8192, whole - 1, need), Ok(Some(4096)));
        assert_eq!(fit_context(8192, 1, need), Ok(None));
        assert_eq!(fit_context(u32::MAX, whole, need).map(|c| c.is_some()), Ok(true));
        assert_eq!(fit_context(0, u64::MAX, need), Ok(Some(1)));
    }

    #[test]
    fn only_causal_models_that_show_their_last_state_compute_in_pieces() {
        let chunks = |arch: &str, pairs: &[(&str, &str)]| {
            pools_in_chunks(arch, |key| {
                let pair = pairs.iter().find(|(name, _)| key == format!("{arch}.{name}"))?;
                Some(pair.1.to_owned())
            })
        };
        assert!(chunks("qwen3", &[("pooling_type", "3")]));
        assert!(chunks("qwen3", &[("pooling_type", "4")]));
        assert!(!chunks("qwen3", &[("pooling_type", "1")]));
        assert!(!chunks("qwen3", &[("pooling_type", "3"), ("attention.causal", "false")]));
        assert!(!chunks("bert", &[("pooling_type", "4")]));
        assert!(!chunks("qwen3", &[("pooling_type", "4"), ("classifier.pooling_type", "1")]));
    }

    proptest! {
        #[test]
        fn no_dimension_makes_it_panic_and_more_context_never_takes_less(
            dims in any::<[u64; 6]>(), context in any::<u32>(), sequences in any::<u32>()
        ) {
            let [weight_bytes, kv_per_token, state_per_sequence, embedding, feed_forward, vocabulary]
                = dims;
            let shape = Shape {
                weight_bytes, kv_per_token, state_per_sequence, embedding, feed_forward, vocabulary
            };
            let half = estimate(&shape, context / 2, sequences);
            if let (Ok(half), Ok(whole)) = (half, estimate(&shape, context, sequences)) {
                prop_assert!(half.total() <= whole.total());
            }
            let _ = fit_context(context, 1 << 34, |context| estimate(&shape, context, sequences));
        }
    }
}
