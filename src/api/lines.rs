//! Answers of one JSON value a line (NDJSON): the progress of long work.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::Poll;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::domain::Result;

use super::refusal::Reply;

/// One JSON value a line.
pub(super) const NDJSON: &str = "application/x-ndjson";

/// Lines that may wait for a slow reader before the work waits for it.
pub(super) const LINES_AHEAD: usize = 64;

/// Work that says lines while it goes on; the last one is its result.
pub(super) type Work = Pin<Box<dyn Future<Output = Result<Bytes>> + Send>>;

/// Answers with the lines as they come. Work that fails before it said anything has its own status;
/// `failed` makes a line of a later failure.
pub(super) async fn stream(
    mut work: Work,
    sender: mpsc::Sender<Bytes>,
    mut lines: mpsc::Receiver<Bytes>,
    failed: fn(String) -> Bytes,
) -> Reply {
    let first = tokio::select! {
        biased;
        done = &mut work => {
            let last = done?;
            let mut all = Vec::new();
            while let Ok(line) = lines.try_recv() {
                all.extend_from_slice(&line);
            }
            all.extend_from_slice(&last);
            return Ok(answer(Body::from(all)));
        }
        first = lines.recv() => first,
    };
    tokio::spawn(async move {
        let last = work.await.unwrap_or_else(|error| failed(error.message));
        let _ = sender.send(last).await;
    });
    let mut first = first;
    let rest = futures_util::stream::poll_fn(move |context| match first.take() {
        Some(line) => Poll::Ready(Some(Ok::<_, Infallible>(line))),
        None => lines.poll_recv(context).map(|line| line.map(Ok)),
    });
    Ok(answer(Body::from_stream(rest)))
}

/// A 200 of such lines.
pub(super) fn answer(body: Body) -> Response {
    let headers = [(header::CONTENT_TYPE, NDJSON), (header::CACHE_CONTROL, "no-cache")];
    (headers, body).into_response()
}

/// A value of text, numbers and lists as a line.
pub(super) fn line(value: &impl Serialize) -> Bytes {
    // Such values always serialise.
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}
