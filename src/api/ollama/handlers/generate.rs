use axum::extract::{Request, State};
use axum::response::Response;

use crate::api::body::MAX_BODY;
use crate::api::caller::caller;
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::Result;

use super::super::body::read;
use super::super::convert::{self, check_top_logprobs, model_name};
use super::super::error::{Wanted, no_model, said};
use super::super::render::Shape;
use super::super::types::GenerateRequest;
use super::answer::answer;

/// `POST /api/generate`.
pub(in crate::api) async fn generate(State(state): State<ApiState>, request: Request) -> Reply {
    Ok(serve(&state, request).await?)
}

async fn serve(state: &ApiState, request: Request) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let caller = caller(&parts.headers, &parts.extensions)?;
    let request: GenerateRequest = read(&parts, body, MAX_BODY).await?;
    check_top_logprobs(request.top_logprobs)?;
    let name = model_name(&request.model, &request.name).ok_or_else(no_model)?;
    let portrait = state.service.portrait(&name).await.map_err(said(&name, Wanted::Generate))?;
    let converted = convert::generate(request, &name, &portrait)?;
    let answered =
        answer(state, &parts, caller, name.clone(), &portrait, converted, Shape::Generate).await;
    answered.map_err(said(&name, Wanted::Generate))
}
