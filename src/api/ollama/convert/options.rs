use serde_json::{Map, Value};

use crate::api::checks::{no_nul, number};
use crate::domain::{Error, Limits, Result, Sampling};

/// The most stop strings: editors send one for each thing that may begin after a gap.
const MAX_STOPS: usize = 64;

/// What an option is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api::ollama) enum Kind {
    /// An integer; what stands behind the point of a number is cut.
    Integer,
    /// A number.
    Number,
    /// A text or several.
    Texts,
    /// Not looked at.
    Any,
}

/// The options that are known; others are ignored.
pub(in crate::api::ollama) const OPTIONS: &[(&str, Kind)] = &[
    ("num_predict", Kind::Integer),
    ("temperature", Kind::Number),
    ("top_k", Kind::Integer),
    ("top_p", Kind::Number),
    ("min_p", Kind::Number),
    ("typical_p", Kind::Number),
    ("seed", Kind::Integer),
    ("stop", Kind::Texts),
    ("repeat_last_n", Kind::Integer),
    ("repeat_penalty", Kind::Number),
    ("presence_penalty", Kind::Number),
    ("frequency_penalty", Kind::Number),
    ("num_ctx", Kind::Integer),
    ("num_keep", Kind::Integer),
    ("num_batch", Kind::Any),
    ("num_gpu", Kind::Any),
    ("main_gpu", Kind::Any),
    ("use_mmap", Kind::Any),
    ("num_thread", Kind::Any),
    ("draft_num_predict", Kind::Any),
    ("mirostat", Kind::Any),
    ("mirostat_tau", Kind::Any),
    ("mirostat_eta", Kind::Any),
    ("tfs_z", Kind::Any),
    ("penalize_newline", Kind::Any),
    ("numa", Kind::Any),
    ("low_vram", Kind::Any),
    ("f16_kv", Kind::Any),
    ("logits_all", Kind::Any),
    ("vocab_only", Kind::Any),
    ("use_mlock", Kind::Any),
    ("embedding_only", Kind::Any),
    ("num_gqa", Kind::Any),
];

/// What the options mean.
#[derive(Debug, PartialEq)]
pub(super) struct Knobs {
    pub(super) sampling: Sampling,
    pub(super) limits: Limits,
    pub(super) context: Option<u32>,
    /// Tokens that a shift keeps.
    pub(super) keep: Option<u32>,
}

/// Whether stored parameters can be used by requests that say nothing themselves.
///
/// # Errors
/// `InvalidValue` for the first that cannot.
pub(in crate::api::ollama) fn check(options: &Map<String, Value>) -> Result<()> {
    convert(None, options).map(drop)
}

/// The request's options, and the model's own for what it leaves open.
///
/// # Errors
/// `InvalidValue` with the option's name.
pub(super) fn convert(
    options: Option<Map<String, Value>>,
    stored: &Map<String, Value>,
) -> Result<Knobs> {
    let given = Given { options: &options.unwrap_or_default(), stored };
    let whole = |name: &'static str| given.integer(name);
    let repeat = given.number("repeat_penalty", 0.0, 100.0)?;
    if repeat == Some(0.0) {
        let message = "option \"repeat_penalty\" is 0; it must be over 0";
        return Err(Error::invalid("repeat_penalty", message));
    }
    let sampling = Sampling {
        temperature: given.number("temperature", 0.0, 100.0)?,
        // What is not positive means all.
        top_k: whole("top_k")?.map(bounded),
        top_p: given.number("top_p", 0.0, 1.0)?,
        min_p: given.number("min_p", 0.0, 1.0)?,
        // -1 means a fresh one for each request; of others the bits are what counts.
        seed: whole("seed")?.filter(|seed| *seed != -1).map(i64::cast_unsigned),
        presence_penalty: given.number("presence_penalty", -2.0, 2.0)?.unwrap_or(0.0),
        frequency_penalty: given.number("frequency_penalty", -2.0, 2.0)?.unwrap_or(0.0),
        repeat_penalty: repeat,
        // -1 means the whole context.
        repeat_last_n: whole("repeat_last_n")?.map(|n| if n < 0 { u32::MAX } else { bounded(n) }),
        logit_bias: Vec::new(),
        // 1 is off.
        typical_p: given.number("typical_p", 0.0, 1.0)?.filter(|p| *p < 1.0),
    };
    let limits = Limits {
        // -1 means without a bound, -2 to fill the context, and 0 nothing: all are the same here.
        max_tokens: whole("num_predict")?.map(bounded).filter(|tokens| *tokens > 0),
        stop: given.texts("stop")?,
        ignore_eos: false,
        shift: None,
    };
    // -1 means the whole prompt.
    let keep = whole("num_keep")?.map(|n| if n < 0 { u32::MAX } else { bounded(n) });
    Ok(Knobs { sampling, limits, context: num_ctx(given)?, keep })
}

/// The context that options ask for.
///
/// # Errors
/// `InvalidValue`.
pub(in crate::api::ollama) fn context(
    options: Option<Map<String, Value>>,
    stored: &Map<String, Value>,
) -> Result<Option<u32>> {
    num_ctx(Given { options: &options.unwrap_or_default(), stored })
}

fn num_ctx(given: Given<'_>) -> Result<Option<u32>> {
    Ok(given.integer("num_ctx")?.map(bounded).filter(|tokens| *tokens > 0))
}

/// A number of things: what is below zero is none of them.
fn bounded(value: i64) -> u32 {
    u32::try_from(value.clamp(0, i64::from(i32::MAX))).unwrap_or(0)
}

#[derive(Clone, Copy)]
struct Given<'a> {
    options: &'a Map<String, Value>,
    stored: &'a Map<String, Value>,
}

impl<'a> Given<'a> {
    fn get(self, name: &str) -> Option<&'a Value> {
        let set = |map: &'a Map<String, Value>| map.get(name).filter(|value| !value.is_null());
        set(self.options).or_else(|| set(self.stored))
    }

    fn integer(self, name: &'static str) -> Result<Option<i64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let float = || {
            let value = value.as_f64().filter(|value| value.is_finite())?;
            // Far outside of what any of them takes; the cast keeps within its bounds.
            Some(value.trunc() as i64)
        };
        let whole = value.as_i64().or_else(float);
        whole.map(Some).ok_or_else(|| wrong(name, "integer"))
    }

    fn number(self, name: &'static str, min: f64, max: f64) -> Result<Option<f32>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let value = value.as_f64().ok_or_else(|| wrong(name, "float32"))?;
        number(name, Some(value), min, max)
    }

    fn texts(self, name: &'static str) -> Result<Vec<String>> {
        let items = match self.get(name) {
            None => return Ok(Vec::new()),
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(items)) => {
                let text = |item: &Value| item.as_str().map(str::to_owned);
                let texts: Option<Vec<String>> = items.iter().map(text).collect();
                texts.ok_or_else(|| wrong(name, "array of strings"))?
            }
            Some(_) => return Err(wrong(name, "array of strings")),
        };
        if items.len() > MAX_STOPS {
            let message =
                format!("`{name}` has {} strings; at most {MAX_STOPS} are taken", items.len());
            return Err(Error::invalid(name, message));
        }
        for (i, text) in items.iter().enumerate() {
            let param = || format!("{name}[{i}]");
            if text.is_empty() {
                return Err(Error::invalid(param(), "a stop string must not be empty"));
            }
            no_nul(text, param)?;
        }
        Ok(items)
    }
}

fn wrong(name: &str, kind: &str) -> Error {
    Error::invalid(name, format!("option \"{name}\" must be of type {kind}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(options: &Value) -> Result<Knobs> {
        convert(options.as_object().cloned(), &Map::new())
    }

    #[test]
    fn every_option_finds_its_place() {
        let knobs = read(&json!({
            "num_predict": 7, "temperature": 0, "top_k": 40.9, "top_p": 0.5, "min_p": 0.1,
            "typical_p": 0.7, "seed": 42, "stop": ["a", "b"], "repeat_last_n": 33,
            "repeat_penalty": 1.1, "presence_penalty": 0.5, "frequency_penalty": -0.5,
            "num_ctx": 2048.0,
        }));
        let sampling = Sampling {
            temperature: Some(0.0),
            top_k: Some(40),
            top_p: Some(0.5),
            min_p: Some(0.1),
            seed: Some(42),
            presence_penalty: 0.5,
            frequency_penalty: -0.5,
            repeat_penalty: Some(1.1),
            repeat_last_n: Some(33),
            logit_bias: Vec::new(),
            typical_p: Some(0.7),
        };
        let stop = vec!["a".to_owned(), "b".to_owned()];
        let limits = Limits { max_tokens: Some(7), stop, ..Limits::default() };
        assert_eq!(knobs, Ok(Knobs { sampling, limits, context: Some(2048), keep: None }));
    }

    #[test]
    fn what_says_nothing_changes_nothing() {
        let plain = read(&json!({}));
        for options in [
            json!({ "num_predict": -1 }),
            json!({ "num_predict": -2 }),
            json!({ "num_predict": 0 }),
            json!({ "seed": -1 }),
            json!({ "typical_p": 1.0 }),
            json!({ "num_ctx": 0 }),
            json!({ "temperature": null, "stop": null, "top_k": null }),
            json!({ "mirostat": 2, "num_gpu": "all", "use_mmap": 7, "numa": [], "unheard_of": {} }),
        ] {
            assert_eq!(read(&options), plain, "{options}");
        }
        let all = |options: Value| read(&options).expect("options").sampling;
        assert_eq!(all(json!({ "top_k": -1 })).top_k, Some(0));
        assert_eq!(all(json!({ "repeat_last_n": -1 })).repeat_last_n, Some(u32::MAX));
        assert_eq!(all(json!({ "seed": -2 })).seed, Some(u64::MAX - 1));
        assert_eq!(read(&json!({ "stop": "x" })).expect("options").limits.stop, ["x"]);
    }

    #[test]
    fn wrong_types_and_values_name_the_option() {
        for (options, message) in [
            (json!({ "top_k": "40" }), "option \"top_k\" must be of type integer"),
            (json!({ "num_ctx": true }), "option \"num_ctx\" must be of type integer"),
            (json!({ "temperature": "hot" }), "option \"temperature\" must be of type float32"),
            (json!({ "stop": 7 }), "option \"stop\" must be of type array of strings"),
            (json!({ "stop": ["a", 7] }), "option \"stop\" must be of type array of strings"),
            (json!({ "stop": [""] }), "a stop string must not be empty"),
            (json!({ "top_p": 1.5 }), "`top_p` is 1.5; it must be between 0 and 1"),
            (json!({ "repeat_penalty": 0 }), "option \"repeat_penalty\" is 0; it must be over 0"),
        ] {
            let error = read(&options).expect_err("refused");
            assert_eq!(error.message, message);
            assert!(error.param.is_some(), "{options}");
        }
    }

    #[test]
    fn the_request_goes_before_the_model() {
        let stored = json!({ "temperature": 0.2, "top_k": 5, "stop": ["<|end|>"] });
        let options = json!({ "temperature": 0.9, "top_k": null });
        let stored = stored.as_object().expect("an object");
        let knobs = convert(options.as_object().cloned(), stored).expect("options");
        assert_eq!((knobs.sampling.temperature, knobs.sampling.top_k), (Some(0.9), Some(5)));
        assert_eq!(knobs.limits.stop, ["<|end|>"]);
    }
}
