use serde_json::Value;

use crate::domain::{Error, Result, Wishes};
use crate::models::Portrait;

use super::super::types::EmbedRequest;
use super::{context, keep_alive};

/// What was asked for.
#[derive(Debug, PartialEq)]
pub(in crate::api::ollama) struct Embedding {
    /// None: the model is loaded.
    pub(in crate::api::ollama) inputs: Vec<String>,
    /// Only so many of the first values.
    pub(in crate::api::ollama) dimensions: Option<usize>,
    /// What does not fit is cut.
    pub(in crate::api::ollama) truncate: bool,
    pub(in crate::api::ollama) wishes: Wishes,
}

/// Maps, refuses or ignores every field.
pub(in crate::api::ollama) fn convert(
    request: EmbedRequest,
    portrait: &Portrait,
) -> Result<Embedding> {
    let EmbedRequest {
        // Has been looked at.
        model: _,
        name: _,
        input,
        truncate,
        dimensions,
        options,
        keep_alive,
    } = request;
    let wishes = Wishes {
        keep_alive: keep_alive::keep_alive(keep_alive)?,
        context: context(options, &portrait.ollama.parameters)?,
    };
    let dimensions = match dimensions.map(usize::try_from) {
        None | Some(Ok(0)) => None,
        Some(Ok(count)) => Some(count),
        Some(Err(_)) => {
            return Err(Error::invalid("dimensions", "`dimensions` must not be negative"));
        }
    };
    let inputs = inputs(input)?;
    Ok(Embedding { inputs, dimensions, truncate: truncate.unwrap_or(false), wishes })
}

fn inputs(input: Option<Value>) -> Result<Vec<String>> {
    let wrong = || {
        Error::invalid("input", "invalid input type: `input` must be a text or an array of texts")
    };
    match input {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text),
                _ => Err(wrong()),
            })
            .collect(),
        Some(_) => Err(wrong()),
    }
}
