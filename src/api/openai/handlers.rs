use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use crate::api::body::{self, EventStream, MAX_BODY};
use crate::api::caller::{caller, preload, require_json};
use crate::api::json;
use crate::api::refusal::Reply;
use crate::api::reply::{self, STREAM_PATIENCE, event_stream, name_model, preloads_only};
use crate::api::state::ApiState;
use crate::domain::{Error, Result, Transcript, Wishes};

use super::convert::{self, Converted};
use super::fan::Fan;
use super::render::{ChunkStream, Meta, whole};

/// `POST …/v1/chat/completions`.
pub(in crate::api) async fn chat_completions(
    State(state): State<ApiState>,
    request: Request,
) -> Reply {
    Ok(serve(&state, request, convert::chat, convert::chat_model).await?)
}

/// `POST …/v1/completions`.
pub(in crate::api) async fn completions(State(state): State<ApiState>, request: Request) -> Reply {
    Ok(serve(&state, request, convert::text, convert::text_model).await?)
}

async fn serve<T: DeserializeOwned + Send + 'static>(
    state: &ApiState,
    request: Request,
    convert: fn(T) -> Result<Converted>,
    model_of: fn(T) -> Result<String>,
) -> Result<Response> {
    let (parts, body) = request.into_parts();
    require_json(&parts.headers, &parts.extensions)?;
    let caller = caller(&parts.headers, &parts.extensions)?;
    let body = body::read(&parts, body, MAX_BODY).await?;
    let request: T = json::decode_large(body).await?;
    if preloads_only(&parts.headers) {
        let model = model_of(request)?;
        preload(state, &model, Wishes::default(), &parts).await.map_err(name_model)?;
        return Ok(StatusCode::OK.into_response());
    }
    // Schemas are checked and pictures decoded: that may take a tenth of a second.
    let converted = tokio::task::spawn_blocking(move || convert(request)).await;
    let Converted { model, stream, include_usage, layout, requests } =
        converted.map_err(Error::internal)??;
    let mut answers =
        Fan::submit(&state.service, caller, &model, requests).await.map_err(name_model)?;
    let meta = Meta::new(layout.shape, model);
    if stream {
        // What fails early keeps its true status; what takes long gets its 200 and comments.
        answers.ready(Some(STREAM_PATIENCE)).await.map_err(name_model)?;
        let headers = queue_headers(&answers);
        let render = ChunkStream::new(layout, meta, include_usage);
        let body = EventStream::new(answers, render).into_body();
        return Ok(event_stream(headers, body));
    }
    answers.ready(None).await.map_err(name_model)?;
    let headers = queue_headers(&answers);
    let mut transcript = Transcript::default();
    while let Some(event) = answers.next().await {
        transcript.push(event?);
    }
    let body = whole(&layout, &meta, &transcript, answers.prompt_tokens())?;
    Ok(reply::json(headers, body))
}

fn queue_headers(answers: &Fan) -> HeaderMap {
    reply::queue_headers(answers.queue_position(), answers.queue_wait())
}
