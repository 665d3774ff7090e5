use std::cmp::Ordering;

use crate::worker::compute::Token;

/// Long enough for several vector registers, short enough to search when it holds something.
const BLOCK: usize = 64;
const LANES: usize = 16;

/// A token that may be drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) logit: f32,
    pub(super) token: Token,
}

/// The likeliest token, the first of several; `None` if no logit is a number above minus infinity.
pub(super) fn argmax(row: &[f32]) -> Option<Token> {
    let (mut best, mut start) = (f32::NEG_INFINITY, None);
    for (block, values) in row.chunks(BLOCK).enumerate() {
        let max = maximum(values);
        if max > best {
            (best, start) = (max, Some(block * BLOCK));
        }
    }
    let start = start?;
    let at = row.get(start..)?.iter().position(|value| *value == best)?;
    Token::try_from(start + at).ok()
}

/// The largest value of the row, NaN aside; minus infinity if there is none.
pub(super) fn maximum(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, *value);
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
}

/// Puts the `k` likeliest tokens into `out`, the likeliest first, the smaller id first among equals.
/// Tokens of minus infinity and NaN never get in.
pub(super) fn top_k(row: &[f32], k: usize, out: &mut Vec<Candidate>) {
    out.clear();
    if k == 0 {
        return;
    }
    if k >= row.len() {
        at_least(row, f32::MIN, out);
        sort(out);
        return;
    }
    // Candidates gather until there are twice as many as wanted; then the worse half goes and
    // whatever is not better than the worst kept is passed over, a block at a time.
    let full = k.saturating_mul(2).max(BLOCK);
    let mut threshold = f32::NEG_INFINITY;
    for (block, values) in row.chunks(BLOCK).enumerate() {
        if maximum(values) <= threshold {
            continue;
        }
        for (offset, &value) in values.iter().enumerate() {
            if value > threshold {
                push(out, block * BLOCK + offset, value);
                if out.len() >= full {
                    keep(out, k);
                    threshold = out.last().map_or(threshold, |worst| worst.logit);
                }
            }
        }
    }
    keep(out, k);
    sort(out);
}

/// Puts every token with a logit of at least `least` into `out`, in the order of their ids.
pub(super) fn at_least(row: &[f32], least: f32, out: &mut Vec<Candidate>) {
    out.clear();
    for (block, values) in row.chunks(BLOCK).enumerate() {
        if maximum(values) >= least {
            for (offset, &value) in values.iter().enumerate() {
                if value >= least {
                    push(out, block * BLOCK + offset, value);
                }
            }
        }
    }
}

/// The likeliest first.
pub(super) fn sort(out: &mut [Candidate]) {
    out.sort_unstable_by(likelier);
}

/// Keeps the `k` likeliest, the worst of them last.
fn keep(out: &mut Vec<Candidate>, k: usize) {
    if out.len() > k {
        out.select_nth_unstable_by(k - 1, likelier);
        out.truncate(k);
    }
}

fn push(out: &mut Vec<Candidate>, index: usize, logit: f32) {
    if let Ok(token) = Token::try_from(index) {
        out.push(Candidate { logit, token });
    }
}

fn likelier(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

/// Written out so that it compiles to one instruction and passes over NaN.
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows() -> impl Strategy<Value = Vec<f32>> {
        let logit = prop_oneof![
            8 => -20.0f32..20.0,
            2 => Just(1.0f32),
            1 => Just(-0.0f32),
            1 => Just(0.0f32),
            1 => Just(f32::NAN),
            1 => Just(f32::NEG_INFINITY),
            1 => Just(f32::INFINITY),
        ];
        prop::collection::vec(logit, 0..700)
    }

    /// What a full sort says; zeros of both signs are equal to a logits row.
    fn sorted(row: &[f32]) -> Vec<(f32, Token)> {
        let mut all: Vec<(f32, Token)> =
            (0..).zip(row).map(|(token, logit)| (*logit, token)).collect();
        all.retain(|(logit, _)| *logit > f32::NEG_INFINITY);
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        all
    }

    proptest! {
        #[test]
        fn top_k_is_the_head_of_a_full_sort(row in rows(), k in 0usize..800) {
            let mut out = Vec::new();
            top_k(&row, k, &mut out);
            let mut expected = sorted(&row);
            expected.truncate(k);
            // Which of two zeros of unlike sign comes first does not matter; the logits do.
            let logits: Vec<f32> = out.iter().map(|c| c.logit).collect();
            let wanted: Vec<f32> = expected.iter().map(|(logit, _)| *logit).collect();
            prop_assert_eq!(logits, wanted);
            for candidate in &out {
                prop_assert_eq!(row[candidate.token as usize], candidate.logit);
            }
            let mut tokens: Vec<Token> = out.iter().map(|c| c.token).collect();
            tokens.sort_unstable();
            tokens.dedup();
            prop_assert_eq!(tokens.len(), out.len());
        }

        #[test]
        fn argmax_is_the_first_of_the_largest(row in rows()) {
            let largest = row.iter().copied().filter(|v| !v.is_nan()).fold(f32::NEG_INFINITY, f32::max);
            let expected = (largest > f32::NEG_INFINITY)
                .then(|| row.iter().position(|v| *v == largest))
                .flatten()
                .map(|at| at as Token);
            prop_assert_eq!(argmax(&row), expected);
        }

        #[test]
        fn at_least_keeps_exactly_those(row in rows(), least in -5.0f32..5.0) {
            let mut out = Vec::new();
            at_least(&row, least, &mut out);
            let expected: Vec<Token> =
                (0..).zip(&row).filter(|(_, v)| **v >= least).map(|(t, _)| t).collect();
            prop_assert_eq!(out.iter().map(|c| c.token).collect::<Vec<_>>(), expected);
        }
    }
}
