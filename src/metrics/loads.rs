use std::sync::Arc;
use std::time::Instant;

use super::series::Series;

/// Follows one load of a model, and then the process that it made.
pub struct LoadMeter {
    /// `None`: nothing is counted.
    series: Option<Arc<Series>>,
    model: String,
    begun: Instant,
    over: bool,
}

impl LoadMeter {
    pub(super) fn new(series: Option<Arc<Series>>, model: &str) -> Self {
        let label = series.as_ref().map(|series| series.models.of(model).to_owned());
        Self { series, model: label.unwrap_or_default(), begun: Instant::now(), over: false }
    }

    /// The model is loaded.
    pub fn loaded(&mut self) {
        if let Some(series) = &self.series
            && let Ok(histogram) = series.load_seconds.get_metric_with_label_values(&[&self.model])
        {
            histogram.observe(self.begun.elapsed().as_secs_f64());
        }
        self.end("loaded");
    }

    /// It could not be; `died`: because its process ended.
    pub fn failed(&mut self, died: bool) {
        self.end("failed");
        if died {
            self.died();
        }
    }

    /// Its process ended without being asked to.
    pub fn died(&self) {
        if let Some(series) = &self.series
            && let Ok(counter) = series.deaths.get_metric_with_label_values(&[&self.model])
        {
            counter.inc();
        }
    }

    fn end(&mut self, outcome: &str) {
        self.over = true;
        if let Some(series) = &self.series
            && let Ok(counter) = series.loads.get_metric_with_label_values(&[&self.model, outcome])
        {
            counter.inc();
        }
    }
}

impl Drop for LoadMeter {
    /// A load that nobody waits for any more is dropped.
    fn drop(&mut self) {
        if !self.over {
            self.end("cancelled");
        }
    }
}
