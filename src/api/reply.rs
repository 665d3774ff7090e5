//! What the answers of all dialects have in common on their way out.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::domain::{Error, ErrorKind};

/// How long a stream may wait for its start before its 200 is committed: until then a failure
/// keeps its true status, afterwards the client sees that it waits.
pub(super) const STREAM_PATIENCE: Duration = Duration::from_secs(10);

pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const EVENTS: &str = "text/event-stream; charset=utf-8";

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

/// How the request fared in the queue.
pub(super) fn queue_headers(position: u32, wait: Duration) -> HeaderMap {
    let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("x-queue-position"), HeaderValue::from(position));
    headers.insert(HeaderName::from_static("x-queue-wait-ms"), HeaderValue::from(wait));
    headers
}

/// An answer of server-sent events.
pub(super) fn event_stream(headers: HeaderMap, body: Body) -> Response {
    answer(headers, EVENTS, body)
}

/// An answer of JSON.
pub(super) fn json(headers: HeaderMap, body: impl Into<Body>) -> Response {
    answer(headers, JSON, body.into())
}

/// A 200 with a body of that type.
pub(super) fn answer(mut headers: HeaderMap, kind: &'static str, body: Body) -> Response {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}
