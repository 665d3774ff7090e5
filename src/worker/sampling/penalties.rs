use std::collections::{HashMap, VecDeque};

use crate::worker::compute::Token;

use super::Params;

/// Counts of the last `repeat_last_n` tokens, prompt included.
#[derive(Debug, Clone, Default)]
pub(super) struct Penalties {
    window: VecDeque<Token>,
    counts: HashMap<Token, u32>,
}

impl Penalties {
    /// The next token of the sequence.
    pub(super) fn accept(&mut self, token: Token, params: &Params) {
        if !params.penalises() {
            return;
        }
        self.window.push_back(token);
        *self.counts.entry(token).or_default() += 1;
        while self.window.len() > params.repeat_last_n {
            let Some(oldest) = self.window.pop_front() else { break };
            if let Some(count) = self.counts.get_mut(&oldest) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&oldest);
                }
            }
        }
    }

    /// Lowers (or, with negative penalties, raises) the logits of the tokens in the window.
    pub(super) fn apply(&self, row: &mut [f32], params: &Params) {
        for (&token, &count) in &self.counts {
            let Some(logit) = usize::try_from(token).ok().and_then(|at| row.get_mut(at)) else {
                continue;
            };
            // Dividing a negative logit would make the token more likely.
            if *logit <= 0.0 {
                *logit *= params.repeat_penalty;
            } else {
                *logit /= params.repeat_penalty;
            }
            *logit -= count as f32 * params.frequency_penalty + params.presence_penalty;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::Sampling;

    use super::super::resolve;
    use super::*;

    fn row_after(tokens: &[Token], request: &Sampling) -> Vec<f32> {
        let params = resolve(request, &Sampling::default());
        let mut penalties = Penalties::default();
        for token in tokens {
            penalties.accept(*token, &params);
        }
        let mut row = vec![4.0, 4.0, -4.0, f32::NEG_INFINITY];
        penalties.apply(&mut row, &params);
        row
    }

    #[test]
    fn presence_counts_once_and_frequency_every_time() {
        let request =
            Sampling { presence_penalty: 1.0, frequency_penalty: 0.5, ..Sampling::default() };
        assert_eq!(row_after(&[0, 0, 0, 2], &request), [1.5, 4.0, -5.5, f32::NEG_INFINITY]);
    }

    #[test]
    fn the_repeat_penalty_always_makes_a_token_less_likely() {
        let request = Sampling { repeat_penalty: Some(2.0), ..Sampling::default() };
        assert_eq!(row_after(&[0, 2, 3], &request), [2.0, 4.0, -8.0, f32::NEG_INFINITY]);
    }

    #[test]
    fn tokens_that_left_the_window_are_free() {
        let request =
            Sampling { presence_penalty: 1.0, repeat_last_n: Some(2), ..Sampling::default() };
        assert_eq!(row_after(&[0, 0, 2, 1], &request), [4.0, 3.0, -5.0, f32::NEG_INFINITY]);
    }

    #[test]
    fn ids_outside_the_row_change_nothing() {
        let request = Sampling { presence_penalty: 1.0, ..Sampling::default() };
        assert_eq!(row_after(&[-1, 99], &request), [4.0, 4.0, -4.0, f32::NEG_INFINITY]);
    }
}
