use super::{GgufError, Shape};

/// The smallest context that is worth loading a model for, in tokens.
pub const MIN_CONTEXT: u32 = 256;

/// Tokens that llama.cpp computes at once (`n_ubatch`), which sizes its buffers.
const UBATCH: u128 = 512;
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
    let sequences = u128::from(max_sequences.max(1));
    let [per_token, state, embedding, feed_forward, vocabulary] = [
        shape.kv_per_token,
        shape.state_per_sequence,
        shape.embedding,
        shape.feed_forward,
        shape.vocabulary,
    ]
    .map(u128::from);

    let cache = product(&[cells, per_token, F16])?;
    let states = product(&[sequences, state, F32])?;
    // Logits of one micro-batch, the live activations of one layer, and the attention mask.
    let logits = product(&[UBATCH.min(cells) + sequences, vocabulary, F32])?;
    let widths = product(&[embedding, 6])?
        .checked_add(product(&[feed_forward, 3])?)
        .ok_or(GgufError::MemoryOverflow)?;
    let activations = product(&[UBATCH, widths, F32])?;
    let mask = product(&[UBATCH, cells, F32 + F16])?;
    let estimate = Estimate {
        weights: shape.weight_bytes,
        kv: sum(&[cache, states])?,
        compute: sum(&[logits, activations, mask, OVERHEAD])?,
    };
    sum(&[estimate.weights.into(), estimate.kv.into(), estimate.compute.into()])?;
    Ok(estimate)
}

/// The largest context out of `wanted`, `wanted / 2`, … down to [`MIN_CONTEXT`] with which the
/// model fits into `budget_bytes`; `None` if there is none.
///
/// # Errors
/// [`GgufError::MemoryOverflow`] where even the smallest need cannot be counted.
pub fn fit_context(
    shape: &Shape,
    wanted: u32,
    max_sequences: u32,
    budget_bytes: u64,
) -> Result<Option<u32>, GgufError> {
    let mut context = wanted.max(1);
    loop {
        match estimate(shape, context, max_sequences) {
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
        let whole = estimate(&SMOL, 8192, 4).unwrap().total();
        assert_eq!(fit_context(&SMOL, 8192, 4, whole), Ok(Some(8192)));
        assert_eq!(fit_context(&SMOL, 8192, 4, whole - 1), Ok(Some(4096)));
        assert_eq!(fit_context(&SMOL, 8192, 4, 1), Ok(None));
        assert_eq!(fit_context(&SMOL, u32::MAX, 4, whole).map(|c| c.is_some()), Ok(true));
        assert_eq!(fit_context(&SMOL, 0, 4, u64::MAX), Ok(Some(1)));
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
            let _ = fit_context(&shape, context, sequences, 1 << 34);
        }
    }
}
