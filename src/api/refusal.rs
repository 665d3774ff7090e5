use std::sync::Arc;

use axum::response::{IntoResponse, Response};

use crate::domain::{Error, ErrorKind};

use super::status::status_of;

/// An error on its way out. As a response it has the right status and no body yet: the layer that
/// knows the client's family writes the body ([`super::middleware`]).
#[derive(Debug)]
pub(super) struct Refusal(pub(super) Error);

/// What a handler answers.
pub(super) type Reply = Result<Response, Refusal>;

/// The mark that a response is an error whose body is still to be written.
#[derive(Debug, Clone)]
pub(super) struct Failure(pub(super) Arc<Error>);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = status_of(self.0.kind).into_response();
        response.extensions_mut().insert(Failure(Arc::new(self.0)));
        response
    }
}

/// Leaves word of an error that the log must explain: our own faults, with their causes. What
/// clients do wrong is in the access log by its status; its message may quote a prompt.
pub(super) fn log(error: &Error) {
    match error.kind {
        ErrorKind::Internal
        | ErrorKind::EngineCrashed
        | ErrorKind::LoadCrashed
        | ErrorKind::DiskFull => {
            tracing::error!(kind = ?error.kind, cause = error.cause, "{}", error.message);
        }
        ErrorKind::InvalidModel
        | ErrorKind::ModelQuarantined
        | ErrorKind::ModelTooLarge
        | ErrorKind::RegistryForbidden
        | ErrorKind::RegistryInvalid
        | ErrorKind::RegistryUnavailable
        | ErrorKind::SignatureRefused => {
            tracing::warn!(kind = ?error.kind, cause = error.cause, "{}", error.message);
        }
        // Not the field: its name may be the client's own invention.
        kind => tracing::debug!(?kind, cause = error.cause, "refused"),
    }
}
