use std::time::Duration;

use super::StepSettings;

/// How much a new measurement counts against the old ones.
const WEIGHT: f64 = 0.3;
/// Prompt tokens of the very first chunk, when nothing has been measured.
const FIRST_CHUNK: usize = 64;
/// After so many steps with both kinds of tokens one without prompts measures what decoding costs.
const REMEASURE: u32 = 64;

/// How many prompt tokens the next step may hold, from how long steps took.
///
/// A step costs about `decode step + prompt tokens × time per token`; both terms are running
/// averages, so that a busy machine, a longer context or a slower clock is followed within a few
/// steps.
#[derive(Debug)]
pub(super) struct Pace {
    target: f64,
    longest: f64,
    min_chunk: usize,
    max_batch: usize,
    /// Seconds for one more prompt token.
    per_token: Option<f64>,
    /// Seconds of a step that only decodes.
    decode_step: Option<f64>,
    /// Steps with both since the last that only decoded.
    mixed: u32,
}

impl Pace {
    pub(super) fn new(settings: &StepSettings, max_batch: usize) -> Self {
        Self {
            target: settings.target_step.as_secs_f64(),
            longest: settings.max_step.as_secs_f64(),
            min_chunk: settings.min_chunk.max(1),
            max_batch,
            per_token: None,
            decode_step: None,
            mixed: 0,
        }
    }

    /// The most prompt tokens for a step in which so many sequences decode. 0 only while some do:
    /// this step is to measure them alone.
    pub(super) fn budget(&self, decoding: usize) -> usize {
        let room = self.max_batch.saturating_sub(decoding);
        if decoding > 0 && (self.decode_step.is_none() || self.mixed >= REMEASURE) {
            return 0;
        }
        let Some(per_token) = self.per_token else { return FIRST_CHUNK.min(room) };
        let decode = self.decode_step.unwrap_or(0.0);
        let time = if decoding > 0 {
            (self.target.max(3.0 * decode) - decode).min(self.longest)
        } else {
            self.longest
        };
        // The cast saturates, and a time per token of zero gives infinity.
        ((time / per_token) as usize).max(self.min_chunk).min(room)
    }

    /// A step was computed.
    pub(super) fn record(&mut self, decoding: usize, prompt_tokens: usize, took: Duration) {
        let took = took.as_secs_f64();
        if prompt_tokens == 0 {
            self.mixed = 0;
            average(&mut self.decode_step, took);
            return;
        }
        if decoding > 0 {
            self.mixed = self.mixed.saturating_add(1);
        }
        // Of a few tokens the fixed cost of a step would be nearly all that is measured.
        if prompt_tokens >= self.min_chunk {
            let decode = if decoding > 0 { self.decode_step.unwrap_or(0.0) } else { 0.0 };
            let share = (took - decode).max(took * 0.1);
            average(&mut self.per_token, share / prompt_tokens as f64);
        }
    }

    /// Seconds that so many prompt tokens will take; a guess until something was measured.
    pub(super) fn prefill_time(&self, tokens: usize) -> f64 {
        tokens as f64 * self.per_token.unwrap_or(0.001)
    }
}

fn average(value: &mut Option<f64>, sample: f64) {
    *value = Some(value.map_or(sample, |old| old + WEIGHT * (sample - old)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A machine on which a step takes `fixed + decoding × decode + prompt × prefill` seconds.
    struct Machine {
        fixed: f64,
        decode: f64,
        prefill: f64,
    }

    impl Machine {
        fn step(&self, pace: &mut Pace, decoding: usize) -> (usize, f64) {
            let prompt = pace.budget(decoding);
            let took = self.fixed + decoding as f64 * self.decode + prompt as f64 * self.prefill;
            pace.record(decoding, prompt, Duration::from_secs_f64(took));
            (prompt, took)
        }
    }

    fn pace() -> Pace {
        Pace::new(&StepSettings::default(), 2048)
    }

    #[test]
    fn a_step_stays_near_the_target_while_anyone_decodes() {
        let machine = Machine { fixed: 0.008, decode: 0.001, prefill: 0.0005 };
        let mut pace = pace();
        let steps: Vec<f64> = (0..200).map(|_| machine.step(&mut pace, 4).1).skip(10).collect();
        let longest = steps.iter().copied().fold(0.0, f64::max);
        assert!((0.045..0.055).contains(&longest), "{longest}");
    }

    #[test]
    fn slow_decoding_raises_the_target_to_three_of_its_steps() {
        let machine = Machine { fixed: 0.1, decode: 0.0, prefill: 0.002 };
        let mut pace = pace();
        let longest = (0..50).map(|_| machine.step(&mut pace, 1).1).skip(10).fold(0.0, f64::max);
        assert!((0.27..0.33).contains(&longest), "{longest}");
    }

    #[test]
    fn alone_a_prompt_takes_steps_of_the_longest_time() {
        let machine = Machine { fixed: 0.02, decode: 0.0, prefill: 0.002 };
        let mut pace = pace();
        let (tokens, took) = (0..20).map(|_| machine.step(&mut pace, 0)).last().unwrap();
        assert!((0.45..0.52).contains(&took), "{tokens} tokens in {took} s");
    }

    #[test]
    fn a_chunk_is_never_too_small_to_pay() {
        let machine = Machine { fixed: 2.0, decode: 0.1, prefill: 0.1 };
        let mut pace = pace();
        for decoding in [0, 0, 1, 1, 1, 5, 0, 1, 0] {
            let (tokens, _) = machine.step(&mut pace, decoding);
            assert!(tokens == 0 || tokens >= 16);
        }
    }

    #[test]
    fn decoding_is_measured_alone_now_and_then() {
        let machine = Machine { fixed: 0.01, decode: 0.001, prefill: 0.001 };
        let mut pace = pace();
        let alone: Vec<usize> = (0..200).filter(|_| machine.step(&mut pace, 2).0 == 0).collect();
        assert_eq!(alone, [0, 65, 130, 195]);
    }

    #[test]
    fn one_slow_step_is_forgotten_soon() {
        let machine = Machine { fixed: 0.005, decode: 0.0, prefill: 0.0001 };
        let mut pace = pace();
        pace.record(0, 64, Duration::from_secs(5));
        let (tokens, _) = (0..25).map(|_| machine.step(&mut pace, 0)).last().unwrap();
        assert_eq!(tokens, 2048);
    }

    proptest! {
        #[test]
        fn the_budget_fits_the_batch_and_alone_is_never_zero(
            records in prop::collection::vec((0usize..300, 0usize..3000, 0u64..10_000_000), 0..60),
            decoding in 0usize..3000,
        ) {
            let mut pace = pace();
            for (decoding, prompt, micros) in records {
                pace.record(decoding, prompt, Duration::from_micros(micros));
            }
            prop_assert!(pace.budget(0) >= 16);
            prop_assert!(pace.budget(decoding) + decoding <= 2048.max(decoding));
        }
    }
}
