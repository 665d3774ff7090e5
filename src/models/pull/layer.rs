use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::domain::{Digest, Error, ErrorKind, Result};
use crate::models::Models;
use crate::registry::{BlobSource, Descriptor};
use crate::store::{Blob, PartialBlob, StoreError};

use super::fetch::{Fetch, Stop};
use super::flights::Flight;
use super::meter::{Events, Meter};
use super::sink::{Ended, Sink};
use super::work::Work;

/// How often a layer may begin anew because its source changed under it.
const MAX_CHANGES: u32 = 3;
const FIRST_POLL: Duration = Duration::from_millis(20);
const LONGEST_POLL: Duration = Duration::from_secs(1);
/// A verification that takes longer than this is mentioned.
const LONG: Duration = Duration::from_millis(500);

/// Brings layers into the store.
pub(super) struct Layers<'a> {
    pub(super) models: &'a Models,
    pub(super) source: &'a dyn BlobSource,
    pub(super) events: Events<'a>,
    /// One permit for each byte that may be in memory.
    pub(super) room: Arc<Semaphore>,
}

/// What was found when the layer's turn came.
enum Found {
    Stored(Blob),
    Partial(PartialBlob),
}

/// How one attempt at a layer ended without an error.
enum Attempt {
    Stored(Blob),
    /// Earlier bytes were wrong.
    Stale(Error),
    /// The source has another content now.
    Changed,
}

impl Layers<'_> {
    /// One layer, downloaded by whoever comes first.
    ///
    /// # Errors
    /// `DiskFull`, `RegistryInvalid`, those of the source, and those of the store.
    pub(super) async fn fetch(&self, blob: Descriptor) -> Result<Blob> {
        if let Some(held) = self.hold(&blob).await? {
            return Ok(held);
        }
        let flight = self.models.pulls.flights.of(&blob.digest);
        let meter = Meter::new(self.events, blob, &flight.current);
        let _turn = self.turn(&flight, &meter, &blob.digest).await;
        let (mut stale, mut changes) = (false, 0);
        loop {
            let partial = match self.take(&blob, &meter).await? {
                Found::Stored(held) => {
                    meter.complete();
                    return Ok(held);
                }
                Found::Partial(partial) => partial,
            };
            match self.attempt(&blob, &meter, partial).await? {
                Attempt::Stored(held) => {
                    meter.complete();
                    return Ok(held);
                }
                Attempt::Stale(error) if stale => return Err(error),
                Attempt::Stale(error) => {
                    stale = true;
                    tracing::warn!(%error, "the rest of an earlier download was wrong");
                    meter.status(format!("{} was damaged; it begins anew", name(&blob.digest)));
                }
                Attempt::Changed => {
                    changes += 1;
                    if changes > MAX_CHANGES {
                        let text = format!(
                            "the registry changed {} {changes} times while it was read",
                            blob.digest
                        );
                        return Err(Error::new(ErrorKind::RegistryInvalid, text));
                    }
                    let name = name(&blob.digest);
                    meter.status(format!("{name} was changed by the registry; it begins anew"));
                }
            }
        }
    }

    /// Waits until nobody else in this process downloads it.
    async fn turn<'f>(
        &self,
        flight: &'f Flight,
        meter: &Meter<'_>,
        digest: &Digest,
    ) -> tokio::sync::MutexGuard<'f, ()> {
        if let Ok(turn) = flight.turn.try_lock() {
            return turn;
        }
        meter.status(waiting(digest));
        let mut current = flight.current.subscribe();
        let turn = flight.turn.lock();
        tokio::pin!(turn);
        loop {
            tokio::select! {
                biased;
                turn = &mut turn => return turn,
                Ok(()) = current.changed() => meter.follow(*current.borrow_and_update()),
            }
        }
    }

    /// The partial, as soon as no other process has it; or the blob, if one of them brought it.
    async fn take(&self, blob: &Descriptor, meter: &Meter<'_>) -> Result<Found> {
        let (digest, size) = (blob.digest, blob.size);
        let (mut poll, mut told) = (FIRST_POLL, false);
        loop {
            let found = self
                .models
                .blocking(move |inner| {
                    if let Some(held) = inner.store.hold_blob(&digest, size) {
                        return Ok(Some(Found::Stored(held)));
                    }
                    let partial = match inner.store.partial(&digest, size) {
                        Ok(partial) => Some(partial),
                        Err(StoreError::Busy(_)) => None,
                        Err(error) => return Err(error.into()),
                    };
                    // Once more under the lock: nobody is bringing it now.
                    match inner.store.hold_blob(&digest, size) {
                        Some(held) => {
                            if let Some(partial) = partial {
                                partial.discard();
                            }
                            Ok(Some(Found::Stored(held)))
                        }
                        None => Ok(partial.map(Found::Partial)),
                    }
                })
                .await?;
            if let Some(found) = found {
                return Ok(found);
            }
            if !std::mem::replace(&mut told, poll > FIRST_POLL) && poll > FIRST_POLL {
                meter.status(waiting(&digest));
            }
            tokio::time::sleep(poll).await;
            poll = (poll * 2).min(LONGEST_POLL);
        }
    }

    async fn attempt(
        &self,
        blob: &Descriptor,
        meter: &Meter<'_>,
        partial: PartialBlob,
    ) -> Result<Attempt> {
        let (resumed, missing) = (partial.resumed(), partial.missing());
        if resumed > 0 {
            let percent = u128::from(resumed) * 100 / u128::from(blob.size.max(1));
            meter.status(format!("resuming {} at {percent}%", name(&blob.digest)));
        }
        meter.begin(resumed);
        let limits = self.models.pulls.limits;
        let (sink, mut outcome) = Sink::start(partial, Arc::clone(&self.room), limits.in_flight)?;
        let fetched = {
            let fetch = Fetch {
                source: self.source,
                blob: *blob,
                sink: &sink,
                meter,
                work: Mutex::new(Work::new(missing, blob.size, limits)),
            };
            tokio::select! {
                fetched = fetch.run() => fetched,
                // Before it was told to end: it failed.
                early = &mut outcome => return Err(failed(early, blob)),
            }
        };
        match fetched {
            Ok(()) => {
                sink.commit();
                let ended = match tokio::time::timeout(LONG, &mut outcome).await {
                    Ok(ended) => ended,
                    Err(_) => {
                        meter.status(format!("verifying {}", name(&blob.digest)));
                        outcome.await
                    }
                };
                match ended {
                    Ok(Ok(Ended::Stored(held))) => Ok(Attempt::Stored(held)),
                    Ok(Err(StoreError::DigestMismatch { expected, found })) if resumed > 0 => {
                        let error = StoreError::DigestMismatch { expected, found };
                        Ok(Attempt::Stale(wrong(error, blob)))
                    }
                    ended => Err(failed(ended, blob)),
                }
            }
            Err(Stop::Gone) => Err(failed(outcome.await, blob)),
            Err(Stop::Failed(error)) => {
                // What came is safe before the error is told.
                drop(sink);
                let _ = outcome.await;
                Err(error)
            }
            Err(Stop::Worthless(error)) => {
                sink.discard();
                let _ = outcome.await;
                Err(error)
            }
            Err(Stop::Changed) => {
                sink.discard();
                let _ = outcome.await;
                Ok(Attempt::Changed)
            }
        }
    }

    async fn hold(&self, blob: &Descriptor) -> Result<Option<Blob>> {
        let Descriptor { digest, size } = *blob;
        self.models.blocking(move |inner| Ok(inner.store.hold_blob(&digest, size))).await
    }
}

/// Why the threads of a layer ended without having stored it.
fn failed(
    ended: std::result::Result<
        std::result::Result<Ended, StoreError>,
        tokio::sync::oneshot::error::RecvError,
    >,
    blob: &Descriptor,
) -> Error {
    match ended {
        Ok(Err(error)) => wrong(error, blob),
        Ok(Ok(_)) => Error::internal("a layer ended before it was told to"),
        Err(error) => Error::internal(error),
    }
}

/// A digest that does not match is the registry's fault here, not the model's.
fn wrong(error: StoreError, blob: &Descriptor) -> Error {
    match error {
        StoreError::DigestMismatch { .. } | StoreError::SizeMismatch { .. } => {
            let text = format!(
                "what the registry sent for a layer of {} bytes is wrong: {error}",
                blob.size
            );
            Error::new(ErrorKind::RegistryInvalid, text)
        }
        error => error.into(),
    }
}

fn waiting(digest: &Digest) -> String {
    format!("waiting for another pull of {}", name(digest))
}

fn name(digest: &Digest) -> String {
    format!("layer {}", digest.short())
}
