//! What chats and generations have in common.

use serde_json::{Map, Value};

use crate::domain::{
    Constraint, Error, KeepAlive, Limits, OutputOptions, Result, Sampling, Shift, Wishes,
};
use crate::models::Portrait;

use super::converted::Task;
use super::options::Knobs;
use super::{format, keep_alive, options};

/// Fields that every request for an answer has.
pub(super) struct Asked {
    pub(super) format: Option<Value>,
    pub(super) options: Option<Map<String, Value>>,
    pub(super) keep_alive: Option<Value>,
    pub(super) logprobs: Option<bool>,
    pub(super) top_logprobs: Option<i64>,
    pub(super) shift: Option<bool>,
    pub(super) debug_render_only: Option<bool>,
}

/// What they mean.
pub(super) struct Common {
    pub(super) constraint: Constraint,
    pub(super) sampling: Sampling,
    pub(super) limits: Limits,
    pub(super) output: OutputOptions,
    pub(super) wishes: Wishes,
}

impl Asked {
    /// `stored` are the model's own options, for what the request leaves open.
    pub(super) fn convert(self, stored: &Map<String, Value>) -> Result<Common> {
        let Self { format, options, keep_alive, logprobs, top_logprobs, shift, debug_render_only } =
            self;
        if debug_render_only == Some(true) {
            let name = "_debug_render_only";
            let message = format!("`{name}` is not done: /v1/tokenize shows the tokens of a chat");
            return Err(Error::unsupported(name, message));
        }
        let Knobs { sampling, mut limits, context, keep } = options::convert(options, stored)?;
        limits.shift = shift.unwrap_or(false).then_some(Shift { keep });
        let keep_alive = keep_alive::keep_alive(keep_alive)?;
        let top = check_top_logprobs(top_logprobs)?;
        let output = OutputOptions {
            logprobs: logprobs.unwrap_or(false).then_some(top),
            ..Default::default()
        };
        let wishes = Wishes { keep_alive, context };
        let constraint = format::convert(format)?;
        Ok(Common { constraint, sampling, limits, output, wishes })
    }
}

impl Common {
    /// The task where there is nothing to answer.
    pub(super) fn nothing(&self) -> Task {
        match self.wishes.keep_alive {
            Some(KeepAlive::For(time)) if time.is_zero() => Task::Unload,
            _ => Task::Load,
        }
    }
}

/// How many likely tokens are told with each.
pub(in crate::api::ollama) fn check_top_logprobs(count: Option<i64>) -> Result<u32> {
    match u32::try_from(count.unwrap_or(0)) {
        Ok(count @ 0..=20) => Ok(count),
        _ => {
            let message = "top_logprobs must be between 0 and 20";
            Err(Error::invalid("top_logprobs", message))
        }
    }
}

/// The model's name under either of its fields; `None` if there is none.
pub(in crate::api::ollama) fn model_name(
    model: &Option<String>,
    name: &Option<String>,
) -> Option<String> {
    let given = |text: &&String| !text.trim().is_empty();
    model.as_ref().filter(given).or(name.as_ref().filter(given)).cloned()
}

/// Refuses a model that makes vectors and nothing else.
pub(super) fn require_completion(name: &str, portrait: &Portrait, what: &str) -> Result<()> {
    let abilities = portrait.abilities;
    if !abilities.embedding || abilities.completion {
        return Ok(());
    }
    let message =
        format!("\"{name}\" does not support {what}: it makes embeddings; use /api/embed");
    Err(Error::new(crate::domain::ErrorKind::UnsupportedModel, message))
}
