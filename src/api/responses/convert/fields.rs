//! What is checked of single fields.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::json::Object;
use crate::domain::{Error, ErrorKind, Result};

/// How much of a parser's message a client sees: it may quote the value at fault.
const MAX_DETAIL: usize = 200;

/// A part of a body that was kept as it came, as a `T`; `path` is where it stands.
pub(super) fn typed<T: DeserializeOwned>(value: &Value, path: &str) -> Result<T> {
    serde_path_to_error::deserialize::<_, Object<T>>(value).map(|Object(value)| value).map_err(
        |fault| {
            let inner = fault.path().to_string();
            let param = match inner.as_str() {
                "." => path.to_owned(),
                inner if inner.starts_with('[') => format!("{path}{inner}"),
                inner => format!("{path}.{inner}"),
            };
            let detail: String = fault.inner().to_string().chars().take(MAX_DETAIL).collect();
            Error::invalid(param.clone(), format!("`{param}`: {detail}"))
        },
    )
}

/// A field that must be there; the advice follows a semicolon.
pub(in crate::api::responses) fn missing(param: impl Into<String>, advice: &str) -> Error {
    let param = param.into();
    let message = format!("`{param}` is missing; {advice}");
    Error::new(ErrorKind::MissingField, message).with_param(param)
}

/// A value that is none of those there are.
pub(in crate::api::responses) fn invalid_choice(
    param: impl Into<String>,
    value: &str,
    choices: &str,
) -> Error {
    let param = param.into();
    let value: String = value.chars().take(MAX_DETAIL).collect();
    let message = format!("`{param}` is {value:?}; it must be one of {choices}");
    Error::invalid(param, message)
}

/// llama.cpp takes text as C strings.
pub(super) fn no_nul(text: &str, param: &str) -> Result<()> {
    match text.find('\0') {
        None => Ok(()),
        Some(at) => {
            let message = format!("`{param}` has a NUL character at byte {at}; remove it");
            Err(Error::invalid(param, message))
        }
    }
}

/// A number within bounds.
pub(super) fn number(name: &str, value: Option<f64>, min: f64, max: f64) -> Result<Option<f32>> {
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

/// An integer within bounds.
pub(super) fn integer(name: &str, value: Option<i64>, min: i64, max: i64) -> Result<Option<i64>> {
    match value {
        Some(value) if !(min..=max).contains(&value) => {
            let message = format!("`{name}` is {value}; it must be between {min} and {max}");
            Err(Error::invalid(name, message))
        }
        other => Ok(other),
    }
}
