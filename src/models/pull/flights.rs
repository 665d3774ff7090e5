use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;

use crate::domain::Digest;

/// Which blobs are on their way in this process: one download each, the others wait beside it
/// and see how far it is. Other processes are kept away by the lock of the partial itself.
#[derive(Default)]
pub(super) struct Flights {
    by_digest: Mutex<HashMap<Digest, Weak<Flight>>>,
}

/// The way of one blob.
pub(super) struct Flight {
    /// Held by whoever downloads it.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// How many bytes of it are there.
    pub(super) current: watch::Sender<u64>,
}

impl Flights {
    pub(super) fn of(&self, digest: &Digest) -> Arc<Flight> {
        // The table is whole after every change.
        let mut table = self.by_digest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = table.get(digest).and_then(Weak::upgrade) {
            return flight;
        }
        table.retain(|_, flight| flight.strong_count() > 0);
        let flight =
            Arc::new(Flight { turn: tokio::sync::Mutex::new(()), current: watch::Sender::new(0) });
        table.insert(*digest, Arc::downgrade(&flight));
        flight
    }
}
