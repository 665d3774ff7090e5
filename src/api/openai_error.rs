//! The error envelope of OpenAI's APIs, and the codes in it.

use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Error, ErrorKind};

/// `{"error":{…}}`, the body of every failed request and of an event in a stream that fails.
#[derive(Serialize, ToSchema)]
#[schema(as = openai::Error)]
pub(super) struct Envelope<'a> {
    error: Inner<'a>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = openai::ErrorDetails)]
struct Inner<'a> {
    message: &'a str,
    r#type: &'static str,
    param: Option<&'a str>,
    code: Option<&'static str>,
}

impl<'a> Envelope<'a> {
    pub(super) fn new(error: &'a Error) -> Self {
        let (r#type, code) = classify(error);
        Self {
            error: Inner { message: &error.message, r#type, param: error.param.as_deref(), code },
        }
    }
}

/// The body of an error response.
pub(super) fn error_body(error: &Error) -> Bytes {
    // Strings alone: this cannot fail.
    serde_json::to_vec(&Envelope::new(error)).unwrap_or_default().into()
}

/// OpenAI's error type, and the code by which programs tell the cases apart.
pub(super) fn classify(error: &Error) -> (&'static str, Option<&'static str>) {
    const INVALID: &str = "invalid_request_error";
    match error.kind {
        // Programs that keep no history of their own look for this one and start anew.
        ErrorKind::NotFound if error.param.as_deref() == Some("previous_response_id") => {
            (INVALID, Some("previous_response_not_found"))
        }
        ErrorKind::NotFound => (INVALID, Some("not_found")),
        ErrorKind::InvalidJson => (INVALID, Some("invalid_json")),
        ErrorKind::InvalidValue => (INVALID, Some("invalid_value")),
        ErrorKind::MissingField => (INVALID, Some("missing_required_parameter")),
        ErrorKind::Unsupported => (INVALID, Some("unsupported_parameter")),
        ErrorKind::InvalidReference => (INVALID, Some("invalid_reference")),
        ErrorKind::InvalidDigest => (INVALID, Some("invalid_digest")),
        ErrorKind::ContextLengthExceeded => (INVALID, Some("context_length_exceeded")),
        ErrorKind::ModelNotFound => (INVALID, Some("model_not_found")),
        ErrorKind::UnsupportedModel => (INVALID, Some("unsupported_model")),
        ErrorKind::RouteNotFound => (INVALID, Some("unknown_url")),
        ErrorKind::MethodNotAllowed => (INVALID, Some("method_not_supported")),
        ErrorKind::BodyTooLarge | ErrorKind::RequestTimeout | ErrorKind::UnsupportedMediaType => {
            (INVALID, None)
        }
        ErrorKind::HostRefused => ("permission_error", Some("host_not_allowed")),
        ErrorKind::OriginRefused => ("permission_error", Some("origin_not_allowed")),
        ErrorKind::Forbidden => ("permission_error", Some("not_allowed_here")),
        // The code that OpenAI's own API gives for a key that it does not know.
        ErrorKind::TokenRequired => (INVALID, Some("invalid_api_key")),
        ErrorKind::QueueFull | ErrorKind::MemoryBusy => ("rate_limit_error", None),
        ErrorKind::DeadlineExceeded => (INVALID, Some("deadline_exceeded")),
        ErrorKind::InvalidModel | ErrorKind::LoadCrashed => (INVALID, Some("invalid_model")),
        ErrorKind::ModelQuarantined => (INVALID, Some("model_quarantined")),
        ErrorKind::ModelTooLarge => (INVALID, Some("model_too_large")),
        ErrorKind::Conflict => (INVALID, Some("conflict")),
        ErrorKind::DiskFull => ("server_error", Some("disk_full")),
        ErrorKind::RegistryUnauthorized => (INVALID, Some("registry_unauthorized")),
        ErrorKind::RegistryNotFound => (INVALID, Some("registry_model_not_found")),
        ErrorKind::RegistryForbidden => ("permission_error", Some("registry_not_allowed")),
        ErrorKind::SignatureRefused => ("permission_error", Some("signature_refused")),
        ErrorKind::RegistryInvalid => ("server_error", Some("registry_invalid")),
        ErrorKind::RegistryUnavailable => ("server_error", Some("registry_unavailable")),
        ErrorKind::EngineCrashed => ("server_error", Some("engine_crashed")),
        ErrorKind::Cancelled => (INVALID, Some("cancelled")),
        ErrorKind::ShuttingDown => ("server_error", Some("shutting_down")),
        ErrorKind::Internal => ("server_error", None),
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
                let mut error = Error::new(*kind, "What happened.");
                if *kind == ErrorKind::InvalidValue {
                    error = error.with_param("messages[2].content");
                }
                let error = error.with_cause("a secret of the log");
                String::from_utf8_lossy(&error_body(&error)).into_owned() + "\n"
            })
            .collect();
        assert!(!envelopes.contains("secret"));
        insta::assert_snapshot!(envelopes);
    }
}
