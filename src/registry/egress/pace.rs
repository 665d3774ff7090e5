use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::EgressError;

/// Pieces that a body in memory is sent in, so that each shows that there is progress.
const PIECE: usize = 64 << 10;

/// When something last moved.
#[derive(Clone)]
pub(super) struct Progress(Arc<Mutex<Moved>>);

struct Moved {
    last: Instant,
    all: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Moved { last: Instant::now(), all: false })))
    }

    pub(super) fn moved(&self) {
        self.with(|moved| moved.last = Instant::now());
    }

    /// That the last byte has been handed on.
    pub(super) fn all_sent(&self) {
        self.with(|moved| *moved = Moved { last: Instant::now(), all: true });
    }

    /// Ends when nothing has moved for `stall`, or for `settle` once all has been sent. Says how
    /// long that was.
    pub(super) async fn stalled(&self, stall: Duration, settle: Duration) -> Duration {
        loop {
            let (last, limit) =
                self.with(|moved| (moved.last, if moved.all { settle } else { stall }));
            if last.elapsed() >= limit {
                return limit;
            }
            tokio::time::sleep_until(last + limit).await;
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Moved) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A request body that shows its progress.
pub(super) struct Upload {
    source: Source,
    /// Bytes still to come, where that is known.
    left: Option<u64>,
    progress: Progress,
}

enum Source {
    Whole(Bytes),
    Stream(reqwest::Body),
}

impl Upload {
    pub(super) fn whole(bytes: Bytes, progress: Progress) -> Self {
        let left = u64::try_from(bytes.len()).ok();
        Self { source: Source::Whole(bytes), left, progress }
    }

    /// `length` is what the request declares, if it does.
    pub(super) fn stream(body: reqwest::Body, length: Option<u64>, progress: Progress) -> Self {
        let left = length.or(body.size_hint().exact());
        Self { source: Source::Stream(body), left, progress }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = reqwest::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, reqwest::Error>>> {
        let own = self.get_mut();
        let frame = match &mut own.source {
            Source::Whole(bytes) if bytes.is_empty() => None,
            Source::Whole(bytes) => {
                let piece = bytes.split_to(bytes.len().min(PIECE));
                Some(Ok(Frame::data(piece)))
            }
            Source::Stream(body) => ready!(Pin::new(body).poll_frame(context)),
        };
        own.progress.moved();
        if let (Some(left), Some(Ok(frame))) = (&mut own.left, &frame) {
            let length = frame.data_ref().map_or(0, Bytes::len);
            *left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
        }
        // Who sends a body of known length does not ask for more after its end.
        if frame.is_none() || own.left == Some(0) {
            own.progress.all_sent();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole(bytes) => bytes.is_empty(),
            Source::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => {
                u64::try_from(bytes.len()).map(SizeHint::with_exact).unwrap_or_default()
            }
            Source::Stream(body) => body.size_hint(),
        }
    }
}

/// The body of an answer, which ends in an error where it breaks off or pauses for `stall`.
pub(super) fn download(
    answer: reqwest::Response,
    host: String,
    stall: Duration,
) -> BoxStream<'static, Result<Bytes, EgressError>> {
    let start = (answer.bytes_stream().boxed(), host, 0_u64);
    stream::unfold(Some(start), move |state| async move {
        let (mut pieces, host, mut count) = state?;
        match tokio::time::timeout(stall, pieces.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(piece))) => {
                count = count.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
                Some((Ok(piece), Some((pieces, host, count))))
            }
            Ok(Some(Err(error))) => {
                let cause = super::failure::innermost(&error);
                let text = format!("{host} broke off after {count} bytes: {cause}");
                Some((Err(EgressError::Unreachable(text)), None))
            }
            Err(_) => {
                let text = format!("{host} stalled: no byte for {stall:?} after {count} bytes");
                Some((Err(EgressError::Unreachable(text)), None))
            }
        }
    })
    .boxed()
}
