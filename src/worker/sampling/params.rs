use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use crate::domain::Sampling;
use crate::worker::compute::Token;

/// Sampling parameters with every value present and in range.
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    /// 0: greedy.
    pub temperature: f32,
    /// How many of the likeliest tokens stay; `usize::MAX`: all.
    pub top_k: usize,
    /// 0 to 1; 1: off.
    pub top_p: f32,
    /// 0 to 1; 0: off.
    pub min_p: f32,
    /// 0 to 1; 1: off.
    pub typical_p: f32,
    /// Seed of the draw.
    pub seed: u64,
    /// Subtracted once from the logit of a seen token.
    pub presence_penalty: f32,
    /// Subtracted for each occurrence.
    pub frequency_penalty: f32,
    /// Divides positive logits of seen tokens and multiplies the others; above 0; 1: off.
    pub repeat_penalty: f32,
    /// How many of the last tokens the penalties look at.
    pub repeat_last_n: usize,
    /// Added to the logits of these tokens; minus infinity forbids one.
    pub bias: Arc<[(Token, f32)]>,
}

/// From here on a bias forbids its token.
const FORBIDDING: f32 = -100.0;

impl Params {
    /// Whether any penalty changes anything.
    pub fn penalises(&self) -> bool {
        self.repeat_last_n > 0
            && (self.presence_penalty != 0.0
                || self.frequency_penalty != 0.0
                || self.repeat_penalty != 1.0)
    }

    /// The parameters of another answer to the same request: only the draws differ, and none for
    /// number 0.
    pub fn of_choice(&self, number: u32) -> Self {
        Self { seed: self.seed.wrapping_add(number.into()), ..self.clone() }
    }
}

/// The request's values, else the model's `defaults`, else modeld's; all of them clamped, so that no
/// request can make a step fail. Not-a-number counts as absent.
pub fn resolve(request: &Sampling, defaults: &Sampling) -> Params {
    let pick = |get: fn(&Sampling) -> Option<f32>, fallback: f32, low: f32, high: f32| {
        let given = |from: &Sampling| get(from).filter(|value| !value.is_nan());
        given(request).or_else(|| given(defaults)).unwrap_or(fallback).clamp(low, high)
    };
    let penalty = |value: f32| if value.is_nan() { 0.0 } else { value.clamp(-2.0, 2.0) };
    let size = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
    Params {
        temperature: pick(|s| s.temperature, 0.8, 0.0, 100.0),
        top_k: match size(request.top_k.or(defaults.top_k).unwrap_or(40)) {
            0 => usize::MAX,
            k => k,
        },
        top_p: pick(|s| s.top_p, 0.95, 0.0, 1.0),
        min_p: pick(|s| s.min_p, 0.05, 0.0, 1.0),
        typical_p: pick(|s| s.typical_p, 1.0, 0.0, 1.0),
        seed: request.seed.or(defaults.seed).unwrap_or_else(fresh_seed),
        presence_penalty: penalty(request.presence_penalty),
        frequency_penalty: penalty(request.frequency_penalty),
        // Zero or less would turn the order of the logits around.
        repeat_penalty: pick(|s| s.repeat_penalty.filter(|p| *p > 0.0), 1.0, 0.01, 100.0),
        repeat_last_n: size(request.repeat_last_n.or(defaults.repeat_last_n).unwrap_or(64)),
        bias: request.logit_bias.iter().filter_map(bias).collect(),
    }
}

fn bias(&(token, value): &(Token, f32)) -> Option<(Token, f32)> {
    if value.is_nan() || value == 0.0 {
        return None;
    }
    Some((token, if value <= FORBIDDING { f32::NEG_INFINITY } else { value.min(100.0) }))
}

/// A seed that differs from request to request. The standard library seeds its hash maps from the
/// system's random numbers, which is random enough for a draw that guards no secret.
fn fresh_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_request_wins_over_the_model_and_the_model_over_the_defaults() {
        let request = Sampling { temperature: Some(0.0), ..Sampling::default() };
        let model = Sampling { temperature: Some(0.6), top_k: Some(20), ..Sampling::default() };
        let params = resolve(&request, &model);
        assert_eq!((params.temperature, params.top_k), (0.0, 20));
        assert_eq!((params.top_p, params.min_p), (0.95, 0.05));
        assert!(!params.penalises());
    }

    #[test]
    fn nonsense_counts_as_absent() {
        let nan = Sampling {
            temperature: Some(f32::NAN),
            top_p: Some(f32::NAN),
            repeat_penalty: Some(0.0),
            presence_penalty: f32::NAN,
            seed: Some(1),
            ..Sampling::default()
        };
        let plain = Sampling { seed: Some(1), ..Sampling::default() };
        let none = Sampling::default();
        assert_eq!(resolve(&nan, &none), resolve(&plain, &none));
    }

    #[test]
    fn a_bias_of_minus_100_forbids_and_nonsense_is_left_out() {
        let logit_bias = vec![(1, -100.0), (2, 300.0), (3, f32::NAN), (4, 0.0), (5, -99.0)];
        let request = Sampling { logit_bias, ..Sampling::default() };
        let bias = resolve(&request, &Sampling::default()).bias;
        assert_eq!(*bias, [(1, f32::NEG_INFINITY), (2, 100.0), (5, -99.0)]);
    }

    #[test]
    fn the_first_choice_draws_as_if_it_were_alone() {
        let request = Sampling { seed: Some(u64::MAX), ..Sampling::default() };
        let params = resolve(&request, &Sampling::default());
        assert_eq!(params.of_choice(0), params);
        assert_eq!(params.of_choice(2).seed, 1);
    }

    #[test]
    fn requests_without_a_seed_differ() {
        let none = Sampling::default();
        assert_ne!(resolve(&none, &none).seed, resolve(&none, &none).seed);
    }

    proptest! {
        #[test]
        fn every_value_ends_up_in_range(
            floats in prop::array::uniform6(any::<f32>()),
            top_k in any::<Option<u32>>(),
        ) {
            let [temperature, top_p, min_p, presence, frequency, repeat] = floats;
            let params = resolve(&Sampling {
                temperature: Some(temperature),
                top_k,
                top_p: Some(top_p),
                min_p: Some(min_p),
                presence_penalty: presence,
                frequency_penalty: frequency,
                repeat_penalty: Some(repeat),
                ..Sampling::default()
            }, &Sampling::default());
            prop_assert!((0.0..=100.0).contains(&params.temperature));
            prop_assert!(params.top_k >= 1);
            prop_assert!((0.0..=1.0).contains(&params.top_p));
            prop_assert!((0.0..=1.0).contains(&params.min_p));
            prop_assert!((-2.0..=2.0).contains(&params.presence_penalty));
            prop_assert!((-2.0..=2.0).contains(&params.frequency_penalty));
            prop_assert!((0.01..=100.0).contains(&params.repeat_penalty));
        }
    }
}
