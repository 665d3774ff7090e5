use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::domain::{Digest, Error, Result};
use crate::models::{FoundBlob, Models};
use crate::store::Blob;

use super::Service;

/// For how long an uploaded file waits for the model that is made of it, counted from when it was
/// last asked for. Others of the same model may take hours to come.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Uploaded files that no model needs yet.
#[derive(Default)]
pub(super) struct Shelf {
    waiting: Mutex<HashMap<Digest, Waiting>>,
}

struct Waiting {
    blob: Blob,
    until: Instant,
}

impl Service {
    /// Takes in one file under its digest, read on a thread that may block. It is kept for a day
    /// after it was last asked for, or until a model needs it, whatever is pruned; a daemon that ends
    /// leaves it to the next prune.
    ///
    /// # Errors
    /// `InvalidDigest` with both digests where it is another file; `InvalidValue` where the bytes
    /// break off; `DiskFull`, `Internal`.
    pub async fn upload_blob(
        &self,
        digest: Digest,
        size: Option<u64>,
        bytes: Box<dyn Read + Send>,
    ) -> Result<()> {
        // Whoever sends more at once waits for the first ones to be on the disk.
        let _permit = self.uploads.clone().acquire_owned().await.map_err(Error::internal)?;
        let blob = self.models.take_blob(digest, size, bytes).await?;
        self.shelve(blob);
        Ok(())
    }

    /// Whether the store has this file. One that no model needs is kept as if it had come now.
    ///
    /// # Errors
    /// `Internal` where the store cannot be read.
    pub async fn has_blob(&self, digest: Digest) -> Result<bool> {
        let found = self.models.find_blob(digest).await?;
        let there = found.is_some();
        if let Some(FoundBlob { blob, is_used: false }) = found {
            self.shelve(blob);
        }
        Ok(there)
    }

    /// Lets go of files that a model needs by now.
    pub(super) fn unshelve(&self, digests: impl IntoIterator<Item = Digest>) {
        let mut waiting = self.shelf.lock();
        for digest in digests {
            waiting.remove(&digest);
        }
    }

    fn shelve(&self, blob: Blob) {
        let (digest, until) = (blob.digest, Instant::now() + KEPT);
        let mut waiting = self.shelf.lock();
        let known = waiting.get_mut(&digest);
        if let Some(known) = known {
            known.until = until;
            return;
        }
        waiting.insert(digest, Waiting { blob, until });
        drop(waiting);
        tokio::spawn(expire(Arc::downgrade(&self.shelf), self.models.clone(), digest, until));
    }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes down what has waited long enough; else says until when it waits.
    fn take_due(&self, digest: &Digest) -> std::result::Result<Option<Blob>, Instant> {
        let mut waiting = self.lock();
        match waiting.get(digest) {
            Some(one) if one.until > Instant::now() => Err(one.until),
            _ => Ok(waiting.remove(digest).map(|one| one.blob)),
        }
    }
}

/// Removes a file when nobody has asked for it for long enough, unless a model needs it.
async fn expire(shelf: Weak<Shelf>, models: Models, digest: Digest, mut until: Instant) {
    loop {
        sleep_until(until).await;
        let Some(shelf) = shelf.upgrade() else { return };
        match shelf.take_due(&digest) {
            Err(later) => until = later,
            Ok(None) => return,
            Ok(Some(blob)) => {
                if let Err(error) = models.discard_blobs(vec![blob]).await {
                    tracing::warn!(%error, %digest, "an unused upload stays until the next prune");
                }
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::engine::scripted::ScriptedFactory;
    use crate::scheduler::Scheduler;
    use crate::store::{PruneOptions, Store};
}
