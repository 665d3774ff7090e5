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

/// What a model is asked to do: each has its own words for what cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A chat.
    Chat,
    /// A generation.
    Generate,
    /// Vectors.
    Embed,
    /// To be looked at, or managed.
    Look,
}

/// The error of a request that names no model, where upstream looks for one without a name.
pub(super) fn no_model() -> Error {
    Error::new(ErrorKind::ModelNotFound, "model '' not found")
}

/// Says in Ollama's words what is wrong with the model that the client called `name`: programs look
/// for them, and pull a model that is not found.
pub(super) fn said(name: &str, wanted: Wanted) -> impl FnOnce(Error) -> Error + '_ {
    move |mut error| {
        let name: String = name.chars().take(200).collect();
        let message = match (error.kind, wanted) {
            // No name of a model either: programs pull then, and hear why that cannot be.
            (ErrorKind::InvalidReference, Wanted::Generate | Wanted::Embed) => {
                let message = format!("model '{name}' not found: {}", error.message);
                return Error { kind: ErrorKind::ModelNotFound, message, param: None, ..error };
            }
            (_, Wanted::Generate) if error.param.as_deref() == Some("messages") => {
                std::mem::take(&mut error.message)
            }
            (ErrorKind::ModelNotFound, Wanted::Embed) => {
                format!("model \"{name}\" not found, try pulling it first")
            }
            (ErrorKind::ModelNotFound, _) => format!("model '{name}' not found"),
            (ErrorKind::UnsupportedModel, _) if !error.message.contains("does not support") => {
                let what = match wanted {
                    Wanted::Chat => "chat",
                    Wanted::Generate => "generate",
                    Wanted::Embed => "embeddings",
                    Wanted::Look => return error,
                };
                format!("\"{name}\" does not support {what}: {}", error.message)
            }
            (ErrorKind::Unsupported, Wanted::Generate)
                if error.param.as_deref() == Some("suffix") =>
            {
                format!("{name} does not support insert: {}", error.message)
            }
            _ => return error,
        };
        Error { message, param: None, ..error }
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
    fn what_is_wrong_with_a_model_is_said_in_the_words_that_programs_look_for() {
        let absent = || Error::new(ErrorKind::ModelNotFound, "ai/x:latest is not in the store");
        let message = |wanted, error| said("X", wanted)(error).message;
        assert_eq!(message(Wanted::Chat, absent()), "model 'X' not found");
        let pull = "model \"X\" not found, try pulling it first";
        assert_eq!(message(Wanted::Embed, absent()), pull);
        let kind = Error::new(ErrorKind::UnsupportedModel, "X is an embedding model");
        let refused = "\"X\" does not support generate: X is an embedding model";
        assert_eq!(message(Wanted::Generate, kind), refused);
        let said_so = Error::new(ErrorKind::UnsupportedModel, "\"X\" does not support thinking");
        assert_eq!(message(Wanted::Chat, said_so), "\"X\" does not support thinking");
        let gap = Error::unsupported("suffix", "X has no tokens for it");
        let refused = "X does not support insert: X has no tokens for it";
        assert_eq!(message(Wanted::Generate, gap), refused);
        let other = Error::new(ErrorKind::QueueFull, "full");
        assert_eq!(said("X", Wanted::Chat)(other.clone()), other);
    }
}
