use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use http_body::{Frame, SizeHint};

use crate::metrics::Metrics;

use super::super::{ListenerClass, ids, status};

/// The request's id, among its extensions from here on.
#[derive(Debug, Clone)]
pub(in crate::api) struct RequestId(pub(in crate::api) HeaderValue);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id that is taken over from a client.
const MAX_ID: usize = 128;

/// Gives the request an id, which the response carries, and logs one line when the answer is over
/// or its reader gone. The line has the route's template and no query, header or body. The request
/// is counted likewise.
pub(in crate::api) async fn trace(
    State(metrics): State<Metrics>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = match request.headers().get(&REQUEST_ID) {
        Some(given) if is_sane(given) => given.clone(),
        _ => {
            HeaderValue::try_from(ids::request_id()).unwrap_or(HeaderValue::from_static("unknown"))
        }
    };
    let listener = request.extensions().get::<ListenerClass>().map_or("?", |class| class.as_str());
    let mut line = Line {
        metrics,
        begun: Instant::now(),
        method: request.method().clone(),
        id: id.to_str().unwrap_or_default().to_owned(),
        listener,
        template: None,
        status: status::client_closed_request(),
        head: None,
        queue_ms: None,
        complete: false,
    };
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    line.status = response.status();
    line.head = Some(line.begun.elapsed());
    line.template = response.extensions().get::<MatchedPath>().cloned();
    line.queue_ms = response
        .headers()
        .get("x-queue-wait-ms")
        .and_then(|value| value.to_str().ok())
        .map(ToOwned::to_owned);
    response.headers_mut().insert(REQUEST_ID, id);
    line.complete = http_body::Body::is_end_stream(response.body());
    response.map(|inner| Body::new(Logged { inner, line }))
}

/// Hands the route's template on to [`trace`], which runs outside of the router.
pub(in crate::api) async fn note_template(request: Request, next: Next) -> Response {
    let template = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(template) = template {
        response.extensions_mut().insert(template);
    }
    response
}

/// A method that is none of HTTP's is what a client made up.
fn known(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::DELETE
        | Method::OPTIONS
        | Method::PATCH
        | Method::CONNECT
        | Method::TRACE => method.as_str(),
        _ => "other",
    }
}

/// Whether an id can go into a header and a log as it is.
fn is_sane(id: &HeaderValue) -> bool {
    let id = id.as_bytes();
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !id.is_empty() && id.len() <= MAX_ID && id.iter().all(plain)
}

/// The access line; written when dropped, so a request whose client went away has one too.
struct Line {
    metrics: Metrics,
    begun: Instant,
    method: Method,
    id: String,
    listener: &'static str,
    template: Option<MatchedPath>,
    status: StatusCode,
    head: Option<Duration>,
    queue_ms: Option<String>,
    complete: bool,
}

impl Drop for Line {
    fn drop(&mut self) {
        let template = self.template.as_ref().map(MatchedPath::as_str);
        self.metrics.answered(template, self.method.as_str(), self.status.as_u16());
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            target: "modeld::access",
            method = %known(&self.method),
            route = template.unwrap_or("-"),
            status = self.status.as_u16(),
            ms = millis(self.begun.elapsed()),
            head_ms = self.head.map(millis),
            queue_ms = self.queue_ms,
            complete = self.complete,
            listener = self.listener,
            id = self.id,
        );
    }
}

/// A body that knows when it has been sent whole.
struct Logged {
    inner: Body,
    line: Line,
}

impl http_body::Body for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        let last = matches!(frame, Poll::Ready(None));
        self.line.complete |= last || self.inner.is_end_stream();
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_methods_are_not_named() {
        assert_eq!(known(&Method::PUT), "PUT");
        assert_eq!(known(&Method::from_bytes(b"secret").expect("a token")), "other");
    }

    #[test]
    fn only_plain_ids_are_taken_over() {
        let sane =
            |text: &str| is_sane(&HeaderValue::from_bytes(text.as_bytes()).expect("a value"));
        assert!(sane("req_1-A.b") && sane(&"x".repeat(128)));
        assert!(
            !sane("") && !sane(&"x".repeat(129)) && !sane("a b") && !sane("a\"b") && !sane("é")
        );
    }
}
