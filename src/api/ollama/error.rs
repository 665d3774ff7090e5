use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Error, ErrorKind};

/// `{"error":"…"}`, the body of every failed request and the last line of a stream that fails.
#[derive(Serialize, ToSchema)]
#[schema(as = ollama::Error)]
pub(super) struct Envelope<'a> {
    error: Cow<'a, str>,
}

impl<'a> Envelope<'a> {
    pub(super) fn new(error: &'a Error) -> Self {
        Self { error: message(error) }
    }
}

/// The body of an error response.
pub(in crate::api) fn error_body(error: &Error) -> Bytes {
    // Strings alone: this cannot fail.
    serde_json::to_vec(&Envelope::new(error)).unwrap_or_default().into()
}

/// The envelope has no place for the field at fault, so the message has to name it.
fn message(error: &Error) -> Cow<'_, str> {
    match &error.param {
        Some(param) if !error.message.contains(param.as_str()) => {
            format!("{param}: {}", error.message).into()
        }
        _ => error.message.as_str().into(),
    }
}

/// How the absence of a model is said: programs look for these words, and pull it then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// `model 'NAME' not found`
    Plain,
    /// `model "NAME" not found, try pulling it first`
    Pull,
}

/// Says the absence of the model that the client called `name` in Ollama's words.
pub(super) fn absent(name: &str, how: Absent) -> impl FnOnce(Error) -> Error + '_ {
    move |error| match error.kind {
        ErrorKind::ModelNotFound => {
            let name: String = name.chars().take(200).collect();
            let message = match how {
                Absent::Plain => format!("model '{name}' not found"),
                Absent::Pull => format!("model \"{name}\" not found, try pulling it first"),
            };
            Error { message, param: None, ..error }
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_a_string_that_names_the_field() {
        let body = |error: &Error| String::from_utf8_lossy(&error_body(error)).into_owned();
        let named = Error::invalid("top_k", "option \"top_k\" must be of type integer");
        assert_eq!(
            body(&named.with_cause("a secret of the log")),
            r#"{"error":"option \"top_k\" must be of type integer"}"#
        );
        let unnamed = Error::invalid("messages[0].role", "a role is user or assistant");
        assert_eq!(body(&unnamed), r#"{"error":"messages[0].role: a role is user or assistant"}"#);
    }

    #[test]
    fn a_model_that_is_not_there_has_the_name_that_was_asked_for() {
        let error = || Error::new(ErrorKind::ModelNotFound, "ai/x:latest is not in the store");
        assert_eq!(absent("X", Absent::Plain)(error()).message, "model 'X' not found");
        let pull = absent("X", Absent::Pull)(error());
        assert_eq!(pull.message, "model \"X\" not found, try pulling it first");
        let other = Error::new(ErrorKind::QueueFull, "full");
        assert_eq!(absent("X", Absent::Plain)(other.clone()), other);
    }
}
