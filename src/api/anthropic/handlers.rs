use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::body::{self, EventStream, MAX_BODY};
use crate::api::caller::{caller, require_json};
use crate::api::refusal::Reply;
use crate::api::reply::{STREAM_PATIENCE, event_stream, json, name_model, queue_headers};
use crate::api::state::ApiState;
use crate::domain::{Error, Result};
use crate::protocol::{Query, QueryAnswer};
use crate::service::Caller;

use super::convert::{self, Converted};
use super::render::{MessageStream, Meta, Whole};
use super::types::MessagesRequest;

/// The answer to a count.
#[derive(Serialize, ToSchema)]
#[schema(as = anthropic::InputTokens)]
pub(super) struct Count {
    input_tokens: usize,
}

/// `POST …/v1/messages`.
pub(in crate::api) async fn messages(State(state): State<ApiState>, request: Request) -> Reply {
    Ok(answer(&state, request).await?)
}

/// `POST …/v1/messages/count_tokens`: renders and tokenises for real, so the number is the one that
/// the answer will tell.
pub(in crate::api) async fn count_tokens(State(state): State<ApiState>, request: Request) -> Reply {
    let (_, request) = read(request).await?;
    let (model, prompt) = convert::counted(request)?;
    let asked = state.service.query(&model, Query::Tokenize(prompt)).await;
    match asked.map_err(name_model)? {
        QueryAnswer::Tokens(tokens) => {
            Ok(Json(Count { input_tokens: tokens.len() }).into_response())
        }
        QueryAnswer::Text(_) => Err(Error::internal("a count was answered with text").into()),
    }
}

async fn answer(state: &ApiState, request: Request) -> Result<Response> {
    let (caller, request) = read(request).await?;
    let Converted { model, stream, request } = convert::messages(request)?;
    let meta = Meta::new(model.clone(), request.limits.stop.clone());
    let mut generation =
        state.service.generate(caller, &model, request).await.map_err(name_model)?;
    if stream {
        // What fails early keeps its true status; what takes long gets its 200 and comments.
        generation.ready(Some(STREAM_PATIENCE)).await?;
        let headers = queue_headers(generation.queue_position(), generation.queue_wait());
        let body = EventStream::new(generation, MessageStream::new(meta)).into_body();
        return Ok(event_stream(headers, body));
    }
    generation.ready(None).await?;
    let headers: HeaderMap = queue_headers(generation.queue_position(), generation.queue_wait());
    let mut whole = Whole::new(meta);
    while let Some(event) = generation.next().await {
        whole.push(event?);
    }
    Ok(json(headers, whole.body()?))
}

async fn read(request: Request) -> Result<(Caller, MessagesRequest)> {
    let (parts, body) = request.into_parts();
    require_json(&parts.headers, &parts.extensions)?;
    let caller = caller(&parts.headers, &parts.extensions)?;
    let body = body::read(&parts, body, MAX_BODY).await?;
    Ok((caller, crate::api::json::decode_large(body).await?))
}
