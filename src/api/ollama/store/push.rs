use axum::extract::{Request, State};

use crate::api::body::MAX_SMALL_BODY;
use crate::api::ollama::body;
use crate::api::ollama::error::{Wanted, said};
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::{Error, ErrorKind};

use super::progress;
use super::types::{TransferRequest, given};

/// `POST /api/push`: uploads a model under its own name.
pub(in crate::api) async fn push(State(state): State<ApiState>, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    let request = body::read(&parts, body, MAX_SMALL_BODY).await?;
    let TransferRequest { model, name, stream } = request;
    let Some(name) = given(model, name) else {
        return Err(Error::new(ErrorKind::MissingField, "model is required").into());
    };
    let transfer = state.service.push(&name, None).await;
    let transfer = transfer.map_err(said(&name, Wanted::Look))?;
    progress::answer(transfer, stream.unwrap_or(true), |error| error).await
}
