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
        self.shelf.put(&self.models, blob);
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
            self.shelf.put(&self.models, blob);
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
}

impl Shelf {
    /// Keeps a file for as long as it may wait, counted from now.
    fn put(self: &Arc<Self>, models: &Models, blob: Blob) {
        let (digest, until) = (blob.digest, Instant::now() + KEPT);
        let mut waiting = self.lock();
        if let Some(known) = waiting.get_mut(&digest) {
            known.until = until;
            return;
        }
        waiting.insert(digest, Waiting { blob, until });
        drop(waiting);
        tokio::spawn(expire(Arc::downgrade(self), models.clone(), digest, until));
    }

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
    use crate::models::Models;
    use crate::store::Store;

    /// Time passes only where the test says so; the disk's own threads take none of it.
    async fn take(shelf: &Arc<Shelf>, models: &Models, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let bytes = Box::new(Cursor::new(bytes.to_vec()));
        shelf.put(models, models.take_blob(digest, None, bytes).await.expect("a blob"));
        digest
    }

    async fn is_there(models: &Models, digest: Digest) -> bool {
        models.store().blob_size(&digest).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_waits_for_a_day_after_it_was_last_asked_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let models = Models::new(Store::open(&dir.path().join("store")).expect("a store"));
        let shelf = Arc::new(Shelf::default());
        let digest = take(&shelf, &models, b"x").await;
        tokio::time::sleep(KEPT - Duration::from_secs(1)).await;
        shelf.put(&models, models.find_blob(digest).await.expect("a store").expect("there").blob);
        tokio::time::sleep(KEPT - Duration::from_secs(1)).await;
        assert_eq!(shelf.lock().len(), 1);
        assert!(is_there(&models, digest).await);
        // It is gone as soon as the thread that removes it has done so.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(shelf.lock().len(), 0);
        while is_there(&models, digest).await {
            tokio::task::yield_now().await;
        }
    }
}
