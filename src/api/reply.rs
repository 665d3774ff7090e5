//! The heads of answers that the dialects share.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::domain::{Error, ErrorKind};
use crate::scheduler::Generation;

/// How long a stream may wait for its start before its 200 is committed: until then a failure
/// keeps its true status, afterwards the client sees that it waits.
pub(super) const STREAM_PATIENCE: Duration = Duration::from_secs(10);

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

/// Where the request stood in the queue, and for how long.
pub(super) fn queue_headers(generation: &Generation) -> HeaderMap {
    let wait = u64::try_from(generation.queue_wait().as_millis()).unwrap_or(u64::MAX);
    let mut headers = HeaderMap::new();
    headers.insert(
        HeaderName::from_static("x-queue-position"),
        HeaderValue::from(generation.queue_position()),
    );
    headers.insert(HeaderName::from_static("x-queue-wait-ms"), HeaderValue::from(wait));
    headers
}

/// An answer of server-sent events.
pub(super) fn event_stream(headers: HeaderMap, body: Body) -> Response {
    answer(headers, "text/event-stream; charset=utf-8", body)
}

/// An answer of JSON.
pub(super) fn json(headers: HeaderMap, body: impl Into<Body>) -> Response {
    answer(headers, "application/json", body.into())
}

fn answer(mut headers: HeaderMap, kind: &'static str, body: Body) -> Response {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}
