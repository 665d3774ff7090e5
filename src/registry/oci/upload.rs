use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use futures_util::stream;
use oci_client::errors::OciDistributionError;
use tokio::time::Instant;

use crate::domain::{Error, LayerProgress};
use crate::registry::{Descriptor, FetchError, ProgressSink};

use super::document::fatal;

/// How much is read and handed over at once where a blob goes in one request, in bytes.
pub(super) const WHOLE_STEP: usize = 1 << 20;
/// The same where it goes in pieces: each is one request, and this is the most that the client
/// puts into one.
pub(super) const PIECE_STEP: usize = 4 << 20;

/// How long the other side may be silent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// While there are bytes that it has not taken.
    pub stall: Duration,
    /// When it has them all and makes a blob of them: large ones are hashed and moved.
    pub commit: Duration,
    /// To answer a short request.
    pub answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(60),
            commit: Duration::from_secs(600),
            answer: Duration::from_secs(60),
        }
    }
}

/// How far the upload of one blob is, over all tries.
pub(super) struct Meter {
    blob: Descriptor,
    sink: ProgressSink,
    state: Mutex<State>,
}

struct State {
    /// Bytes taken by this try.
    moved: u64,
    /// The most that was reported: what is shown never goes back.
    shown: u64,
    last: Instant,
    /// Why the file could not be read.
    fault: Option<Error>,
}

impl Meter {
    pub fn new(blob: Descriptor, sink: ProgressSink) -> Self {
        let state = State { moved: 0, shown: 0, last: Instant::now(), fault: None };
        Self { blob, sink, state: Mutex::new(state) }
    }

    /// A new try begins.
    pub fn begin(&self) {
        self.with(|state| (state.moved, state.last) = (0, Instant::now()));
    }

    /// The registry has it.
    pub fn done(&self) {
        self.report(self.blob.size);
    }

    /// Bytes were handed to the connection. The last one does not count as arrived before the
    /// registry says so.
    fn add(&self, bytes: u64) {
        let below = self.blob.size.saturating_sub(1);
        let current = self.with(|state| {
            state.moved = state.moved.saturating_add(bytes);
            state.last = Instant::now();
            let current = state.moved.min(below);
            let is_news = current > state.shown;
            state.shown = state.shown.max(current);
            is_news.then_some(current)
        });
        if let Some(current) = current {
            self.report(current);
        }
    }

    fn report(&self, current: u64) {
        let Descriptor { digest, size } = self.blob;
        (self.sink)(LayerProgress { layer: digest, size, current });
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Called before each piece; keeps the rights fresh during a long upload.
pub(super) type BeforePiece =
    Arc<dyn Fn() -> BoxFuture<'static, Result<(), FetchError>> + Send + Sync>;

/// The bytes of a file in steps, each read when the one before it was taken.
pub(super) fn stream(
    file: File,
    step: usize,
    meter: Arc<Meter>,
    before: Option<BeforePiece>,
) -> impl Stream<Item = Result<Bytes, OciDistributionError>> + Send + 'static {
    let size = meter.blob.size;
    let state = Some((Arc::new(file), 0u64));
    stream::unfold(state, move |state| {
        let (meter, before) = (Arc::clone(&meter), before.clone());
        async move {
            let (file, at) = state?;
            let left = size.saturating_sub(at);
            if left == 0 {
                return None;
            }
            if let Some(before) = before
                && let Err(error) = before().await
            {
                return Some((Err(stop(&meter, error.error)), None));
            }
            let length = usize::try_from(left).unwrap_or(step).min(step);
            let reader = Arc::clone(&file);
            let read = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; length];
                reader.read_exact_at(&mut piece, at).map(|()| piece)
            });
            let piece = match read.await {
                Ok(Ok(piece)) => piece,
                Ok(Err(error)) => return Some((Err(stop(&meter, Error::internal(error))), None)),
                Err(error) => return Some((Err(stop(&meter, Error::internal(error))), None)),
            };
            meter.add(length as u64);
            Some((Ok(Bytes::from(piece)), Some((file, at.saturating_add(length as u64)))))
        }
    })
}

/// Ends the stream; the true reason waits where [`watched`] finds it.
fn stop(meter: &Meter, error: Error) -> OciDistributionError {
    meter.with(|state| state.fault = Some(error));
    OciDistributionError::GenericError(Some("the upload was given up".to_owned()))
}

/// Waits for an upload as long as it moves.
pub(super) async fn watched<T>(
    upload: impl Future<Output = Result<T, OciDistributionError>>,
    meter: &Meter,
    limits: Limits,
    explain: impl FnOnce(OciDistributionError) -> FetchError,
) -> Result<T, FetchError> {
    let mut upload = pin!(upload);
    loop {
        let (moved, last) = meter.with(|state| (state.moved, state.last));
        let limit = if moved >= meter.blob.size { limits.commit } else { limits.stall };
        tokio::select! {
            ended = &mut upload => {
                return match (ended, meter.with(|state| state.fault.take())) {
                    (Ok(done), _) => Ok(done),
                    (Err(_), Some(fault)) => Err(fatal(fault)),
                    (Err(error), None) => Err(explain(error)),
                };
            }
            () = tokio::time::sleep_until(last + limit) => {
                if meter.with(|state| state.last) == last {
                    let Descriptor { digest, size } = meter.blob;
                    let seconds = limit.as_secs();
                    return Err(FetchError::passing(format!(
                        "the upload of {digest} stands still: nothing for {seconds} s after \
                         {moved} of {size} bytes"
                    )));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Digest, ErrorKind};
    use crate::registry::Retry;
    use futures_util::StreamExt as _;
    use std::io::Write as _;

    fn meter(size: u64) -> (Arc<Meter>, Arc<Mutex<Vec<u64>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let blob = Descriptor { digest: Digest::of(b""), size };
        let meter = Meter::new(blob, Arc::new(move |p| sink.lock().unwrap().push(p.current)));
        (Arc::new(meter), seen)
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[tokio::test]
    async fn a_file_comes_in_steps_and_progress_never_goes_back() {
        let (meter, seen) = meter(10);
        for _try in 0..2 {
            meter.begin();
            let pieces: Vec<Bytes> = stream(file(b"0123456789"), 4, Arc::clone(&meter), None)
                .map(|piece| piece.unwrap())
                .collect()
                .await;
            assert_eq!(pieces, [&b"0123"[..], b"4567", b"89"]);
        }
        meter.done();
        assert_eq!(*seen.lock().unwrap(), [4, 8, 9, 10]);
    }

    #[tokio::test]
    async fn a_file_that_is_too_short_ends_the_upload_with_the_reason() {
        let (meter, _) = meter(10);
        let pieces = stream(file(b"0123"), 4, Arc::clone(&meter), None);
        let sent = pieces.fold(Ok(()), async |so_far, piece| so_far.and(piece.map(drop)));
        let limits = Limits::default();
        let error = watched(sent, &meter, limits, |_| unreachable!()).await.unwrap_err();
        assert_eq!((error.error.kind, error.retry), (ErrorKind::Internal, Retry::Never));
        assert!(error.error.cause.unwrap().contains("fill whole buffer"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_stands_still_is_given_up() {
        let (meter, _) = meter(10);
        let never = futures_util::future::pending::<Result<(), _>>();
        let begun = Instant::now();
        let error =
            watched(never, &meter, Limits::default(), |_| unreachable!()).await.unwrap_err();
        assert_eq!(error.retry, Retry::Soon);
        assert_eq!(begun.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_has_time_to_make_a_blob_of_the_bytes() {
        let (meter, _) = meter(10);
        meter.add(10);
        let slow = async {
            tokio::time::sleep(Duration::from_secs(500)).await;
            Ok(())
        };
        watched(slow, &meter, Limits::default(), |_| unreachable!()).await.unwrap();
    }
}
