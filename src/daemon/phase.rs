//! Where a connection stands, and how long it may stay there.
//!
//! ```text
//! accepted ─▶ first byte ─▶ head ─▶ busy ─▶ sending ─▶ idle ─▶ head ─▶ …
//!     10 s         10 s           no limit   no limit    60 s
//! ```
//!
//! While it sends, its reader has to take something every 30 s.
//!
//! An answer is over for hyper, which drops its body, when the last of it lies in hyper's buffers; for
//! its reader that may be minutes before the last of it arrives. So what tells sending from idling is
//! the stream below: bytes that it does not take are on their way until all of them are flushed.
//!
//! hyper's own header timer also runs while a kept-alive connection is idle, so that one timer
//! cannot give 10 s for a head and 60 s between requests. This one can.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::activity::Presence;

/// How long the first request of a connection may take to show up once the daemon stops: whoever
/// connected in time is answered.
pub(super) const LATE_FIRST: Duration = Duration::from_secs(1);
/// The same for a further request on a connection: what was sent before has been read by then.
const LATE_NEXT: Duration = Duration::from_millis(20);

/// How long a connection may take for each part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// From accepting to the first byte.
    pub first_byte: Duration,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// Between a response and the next request.
    pub idle: Duration,
    /// Without the client taking a single byte of what is being sent.
    pub send: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            send: Duration::from_secs(30),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing of the first request is here yet.
    Fresh(Instant),
    /// Nothing of the next request is here yet.
    Waiting(Instant),
    /// A part of its head is.
    Head(Instant),
    /// It is being served.
    Busy,
    /// It is answered, and its reader has not taken all of that yet. Of the next one there may be
    /// bytes already.
    Sending { next: bool },
}

/// The stage of one connection; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Phase {
    stage: watch::Sender<Stage>,
    patience: Patience,
    presence: Arc<Presence>,
}

impl Phase {
    pub(super) fn accepted(patience: Patience, presence: Presence) -> Self {
        let until = later(patience.first_byte);
        let stage = watch::Sender::new(Stage::Fresh(until));
        Self { stage, patience, presence: Arc::new(presence) }
    }

    /// A request's head is complete. The guard marks the end of its response.
    pub(super) fn busy(&self) -> Busy {
        self.presence.set(true);
        self.stage.send_replace(Stage::Busy);
        Busy(self.clone())
    }

    /// Completes when the connection has outstayed its stage.
    pub(super) async fn expired(&self) {
        let mut changes = self.stage.subscribe();
        loop {
            let stage = *changes.borrow_and_update();
            let over = async {
                match stage {
                    Stage::Fresh(until) | Stage::Waiting(until) | Stage::Head(until) => {
                        sleep_until(until).await;
                    }
                    // Whoever does not read is found out by the stream.
                    Stage::Busy | Stage::Sending { .. } => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                // Cannot end: we hold a sender ourselves.
                _ = changes.changed() => {}
            }
        }
    }

    /// Completes when the connection may be told to take no further request: none is on its way
    /// that the client believes to be sent.
    pub(super) async fn settled(&self) {
        let mut changes = self.stage.subscribe();
        loop {
            let stage = *changes.borrow_and_update();
            let late = match stage {
                Stage::Fresh(_) => LATE_FIRST,
                Stage::Waiting(_) => LATE_NEXT,
                // It expires on its own.
                Stage::Head(_) => self.patience.head,
                Stage::Busy => return,
                // A client that is not told of the end yet may send another at any moment.
                Stage::Sending { .. } => Duration::MAX,
            };
            if timeout(late, changes.changed()).await.is_err() {
                return;
            }
        }
    }

    fn bytes_came(&self) {
        self.presence.set(true);
        self.stage.send_if_modified(|stage| match stage {
            Stage::Fresh(_) | Stage::Waiting(_) => {
                *stage = Stage::Head(later(self.patience.head));
                true
            }
            Stage::Sending { next } => {
                *next = true;
                false
            }
            Stage::Head(_) | Stage::Busy => false,
        });
    }

    fn idle(&self) {
        self.presence.set(false);
        self.stage.send_replace(Stage::Waiting(later(self.patience.idle)));
    }

    /// The stream did not take what there was to send.
    fn stuck(&self) {
        let began = self.stage.send_if_modified(|stage| {
            let idles = matches!(stage, Stage::Waiting(_));
            if idles {
                *stage = Stage::Sending { next: false };
            }
            idles
        });
        if began {
            self.presence.set(true);
        }
    }

    /// All that there was to send is out.
    fn flushed(&self) {
        let stage = *self.stage.borrow();
        match stage {
            Stage::Sending { next: false } => self.idle(),
            Stage::Sending { next: true } => {
                self.stage.send_replace(Stage::Head(later(self.patience.head)));
            }
            Stage::Fresh(_) | Stage::Waiting(_) | Stage::Head(_) | Stage::Busy => {}
        }
    }

    /// Whether a part of an answer that is over has not gone out.
    pub(super) fn is_sending(&self) -> bool {
        matches!(*self.stage.borrow(), Stage::Sending { .. })
    }
}

/// A request that is being served; dropped when its response is over, sent or not.
#[derive(Debug)]
pub(super) struct Busy(Phase);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle();
    }
}

/// A response body that keeps its request busy until there is no more of it, or it is given up.
pub(super) struct Tracked<B> {
    body: B,
    _busy: Busy,
}

impl<B> Tracked<B> {
    pub(super) fn new(body: B, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that tells its phase when bytes come in and whether they go out, and breaks when its reader takes none for too
/// long: whatever is being sent, somebody who does not read must not hold it for ever.
pub(super) struct Watched<S> {
    stream: S,
    phase: Phase,
    /// Runs while the reader takes nothing of what there is to send.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, phase: Phase) -> Self {
        Self { stream, phase, stalled: None }
    }

    /// Passes on how sending went, and ends it when nothing moves.
    fn sent<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<std::io::Result<T>>,
    ) -> Poll<std::io::Result<T>> {
        if !matches!(polled, Poll::Ready(Ok(_))) {
            self.phase.stuck();
        }
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let until = || Box::pin(sleep_until(later(self.phase.patience.send)));
        let stalled = self.stalled.get_or_insert_with(until);
        ready!(stalled.as_mut().poll(cx));
        let text = "the client does not read what it is sent";
        Poll::Ready(Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.phase.bytes_came();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.sent(cx, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.sent(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        if let Poll::Ready(Ok(())) = polled {
            this.phase.flushed();
        }
        this.sent(cx, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

fn later(patience: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(patience).unwrap_or(now)
}
