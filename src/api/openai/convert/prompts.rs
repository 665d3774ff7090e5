//! `prompt` of a text completion: a text or token ids, or an array of either.

use serde_json::Value;

use crate::api::checks::{missing, no_nul};
use crate::domain::{Error, Prompt, Result};

/// The most prompts in one request.
const MAX_PROMPTS: usize = 128;

/// The prompts, at least one.
pub(super) fn convert(prompt: Option<Value>) -> Result<Vec<Prompt>> {
    match prompt {
        None => Err(missing("prompt", "send the text to continue")),
        Some(Value::String(text)) => Ok(vec![of_text(text, "prompt")?]),
        Some(Value::Array(items)) => match items.first() {
            None => Err(Error::invalid("prompt", "`prompt` is an empty array; send a prompt")),
            Some(Value::Number(_)) => Ok(vec![of_tokens(&items, "prompt")?]),
            Some(Value::String(_) | Value::Array(_)) => several(items),
            Some(_) => Err(wrong("prompt[0]")),
        },
        Some(_) => Err(wrong("prompt")),
    }
}

fn several(items: Vec<Value>) -> Result<Vec<Prompt>> {
    if items.len() > MAX_PROMPTS {
        let message =
            format!("`prompt` has {} prompts; at most {MAX_PROMPTS} are taken", items.len());
        return Err(Error::invalid("prompt", message));
    }
    let one = |(i, item): (usize, Value)| {
        let path = format!("prompt[{i}]");
        match item {
            Value::String(text) => of_text(text, &path),
            Value::Array(tokens) => of_tokens(&tokens, &path),
            _ => Err(wrong(&path)),
        }
    };
    items.into_iter().enumerate().map(one).collect()
}

fn of_text(text: String, path: &str) -> Result<Prompt> {
    no_nul(&text, || path.to_owned())?;
    Ok(Prompt::Text(text))
}

/// Whether the ids are in the vocabulary is known in the worker.
fn of_tokens(tokens: &[Value], path: &str) -> Result<Prompt> {
    if tokens.is_empty() {
        return Err(Error::invalid(path, format!("`{path}` has no tokens; send at least one")));
    }
    let id = |(i, token): (usize, &Value)| {
        let id = token.as_i64().and_then(|id| i32::try_from(id).ok()).filter(|id| *id >= 0);
        id.ok_or_else(|| {
            let param = format!("{path}[{i}]");
            let message =
                format!("`{param}` is no token id: a whole number from 0 to {}", i32::MAX);
            Error::invalid(param, message)
        })
    };
    Ok(Prompt::Tokens(tokens.iter().enumerate().map(id).collect::<Result<_>>()?))
}

fn wrong(path: &str) -> Error {
    Error::invalid(path, format!("`{path}` must be a text, token ids, or an array of either"))
}
