use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};

use crate::domain::Digest;

use super::durable::{self, disk_error};
use super::open::Inner;
use super::ranges::Ranges;
use super::{Blob, Store, StoreError, partial_journal as journal};

/// How much is read at once when bytes on disk are hashed.
const READ_BYTES: usize = 1 << 20;

/// A blob whose bytes come in over any number of attempts, in any order. One writer at a time,
/// within and across processes: it holds a lock on the file while it lives.
///
/// The bytes lie in a sparse file in `ingest/`; a journal beside it names those that were synced.
/// After a crash the bytes that the journal names are there, and no others count. Nothing is
/// visible before [`PartialBlob::commit`]. Methods block; they may be called from several threads.
pub struct PartialBlob {
    inner: Arc<Inner>,
    file: File,
    path: PathBuf,
    digest: Digest,
    size: u64,
    resumed: u64,
    state: Mutex<State>,
    /// One checkpoint at a time, so that an older one never replaces a newer one.
    journal: Mutex<()>,
}

struct State {
    /// Written, whether synced or not.
    written: Ranges,
    /// The files are gone, or the blob is in its place.
    closed: bool,
}

/// The hash of a partial blob's bytes, from the first on without a gap.
///
/// It must be given the very bytes that were written at its position, or read them back.
pub struct PartialHash {
    hash: Sha256,
    position: u64,
}

impl Store {
    /// Takes up the download of a blob of `size` bytes, or begins it; the disk space of what is
    /// missing is reserved at once.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while another writer has it; [`StoreError::DiskFull`];
    /// [`StoreError::Io`].
    pub fn partial(&self, digest: &Digest, size: u64) -> Result<PartialBlob, StoreError> {
        let path = self.inner.layout.partial(digest);
        let file = take(&path, digest)?;
        let found = file.metadata().map_err(StoreError::io("look at", &path))?;
        let journaled = journal::read(&path, digest)
            .filter(|(_, journal_size)| *journal_size == size && found.len() == size)
            .map(|(written, _)| written);
        if journaled.is_none() {
            if found.len() > 0 {
                tracing::info!(%digest, "an interrupted download cannot be trusted; it begins anew");
            }
            journal::remove(&path);
            file.set_len(0).map_err(StoreError::io("empty", &path))?;
        }
        let written = journaled.unwrap_or_default();
        let partial = PartialBlob {
            inner: Arc::clone(&self.inner),
            file,
            path,
            digest: *digest,
            size,
            resumed: written.total(),
            state: Mutex::new(State { written, closed: false }),
            journal: Mutex::new(()),
        };
        if let Err(error) = partial.reserve() {
            // What could be reserved goes back; what was downloaded stays.
            partial.give_space_back();
            return Err(error);
        }
        Ok(partial)
    }

    /// Refuses, before the first byte, blobs that the disk has no room for together. What their
    /// interrupted downloads hold already counts as room; those that are there are not to be named.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] with both numbers.
    pub fn require_room(&self, blobs: &[(Digest, u64)]) -> Result<(), StoreError> {
        let missing = |(digest, size): &(Digest, u64)| {
            let found = self.inner.layout.partial(digest).symlink_metadata().ok();
            size.saturating_sub(found.map_or(0, |found| allocated(&found)))
        };
        let bytes = blobs.iter().map(missing).fold(0, u64::saturating_add);
        durable::require_space(&self.inner.layout.root, bytes)
    }
}

impl PartialBlob {
    /// Which blob.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its size in bytes, when it will be whole.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that earlier attempts left: whatever is wrong in the end may be theirs.
    pub fn resumed(&self) -> u64 {
        self.resumed
    }

    /// Bytes that are there.
    pub fn have(&self) -> u64 {
        self.lock().written.total()
    }

    /// Bytes that are there from the first on without a gap.
    pub fn prefix(&self) -> u64 {
        self.lock().written.prefix()
    }

    /// What is still to come, in order.
    pub fn missing(&self) -> Vec<Range<u64>> {
        self.lock().written.missing(self.size)
    }

    /// Writes bytes that come at `offset`. What was written once is never overwritten: it may have
    /// been hashed.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`], [`StoreError::Io`], also for bytes outside or a second time.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end > self.size || !self.lock().written.is_free(offset..end) {
            return Err(self.misuse("bytes twice, or past the end of the blob"));
        }
        self.file
            .write_all_at(bytes, offset)
            .map_err(|e| disk_error("write", &self.path, bytes.len() as u64, e))?;
        match self.lock().written.add(offset..end) {
            true => Ok(()),
            false => Err(self.misuse("bytes twice at the same time")),
        }
    }

    /// Begins a hash at the first byte.
    pub fn hash(&self) -> PartialHash {
        PartialHash { hash: Sha256::new(), position: 0 }
    }

    /// Makes sure that whatever is written now will be there after a crash.
    ///
    /// # Errors
    /// [`StoreError::Io`]. After a failed sync nothing on disk can be trusted: the partial is gone.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        let _one = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let written = {
            let state = self.lock();
            if state.closed {
                return Ok(());
            }
            state.written.clone()
        };
        let saved = self
            .file
            .sync_data()
            .map_err(|e| disk_error("sync", &self.path, self.size, e))
            .and_then(|()| journal::write(&self.path, &self.digest, self.size, &written));
        if saved.is_err() {
            self.remove_files();
        }
        saved
    }

    /// Ends this attempt; what came so far is kept for the next one, the space of the rest is
    /// given back.
    ///
    /// # Errors
    /// Those of [`PartialBlob::checkpoint`].
    pub fn pause(&self) -> Result<(), StoreError> {
        if self.have() > 0 {
            self.checkpoint()?;
        }
        self.give_space_back();
        Ok(())
    }

    /// Throws away everything that came.
    pub fn discard(&self) {
        let _one = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        self.remove_files();
    }

    /// Makes the blob durable and visible, if `hash` says that it is the promised one.
    ///
    /// # Errors
    /// [`StoreError::SizeMismatch`] where bytes are missing, [`StoreError::DigestMismatch`]: the
    /// partial is gone then, as after a failed sync.
    pub fn commit(&self, hash: PartialHash) -> Result<Blob, StoreError> {
        let _one = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if self.lock().closed {
            return Err(self.misuse("a commit after the end"));
        }
        let blob = self.try_commit(hash);
        if blob.is_err() {
            self.remove_files();
        }
        blob
    }

    fn try_commit(&self, hash: PartialHash) -> Result<Blob, StoreError> {
        let found = hash.position.min(self.prefix());
        if found != self.size {
            return Err(StoreError::SizeMismatch { expected: self.size, found });
        }
        let digest = Digest::from_sha256(hash.hash);
        if digest != self.digest {
            return Err(StoreError::DigestMismatch { expected: self.digest, found: digest });
        }
        let synced = durable::finish_blob(&self.path, &self.file, self.size);
        synced.map_err(|e| disk_error("write", &self.path, self.size, e))?;
        let (blob, moved) = Blob::publish(&self.inner, &self.path, digest, self.size)?;
        match moved {
            true => {
                self.lock().closed = true;
                journal::remove(&self.path);
            }
            false => self.remove_files(),
        }
        Ok(blob)
    }

    fn reserve(&self) -> Result<(), StoreError> {
        let found = self.file.metadata().map_err(StoreError::io("look at", &self.path))?;
        let missing = self.size.saturating_sub(allocated(&found));
        durable::require_space(&self.inner.layout.root, missing)?;
        self.file.set_len(self.size).map_err(|e| disk_error("write", &self.path, self.size, e))?;
        durable::reserve(&self.file, &self.path, self.size)
    }

    /// Half a terabyte reserved for a download that may never go on would be no kindness.
    fn give_space_back(&self) {
        if self.have() == 0 {
            return self.discard();
        }
        self.missing().iter().for_each(|gap| durable::punch(&self.file, gap));
    }

    /// The journal goes first: without it nothing of the rest is trusted.
    fn remove_files(&self) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.closed, true) {
            return;
        }
        journal::remove(&self.path);
        remove_data(&self.path);
    }

    fn misuse(&self, what: &str) -> StoreError {
        StoreError::io("write", &self.path)(io::Error::other(what.to_owned()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialHash {
    /// How many bytes are in it.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Adds the bytes that were or will be written at its position.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.position = self.position.saturating_add(bytes.len() as u64);
    }

    /// Adds the bytes on disk up to `end`; `heard` hears of each step and ends it with `false`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn read_back(
        &mut self,
        partial: &PartialBlob,
        end: u64,
        mut heard: impl FnMut(u64) -> bool,
    ) -> Result<(), StoreError> {
        let mut buffer = vec![0; READ_BYTES];
        while self.position < end && heard(self.position) {
            let want = usize::try_from(end - self.position).unwrap_or(usize::MAX);
            let bytes = buffer.get_mut(..want.min(READ_BYTES)).unwrap_or_default();
            partial
                .file
                .read_exact_at(bytes, self.position)
                .map_err(StoreError::io("read", &partial.path))?;
            self.update(bytes);
        }
        Ok(())
    }
}

/// Opens and locks the file at `path`, which is made where there is none.
fn take(path: &Path, digest: &Digest) -> Result<File, StoreError> {
    loop {
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags as i32)
            .open(path)
            .map_err(|e| disk_error("create", path, 0, e))?;
        match try_lock(&file, path, digest)? {
            // Its last writer published or removed it just before we had the lock.
            false => {}
            true => return Ok(file),
        }
    }
}

/// Locks an open file for as long as it is open; `false` if it does not lie at `path` any more.
pub(super) fn try_lock(file: &File, path: &Path, digest: &Digest) -> Result<bool, StoreError> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(StoreError::Busy(*digest)),
        Err(e) => return Err(StoreError::io("lock", path)(e.into())),
    }
    let ours = file.metadata().map_err(StoreError::io("look at", path))?;
    if !ours.is_file() {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
        return Err(StoreError::io("open", path)(error));
    }
    let there = path.symlink_metadata().ok();
    Ok(there.is_some_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())))
}

pub(super) fn remove_data(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a download that was given up stays");
    }
}

/// Bytes of the disk that a file holds.
fn allocated(found: &std::fs::Metadata) -> u64 {
    found.blocks().saturating_mul(512)
}
