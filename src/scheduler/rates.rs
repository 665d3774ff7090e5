//! How fast one model serves, measured, for honest `Retry-After` values. A plain value.

use std::time::Duration;

use crate::domain::Outcome;

/// Weight of the newest request.
const NEWEST: f64 = 0.25;

/// Without any measurement: a guess that makes a client come back soon, but not at once.
const UNKNOWN: Duration = Duration::from_secs(5);

/// What `Retry-After` may be; the longest, so that nobody gives up for good.
const RETRY: std::ops::RangeInclusive<u64> = 1..=60;

/// Moving averages over the last requests.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    /// Seconds that a request computes.
    service: Option<f64>,
    /// Tokens per second of prefill.
    prefill: Option<f64>,
    /// Tokens per second of one sequence's decoding.
    decode: Option<f64>,
}

impl Rates {
    /// Takes in a request that was served.
    pub(super) fn record(&mut self, service: Duration, outcome: &Outcome) {
        let (usage, timings) = (&outcome.usage, &outcome.timings);
        let fresh = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
        update(&mut self.service, service.as_secs_f64());
        update(&mut self.prefill, f64::from(fresh) / (timings.prompt_ms / 1000.0));
        update(&mut self.decode, f64::from(usage.completion_tokens) / (timings.decode_ms / 1000.0));
    }

    /// How long a request of so many tokens will compute, as far as anybody knows.
    pub(super) fn service_of(&self, prompt_tokens: u64, output_tokens: u64) -> Option<Duration> {
        let seconds = match (self.prefill, self.decode) {
            (Some(prefill), Some(decode)) => {
                tokens(prompt_tokens) / prefill + tokens(output_tokens) / decode
            }
            _ => self.service?,
        };
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// How long it takes until so many more requests have been started, `parallel` at a time.
    pub(super) fn wait_for(&self, requests: usize, parallel: usize) -> Option<Duration> {
        let turns = tokens(requests as u64) / tokens(parallel.max(1) as u64);
        Duration::try_from_secs_f64(self.service? * turns).ok()
    }

    /// When to try again if the next place is free after so many requests.
    pub(super) fn retry_after(&self, requests: usize, parallel: usize) -> Duration {
        let wait = self.wait_for(requests, parallel).unwrap_or(UNKNOWN);
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        Duration::from_secs(seconds.clamp(*RETRY.start(), *RETRY.end()))
    }
}

/// Token counts are far below 2^53.
fn tokens(count: u64) -> f64 {
    count as f64
}

fn update(average: &mut Option<f64>, newest: f64) {
    // Requests without prefill or without output say nothing about their speed.
    if newest.is_finite() && newest > 0.0 {
        *average = Some(match *average {
            Some(before) => before + NEWEST * (newest - before),
            None => newest,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Timings, Usage};
    use proptest::prelude::*;

    fn outcome(prompt_ms: f64, decode_ms: f64) -> Outcome {
        Outcome {
            usage: Usage {
                prompt_tokens: 100,
                cached_tokens: 0,
                completion_tokens: 50,
                reasoning_tokens: 0,
            },
            timings: Timings { prompt_ms, decode_ms, ..Timings::default() },
        }
    }

    #[test]
    fn a_place_is_free_when_one_of_the_running_is_done() {
        let mut rates = Rates::default();
        assert_eq!(rates.retry_after(1, 4), UNKNOWN);
        rates.record(Duration::from_secs(10), &outcome(0.0, 0.0));
        assert_eq!(rates.retry_after(1, 4), Duration::from_secs(3));
        assert_eq!(rates.retry_after(8, 4), Duration::from_secs(20));
        assert_eq!(rates.retry_after(800, 4), Duration::from_secs(60));
        assert_eq!(rates.service_of(100, 50), Some(Duration::from_secs(10)));
    }

    #[test]
    fn speeds_tell_a_long_request_from_a_short_one() {
        let mut rates = Rates::default();
        rates.record(Duration::from_secs(6), &outcome(1000.0, 5000.0));
        assert_eq!(rates.service_of(1000, 20), Some(Duration::from_secs(12)));
    }

    proptest! {
        #[test]
        fn retry_after_is_always_a_sane_number(
            measured in prop::collection::vec((any::<f64>(), any::<f64>(), 0u64..1 << 50), 0..9),
            requests: usize,
            parallel: usize,
        ) {
            let mut rates = Rates::default();
            for (prompt, decode, service) in measured {
                rates.record(Duration::from_millis(service), &outcome(prompt, decode));
            }
            let seconds = rates.retry_after(requests, parallel).as_secs();
            prop_assert!(RETRY.contains(&seconds));
        }
    }
}
