use axum::extract::{Request, State};

use crate::api::body::MAX_SMALL_BODY;
use crate::api::ollama::body;
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::{Error, ErrorKind};

use super::progress;
use super::types::{TransferRequest, given};

/// `POST /api/pull`: gets a model.
pub(in crate::api) async fn pull(State(state): State<ApiState>, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    let request = body::read(&parts, body, MAX_SMALL_BODY).await?;
    let TransferRequest { model, name, stream } = request;
    let Some(name) = given(model, name) else {
        return Err(Error::new(ErrorKind::MissingField, "invalid model name: it is empty").into());
    };
    let transfer = state.service.pull(&name, None).await.map_err(in_words)?;
    progress::answer(transfer, stream.unwrap_or(true), in_words).await
}

/// How Ollama says that a pull could not begin.
pub(super) fn in_words(error: Error) -> Error {
    let message = match error.kind {
        ErrorKind::InvalidReference => format!("invalid model name: {}", error.message),
        ErrorKind::RegistryNotFound => {
            format!("pull model manifest: file does not exist: {}", error.message)
        }
        ErrorKind::RegistryUnauthorized
        | ErrorKind::RegistryForbidden
        | ErrorKind::RegistryInvalid
        | ErrorKind::RegistryUnavailable
        | ErrorKind::SignatureRefused => format!("pull model manifest: {}", error.message),
        _ => return error,
    };
    Error { message, ..error }
}
