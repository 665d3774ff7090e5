//! What a request's reader and the driver share: its times, and the cancellation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How long a request waited, written by the driver and read by the
/// [`Generation`](super::Generation).
#[derive(Debug)]
pub(super) struct Times {
    accepted: Instant,
    /// In microseconds; `u64::MAX` until it was started.
    queued: AtomicU64,
    /// Of these, waiting for the model to load, in microseconds.
    loading: AtomicU64,
}

impl Times {
    /// Accepted now.
    pub(super) fn new() -> Self {
        Self {
            accepted: Instant::now(),
            queued: AtomicU64::new(u64::MAX),
            loading: AtomicU64::new(0),
        }
    }

    /// It is handed to the engine now. The last time counts, where it is tried twice.
    pub(super) fn started(&self) {
        self.queued.store(micros(self.accepted.elapsed()), Ordering::Release);
    }

    /// Its model, which began to load at `begun`, is loaded now.
    pub(super) fn loaded(&self, begun: Instant) {
        let waited = micros(begun.max(self.accepted).elapsed());
        self.loading.fetch_add(waited, Ordering::AcqRel);
    }

    /// How long it has been waiting, or has waited.
    pub(super) fn queued(&self) -> Duration {
        match self.queued.load(Ordering::Acquire) {
            u64::MAX => self.accepted.elapsed(),
            queued => Duration::from_micros(queued),
        }
    }

    /// How long it waited for its model to load.
    pub(super) fn loading(&self) -> Duration {
        Duration::from_micros(self.loading.load(Ordering::Acquire))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX - 1)
}
