use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;

use crate::domain::Digest;

use super::layout::{Layout, PartialFile};
use super::open::Inner;
use super::partial::{remove_data, try_lock};
use super::{Store, StoreError, durable, partial_journal as journal};

/// An interrupted download that nobody took up for this long is given up.
const ABANDONED_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// A download that is under way or was interrupted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialInfo {
    /// Of which blob.
    pub digest: Digest,
    /// Its size in bytes, when it will be whole.
    pub size: u64,
    /// Bytes that the next attempt would not have to fetch again.
    pub have: u64,
    /// When something last came.
    pub modified: SystemTime,
    /// Whether somebody is writing it now, here or in another process.
    pub busy: bool,
}

impl Store {
    /// The downloads that are under way or were interrupted, by digest. What cannot be looked at
    /// is left out.
    pub fn partials(&self) -> Vec<PartialInfo> {
        let entries = std::fs::read_dir(self.inner.layout.ingest()).into_iter().flatten().flatten();
        let mut found: Vec<PartialInfo> = entries
            .filter_map(|entry| {
                let path = entry.path();
                match Layout::partial_of(&path)? {
                    (digest, PartialFile::Data) => info(&path, digest),
                    (_, PartialFile::Journal) => None,
                }
            })
            .collect();
        found.sort_by_key(|info| info.digest);
        found
    }

    /// Gives up an interrupted download; it is no error if there is none.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while somebody is writing it; [`StoreError::Io`].
    pub fn remove_partial(&self, digest: &Digest) -> Result<(), StoreError> {
        self.inner.remove_partial(digest)
    }
}

impl Inner {
    fn remove_partial(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.layout.partial(digest);
        let file = match durable::open_file(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(StoreError::io("open", &path)(e)),
        };
        if try_lock(&file, &path, digest)? {
            journal::remove(&path);
            remove_data(&path);
        }
        Ok(())
    }

    /// Whether a file of `ingest/` belongs to a download that may still go on. One that nobody
    /// took up for too long is removed.
    pub(super) fn keeps_partial(&self, path: &Path) -> bool {
        let Some((digest, _)) = Layout::partial_of(path) else { return false };
        // A journal without its data is worth nothing.
        let Some(info) = info(&self.layout.partial(&digest), digest) else { return false };
        let age = SystemTime::now().duration_since(info.modified).unwrap_or_default();
        if !info.busy && age > ABANDONED_AFTER {
            match self.remove_partial(&digest) {
                Ok(()) => tracing::info!(%digest, "removed an abandoned download"),
                Err(error) => tracing::warn!(%digest, %error, "an abandoned download stays"),
            }
        }
        true
    }
}

fn info(path: &Path, digest: Digest) -> Option<PartialInfo> {
    let file = durable::open_file(path).ok()?;
    let found = file.metadata().ok()?;
    let journaled = journal::read(path, &digest).filter(|(_, size)| *size == found.len());
    Some(PartialInfo {
        digest,
        size: found.len(),
        have: journaled.map_or(0, |(written, _)| written.total()),
        modified: found.modified().ok()?,
        busy: is_locked(&file),
    })
}

/// A shared lock, for a moment: writers hold theirs alone.
fn is_locked(file: &File) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockShared).is_err()
}
