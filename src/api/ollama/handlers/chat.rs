use axum::extract::{Request, State};
use axum::response::Response;

use crate::api::body::MAX_BODY;
use crate::api::caller::caller;
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::{Error, ErrorKind, Result};

use super::super::body::read;
use super::super::convert::{self, check_top_logprobs, model_name};
use super::super::error::{Wanted, said};
use super::super::render::Shape;
use super::super::types::ChatRequest;
use super::answer::answer;

/// `POST /api/chat`.
pub(in crate::api) async fn chat(State(state): State<ApiState>, request: Request) -> Reply {
    Ok(serve(&state, request).await?)
}

async fn serve(state: &ApiState, request: Request) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let caller = caller(&parts.headers, &parts.extensions)?;
    let request: ChatRequest = read(&parts, body, MAX_BODY).await?;
    check_top_logprobs(request.top_logprobs)?;
    let name = model_name(&request.model, &request.name)
        .ok_or_else(|| Error::new(ErrorKind::MissingField, "model is required"))?;
    let portrait = state.service.portrait(&name).await.map_err(said(&name, Wanted::Chat))?;
    let converted = convert::chat(request, &name, &portrait)?;
    let answered =
        answer(state, &parts, caller, name.clone(), &portrait, converted, Shape::Chat).await;
    answered.map_err(said(&name, Wanted::Chat))
}
