use crate::worker::compute::Token;

use super::sampler::{Scratch, finite};
use super::select::{maximum, top_k};

/// Instead of minus infinity, which JSON does not know.
const LEAST: f32 = -9999.0;

/// How likely a token was, and which were the likeliest.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprobs {
    /// The natural logarithm of its probability: 0 at most, -9999 at least.
    pub token: f32,
    /// The likeliest tokens with theirs, the likeliest first.
    pub top: Vec<(Token, f32)>,
}

/// What the model itself thought of `token` and of the `top` likeliest, before any filter.
pub fn logprobs(row: &[f32], token: Token, top: usize, scratch: &mut Scratch) -> Logprobs {
    let max = finite(maximum(row));
    let total: f64 = row.iter().copied().filter(|logit| !logit.is_nan()).map(share_of(max)).sum();
    let log_total = total.ln();
    let of = |logit: f32| {
        let value = f64::from(finite(logit)) - f64::from(max) - log_total;
        // NaN fails the comparison.
        if value > f64::from(LEAST) { value.min(0.0) as f32 } else { LEAST }
    };
    let logit = usize::try_from(token).ok().and_then(|at| row.get(at));
    top_k(row, top, &mut scratch.candidates);
    Logprobs {
        token: logit.map_or(LEAST, |logit| of(*logit)),
        top: scratch.candidates.iter().map(|best| (best.token, of(best.logit))).collect(),
    }
}

fn share_of(max: f32) -> impl Fn(f32) -> f64 {
    move |logit| f64::from((finite(logit) - max).exp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn they_are_the_logarithm_of_the_softmax() {
        let row = [0.15f32, 0.5, 0.1, 0.25].map(|p| p.ln() + 3.0);
        let found = logprobs(&row, 2, 2, &mut Scratch::default());
        assert!((found.token - 0.1f32.ln()).abs() < 1e-5, "{found:?}");
        let [(1, first), (3, second)] = found.top[..] else { panic!("{found:?}") };
        assert!((first - 0.5f32.ln()).abs() < 1e-5 && (second - 0.25f32.ln()).abs() < 1e-5);
    }

    #[test]
    fn what_cannot_be_has_the_least_of_all() {
        let row = [1.0, f32::NEG_INFINITY, f32::NAN];
        let of = |token| logprobs(&row, token, 3, &mut Scratch::default());
        assert_eq!(
            [0, 1, 2, 3, -1].map(|token| of(token).token),
            [0.0, LEAST, LEAST, LEAST, LEAST]
        );
        assert_eq!(of(1).top, [(0, 0.0)]);
        assert_eq!(logprobs(&[f32::NAN; 3], 0, 3, &mut Scratch::default()).token, LEAST);
    }

    proptest! {
        #[test]
        fn every_row_gives_numbers_in_range_and_in_order(
            row in prop::collection::vec(prop_oneof![any::<f32>(), -30.0f32..30.0], 1..300),
            token in any::<prop::sample::Index>(),
            top in 0usize..25,
        ) {
            let token = token.index(row.len()) as Token;
            let found = logprobs(&row, token, top, &mut Scratch::default());
            prop_assert!((LEAST..=0.0).contains(&found.token));
            prop_assert!(found.top.len() <= top);
            prop_assert!(found.top.iter().all(|(_, value)| (LEAST..=0.0).contains(value)));
            prop_assert!(found.top.is_sorted_by(|a, b| a.1 >= b.1));
            prop_assert!(found.top.first().is_none_or(|(_, best)| *best >= found.token));
        }
    }
}
