use std::sync::Arc;

use prometheus::{Encoder as _, IntCounter, TextEncoder};

use super::labels::dialect_of;
use super::now::{Now, measured};
use super::series::Series;
use super::{GenerationMeter, LoadMeter};
use crate::logbook::Dropped;

/// Whatever counts holds one; cheap to clone.
#[derive(Clone, Default)]
pub struct Metrics {
    pub(super) series: Option<Arc<Series>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("on", &self.is_on()).finish_non_exhaustive()
    }
}

/// Counts the bytes of one transfer.
#[derive(Clone, Default)]
pub struct ByteMeter(Option<IntCounter>);

impl ByteMeter {
    /// So many more were moved.
    pub fn add(&self, bytes: u64) {
        if let Some(counter) = &self.0 {
            counter.inc_by(bytes);
        }
    }
}

impl Metrics {
    /// Counts from zero.
    pub fn on() -> Self {
        let series = Series::new()
            .inspect_err(|error| tracing::error!(%error, "there will be no metrics"))
            .ok();
        Self { series: series.map(Arc::new) }
    }

    /// Counts nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// Whether anything is counted.
    pub fn is_on(&self) -> bool {
        self.series.is_some()
    }

    /// An HTTP request was answered; `template` is that of its route, if one matched.
    pub fn answered(&self, template: Option<&str>, method: &str, status: u16) {
        let Some(series) = &self.series else { return };
        let route = template.unwrap_or("none");
        let method = match method {
            "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH" => method,
            _ => "other",
        };
        let status = status.to_string();
        let labels = [dialect_of(route), route, method, &status];
        if let Ok(counter) = series.requests.get_metric_with_label_values(&labels) {
            counter.inc();
        }
    }

    /// Follows one request to a model from now on.
    pub fn generation(&self, model: &str) -> GenerationMeter {
        GenerationMeter::new(self.series.clone(), model)
    }

    /// Follows one load of a model from now on.
    pub fn load(&self, model: &str) -> LoadMeter {
        LoadMeter::new(self.series.clone(), model)
    }

    /// Counts what one transfer moves; `direction` is `pull` or `push`.
    pub fn moving(&self, direction: &str) -> ByteMeter {
        let counter = self.series.as_ref().and_then(|series| {
            series.transfer_bytes.get_metric_with_label_values(&[direction]).ok()
        });
        ByteMeter(counter)
    }

    /// A transfer is over.
    pub fn transferred(&self, direction: &str, outcome: &str) {
        let Some(series) = &self.series else { return };
        if let Ok(counter) = series.transfers.get_metric_with_label_values(&[direction, outcome]) {
            counter.inc();
        }
    }

    /// What the log has dropped is counted from now on; the first one holds.
    pub fn counts_dropped_log_lines(&self, dropped: Dropped) {
        if let Some(series) = &self.series {
            let _ = series.dropped_lines.set(dropped);
        }
    }

    /// Everything in Prometheus' text form 0.0.4, with what holds right now; `None`: nothing is
    /// counted.
    pub fn text(&self, now: &Now) -> Option<String> {
        let series = self.series.as_ref()?;
        let mut families = series.registry.gather();
        families.extend(measured(series, now).unwrap_or_default());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text).ok()?;
        String::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::ModelNow;
    use super::*;

    #[test]
    fn all_series_can_be_made() {
        assert!(Metrics::on().is_on());
    }

    #[test]
    fn what_is_off_counts_nothing() {
        let metrics = Metrics::off();
        metrics.answered(Some("/"), "GET", 200);
        metrics.moving("pull").add(7);
        assert_eq!(metrics.text(&Now::default()), None);
    }

    #[test]
    fn counters_and_what_holds_now() {
        let metrics = Metrics::on();
        metrics.answered(Some("/v1/chat/completions"), "POST", 200);
        metrics.answered(Some("/v1/chat/completions"), "POST", 200);
        metrics.answered(None, "BREW", 404);
        metrics.moving("pull").add(7);
        metrics.transferred("pull", "done");
        let model = ModelNow { name: "m".into(), loaded: true, running: 1, waiting: 2, memory: 3 };
        let text = metrics.text(&Now { version: "1", models: vec![model] }).unwrap();
        for line in [
            "modeld_http_requests_total{dialect=\"openai\",method=\"POST\",\
             route=\"/v1/chat/completions\",status=\"200\"} 2",
            "modeld_http_requests_total{dialect=\"native\",method=\"other\",route=\"none\",\
             status=\"404\"} 1",
            "modeld_transfer_bytes_total{direction=\"pull\"} 7",
            "modeld_transfers_total{direction=\"pull\",outcome=\"done\"} 1",
            "modeld_requests_running{model=\"m\"} 1",
            "modeld_requests_waiting{model=\"m\"} 2",
            "modeld_model_memory_bytes{model=\"m\"} 3",
            "modeld_models_loaded 1",
            "modeld_log_lines_dropped_total 0",
            "modeld_build_info{version=\"1\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
