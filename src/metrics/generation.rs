use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::HistogramVec;

use crate::domain::{Error, ErrorKind, Event, Outcome, Result};

use super::series::Series;

/// Follows one request to a model; what it learnt is counted at the latest when it is dropped.
pub struct GenerationMeter {
    /// `None`: nothing is counted.
    series: Option<Arc<Series>>,
    model: String,
    begun: Instant,
    answered: bool,
    outcome: &'static str,
}

impl std::fmt::Debug for GenerationMeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GenerationMeter").field("model", &self.model).finish_non_exhaustive()
    }
}

impl GenerationMeter {
    pub(super) fn new(series: Option<Arc<Series>>, model: &str) -> Self {
        let model = series.as_ref().map(|series| series.models.of(model).to_owned());
        Self {
            series,
            model: model.unwrap_or_default(),
            begun: Instant::now(),
            answered: false,
            // Whoever drops it before the end has left.
            outcome: "cancelled",
        }
    }

    /// It was not taken into the queue.
    pub fn refused(mut self) {
        self.outcome = "refused";
    }

    /// Its reader sees an event; `queued` is how long it waited until it was started.
    pub fn saw(&mut self, event: &Result<Event>, queued: Duration) {
        let Some(series) = self.series.clone() else { return };
        match event {
            Ok(Event::Waiting { .. } | Event::Loading { .. } | Event::Ended { .. }) => {}
            Ok(Event::Started { prompt_tokens, cached_tokens }) => {
                self.observe(&series.queue_wait, queued.as_secs_f64());
                for (counter, tokens) in
                    [(&series.prompt_tokens, prompt_tokens), (&series.cached_tokens, cached_tokens)]
                {
                    if let Ok(counter) = counter.get_metric_with_label_values(&[&self.model]) {
                        counter.inc_by((*tokens).into());
                    }
                }
            }
            Ok(Event::Delta { .. } | Event::Vector { .. }) => {
                if !std::mem::replace(&mut self.answered, true) {
                    self.observe(&series.first_token, self.begun.elapsed().as_secs_f64());
                }
            }
            Ok(Event::Finished(outcome)) => {
                self.outcome = "finished";
                self.finished(&series, outcome);
            }
            Err(Error { kind: ErrorKind::Cancelled, .. }) => self.outcome = "cancelled",
            Err(_) => self.outcome = "failed",
        }
    }

    fn finished(&self, series: &Series, outcome: &Outcome) {
        let Outcome { usage, timings } = outcome;
        let label = [self.model.as_str()];
        if let Ok(counter) = series.generated_tokens.get_metric_with_label_values(&label) {
            counter.inc_by(usage.completion_tokens.into());
        }
        for (counter, ms) in [
            (&series.prompt_seconds, timings.prompt_ms),
            (&series.decode_seconds, timings.decode_ms),
        ] {
            // A counter must not go back, whatever a worker says.
            if let Ok(counter) = counter.get_metric_with_label_values(&label)
                && ms.is_finite()
                && ms > 0.0
            {
                counter.inc_by(ms / 1000.0);
            }
        }
        if usage.completion_tokens > 1 {
            let between = f64::from(usage.completion_tokens.saturating_sub(1));
            self.observe(&series.per_token, timings.decode_ms / 1000.0 / between);
        }
    }

    fn observe(&self, histogram: &HistogramVec, seconds: f64) {
        if let Ok(histogram) = histogram.get_metric_with_label_values(&[&self.model])
            && seconds.is_finite()
        {
            histogram.observe(seconds.max(0.0));
        }
    }
}

impl Drop for GenerationMeter {
    fn drop(&mut self) {
        if let Some(series) = &self.series
            && let Ok(counter) =
                series.generations.get_metric_with_label_values(&[&self.model, self.outcome])
        {
            counter.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Metrics, Now};
    use super::*;
    use crate::domain::{Timings, Usage};

    fn lines(metrics: &Metrics) -> Vec<String> {
        let text = metrics.text(&Now::default()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn has(metrics: &Metrics, line: &str) {
        let lines = lines(metrics);
        assert!(lines.iter().any(|l| l == line), "{line}\n{}", lines.join("\n"));
    }

    #[test]
    fn an_answer_counts_its_tokens_and_times_once() {
        let metrics = Metrics::on();
        let mut meter = metrics.generation("m");
        let queued = Duration::from_millis(20);
        let usage = Usage {
            prompt_tokens: 10,
            cached_tokens: 4,
            completion_tokens: 5,
            reasoning_tokens: 0,
        };
        let timings = Timings { prompt_ms: 500.0, decode_ms: 400.0, ..Timings::default() };
        for event in [
            Event::Waiting { position: 1 },
            Event::Started { prompt_tokens: 10, cached_tokens: 4 },
            Event::content("a"),
            Event::content("b"),
            Event::Finished(Outcome { usage, timings }),
        ] {
            meter.saw(&Ok(event), queued);
        }
        drop(meter);
        for line in [
            "modeld_prompt_tokens_total{model=\"m\"} 10",
            "modeld_prompt_cached_tokens_total{model=\"m\"} 4",
            "modeld_generated_tokens_total{model=\"m\"} 5",
            "modeld_queue_wait_seconds_sum{model=\"m\"} 0.02",
            "modeld_queue_wait_seconds_count{model=\"m\"} 1",
            "modeld_time_to_first_token_seconds_count{model=\"m\"} 1",
            "modeld_time_per_output_token_seconds_sum{model=\"m\"} 0.1",
            "modeld_prompt_seconds_total{model=\"m\"} 0.5",
            "modeld_generations_total{model=\"m\",outcome=\"finished\"} 1",
            "llamacpp:prompt_tokens_total{backend=\"llama.cpp\",model=\"m\"} 6",
            "llamacpp:tokens_predicted_total{backend=\"llama.cpp\",model=\"m\"} 5",
        ] {
            has(&metrics, line);
        }
    }

    #[test]
    fn every_end_has_its_name() {
        let metrics = Metrics::on();
        drop(metrics.generation("left"));
        metrics.generation("full").refused();
        let mut failed = metrics.generation("died");
        failed.saw(&Err(Error::new(ErrorKind::EngineCrashed, "x")), Duration::ZERO);
        drop(failed);
        has(&metrics, "modeld_generations_total{model=\"left\",outcome=\"cancelled\"} 1");
        has(&metrics, "modeld_generations_total{model=\"full\",outcome=\"refused\"} 1");
        has(&metrics, "modeld_generations_total{model=\"died\",outcome=\"failed\"} 1");
    }

    #[test]
    fn numbers_that_make_no_sense_are_left_out() {
        let metrics = Metrics::on();
        let mut meter = metrics.generation("m");
        let usage = Usage { completion_tokens: 2, ..Usage::default() };
        let timings = Timings { prompt_ms: f64::NAN, decode_ms: -1.0, ..Timings::default() };
        meter.saw(&Ok(Event::Finished(Outcome { usage, timings })), Duration::ZERO);
        drop(meter);
        let text = lines(&metrics).join("\n");
        assert!(!text.contains("NaN") && !text.contains(" -"), "{text}");
    }
}
