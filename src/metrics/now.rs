use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, Result};

use super::series::Series;
use crate::logbook::Dropped;

/// What holds at the moment of a scrape.
#[derive(Debug, Clone, Default)]
pub struct Now {
    /// Of this program.
    pub version: &'static str,
    /// Models that are loaded, or being loaded.
    pub models: Vec<ModelNow>,
}

/// One of them.
#[derive(Debug, Clone, Default)]
pub struct ModelNow {
    /// As `ps` shows it.
    pub name: String,
    /// Not while it is being loaded.
    pub loaded: bool,
    /// Requests that compute.
    pub running: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Estimated bytes of memory.
    pub memory: u64,
}

/// Series that are made for one scrape, so that none outlives what it is about.
pub(super) fn measured(series: &Series, now: &Now) -> Result<Vec<MetricFamily>> {
    let registry = Registry::new();
    let gauges = |name: &str, help: &str, labels: &[&str]| {
        let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
        registry.register(Box::new(gauge.clone()))?;
        Ok::<_, prometheus::Error>(gauge)
    };
    let model = ["model"];
    let running = gauges("modeld_requests_running", "Requests that compute.", &model)?;
    let waiting = gauges("modeld_requests_waiting", "Requests that wait for a model.", &model)?;
    let memory = gauges(
        "modeld_model_memory_bytes",
        "Memory that a model takes by its estimate, loaded or on its way.",
        &model,
    )?;
    let llama = ["backend", "model"];
    let processing = gauges("llamacpp:requests_processing", "As modeld_requests_running.", &llama)?;
    let deferred = gauges("llamacpp:requests_deferred", "As modeld_requests_waiting.", &llama)?;
    let loaded = IntGauge::new("modeld_models_loaded", "Models that are in memory.")?;
    registry.register(Box::new(loaded.clone()))?;
    let dropped = IntCounter::new(
        "modeld_log_lines_dropped_total",
        "Log lines that were left out because nobody took them in time.",
    )?;
    registry.register(Box::new(dropped.clone()))?;
    dropped.inc_by(series.dropped_lines.get().map_or(0, Dropped::count));
    let build = gauges("modeld_build_info", "Which modeld this is; always 1.", &["version"])?;
    build.get_metric_with_label_values(&[now.version])?.set(1);
    for ModelNow { name, loaded: in_memory, running: runs, waiting: waits, memory: bytes } in
        &now.models
    {
        let label = series.models.of(name);
        running.get_metric_with_label_values(&[label])?.add((*runs).into());
        waiting.get_metric_with_label_values(&[label])?.add((*waits).into());
        let bytes = i64::try_from(*bytes).unwrap_or(i64::MAX);
        memory.get_metric_with_label_values(&[label])?.add(bytes);
        let label = [BACKEND, label];
        processing.get_metric_with_label_values(&label)?.add((*runs).into());
        deferred.get_metric_with_label_values(&label)?.add((*waits).into());
        loaded.add((*in_memory).into());
    }
    let mut families = registry.gather();
    families.extend(under_other_names(series)?);
    Ok(families)
}

const BACKEND: &str = "llama.cpp";

/// Token counts under the names that llama-server gives them, for dashboards that exist.
fn under_other_names(series: &Series) -> Result<Vec<MetricFamily>> {
    let registry = Registry::new();
    let prompt = IntCounterVec::new(
        Opts::new(
            "llamacpp:prompt_tokens_total",
            "Prompt tokens that were computed: modeld_prompt_tokens_total without the cached ones.",
        ),
        &["backend", "model"],
    )?;
    let predicted = IntCounterVec::new(
        Opts::new("llamacpp:tokens_predicted_total", "As modeld_generated_tokens_total."),
        &["backend", "model"],
    )?;
    registry.register(Box::new(prompt.clone()))?;
    registry.register(Box::new(predicted.clone()))?;
    for model in series.models.all() {
        let label = [model.as_str()];
        let of = |counter: &IntCounterVec| {
            counter.get_metric_with_label_values(&label).map(|counter| counter.get())
        };
        let (all, cached) = (of(&series.prompt_tokens)?, of(&series.cached_tokens)?);
        let labels = [BACKEND, &model];
        prompt.get_metric_with_label_values(&labels)?.inc_by(all.saturating_sub(cached));
        predicted.get_metric_with_label_values(&labels)?.inc_by(of(&series.generated_tokens)?);
    }
    Ok(registry.gather())
}
