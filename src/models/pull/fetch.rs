use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, MissedTickBehavior};

use crate::domain::{Error, ErrorKind};
use crate::registry::{BlobBody, BlobSource, Descriptor, FetchError, Retry};

use super::backoff;
use super::meter::Meter;
use super::sink::{Gone, Sink};
use super::work::Work;

/// How often it is asked whether another connection would help.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long the end of an answer is waited for after its last byte.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Brings the missing bytes of one layer from its source to its sink, each once.
pub(super) struct Fetch<'a> {
    pub(super) source: &'a dyn BlobSource,
    pub(super) blob: Descriptor,
    pub(super) sink: &'a Sink,
    pub(super) meter: &'a Meter<'a>,
    pub(super) work: Mutex<Work>,
}

/// Why bytes are still missing.
#[derive(Debug)]
pub(super) enum Stop {
    /// For good, or for too long; what came is as good as ever.
    Failed(Error),
    /// What came cannot be what was promised.
    Worthless(Error),
    /// The source now has another content under the same name: what came does not belong to it.
    Changed,
    /// The threads behind the sink are gone; they know why.
    Gone,
}

/// How reading one answer ended.
enum Read {
    /// Everything that it was asked for is there.
    Done,
    /// It broke, or is of no use.
    Broken(FetchError),
    /// Somebody else does better what it can do.
    Yield,
}

impl From<Gone> for Stop {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl Fetch<'_> {
    /// # Errors
    /// Every [`Stop`].
    pub(super) async fn run(&self) -> Result<(), Stop> {
        let mut connections = FuturesUnordered::new();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.reset();
        loop {
            if connections.is_empty() {
                if self.work().is_done() {
                    return Ok(());
                }
                connections.push(self.connection());
            }
            tokio::select! {
                ended = connections.next() => ended.unwrap_or(Ok(()))?,
                _ = look.tick() => if self.work().grow() {
                    connections.push(self.connection());
                },
            }
        }
    }

    /// Fetches span after span that nobody else does.
    async fn connection(&self) -> Result<(), Stop> {
        loop {
            let Some(mut id) = self.work().claim() else { return Ok(()) };
            while !self.left(id).is_empty() {
                let asked = self.left(id);
                let read = match self.source.open(&self.blob, asked.clone()).await {
                    Ok(body) => self.read(&mut id, asked, body).await?,
                    Err(error) => Read::Broken(error),
                };
                match read {
                    Read::Done => {}
                    Read::Broken(error) if error.retry == Retry::Never => {
                        return Err(Stop::Failed(error.error));
                    }
                    Read::Yield => {
                        self.work().release(id);
                        return Ok(());
                    }
                    Read::Broken(error) => {
                        if self.leave_to_others(id, &error) {
                            return Ok(());
                        }
                        self.pause(error).await?;
                    }
                }
            }
            self.work().release(id);
        }
    }

    /// Of several connections one that fails ends; the last one tries again.
    fn leave_to_others(&self, id: usize, error: &FetchError) -> bool {
        let mut work = self.work();
        let others = work.connections() > 1;
        if others {
            if matches!(error.retry, Retry::After(_)) {
                work.overloaded();
            }
            work.release(id);
        }
        others
    }

    async fn pause(&self, error: FetchError) -> Result<(), Stop> {
        let failures = {
            let mut work = self.work();
            work.failures += 1;
            work.failures
        };
        let FetchError { mut error, retry } = error;
        // Who breaks the protocol will do it again; but a proxy in between may have a bad moment.
        let broken = error.kind == ErrorKind::RegistryInvalid;
        let hopeless = broken && failures > backoff::MAX_BREACHES;
        let Some(pause) = backoff::pause(failures, retry).filter(|_| !hopeless) else {
            if let Retry::After(after) = retry {
                error.retry_after = Some(after);
            }
            if failures > 1 {
                error.message =
                    format!("{} ({failures} attempts in a row brought nothing)", error.message);
            }
            return Err(Stop::Failed(error));
        };
        tracing::debug!(blob = %self.blob.digest, %error, failures, ?pause, "trying again");
        if pause >= Duration::from_secs(2) {
            let seconds = pause.as_secs_f64();
            self.meter.status(format!("{error}; trying again in {seconds:.0} s"));
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Takes from an answer what is missing. `id` may become that of a later span, where the
    /// answer goes on into it.
    async fn read(
        &self,
        id: &mut usize,
        asked: std::ops::Range<u64>,
        body: BlobBody,
    ) -> Result<Read, Stop> {
        let BlobBody { start, end, validator, mut stream } = body;
        let Descriptor { digest, size } = self.blob;
        if end > size {
            let text =
                format!("the registry has {end} bytes for {digest}, but {size} were promised");
            return Err(Stop::Worthless(Error::new(ErrorKind::RegistryInvalid, text)));
        }
        if start != asked.start {
            if start != 0 {
                let text = format!(
                    "the registry was asked for the bytes of {digest} from {} on and answered with \
                     those from {start} on",
                    asked.start
                );
                return Ok(Read::Broken(invalid(text)));
            }
            // The whole from the beginning: what is there already is passed over.
            let mut work = self.work();
            work.without_ranges();
            if work.connections() > 1 {
                return Ok(Read::Yield);
            }
        }
        self.check_validator(validator)?;
        let mut position = start;
        while position < end {
            let piece = match stream.next().await {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Ok(Read::Broken(error)),
                None => {
                    let text = format!(
                        "the connection broke off after {position} of {end} bytes of {digest}"
                    );
                    return Ok(Read::Broken(FetchError::passing(text)));
                }
            };
            let after = position.saturating_add(piece.len() as u64);
            if after > end {
                return Err(too_long(&self.blob, end));
            }
            self.take(id, position, piece).await?;
            position = after;
            if position < end && self.left(*id).is_empty() && !self.go_on(id, position) {
                return Ok(Read::Done);
            }
        }
        if !self.left(*id).is_empty() {
            let text = format!("the registry's answer for {digest} ended at byte {end} of {size}");
            return Ok(Read::Broken(invalid(text)));
        }
        // Connections are only kept for others by answers that were read to their end.
        match tokio::time::timeout(END_WITHIN, stream.next()).await {
            Ok(Some(Ok(more))) if !more.is_empty() => Err(too_long(&self.blob, end)),
            _ => Ok(Read::Done),
        }
    }

    /// Writes what is missing of the piece that came at `position`.
    async fn take(&self, id: &mut usize, position: u64, mut piece: Bytes) -> Result<(), Stop> {
        let mut position = position;
        while !piece.is_empty() {
            let left = self.left(*id);
            if left.is_empty() {
                if !self.go_on(id, position) {
                    return Ok(());
                }
                continue;
            }
            let skip = left.start.saturating_sub(position).min(piece.len() as u64);
            position += skip;
            drop(piece.split_to(usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len())));
            // Taken before it is written: nobody else may be given the same bytes meanwhile.
            let taken = self.work().take(*id, piece.len() as u64);
            let len = usize::try_from(taken).unwrap_or(usize::MAX).min(piece.len());
            let bytes = piece.split_to(len);
            if !bytes.is_empty() {
                let before = Instant::now();
                self.sink.write(position, bytes).await?;
                self.work().waited(before.elapsed());
                self.meter.add(taken);
            }
            position += taken;
        }
        Ok(())
    }

    /// Moves on to the next span that an answer at `position` comes by, if there is one.
    fn go_on(&self, id: &mut usize, position: u64) -> bool {
        let mut work = self.work();
        let Some(next) = work.claim_from(position) else { return false };
        // Reading over what is there already only pays where nothing else is possible.
        if work.left(next).start > position && work.has_ranges() {
            work.release(next);
            return false;
        }
        work.release(*id);
        *id = next;
        true
    }

    fn check_validator(&self, validator: Option<String>) -> Result<(), Stop> {
        let Some(validator) = validator else { return Ok(()) };
        let mut work = self.work();
        match &work.validator {
            Some(known) if *known != validator => Err(Stop::Changed),
            Some(_) => Ok(()),
            None => {
                work.validator = Some(validator);
                Ok(())
            }
        }
    }

    fn left(&self, id: usize) -> std::ops::Range<u64> {
        self.work().left(id)
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        // Whole after every change.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn invalid(text: String) -> FetchError {
    FetchError { error: Error::new(ErrorKind::RegistryInvalid, text), retry: Retry::Soon }
}

fn too_long(blob: &Descriptor, end: u64) -> Stop {
    let Descriptor { digest, .. } = blob;
    let text =
        format!("the registry sends more than the {end} bytes of {digest} that it announced");
    Stop::Worthless(Error::new(ErrorKind::RegistryInvalid, text))
}
