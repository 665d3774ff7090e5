use axum::extract::{Request, State};
use axum::response::IntoResponse;
use http::StatusCode;

use crate::api::body::MAX_SMALL_BODY;
use crate::api::ollama::body;
use crate::api::ollama::error::{Wanted, said as in_words};
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::{Error, ErrorKind};

use super::types::{CopyRequest, DeleteRequest, given};

/// `POST /api/copy`: another name for a model.
pub(in crate::api) async fn copy(State(state): State<ApiState>, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    let CopyRequest { source, destination } = body::read(&parts, body, MAX_SMALL_BODY).await?;
    let (source, destination) = (source.unwrap_or_default(), destination.unwrap_or_default());
    state.service.copy_model(&source, &destination).await.map_err(|error| {
        let at_source = error.param.as_deref() == Some("source");
        match error.kind {
            ErrorKind::ModelNotFound if at_source => {
                said(error, format!("model \"{}\" not found", short(&source)))
            }
            ErrorKind::InvalidReference if at_source => invalid(error, "source", &source),
            ErrorKind::InvalidReference => invalid(error, "destination", &destination),
            _ => error,
        }
    })?;
    Ok(StatusCode::OK.into_response())
}

/// `DELETE /api/delete`: removes a name, and with the last one the model.
pub(in crate::api) async fn delete(State(state): State<ApiState>, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    let DeleteRequest { model, name, force } = body::read(&parts, body, MAX_SMALL_BODY).await?;
    let name = given(model, name).unwrap_or_default();
    state.service.remove(&name, force.unwrap_or(false)).await.map_err(|error| {
        match error.kind {
            ErrorKind::InvalidReference => invalid(error, "name", &name),
            _ => in_words(&name, Wanted::Look)(error),
        }
    })?;
    Ok(StatusCode::OK.into_response())
}

/// `destination "a//b" is invalid`, in Ollama's words, and why.
fn invalid(error: Error, field: &str, value: &str) -> Error {
    let message = format!("{field} \"{}\" is invalid: {}", short(value), error.message);
    said(error, message)
}

fn said(error: Error, message: String) -> Error {
    Error { message, param: None, ..error }
}

fn short(name: &str) -> String {
    name.chars().take(200).collect()
}
