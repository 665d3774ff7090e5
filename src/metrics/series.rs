use std::sync::OnceLock;

use prometheus::{CounterVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, Result};

use super::labels::ModelLabels;
use crate::logbook::Dropped;

/// Seconds, from a cached prompt to a cold load.
const WAITS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Seconds per token.
const PACES: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0];

const MODEL: &[&str] = &["model"];

/// Everything that is kept between two scrapes.
pub(super) struct Series {
    pub(super) registry: Registry,
    pub(super) models: ModelLabels,
    pub(super) requests: IntCounterVec,
    pub(super) generations: IntCounterVec,
    pub(super) queue_wait: HistogramVec,
    pub(super) first_token: HistogramVec,
    pub(super) per_token: HistogramVec,
    pub(super) prompt_tokens: IntCounterVec,
    pub(super) cached_tokens: IntCounterVec,
    pub(super) generated_tokens: IntCounterVec,
    pub(super) prompt_seconds: CounterVec,
    pub(super) decode_seconds: CounterVec,
    pub(super) loads: IntCounterVec,
    pub(super) load_seconds: HistogramVec,
    pub(super) deaths: IntCounterVec,
    pub(super) transfers: IntCounterVec,
    pub(super) transfer_bytes: IntCounterVec,
    /// Counted by the log itself.
    pub(super) dropped_lines: OnceLock<Dropped>,
}

impl Series {
    /// # Errors
    /// A name or label that Prometheus does not know, or one that comes twice: a fault of this file.
    pub(super) fn new() -> Result<Self> {
        let registry = Registry::new();
        let counts = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let seconds = |name: &str, help: &str| {
            let counter = CounterVec::new(Opts::new(name, help), MODEL)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let times = |name: &str, help: &str, buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let histogram = HistogramVec::new(options, MODEL)?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };
        Ok(Self {
            models: ModelLabels::default(),
            dropped_lines: OnceLock::new(),
            requests: counts(
                "modeld_http_requests_total",
                "Answered HTTP requests; the route is a template, `none` where no route matched.",
                &["dialect", "route", "method", "status"],
            )?,
            generations: counts(
                "modeld_generations_total",
                "Requests to models by how they ended: finished, failed, cancelled or refused.",
                &["model", "outcome"],
            )?,
            queue_wait: times(
                "modeld_queue_wait_seconds",
                "From a request's acceptance to the start of its computing, loading included.",
                &WAITS,
            )?,
            first_token: times(
                "modeld_time_to_first_token_seconds",
                "From a request's acceptance to the first piece of its answer.",
                &WAITS,
            )?,
            per_token: times(
                "modeld_time_per_output_token_seconds",
                "Mean time between the tokens of one answer.",
                &PACES,
            )?,
            prompt_tokens: counts(
                "modeld_prompt_tokens_total",
                "Tokens of prompts that were begun, those from the prefix cache included.",
                MODEL,
            )?,
            cached_tokens: counts(
                "modeld_prompt_cached_tokens_total",
                "Tokens of prompts that the prefix cache saved.",
                MODEL,
            )?,
            generated_tokens: counts(
                "modeld_generated_tokens_total",
                "Tokens of answers that came to their end.",
                MODEL,
            )?,
            prompt_seconds: seconds(
                "modeld_prompt_seconds_total",
                "Time from a prompt's start to its first token, of answers that came to their end.",
            )?,
            decode_seconds: seconds(
                "modeld_decode_seconds_total",
                "Time from the first token to the last, of answers that came to their end.",
            )?,
            loads: counts(
                "modeld_model_loads_total",
                "Loads of models by how they ended: loaded, failed or cancelled.",
                &["model", "outcome"],
            )?,
            load_seconds: times(
                "modeld_model_load_seconds",
                "How long loads took that ended well.",
                &WAITS,
            )?,
            deaths: counts(
                "modeld_worker_deaths_total",
                "Processes of models that ended without being asked to.",
                MODEL,
            )?,
            transfers: counts(
                "modeld_transfers_total",
                "Pulls and pushes by how they ended: done, failed or cancelled.",
                &["direction", "outcome"],
            )?,
            transfer_bytes: counts(
                "modeld_transfer_bytes_total",
                "Bytes of layers that pulls and pushes moved or found begun.",
                &["direction"],
            )?,
            registry,
        })
    }
}
