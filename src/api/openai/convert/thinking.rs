//! How much the model thinks, and what its template is told besides: every client has a spelling of
//! its own.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::api::checks::integer;
use crate::api::json::Object;
use crate::domain::{Error, Result, Thinking};

use super::super::types::Reasoning;

/// The most variables of a template.
const MAX_KWARGS: usize = 64;
/// The longest thoughts that can be asked for, in tokens.
const MAX_BUDGET: i64 = i32::MAX as i64;

/// The fields about thinking, as they came.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) reasoning_effort: Option<String>,
    pub(super) reasoning: Option<Object<Reasoning>>,
    pub(super) thinking_budget: Option<i64>,
    pub(super) reasoning_budget: Option<i64>,
    pub(super) chat_template_kwargs: Option<Map<String, Value>>,
}

impl Asked {
    /// What the model and what its template is told. Where several fields say the same thing, the
    /// one that stands first here wins: `reasoning_effort` over `reasoning`, and `thinking_budget`
    /// over `reasoning_budget` over `reasoning.max_tokens` over the template's own.
    pub(super) fn thinking(self) -> Result<(Thinking, BTreeMap<String, String>)> {
        let Self {
            reasoning_effort,
            reasoning,
            thinking_budget,
            reasoning_budget,
            chat_template_kwargs,
        } = self;
        let Reasoning { effort, max_tokens, enabled, exclude, summary: _ } =
            reasoning.map(|Object(reasoning)| reasoning).unwrap_or_default();
        if exclude == Some(true) {
            let param = "reasoning.exclude";
            let message = format!("`{param}` is not done; leave out `reasoning_content` yourself");
            return Err(Error::unsupported(param, message));
        }
        let mut thinking = Thinking { enabled, effort: None, budget: None };
        // Both must be right, the later one wins.
        for (param, tier) in [("reasoning.effort", effort), ("reasoning_effort", reasoning_effort)]
        {
            if let Some(tier) = tier {
                (thinking.enabled, thinking.effort) = level(&tier, param)?;
            }
        }
        let kwargs = chat_template_kwargs.unwrap_or_default();
        let own = match kwargs.get("thinking_budget") {
            None | Some(Value::Null) => None,
            Some(value) => Some(value.as_i64().ok_or_else(|| {
                let param = "chat_template_kwargs.thinking_budget";
                Error::invalid(param, format!("`{param}` must be an integer"))
            })?),
        };
        for (param, budget) in [
            ("chat_template_kwargs.thinking_budget", own),
            ("reasoning.max_tokens", max_tokens),
            ("reasoning_budget", reasoning_budget),
            ("thinking_budget", thinking_budget),
        ] {
            match integer(param, budget, -1, MAX_BUDGET)? {
                None => {}
                // -1 means without a bound, and 0 not at all.
                Some(budget) => thinking.budget = u32::try_from(budget).ok(),
            }
        }
        if thinking.budget == Some(0) {
            thinking.enabled = Some(false);
        }
        if thinking.enabled.is_none() {
            thinking.enabled = kwargs.get("enable_thinking").and_then(Value::as_bool);
        }
        Ok((thinking, variables(kwargs)?))
    }
}

/// Whether to think, and how hard in the three words that templates know.
fn level(tier: &str, param: &str) -> Result<(Option<bool>, Option<String>)> {
    let known = match tier {
        "none" => return Ok((Some(false), None)),
        "minimal" | "low" => "low",
        "medium" => "medium",
        "high" | "xhigh" | "max" => "high",
        _ => {
            let message =
                format!("`{param}` must be none, minimal, low, medium, high, xhigh or max");
            return Err(Error::invalid(param, message));
        }
    };
    Ok((Some(true), Some(known.to_owned())))
}

fn variables(kwargs: Map<String, Value>) -> Result<BTreeMap<String, String>> {
    const FIELD: &str = "chat_template_kwargs";
    if kwargs.len() > MAX_KWARGS {
        let message =
            format!("`{FIELD}` has {} entries; at most {MAX_KWARGS} are taken", kwargs.len());
        return Err(Error::invalid(FIELD, message));
    }
    let mut variables = BTreeMap::new();
    for (name, value) in kwargs {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || name.len() > 128 || !name.chars().all(plain) {
            let message = format!("`{FIELD}` has an entry that is no name of a variable");
            return Err(Error::invalid(FIELD, message));
        }
        let text = value.to_string();
        // How JSON spells a NUL; an escaped backslash before it would be refused with it.
        if text.contains("\\u0000") {
            let param = format!("{FIELD}.{name}");
            let message = format!("`{param}` has a NUL character; remove it");
            return Err(Error::invalid(param, message));
        }
        variables.insert(name, text);
    }
    Ok(variables)
}
