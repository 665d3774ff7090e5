//! What the routes share whose answers are never streamed: vectors, scores, tokens.

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::body::{self, MAX_BODY};
use crate::api::caller::{caller, require_json};
use crate::api::json;
use crate::api::state::ApiState;
use crate::domain::{EmbedInput, Error, Result};
use crate::service::{Caller, Embedded};

use crate::api::reply::{self, name_model, queue_headers};

pub(super) use crate::api::reply::name_model as named;

/// Reads a request whose body is a `T`.
pub(super) async fn read<T: DeserializeOwned + Send + 'static>(
    request: Request,
) -> Result<(Parts, Caller, T)> {
    let (parts, caller, body) = read_bytes(request).await?;
    Ok((parts, caller, json::decode_large(body).await?))
}

/// Reads a request whose body is looked at more than once.
pub(super) async fn read_bytes(request: Request) -> Result<(Parts, Caller, Bytes)> {
    let (parts, body) = request.into_parts();
    require_json(&parts.headers, &parts.extensions)?;
    let caller = caller(&parts.headers, &parts.extensions)?;
    let body = body::read(&parts, body, MAX_BODY).await?;
    Ok((parts, caller, body))
}

/// Has a model compute vectors or scores of inputs; also answers the headers about the queue.
pub(super) async fn run(
    state: &ApiState,
    caller: Caller,
    model: &str,
    inputs: Vec<EmbedInput>,
) -> Result<(HeaderMap, Embedded)> {
    let count = inputs.len();
    let mut generation = state.service.embed(caller, model, inputs).await.map_err(name_model)?;
    generation.ready(None).await.map_err(name_model)?;
    let headers = queue_headers(generation.queue_position(), generation.queue_wait());
    Ok((headers, Embedded::collect(&mut generation, count).await?))
}

/// Builds an answer and writes it as JSON, away from the threads that serve everybody: a large one
/// takes noticeable time.
pub(super) async fn to_json<T: Serialize>(
    headers: HeaderMap,
    build: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<Response> {
    let write = move || serde_json::to_vec(&build()?).map_err(Error::internal);
    let json = tokio::task::spawn_blocking(write).await.map_err(Error::internal)??;
    Ok(reply::json(headers, json))
}
