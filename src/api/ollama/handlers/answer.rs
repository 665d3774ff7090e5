use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::api::body::EventStream;
use crate::api::caller::{permitted, preload};
use crate::api::lines::NDJSON;
use crate::api::middleware::may_manage;
use crate::api::reply::{self, STREAM_PATIENCE, queue_headers};
use crate::api::state::ApiState;
use crate::domain::{Event, GenerateRequest, Result};
use crate::models::Portrait;
use crate::service::Caller;

use super::super::convert::{Converted, Task};
use super::super::render::{LineStream, Meta, Shape, Whole};
use super::context;
use super::fit::Model;

/// How many tokens of the prompt were cut because the client asked for it.
const TRUNCATED: HeaderName = HeaderName::from_static("x-truncated-tokens");

/// Answers a request to the model that the client calls `name`.
pub(super) async fn answer(
    state: &ApiState,
    parts: &Parts,
    mut caller: Caller,
    name: String,
    portrait: &Portrait,
    converted: Converted,
    shape: Shape,
) -> Result<Response> {
    let Converted { task, stream, wishes, truncate, context, tells_context } = converted;
    let meta = Meta::new(name, shape);
    let name = meta.model.as_str();
    let mut request = match task {
        Task::Load => {
            preload(state, name, wishes, parts).await?;
            return Ok(Json(meta.nothing("load")).into_response());
        }
        Task::Unload => {
            // Silence would leave the client in the belief that the memory is free.
            may_manage(&parts.headers, &parts.extensions).await?;
            unload(state, name).await?;
            return Ok(Json(meta.nothing("unload")).into_response());
        }
        Task::Answer(request) => *request,
    };
    let wishes = permitted(wishes, parts).await;
    caller.wishes = wishes;
    if !context.is_empty() {
        request.prompt = context::behind(state, name, context, request.prompt).await?;
    }
    let mut headers = HeaderMap::new();
    if truncate {
        let model = Model { state, name, id: portrait.entry.id, wishes };
        let cut = model.fit(&mut request, shape).await?;
        headers.insert(TRUNCATED, HeaderValue::from(cut));
    }
    run(state, caller, meta, request, Form { stream, tells_context, headers }).await
}

/// How an answer looks.
struct Form {
    stream: bool,
    tells_context: bool,
    headers: HeaderMap,
}

async fn run(
    state: &ApiState,
    caller: Caller,
    meta: Meta,
    request: GenerateRequest,
    form: Form,
) -> Result<Response> {
    let Form { stream, tells_context, mut headers } = form;
    let prompt = tells_context.then(|| request.prompt.clone());
    let mut generation = state.service.generate(caller, &meta.model, request).await?;
    // What fails early keeps its true status; a stream that takes long gets its 200.
    generation.ready(stream.then_some(STREAM_PATIENCE)).await?;
    headers.extend(queue_headers(generation.queue_position(), generation.queue_wait()));
    let Some(prompt) = prompt else { return send(generation, meta, stream, headers).await };
    let (state, model, place) = (state.clone(), meta.model.clone(), meta.context.clone());
    let events = context::told(generation, state, model, prompt, place);
    send(events, meta, stream, headers).await
}

async fn send(
    mut events: impl Stream<Item = Result<Event>> + Send + Unpin + 'static,
    meta: Meta,
    stream: bool,
    headers: HeaderMap,
) -> Result<Response> {
    if stream {
        let body: Body = EventStream::new(events, LineStream::new(meta)).into_body();
        return Ok(reply::answer(headers, NDJSON, body));
    }
    let mut whole = Whole::new(meta);
    while let Some(event) = events.next().await {
        whole.push(event?);
    }
    Ok(reply::json(headers, whole.body()?))
}

/// Lets a model go: at once, or when the last request on it has ended.
async fn unload(state: &ApiState, name: &str) -> Result<()> {
    state.service.release(name).await
}
