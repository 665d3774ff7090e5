//! The fields that chat and text completions share: ranges, limits, and what is refused.

use serde_json::Value;

use crate::domain::{Error, Limits, Result, Sampling};

use super::super::types::Stop;

/// The most stop strings that are taken.
const MAX_STOPS: usize = 16;
/// The most choices that OpenAI's API knows.
const MAX_CHOICES: i64 = 128;

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
        // Samplers that modeld does not have; their neutral values ask for nothing.
        if typical_p.is_some_and(|p| p != 1.0) {
            return Err(Error::unsupported(
                "typical_p",
                "`typical_p` is not done; use top_p or min_p",
            ));
        }
        if mirostat.is_some_and(|version| version != 0) {
            return Err(Error::unsupported("mirostat", "`mirostat` is not done; use temperature"));
        }
        match logit_bias {
            None => {}
            Some(Value::Object(bias)) if bias.is_empty() => {}
            Some(Value::Object(_)) => {
                return Err(Error::unsupported(
                    "logit_bias",
                    "`logit_bias` is not done yet; leave it out",
                ));
            }
            Some(_) => return Err(Error::invalid("logit_bias", "`logit_bias` must be an object")),
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
            logit_bias: Vec::new(),
            typical_p: None,
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
    Ok(Limits { max_tokens, stop, ignore_eos: ignore_eos.unwrap_or(false) })
}

/// Only one choice is made per request so far.
pub(super) fn one_choice(name: &'static str, n: Option<i64>) -> Result<()> {
    match integer(name, n, 1, MAX_CHOICES)? {
        None | Some(1) => Ok(()),
        Some(n) => Err(Error::unsupported(
            name,
            format!("`{name}` is {n}; only 1 is done, send the request {n} times instead"),
        )),
    }
}

/// Constrained output, under any of its names.
pub(super) fn no_grammar(grammar: Option<&Value>, json_schema: Option<&Value>) -> Result<()> {
    for (name, value) in [("grammar", grammar), ("json_schema", json_schema)] {
        if value.is_some_and(|value| value.as_str() != Some("")) {
            return Err(Error::unsupported(
                name,
                format!("`{name}` is not done yet; leave it out"),
            ));
        }
    }
    Ok(())
}

/// The model's name, which must be there.
pub(in crate::api::openai) fn model_name(model: Option<String>) -> Result<String> {
    match model {
        Some(name) if !name.trim().is_empty() => Ok(name),
        _ => Err(missing("model", "name a model that `GET /v1/models` lists")),
    }
}

pub(super) fn missing(param: impl Into<String>, advice: &str) -> Error {
    let param = param.into();
    let message = format!("`{param}` is missing; {advice}");
    Error::new(crate::domain::ErrorKind::MissingField, message).with_param(param)
}

/// llama.cpp takes text as C strings.
pub(super) fn no_nul(text: &str, param: impl FnOnce() -> String) -> Result<()> {
    match text.find('\0') {
        None => Ok(()),
        Some(at) => {
            let param = param();
            let message = format!("`{param}` has a NUL character at byte {at}; remove it");
            Err(Error::invalid(param, message))
        }
    }
}

fn number(name: &'static str, value: Option<f64>, min: f64, max: f64) -> Result<Option<f32>> {
    match value {
        Some(value) if !(min..=max).contains(&value) => {
            let message = format!("`{name}` is {value}; it must be between {min} and {max}");
            Err(Error::invalid(name, message))
        }
        // In range, so only precision is lost.
        Some(value) => Ok(Some(value as f32)),
        None => Ok(None),
    }
}

pub(super) fn integer(
    name: &'static str,
    value: Option<i64>,
    min: i64,
    max: i64,
) -> Result<Option<i64>> {
    match value {
        Some(value) if !(min..=max).contains(&value) => {
            let message = format!("`{name}` is {value}; it must be between {min} and {max}");
            Err(Error::invalid(name, message))
        }
        other => Ok(other),
    }
}
