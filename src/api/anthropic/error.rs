use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Error, ErrorKind};

/// `{"type":"error","error":{…}}`, the body of every failed request and the data of an `error`
/// event.
#[derive(Serialize, ToSchema)]
#[schema(as = anthropic::Error)]
pub(super) struct Envelope<'a> {
    r#type: &'static str,
    error: Inner<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = anthropic::ErrorDetails)]
struct Inner<'a> {
    r#type: &'static str,
    message: Cow<'a, str>,
}

impl<'a> Envelope<'a> {
    /// Without `request_id`: a stream has said it in its head.
    pub(super) fn new(error: &'a Error) -> Self {
        let inner = Inner { r#type: error_type(error.kind), message: message(error) };
        Self { r#type: "error", error: inner, request_id: None }
    }
}

/// The body of an error response.
pub(in crate::api) fn error_body(error: &Error, request_id: Option<&str>) -> Bytes {
    let envelope = Envelope { request_id, ..Envelope::new(error) };
    // Strings alone: this cannot fail.
    serde_json::to_vec(&envelope).unwrap_or_default().into()
}

/// The envelope has no place for the field at fault, so the message has to name it.
fn message(error: &Error) -> Cow<'_, str> {
    let message = &error.message;
    match (&error.param, error.kind) {
        // The words by which coding agents notice that they have to shorten the conversation.
        (_, ErrorKind::ContextLengthExceeded) => format!("prompt is too long: {message}").into(),
        (Some(param), _) if !message.contains(param.as_str()) => {
            format!("{param}: {message}").into()
        }
        _ => message.into(),
    }
}

/// Anthropic's error type. Its client libraries choose their exception by the status alone.
fn error_type(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidJson
        | ErrorKind::InvalidValue
        | ErrorKind::MissingField
        | ErrorKind::Unsupported
        | ErrorKind::InvalidReference
        | ErrorKind::InvalidDigest
        | ErrorKind::ContextLengthExceeded
        | ErrorKind::UnsupportedModel
        | ErrorKind::MethodNotAllowed
        | ErrorKind::UnsupportedMediaType
        | ErrorKind::Conflict
        | ErrorKind::Cancelled
        | ErrorKind::InvalidModel
        | ErrorKind::LoadCrashed
        | ErrorKind::ModelQuarantined
        | ErrorKind::ModelTooLarge => "invalid_request_error",
        ErrorKind::HostRefused
        | ErrorKind::OriginRefused
        | ErrorKind::Forbidden
        | ErrorKind::RegistryForbidden
        | ErrorKind::SignatureRefused => "permission_error",
        ErrorKind::TokenRequired | ErrorKind::RegistryUnauthorized => "authentication_error",
        ErrorKind::ModelNotFound
        | ErrorKind::RouteNotFound
        | ErrorKind::NotFound
        | ErrorKind::RegistryNotFound => "not_found_error",
        ErrorKind::BodyTooLarge => "request_too_large",
        ErrorKind::RequestTimeout | ErrorKind::DeadlineExceeded => "timeout_error",
        ErrorKind::QueueFull | ErrorKind::MemoryBusy => "rate_limit_error",
        ErrorKind::ShuttingDown => "overloaded_error",
        ErrorKind::DiskFull
        | ErrorKind::EngineCrashed
        | ErrorKind::RegistryInvalid
        | ErrorKind::RegistryUnavailable
        | ErrorKind::Internal => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status::ALL_KINDS;

    #[test]
    fn the_envelope_of_every_kind() {
        let envelopes: String = ALL_KINDS
            .iter()
            .map(|kind| {
                let error = Error::new(*kind, "What happened.").with_cause("a secret of the log");
                String::from_utf8_lossy(&error_body(&error, Some("req-1"))).into_owned() + "\n"
            })
            .collect();
        assert!(!envelopes.contains("secret"));
        insta::assert_snapshot!(envelopes);
    }

    #[test]
    fn a_message_names_its_field_once() {
        let named = Error::invalid("top_p", "`top_p` is 2");
        assert_eq!(message(&named), "`top_p` is 2");
        let unnamed = Error::invalid("messages[1].role", "a role is user or assistant");
        assert_eq!(message(&unnamed), "messages[1].role: a role is user or assistant");
    }
}
