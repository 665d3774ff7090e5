use crate::worker::compute::{Token, TokenConstraint};

use super::params::Params;
use super::penalties::Penalties;
use super::rng::Rng;
use super::select::{Candidate, argmax, at_least, maximum, sort, top_k};

/// How many candidates a nucleus is looked for among first, when no top-k bounds them.
const FIRST_NUCLEUS: usize = 256;

/// Chooses the tokens of one sequence; survives the sequence's being computed anew.
#[derive(Debug, Clone)]
pub struct Sampler {
    params: Params,
    penalties: Penalties,
    rng: Rng,
}

/// Buffers that all sequences of a loop share.
#[derive(Debug, Default)]
pub struct Scratch {
    row: Vec<f32>,
    pub(super) candidates: Vec<Candidate>,
}

impl Sampler {
    /// A sampler for a sequence that begins with `prompt`.
    pub fn new(params: Params, prompt: &[Token]) -> Self {
        let mut penalties = Penalties::default();
        let window = prompt.len().saturating_sub(params.repeat_last_n);
        for token in prompt.get(window..).unwrap_or_default() {
            penalties.accept(*token, &params);
        }
        Self { rng: Rng::new(params.seed), params, penalties }
    }

    /// The sampler of another answer to the same prompt, before either has drawn.
    pub fn of_choice(&self, number: u32) -> Self {
        let params = self.params.of_choice(number);
        Self { rng: Rng::new(params.seed), penalties: self.penalties.clone(), params }
    }

    /// Chooses the next token from its logits, never one of `masked`, and counts it as seen.
    /// `None` if no token is possible: a row of nothing but NaN or minus infinity.
    pub fn sample(
        &mut self,
        row: &[f32],
        masked: &[Token],
        scratch: &mut Scratch,
    ) -> Option<Token> {
        let Scratch { row: changed, candidates } = scratch;
        let row = if self.change(row, masked, changed) { changed } else { row };
        let token = self.choose(row, candidates)?;
        self.accept(token);
        Some(token)
    }

    /// The same, but only what `constraint` allows. What it would forbid is rarely chosen, so that
    /// is drawn first and the whole row is masked only if it was forbidden: the chances are those
    /// of a draw from the masked row.
    ///
    /// # Errors
    /// The constraint's.
    pub fn sample_allowed(
        &mut self,
        row: &[f32],
        masked: &[Token],
        constraint: &mut dyn TokenConstraint,
        scratch: &mut Scratch,
    ) -> Result<Option<Token>, String> {
        let Scratch { row: changed, candidates } = scratch;
        let is_changed = self.change(row, masked, changed);
        let mut token = self.choose(if is_changed { changed } else { row }, candidates);
        if !token.map_or(Ok(false), |token| constraint.allows(token))? {
            if !is_changed {
                changed.clear();
                changed.extend_from_slice(row);
            }
            constraint.mask(changed)?;
            token = self.choose(changed, candidates);
        }
        if let Some(token) = token {
            self.accept(token);
        }
        Ok(token)
    }

    /// Counts a token as seen that was not sampled here.
    pub fn accept(&mut self, token: Token) {
        self.penalties.accept(token, &self.params);
    }

    /// Puts the row with biases, penalties and masks into `changed`; false if it stays as it is.
    fn change(&self, row: &[f32], masked: &[Token], changed: &mut Vec<f32>) -> bool {
        if masked.is_empty() && self.params.bias.is_empty() && !self.params.penalises() {
            return false;
        }
        changed.clear();
        changed.extend_from_slice(row);
        for (token, bias) in self.params.bias.iter() {
            if let Some(logit) = at(changed, *token) {
                *logit += bias;
            }
        }
        self.penalties.apply(changed, &self.params);
        for token in masked {
            if let Some(logit) = at(changed, *token) {
                *logit = f32::NEG_INFINITY;
            }
        }
        true
    }

    fn choose(&mut self, row: &[f32], candidates: &mut Vec<Candidate>) -> Option<Token> {
        if self.params.temperature == 0.0 || self.params.top_k == 1 {
            return argmax(row);
        }
        self.filter(row, candidates);
        self.draw(candidates)
    }

    /// Leaves in `out` the candidates that pass top-k, typical-p, top-p and min-p.
    fn filter(&self, row: &[f32], out: &mut Vec<Candidate>) {
        let Params { top_k: k, top_p, min_p, typical_p, .. } = self.params;
        if k < row.len() || typical_p < 1.0 {
            top_k(row, k, out);
            if typical_p < 1.0 {
                typical(out, typical_p);
            }
            let Some(max) = out.first().map(|best| best.logit) else { return };
            if top_p < 1.0 {
                let total = out.iter().map(|c| weight(c.logit, max)).sum();
                nucleus(out, top_p, max, total);
            }
        } else if top_p < 1.0 {
            whole_nucleus(row, top_p, min_p, out);
        } else {
            at_least(row, lowest(maximum(row), min_p), out);
            return;
        }
        if let Some(max) = out.first().map(|best| best.logit) {
            let least = lowest(max, min_p);
            out.truncate(out.partition_point(|candidate| candidate.logit >= least));
        }
    }

    fn draw(&mut self, candidates: &[Candidate]) -> Option<Token> {
        let max = candidates.iter().map(|c| c.logit).fold(f32::NEG_INFINITY, f32::max);
        let heated = |c: &Candidate| weight_at(c.logit, max, self.params.temperature);
        let total: f64 = candidates.iter().map(heated).sum();
        let mut left = self.rng.unit() * total;
        for candidate in candidates {
            left -= heated(candidate);
            if left < 0.0 {
                return Some(candidate.token);
            }
        }
        // Rounding can leave a trace; then it is the last token that had any weight.
        candidates.iter().rev().find(|c| heated(c) > 0.0).map(|c| c.token)
    }
}

fn at(row: &mut [f32], token: Token) -> Option<&mut f32> {
    usize::try_from(token).ok().and_then(|at| row.get_mut(at))
}

/// Locally typical sampling (Meister et al., 2022): of sorted candidates, leaves those whose
/// surprise is nearest to the expected one until their probabilities reach `share`.
fn typical(candidates: &mut Vec<Candidate>, share: f32) {
    let Some(max) = candidates.first().map(|best| best.logit) else { return };
    let total: f64 = candidates.iter().map(|c| weight(c.logit, max)).sum();
    let surprise =
        |c: &Candidate| total.ln() - (f64::from(finite(c.logit)) - f64::from(finite(max)));
    let expected: f64 = candidates
        .iter()
        .map(|c| weight(c.logit, max) / total * surprise(c))
        .filter(|share| !share.is_nan())
        .sum();
    let distance = |c: &Candidate| (surprise(c) - expected).abs();
    candidates.sort_unstable_by(|a, b| {
        distance(a).total_cmp(&distance(b)).then(b.logit.total_cmp(&a.logit))
    });
    let mut sum = 0.0;
    let enough = candidates.iter().position(|candidate| {
        sum += weight(candidate.logit, max) / total;
        sum >= f64::from(share)
    });
    candidates.truncate(enough.map_or(usize::MAX, |at| at + 1));
    sort(candidates);
}

/// Cuts sorted candidates after those whose weights reach the share `top_p` of `total`. Answers
/// whether they did; if not, nothing is cut.
fn nucleus(candidates: &mut Vec<Candidate>, top_p: f32, max: f32, total: f64) -> bool {
    let mut sum = 0.0;
    for (at, candidate) in candidates.iter().enumerate() {
        sum += weight(candidate.logit, max);
        if sum >= f64::from(top_p) * total {
            candidates.truncate(at + 1);
            return true;
        }
    }
    false
}

/// The nucleus of the whole vocabulary, as far as min-p lets it pass: both keep the likeliest, so
/// nothing else needs sorting. Without min-p a few hundred tokens nearly always hold the nucleus, so
/// no more are sorted until they turn out not to.
fn whole_nucleus(row: &[f32], top_p: f32, min_p: f32, out: &mut Vec<Candidate>) {
    let max = maximum(row);
    let total = row.iter().filter(|logit| !logit.is_nan()).map(|logit| weight(*logit, max)).sum();
    if min_p > 0.0 {
        at_least(row, lowest(max, min_p), out);
        sort(out);
        nucleus(out, top_p, max, total);
        return;
    }
    let mut count = FIRST_NUCLEUS;
    loop {
        top_k(row, count, out);
        if nucleus(out, top_p, max, total) || count >= row.len() {
            return;
        }
        count = count.saturating_mul(8);
    }
}

/// The smallest logit that min-p lets pass; with min-p off, every number.
fn lowest(max: f32, min_p: f32) -> f32 {
    if min_p > 0.0 { (finite(max) + min_p.ln()).max(f32::MIN) } else { f32::MIN }
}

fn weight(logit: f32, max: f32) -> f64 {
    weight_at(logit, max, 1.0)
}

/// The unnormalised probability; 1 for the likeliest.
fn weight_at(logit: f32, max: f32, temperature: f32) -> f64 {
    f64::from(((finite(logit) - finite(max)) / temperature).exp())
}

/// Infinity minus infinity is no number.
pub(super) fn finite(logit: f32) -> f32 {
    logit.clamp(f32::MIN, f32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::domain::Sampling;

    use super::super::resolve;
    use super::*;

    fn off() -> Sampling {
        Sampling {
            temperature: Some(1.0),
            top_k: Some(0),
            top_p: Some(1.0),
            min_p: Some(0.0),
            seed: Some(7),
            ..Sampling::default()
        }
    }

    fn sampler(request: &Sampling, prompt: &[Token]) -> Sampler {
        Sampler::new(resolve(request, &Sampling::default()), prompt)
    }

    /// How often each token is drawn, as a share.
    fn frequencies(request: &Sampling, row: &[f32], draws: u32) -> Vec<f64> {
        let mut sampler = sampler(request, &[]);
        let mut scratch = Scratch::default();
        let mut counts = vec![0.0; row.len()];
        for _ in 0..draws {
            let token = sampler.sample(row, &[], &mut scratch).unwrap();
            counts[token as usize] += 1.0 / f64::from(draws);
        }
        counts
    }

    fn assert_close(actual: &[f64], expected: &[f64]) {
        for (a, e) in actual.iter().zip(expected) {
            assert!((a - e).abs() < 0.01, "{actual:?} instead of {expected:?}");
        }
    }

    /// Logits whose softmax is 0.5, 0.25, 0.15, 0.1.
    fn row() -> Vec<f32> {
        [0.15f32, 0.5, 0.1, 0.25].map(|p| p.ln() + 3.0).to_vec()
    }

    #[test]
    fn without_filters_the_draw_follows_the_softmax() {
        assert_close(&frequencies(&off(), &row(), 50_000), &[0.15, 0.5, 0.1, 0.25]);
    }

    #[test]
    fn the_temperature_bends_the_softmax() {
        let request = Sampling { temperature: Some(0.5), ..off() };
        let squares: f64 = [0.15f64, 0.5, 0.1, 0.25].iter().map(|p| p * p).sum();
        let expected = [0.15f64, 0.5, 0.1, 0.25].map(|p| p * p / squares);
        assert_close(&frequencies(&request, &row(), 50_000), &expected);
    }

    #[test]
    fn top_k_leaves_the_likeliest() {
        let request = Sampling { top_k: Some(2), ..off() };
        assert_close(&frequencies(&request, &row(), 50_000), &[0.0, 2.0 / 3.0, 0.0, 1.0 / 3.0]);
    }

    #[test]
    fn top_p_leaves_the_smallest_set_that_reaches_it() {
        let request = Sampling { top_p: Some(0.8), ..off() };
        let expected = [0.15 / 0.9, 0.5 / 0.9, 0.0, 0.25 / 0.9];
        assert_close(&frequencies(&request, &row(), 50_000), &expected);
        // After top-k the shares are those among what is left.
        let request = Sampling { top_k: Some(2), top_p: Some(0.6), ..off() };
        assert_close(&frequencies(&request, &row(), 1_000), &[0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn min_p_measures_against_the_likeliest() {
        let request = Sampling { min_p: Some(0.4), ..off() };
        let expected = [0.0, 2.0 / 3.0, 0.0, 1.0 / 3.0];
        assert_close(&frequencies(&request, &row(), 50_000), &expected);
        let request = Sampling { top_k: Some(3), min_p: Some(0.4), ..off() };
        assert_close(&frequencies(&request, &row(), 50_000), &expected);
    }

    #[test]
    fn a_flat_row_needs_more_than_the_first_nucleus() {
        let request = Sampling { top_p: Some(0.5), ..off() };
        let flat = vec![1.0; 4_000];
        let mut out = Vec::new();
        sampler(&request, &[]).filter(&flat, &mut out);
        assert_eq!(out.len(), 2_000);
    }

    /// The filters by the book: sort everything, then cut, cut, cut.
    fn by_the_book(row: &[f32], params: &Params) -> Vec<Token> {
        let mut all: Vec<(Token, f64)> = (0..).zip(row).map(|(t, l)| (t, f64::from(*l))).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all.truncate(params.top_k);
        let max = all[0].1;
        let total: f64 = all.iter().map(|(_, logit)| (logit - max).exp()).sum();
        let mut sum = 0.0;
        let nucleus = all.iter().position(|(_, logit)| {
            sum += (logit - max).exp();
            sum >= f64::from(params.top_p) * total
        });
        if params.top_p < 1.0 {
            all.truncate(nucleus.map_or(all.len(), |at| at + 1));
        }
        all.retain(|(_, logit)| (logit - max).exp() >= f64::from(params.min_p));
        all.into_iter().map(|(token, _)| token).collect()
    }

    #[test]
    fn greedy_respects_penalties_and_masks() {
        let greedy = Sampling { temperature: Some(0.0), ..Sampling::default() };
        let mut scratch = Scratch::default();
        let row = [1.0, 3.0, 2.5, 2.0];
        assert_eq!(sampler(&greedy, &[]).sample(&row, &[], &mut scratch), Some(1));
        assert_eq!(sampler(&greedy, &[]).sample(&row, &[1], &mut scratch), Some(2));
        let penalised = Sampling { presence_penalty: 0.75, ..greedy };
        let mut sampler = sampler(&penalised, &[1]);
        let drawn = [(); 3].map(|()| sampler.sample(&row, &[], &mut scratch));
        assert_eq!(drawn, [Some(2), Some(1), Some(1)], "what was drawn is penalised too");
    }

    #[test]
    fn a_bias_bends_the_softmax_and_forbids() {
        let bias = vec![(0, 2.0f32.ln()), (1, -100.0), (99, 5.0), (-1, 5.0)];
        let request = Sampling { logit_bias: bias, ..off() };
        let expected = [0.3 / 0.65, 0.0, 0.1 / 0.65, 0.25 / 0.65];
        assert_close(&frequencies(&request, &row(), 50_000), &expected);
        let forced = Sampling { logit_bias: vec![(2, 100.0)], ..off() };
        assert_close(&frequencies(&forced, &row(), 1_000), &[0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn typical_sampling_leaves_what_surprises_as_expected() {
        // The entropy is 1.21 nats: 0.25 (1.39) is nearest, then 0.5 (0.69), then 0.15 (1.90).
        let request = Sampling { typical_p: Some(0.2), ..off() };
        assert_close(&frequencies(&request, &row(), 1_000), &[0.0, 0.0, 0.0, 1.0]);
        let request = Sampling { typical_p: Some(0.7), ..off() };
        let expected = [0.0, 2.0 / 3.0, 0.0, 1.0 / 3.0];
        assert_close(&frequencies(&request, &row(), 50_000), &expected);
    }

    /// Allows some tokens, always the same.
    #[derive(Debug)]
    struct Only(Vec<Token>, u32);

    impl TokenConstraint for Only {
        fn allows(&mut self, token: Token) -> Result<bool, String> {
            Ok(self.0.contains(&token))
        }

        fn mask(&mut self, logits: &mut [f32]) -> Result<(), String> {
            self.1 += 1;
            for (token, logit) in (0..).zip(logits) {
                if !self.0.contains(&token) {
                    *logit = f32::NEG_INFINITY;
                }
            }
            Ok(())
        }

        fn accept(&mut self, _token: Token) -> Result<(), String> {
            Ok(())
        }

        fn fork(&self) -> Result<Box<dyn TokenConstraint>, String> {
            Err("not needed".to_owned())
        }
    }

    #[test]
    fn what_is_allowed_is_drawn_by_its_share_of_what_is_allowed() {
        let mut scratch = Scratch::default();
        for penalty in [0.0, 0.001] {
            let request = Sampling { presence_penalty: penalty, ..off() };
            let (mut sampler, mut only) = (sampler(&request, &[]), Only(vec![0, 1], 0));
            let mut counts = vec![0.0; 4];
            for _ in 0..50_000 {
                let token = sampler.sample_allowed(&row(), &[], &mut only, &mut scratch);
                counts[token.unwrap().unwrap() as usize] += 1.0 / 50_000.0;
            }
            assert_close(&counts, &[0.15 / 0.65, 0.5 / 0.65, 0.0, 0.0]);
            assert!((0.3..0.4).contains(&(f64::from(only.1) / 50_000.0)), "masked too often");
        }
    }

    #[test]
    fn what_is_masked_and_what_is_not_allowed_leave_nothing_together() {
        let greedy = Sampling { temperature: Some(0.0), ..off() };
        let (mut sampler, mut scratch) = (sampler(&greedy, &[]), Scratch::default());
        let mut sample = |masked: &[Token], allowed: &[Token]| {
            let mut only = Only(allowed.to_vec(), 0);
            sampler.sample_allowed(&row(), masked, &mut only, &mut scratch).unwrap()
        };
        assert_eq!(sample(&[], &[2, 3]), Some(3));
        assert_eq!(sample(&[3], &[2, 3]), Some(2));
        assert_eq!(sample(&[2, 3], &[2, 3]), None);
    }

    #[test]
    fn a_row_without_numbers_has_no_token() {
        let mut scratch = Scratch::default();
        for request in [off(), Sampling { temperature: Some(0.0), ..off() }, Sampling::default()] {
            for row in [&[][..], &[f32::NAN; 100], &[f32::NEG_INFINITY; 100]] {
                assert_eq!(sampler(&request, &[]).sample(row, &[], &mut scratch), None);
            }
            let all = [0, 1, 2];
            assert_eq!(sampler(&request, &[]).sample(&[1.0; 3], &all, &mut scratch), None);
        }
    }

    proptest! {
        #[test]
        fn the_filters_do_what_the_book_says(
            row in prop::collection::hash_set(-4000i32..4000, 1..900),
            top_k in prop_oneof![Just(0u32), 1u32..1000],
            top_p in (0u8..=10).prop_map(|p| f32::from(p) / 10.0),
            min_p in prop_oneof![Just(0.0f32), 0.0005f32..1.0],
        ) {
            let row: Vec<f32> = row.into_iter().map(|logit| logit as f32 / 500.0).collect();
            let request = Sampling {
                top_k: Some(top_k), top_p: Some(top_p), min_p: Some(min_p), ..off()
            };
            let sampler = sampler(&request, &[]);
            let mut out = Vec::new();
            sampler.filter(&row, &mut out);
            let mut tokens: Vec<Token> = out.iter().map(|c| c.token).collect();
            let mut expected = by_the_book(&row, &sampler.params);
            // The order matters only to the draw.
            tokens.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(tokens, expected);
        }

        #[test]
        fn any_row_and_any_request_give_a_token_of_the_row(
            mut row in prop::collection::vec(
                prop_oneof![8 => any::<f32>(), 4 => -10.0f32..10.0, 1 => Just(f32::NAN)], 1..400),
            floats in prop::array::uniform6(prop::option::of(any::<f32>())),
            top_k in prop::option::of(0u32..500),
            seed in any::<u64>(),
            typical in prop::option::of(any::<f32>()),
            bias in prop::collection::vec((-5i32..500, -99.0f32..200.0), 0..4),
            prompt in prop::collection::vec(-5i32..500, 0..80),
        ) {
            row.push(0.5);
            let [temperature, top_p, min_p, presence, frequency, repeat] = floats;
            let request = Sampling {
                temperature, top_k, top_p, min_p,
                seed: Some(seed),
                presence_penalty: presence.unwrap_or(0.0),
                frequency_penalty: frequency.unwrap_or(0.0),
                repeat_penalty: repeat,
                repeat_last_n: None,
                logit_bias: bias,
                typical_p: typical,
            };
            let mut scratch = Scratch::default();
            let (mut first, mut second) = (sampler(&request, &prompt), sampler(&request, &prompt));
            for _ in 0..5 {
                let token = first.sample(&row, &[], &mut scratch);
                prop_assert!(token.is_some_and(|t| !row[t as usize].is_nan()));
                prop_assert_eq!(token, second.sample(&row, &[], &mut Scratch::default()));
            }
        }
    }
}
