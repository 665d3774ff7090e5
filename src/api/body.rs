//! Bodies in both directions: a bounded, patient read, and a stream of events as bytes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http::request::Parts;
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use tokio::time::{Instant, Sleep, sleep, timeout, timeout_at};

use crate::domain::{Error, ErrorKind, Event, Result};

mod room;

pub(super) use room::Rooms;

/// The largest body of a request for inference, in bytes (a 20 MiB image is 27 MiB in base64).
pub(super) const MAX_BODY: usize = 64 << 20;
/// The largest body of a management request.
pub(super) const MAX_SMALL_BODY: usize = 1 << 20;
/// How long an upload may pause: what is piped in comes as fast as whatever makes it.
const UPLOAD_IDLE: Duration = Duration::from_secs(15);
/// How long a body may pause.
const BODY_IDLE: Duration = Duration::from_secs(10);
/// So many bytes buy a body another second, but never more than [`BODY_IDLE`] from then on: what came
/// fast at first buys no time for a crawl.
const MIN_RATE: usize = 1024;
/// How long a body may take in all. The largest one needs 75 KB a second.
const BODY_TIME: Duration = Duration::from_secs(15 * 60);
/// How often a silent stream shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Ready events are sent together up to this many bytes.
const JOIN: usize = 16 << 10;

/// How long what is left of a refused body is still read.
const LINGER: Duration = Duration::from_secs(5);

/// Reads on and forgets what comes. A connection that is closed with bytes unread is reset, and the
/// client would see that instead of the refusal.
pub(super) fn linger(rest: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(timeout(LINGER, rest));
}

async fn read_to_end(mut body: Body) {
    while let Some(Ok(_)) = body.frame().await {}
}

/// How long a body may still take.
struct Pace {
    until: Instant,
    /// When it has to be over, however it comes.
    end: Instant,
    /// Bytes that have not bought a second yet.
    spare: usize,
}

impl Pace {
    fn begin() -> Self {
        Self { until: later(BODY_IDLE), end: later(BODY_TIME), spare: 0 }
    }

    fn came(&mut self, bytes: usize) {
        let bytes = self.spare.saturating_add(bytes);
        self.spare = bytes % MIN_RATE;
        let bought = Duration::from_secs(u64::try_from(bytes / MIN_RATE).unwrap_or(u64::MAX));
        let most = later(BODY_IDLE);
        self.until = self.until.checked_add(bought).map_or(most, |until| until.min(most));
    }

    fn left(&self) -> Instant {
        self.until.min(self.end)
    }
}

fn later(by: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(by).unwrap_or(now)
}

/// Reads a whole body of at most `limit` bytes; never holds more than that, nor more than there is
/// for all whose requests came the same way. What it takes of that, it takes as it comes, and has
/// until the last of its bytes is dropped.
///
/// # Errors
/// `UnsupportedMediaType` if it is compressed, `BodyTooLarge`, `RequestTimeout` if it pauses or
/// crawls, `MemoryBusy` if too many others are being read, `InvalidValue` if it breaks off.
pub(super) async fn read(parts: &Parts, mut body: Body, limit: usize) -> Result<Bytes> {
    let headers = &parts.headers;
    if let Err(error) = refuse_encoded(headers) {
        linger(read_to_end(body));
        return Err(error);
    }
    let too_large = || {
        Error::new(
            ErrorKind::BodyTooLarge,
            format!("the request body is over the limit of {limit} bytes; send a smaller one"),
        )
    };
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    let declared = declared.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    if usize::try_from(declared).map_or(true, |length| length > limit) {
        linger(read_to_end(body));
        return Err(too_large());
    }
    let mut place = Rooms::place(&parts.extensions);
    let mut pace = Pace::begin();
    let mut whole = BytesMut::new();
    loop {
        let frame = timeout_at(pace.left(), body.frame()).await.map_err(|_| too_slow())?;
        let Some(frame) = frame else { return Ok(place.hold(whole.freeze())) };
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if whole.len().saturating_add(data.len()) > limit {
            linger(read_to_end(body));
            return Err(too_large());
        }
        if let Err(error) = place.grow(data.len()) {
            linger(read_to_end(body));
            return Err(error);
        }
        pace.came(data.len());
        whole.extend_from_slice(&data);
    }
}

/// The next piece of a body that may have any length.
///
/// # Errors
/// As [`read`], the limit excepted.
pub(super) async fn next_piece(body: &mut Body) -> Result<Option<Bytes>> {
    loop {
        let frame = timeout(UPLOAD_IDLE, body.frame()).await.map_err(|_| too_slow())?;
        let Some(frame) = frame else { return Ok(None) };
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            return Ok(Some(data));
        }
    }
}

/// Bodies are never decompressed: a small one could become any size.
pub(super) fn refuse_encoded(headers: &HeaderMap) -> Result<()> {
    match headers.get(header::CONTENT_ENCODING) {
        None => Ok(()),
        Some(coding) if coding == "identity" => Ok(()),
        Some(_) => Err(Error::new(
            ErrorKind::UnsupportedMediaType,
            "compressed request bodies are not taken; send the body without Content-Encoding",
        )),
    }
}

fn too_slow() -> Error {
    Error::new(
        ErrorKind::RequestTimeout,
        "the request body paused for more than 10 s (an upload: 15 s), came at less than 1 KiB/s, or \
         took more than 15 minutes; send it again",
    )
}

fn broken(fault: axum::Error) -> Error {
    // Whoever went away reads nothing; whoever sent broken chunks learns that much.
    Error::new(ErrorKind::InvalidValue, "the request body broke off or is not framed correctly")
        .with_cause(fault)
}

/// Turns the events of one answer into bytes of a dialect's stream.
pub(super) trait Render: Send + Unpin + 'static {
    /// The bytes for an event; nothing where the dialect does not show it.
    fn event(&mut self, event: Event, out: &mut BytesMut);
    /// The bytes for an error after which nothing follows.
    fn error(&mut self, error: &Error, out: &mut BytesMut);
    /// The bytes that tell how the request waits; nothing where the dialect has no place for it.
    fn note(&mut self, text: &str) -> Bytes {
        format!(": {text}\n\n").into()
    }
    /// The bytes that show that a silent stream is alive.
    fn alive(&mut self) -> Bytes {
        Bytes::from_static(b": keep-alive\n\n")
    }
}

/// A response body that grows with the events. Dropping it drops the generation and so cancels it.
///
/// While the request waits, notes tell its position, but only once there is nothing better to send;
/// a silent stream shows every 15 seconds that it is alive, which also finds dead peers. Dialects
/// of server-sent events have comments for both.
pub(super) struct EventStream<S, R> {
    events: S,
    render: R,
    note: Option<Bytes>,
    quiet: Pin<Box<Sleep>>,
    over: bool,
}

impl<S, R> EventStream<S, R>
where
    S: Stream<Item = Result<Event>> + Send + Unpin + 'static,
    R: Render,
{
    pub(super) fn new(events: S, render: R) -> Self {
        let quiet = Box::pin(sleep(KEEP_ALIVE));
        Self { events, render, note: None, quiet, over: false }
    }

    pub(super) fn into_body(self) -> Body {
        Body::from_stream(self)
    }

    fn take(&mut self, event: Option<Result<Event>>, out: &mut BytesMut) {
        match event {
            Some(Ok(Event::Waiting { position })) => {
                self.set_note(&format!("queued, position {position}"));
            }
            Some(Ok(Event::Loading { fraction })) => {
                self.set_note(&format!("loading the model, {:.0} %", fraction * 100.0));
            }
            Some(Ok(event)) => {
                self.note = None;
                self.over = matches!(event, Event::Finished(_));
                self.render.event(event, out);
            }
            Some(Err(error)) => {
                self.over = true;
                super::refusal::log(&error);
                self.render.error(&error, out);
            }
            None => {
                self.over = true;
                let error = Error::internal("a generation ended without a result");
                super::refusal::log(&error);
                self.render.error(&error, out);
            }
        }
    }

    /// Only the latest is worth telling.
    fn set_note(&mut self, text: &str) {
        self.note = Some(self.render.note(text)).filter(|note| !note.is_empty());
    }
}

impl<S, R> Stream for EventStream<S, R>
where
    S: Stream<Item = Result<Event>> + Send + Unpin + 'static,
    R: Render,
{
    type Item = std::result::Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let mut out = BytesMut::new();
        while !this.over && out.len() < JOIN {
            match Pin::new(&mut this.events).poll_next(cx) {
                Poll::Ready(event) => this.take(event, &mut out),
                Poll::Pending => break,
            }
        }
        let ready = if !out.is_empty() {
            Some(out.freeze())
        } else if this.over {
            return Poll::Ready(None);
        } else {
            this.note.take()
        };
        let bytes = match ready {
            Some(bytes) => bytes,
            None => {
                ready!(this.quiet.as_mut().poll(cx));
                this.render.alive()
            }
        };
        this.quiet.as_mut().reset(Instant::now() + KEEP_ALIVE);
        Poll::Ready(Some(Ok(bytes)))
    }
}

/// Appends one server-sent event with `json` as its data.
pub(super) fn sse_json(out: &mut BytesMut, json: &impl serde::Serialize) {
    out.extend_from_slice(b"data: ");
    let mark = out.len();
    if serde_json::to_writer(bytes::BufMut::writer(&mut *out), json).is_err() {
        // Our own wire types hold nothing that JSON cannot.
        out.truncate(mark);
        out.extend_from_slice(b"{}");
    }
    out.extend_from_slice(b"\n\n");
}

/// Appends one server-sent event called `name` with `json` as its data.
pub(super) fn sse_event(out: &mut BytesMut, name: &str, json: &impl serde::Serialize) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\n");
    sse_json(out, json);
}

#[cfg(test)]
mod tests;
