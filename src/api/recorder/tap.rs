use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::Method;
use http_body::{Frame, SizeHint};

use crate::api::reply::preloads_only;
use crate::config::Live;

use super::Recorder;
use super::draft::Draft;

/// The ends of the paths at which models are asked something.
const ASKING: [&str; 11] = [
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/rerank",
    "/score",
    "/responses",
    "/messages",
    "/api/chat",
    "/api/generate",
    "/api/embed",
    "/api/embeddings",
];

/// Copies what is asked of models and what they answer, where the daemon records; else it passes
/// everything on untouched. Stands outside of what writes the bodies of errors, to see them.
pub(in crate::api) async fn record(
    State(recorder): State<Live<Option<Recorder>>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(recorder) = recorder.get() else { return next.run(request).await };
    let path = request.uri().path();
    let asks = request.method() == Method::POST && ASKING.iter().any(|end| path.ends_with(end));
    if !asks || preloads_only(request.headers()) {
        return next.run(request).await;
    }
    let draft = Draft::new(recorder, request.method().as_str(), path, request.headers());
    let asking = Side::Request(draft.clone());
    let request = request.map(|inner| Body::new(Tapped { inner, side: asking }));
    let response = next.run(request).await;
    if response.extensions().get::<MatchedPath>().is_none() {
        // No route, or refused before one was chosen: no model was asked.
        draft.forget();
        return response;
    }
    draft.begins(response.status(), response.headers());
    response.map(|inner| {
        if http_body::Body::is_end_stream(&inner) {
            draft.complete();
        }
        Body::new(Tapped { inner, side: Side::Response(draft) })
    })
}

enum Side {
    Request(Draft),
    Response(Draft),
}

/// A body that is copied as it passes.
struct Tapped {
    inner: Body,
    side: Side,
}

impl http_body::Body for Tapped {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        let bytes = match &frame {
            Poll::Ready(Some(Ok(frame))) => frame.data_ref(),
            _ => None,
        };
        let over = matches!(frame, Poll::Ready(None | Some(Err(_)))) || self.inner.is_end_stream();
        match &self.side {
            Side::Request(draft) => {
                if let Some(bytes) = bytes {
                    draft.asked(bytes);
                }
            }
            Side::Response(draft) => {
                if let Some(bytes) = bytes {
                    draft.answered(bytes);
                }
                // Before its last bytes are sent, so that whoever has read them finds the record.
                if over {
                    draft.complete();
                }
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Tapped {
    /// An answer whose reader left is complete as well.
    fn drop(&mut self) {
        if let Side::Response(draft) = &self.side {
            draft.complete();
        }
    }
}
