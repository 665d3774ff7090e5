use std::time::Duration;

use serde::Serialize;

use crate::domain::{Outcome, Timings, Usage};

/// What an answer cost; times in nanoseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Metrics {
    total_duration: u64,
    load_duration: u64,
    #[serde(skip_serializing_if = "is_zero")]
    prompt_eval_count: u32,
    #[serde(skip_serializing_if = "is_zero")]
    prompt_eval_duration: u64,
    #[serde(skip_serializing_if = "is_zero")]
    eval_count: u32,
    #[serde(skip_serializing_if = "is_zero")]
    eval_duration: u64,
}

impl Metrics {
    pub(super) fn new(outcome: &Outcome) -> Self {
        let Outcome { usage, timings } = outcome;
        let Usage { prompt_tokens, completion_tokens, cached_tokens: _, reasoning_tokens: _ } =
            *usage;
        let Timings { queue_ms, load_ms: _, prompt_ms, decode_ms } = *timings;
        // Clients divide by these: what happened took some time.
        let spent = |count: u32, ms: f64| if count == 0 { 0 } else { of_ms(ms).max(1) };
        // Until the model was ready for this request, as upstream counts it.
        let load_duration = of_ms(queue_ms).max(1);
        let prompt_eval_duration = spent(prompt_tokens, prompt_ms);
        let eval_duration = spent(completion_tokens, decode_ms);
        let total_duration =
            load_duration.saturating_add(prompt_eval_duration).saturating_add(eval_duration);
        Self {
            total_duration,
            load_duration,
            prompt_eval_count: prompt_tokens,
            prompt_eval_duration,
            eval_count: completion_tokens,
            eval_duration,
        }
    }
}

/// A time as Ollama writes it.
pub(in crate::api::ollama) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn of_ms(ms: f64) -> u64 {
    Duration::try_from_secs_f64(ms / 1000.0).map_or(0, nanoseconds)
}

fn is_zero<T: Copy + Into<u64>>(count: &T) -> bool {
    (*count).into() == 0
}
