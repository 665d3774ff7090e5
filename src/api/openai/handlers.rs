use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::api::body::{self, EventStream, MAX_BODY};
use crate::api::caller::{caller, require_json};
use crate::api::json;
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::{Error, ErrorKind, Result, Transcript};

use super::convert::{self, Converted};
use super::fan::Fan;
use super::render::{ChunkStream, Meta, whole};

/// How long a stream may wait for its start before its 200 is committed: until then a failure
/// keeps its true status, afterwards the client sees that it waits.
const STREAM_PATIENCE: Duration = Duration::from_secs(10);

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
    let body = body::read(&parts.headers, body, MAX_BODY).await?;
    let request: T = json::decode_large(body).await?;
    if preloads_only(&parts.headers) {
        state.service.preload(&model_of(request)?).await.map_err(name_model)?;
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
        return Ok(answer(headers, "text/event-stream; charset=utf-8", body));
    }
    answers.ready(None).await.map_err(name_model)?;
    let headers = queue_headers(&answers);
    let mut transcript = Transcript::default();
    while let Some(event) = answers.next().await {
        transcript.push(event?);
    }
    let body = whole(&layout, &meta, &transcript, answers.prompt_tokens())?;
    Ok(answer(headers, "application/json", Body::from(body)))
}

/// Says which field is at fault when it is the model's name.
pub(super) fn name_model(error: Error) -> Error {
    match error.kind {
        ErrorKind::ModelNotFound
        | ErrorKind::InvalidReference
        | ErrorKind::InvalidDigest
        | ErrorKind::UnsupportedModel => error.with_param("model"),
        _ => error,
    }
}

/// Docker Model Runner's header for loading a model without asking it anything.
pub(super) fn preloads_only(headers: &HeaderMap) -> bool {
    headers
        .get("x-preload-only")
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

fn queue_headers(answers: &Fan) -> HeaderMap {
    let wait = u64::try_from(answers.queue_wait().as_millis()).unwrap_or(u64::MAX);
    let mut headers = HeaderMap::new();
    headers.insert(
        HeaderName::from_static("x-queue-position"),
        HeaderValue::from(answers.queue_position()),
    );
    headers.insert(HeaderName::from_static("x-queue-wait-ms"), HeaderValue::from(wait));
    headers
}

pub(super) fn answer(mut headers: HeaderMap, kind: &'static str, body: Body) -> Response {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}
