//! What is checked of single fields.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::json::Object;
use crate::domain::{Error, Result};

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
