//! The fields that chat and text completions share: ranges and limits.

use serde_json::Value;

use crate::api::checks::{integer, missing, no_nul, number};
use crate::domain::{Error, Limits, Result, Sampling};

use super::super::types::Stop;

/// The most stop strings that are taken.
const MAX_STOPS: usize = 16;
/// The most choices that OpenAI's API knows.
const MAX_CHOICES: i64 = 128;
/// The most tokens with a bias of their own; OpenAI takes 300.
const MAX_BIASES: usize = 4_096;

/// The sampling fields as they came.
pub(super) struct Knobs {
    pub(super) seed: Option<i64>,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) top_k: Option<i64>,
    pub(super) min_p: Option<f64>,
    pub(super) presence_penalty: Option<f64>,
    pub(super) frequency_penalty: Option<f64>,
    pub(super) repeat_penalty: Option<f64>,
    pub(super) repeat_last_n: Option<i64>,
    pub(super) typical_p: Option<f64>,
    pub(super) mirostat: Option<i64>,
    pub(super) logit_bias: Option<Value>,
}

impl Knobs {
    pub(super) fn sampling(self) -> Result<Sampling> {
        let Self {
            seed,
            temperature,
            top_p,
            top_k,
            min_p,
            presence_penalty,
            frequency_penalty,
            repeat_penalty,
            repeat_last_n,
            typical_p,
            mirostat,
            logit_bias,
        } = self;
        // A sampler that modeld does not have; its neutral value asks for nothing.
        if let Some(version) = mirostat.filter(|version| *version != 0) {
            let message = format!(
                "`mirostat` is {version}, but modeld does not sample so; leave it out and set \
                 `temperature`, `top_p` or `min_p`"
            );
            return Err(Error::unsupported("mirostat", message));
        }
        let repeat = number("repeat_penalty", repeat_penalty, 0.0, 100.0)?;
        if repeat == Some(0.0) {
            return Err(Error::invalid(
                "repeat_penalty",
                "`repeat_penalty` is 0; it must be over 0",
            ));
        }
        let whole = i64::from(i32::MAX);
        Ok(Sampling {
            temperature: number("temperature", temperature, 0.0, 2.0)?,
            // -1 and 0 both mean all.
            top_k: integer("top_k", top_k, -1, whole)?.map(|k| u32::try_from(k).unwrap_or(0)),
            top_p: number("top_p", top_p, 0.0, 1.0)?,
            min_p: number("min_p", min_p, 0.0, 1.0)?,
            // Any int64 is a seed; the bits are what counts.
            seed: seed.map(i64::cast_unsigned),
            presence_penalty: number("presence_penalty", presence_penalty, -2.0, 2.0)?
                .unwrap_or(0.0),
            frequency_penalty: number("frequency_penalty", frequency_penalty, -2.0, 2.0)?
                .unwrap_or(0.0),
            repeat_penalty: repeat,
            // -1 means the whole context.
            repeat_last_n: integer("repeat_last_n", repeat_last_n, -1, whole)?
                .map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
            logit_bias: biases(logit_bias)?,
            // 1 is off.
            typical_p: number("typical_p", typical_p, 0.0, 1.0)?.filter(|p| *p < 1.0),
        })
    }
}

/// When to stop. `max_tokens` comes with the name under which the client sent it.
pub(super) fn limits(
    max_tokens: (&'static str, Option<i64>),
    stop: Option<Stop>,
    ignore_eos: Option<bool>,
) -> Result<Limits> {
    let (name, max_tokens) = max_tokens;
    let max_tokens = match max_tokens {
        // Some local tools say -1 for "no limit".
        None | Some(-1) => None,
        Some(0) => {
            return Err(Error::invalid(name, format!("`{name}` is 0; it must be at least 1")));
        }
        Some(n) => {
            integer(name, Some(n), 1, i64::from(i32::MAX))?.and_then(|n| u32::try_from(n).ok())
        }
    };
    let stop = stop.map(|Stop(texts)| texts).unwrap_or_default();
    if stop.len() > MAX_STOPS {
        let message = format!("`stop` has {} strings; at most {MAX_STOPS} are taken", stop.len());
        return Err(Error::invalid("stop", message));
    }
    for (i, text) in stop.iter().enumerate() {
        let param = || format!("stop[{i}]");
        if text.is_empty() {
            return Err(Error::invalid(param(), "a stop string must not be empty"));
        }
        no_nul(text, param)?;
    }
    Ok(Limits { max_tokens, stop, ignore_eos: ignore_eos.unwrap_or(false), shift: None })
}

/// `n` and `best_of`: how many answers.
pub(super) fn choices(name: &'static str, n: Option<i64>) -> Result<Option<u32>> {
    Ok(integer(name, n, 1, MAX_CHOICES)?.and_then(|n| u32::try_from(n).ok()))
}

/// `logit_bias`: token ids, as JSON has only texts for keys, with what to add to their logits.
fn biases(bias: Option<Value>) -> Result<Vec<(i32, f32)>> {
    let invalid = |message: String| Err(Error::invalid("logit_bias", message));
    let entries = match bias {
        None => return Ok(Vec::new()),
        Some(Value::Object(entries)) => entries,
        Some(_) => {
            return invalid("`logit_bias` must be an object of token ids and numbers".into());
        }
    };
    if entries.len() > MAX_BIASES {
        let message =
            format!("`logit_bias` has {} entries; at most {MAX_BIASES} are taken", entries.len());
        return invalid(message);
    }
    let mut biases = Vec::with_capacity(entries.len());
    for (token, bias) in entries {
        let Some(id) = token.parse::<i32>().ok().filter(|id| *id >= 0) else {
            let token: String = token.chars().take(40).collect();
            return invalid(format!("`logit_bias` names {token:?}, which is no token id"));
        };
        match bias.as_f64() {
            Some(bias) if (-100.0..=100.0).contains(&bias) => biases.push((id, bias as f32)),
            _ => {
                let message =
                    format!("`logit_bias` of token {id} must be a number between -100 and 100");
                return invalid(message);
            }
        }
    }
    Ok(biases)
}

/// The model's name, which must be there.
pub(in crate::api::openai) fn model_name(model: Option<String>) -> Result<String> {
    match model {
        Some(name) if !name.trim().is_empty() => Ok(name),
        _ => Err(missing("model", "name a model that `GET /v1/models` lists")),
    }
}
