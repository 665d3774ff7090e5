use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::Digest;

use super::adopted::{Adopted, BlobState, Identity};
use super::durable::{self, disk_error};
use super::ingest::{Blob, hash_file};
use super::{Lease, Store, StoreError};

/// How the bytes of another program's file came into the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptedAs {
    /// The store had them already.
    Present,
    /// As a copy that shares the disk's blocks until one of the two is written to.
    Reflink,
    /// As a second name of the same file.
    HardLink,
    /// As the path of a file on another file system, which is watched for changes.
    Reference,
}

impl Store {
    /// Takes over a file of another program without copying its bytes, after hashing them.
    /// `expected` is what its name promises; a blob that is there already is not hashed again.
    ///
    /// # Errors
    /// [`StoreError::DigestMismatch`]; [`StoreError::Io`] for a file that cannot be read or changes
    /// meanwhile.
    pub fn adopt(
        &self,
        source: &Path,
        expected: Option<Digest>,
    ) -> Result<(Blob, AdoptedAs), StoreError> {
        let source = source.canonicalize().map_err(StoreError::io("find", source))?;
        if let Some(digest) = expected
            && let Some(present) = self.present(digest)
        {
            return Ok((present, AdoptedAs::Present));
        }
        let file = durable::open_file(&source).map_err(StoreError::io("open", &source))?;
        if let Some(blob) = self.adopt_clone(&file, &source, expected)? {
            return Ok((blob, AdoptedAs::Reflink));
        }
        let identity = |file: &File| {
            file.metadata().map(|m| Identity::of(&m)).map_err(StoreError::io("look at", &source))
        };
        let before = identity(&file)?;
        if expected.is_none()
            && let Some(present) = self.adopted_from(&source, before)
        {
            return Ok((present, AdoptedAs::Present));
        }
        let (digest, size) = hash_file(&source).map_err(StoreError::io("read", &source))?;
        if identity(&file)? != before || size != before.size {
            let changed =
                io::Error::new(io::ErrorKind::InvalidData, "it changed while it was read");
            return Err(StoreError::io("adopt", &source)(changed));
        }
        check(expected, digest)?;
        if let Some(present) = self.present(digest) {
            return Ok((present, AdoptedAs::Present));
        }
        let (blob, how) = match self.adopt_link(&source, digest, before)? {
            Some((blob, true)) => (blob, AdoptedAs::HardLink),
            // Somebody else was faster.
            Some((blob, false)) => return Ok((blob, AdoptedAs::Present)),
            None => {
                let lease = Lease::new(&self.inner, vec![digest]);
                (Blob::new(digest, size, true, lease), AdoptedAs::Reference)
            }
        };
        let is_reference = how == AdoptedAs::Reference;
        self.inner
            .note_adopted(digest, Adopted { path: source, is_reference, identity: before })?;
        Ok((blob, how))
    }

    /// What this very file was hashed to when it was adopted before.
    fn adopted_from(&self, source: &Path, identity: Identity) -> Option<Blob> {
        let adopted = self.inner.adopted();
        let same = |record: &Adopted| record.path == source && record.identity == identity;
        let (digest, _) = adopted.iter().find(|(_, record)| same(record))?;
        self.present(*digest)
    }

    fn present(&self, digest: Digest) -> Option<Blob> {
        let lease = Lease::new(&self.inner, vec![digest]);
        match self.blob_state(&digest) {
            BlobState::Present(size) => Some(Blob::new(digest, size, false, lease)),
            BlobState::Missing | BlobState::Changed { .. } => None,
        }
    }

    /// `None` where the file system shares no blocks.
    fn adopt_clone(
        &self,
        source: &File,
        path: &Path,
        expected: Option<Digest>,
    ) -> Result<Option<Blob>, StoreError> {
        let (temporary, file) = self.inner.create_ingest()?;
        let temporary = Temporary(temporary);
        if clone_blocks(&file, source).is_err() {
            return Ok(None);
        }
        let (digest, size) = hash_file(&temporary.0).map_err(StoreError::io("read", path))?;
        check(expected, digest)?;
        durable::finish_blob(&temporary.0, &file, size)
            .map_err(|e| disk_error("write", &temporary.0, size, e))?;
        let (blob, _) = Blob::publish(&self.inner, &temporary.0, digest, size)?;
        Ok(Some(blob))
    }

    /// Gives the file a second name. `None` where that is not possible, `false` where the store has
    /// the blob meanwhile.
    fn adopt_link(
        &self,
        source: &Path,
        digest: Digest,
        hashed: Identity,
    ) -> Result<Option<(Blob, bool)>, StoreError> {
        let temporary = Temporary(self.inner.temporary_path("link"));
        if std::fs::hard_link(source, &temporary.0).is_err() {
            return Ok(None);
        }
        let linked = durable::open_file(&temporary.0)
            .and_then(|file| file.sync_all().and_then(|()| file.metadata()))
            .map_err(StoreError::io("sync", source))?;
        if Identity::of(&linked) != hashed {
            let changed = io::Error::new(io::ErrorKind::InvalidData, "it was replaced meanwhile");
            return Err(StoreError::io("adopt", source)(changed));
        }
        Blob::publish(&self.inner, &temporary.0, digest, hashed.size).map(Some)
    }
}

/// Gone with its value; what was renamed away is not there any more.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn check(expected: Option<Digest>, found: Digest) -> Result<(), StoreError> {
    match expected {
        Some(expected) if expected != found => Err(StoreError::DigestMismatch { expected, found }),
        _ => Ok(()),
    }
}

#[cfg(target_os = "linux")]
fn clone_blocks(to: &File, from: &File) -> io::Result<()> {
    Ok(rustix::fs::ioctl_ficlone(to, from)?)
}

#[cfg(not(target_os = "linux"))]
fn clone_blocks(_to: &File, _from: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    struct Home {
        dir: tempfile::TempDir,
        store: Store,
    }

    fn home() -> Home {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("models")).unwrap();
        Home { dir, store }
    }

    fn rewrite(path: &Path, bytes: &[u8]) {
        std::fs::File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
    }

    #[test]
    fn a_file_is_taken_over_without_a_copy_and_watched() {
        let home = home();
        let file = home.dir.path().join("weights.gguf");
        std::fs::write(&file, b"weights").unwrap();
        let digest = Digest::of(b"weights");
        let (blob, how) = home.store.adopt(&file, None).unwrap();
        assert_eq!((blob.digest, blob.size, blob.is_new), (digest, 7, true));
        assert_eq!(home.store.read_blob(&digest, 100).unwrap(), b"weights");
        let (again, present) = home.store.adopt(&file, None).unwrap();
        assert_eq!((again.is_new, present), (false, AdoptedAs::Present));
        rewrite(&file, b"!");
        let state = home.store.blob_state(&digest);
        match how {
            AdoptedAs::Reflink => assert_eq!(state, BlobState::Present(7)),
            _ => assert!(matches!(state, BlobState::Changed { .. }), "{state:?}"),
        }
        // Bytes of its own end the dependence.
        let mut writer = home.store.write_blob(None).unwrap();
        writer.append(b"weights").unwrap();
        let own = writer.commit(Some(digest)).unwrap();
        assert_eq!(home.store.blob_state(&digest), BlobState::Present(7));
        drop((blob, again, own));
    }

    #[test]
    fn a_file_of_another_file_system_is_referred_to() {
        let home = home();
        // A mounted file system of its own on every Linux.
        let Ok(other) = tempfile::tempdir_in("/dev/shm") else { return };
        let file = other.path().join("weights.gguf");
        std::fs::write(&file, b"far").unwrap();
        let digest = Digest::of(b"far");
        let (blob, how) = home.store.adopt(&file, Some(digest)).unwrap();
        assert_eq!(how, AdoptedAs::Reference);
        assert_eq!(home.store.blob_path(&digest), file.canonicalize().unwrap());
        assert_eq!(home.store.blob_size(&digest), Some(3));
        let reopened = Store::open(home.store.root()).unwrap();
        assert_eq!(reopened.read_blob(&digest, 100).unwrap(), b"far");
        std::fs::remove_file(&file).unwrap();
        assert!(matches!(
            home.store.blob_state(&digest),
            BlobState::Changed { why, .. } if why == "is gone"
        ));
        home.store.discard(vec![blob]).unwrap();
        assert_eq!(home.store.blob_state(&digest), BlobState::Missing);
        assert_eq!(reopened.blob_state(&digest), BlobState::Missing);
    }

    #[test]
    fn a_broken_promise_leaves_nothing() {
        let home = home();
        let file = home.dir.path().join("weights.gguf");
        std::fs::write(&file, b"other").unwrap();
        let error = home.store.adopt(&file, Some(Digest::of(b"weights"))).unwrap_err();
        assert!(matches!(error, StoreError::DigestMismatch { .. }), "{error}");
        for dir in ["blobs/sha256", "ingest"] {
            assert_eq!(std::fs::read_dir(home.store.root().join(dir)).unwrap().count(), 0, "{dir}");
        }
        assert!(!home.store.root().join("adopted.json").exists());
        assert!(home.store.adopt(&home.dir.path().join("none"), None).is_err());
        assert!(home.store.adopt(home.dir.path(), None).is_err());
    }

    #[test]
    fn damaged_records_are_as_good_as_none() {
        let home = home();
        for content in ["", "{", "[]", "{\"version\":9,\"blobs\":{}}", "\0"] {
            std::fs::write(home.store.root().join("adopted.json"), content).unwrap();
            let digest = Digest::of(b"x");
            assert_eq!(home.store.blob_state(&digest), BlobState::Missing, "{content:?}");
        }
        let file = home.dir.path().join("weights.gguf");
        std::fs::write(&file, b"weights").unwrap();
        let (blob, _) = home.store.adopt(&file, None).unwrap();
        assert_eq!(home.store.blob_size(&blob.digest), Some(7));
    }
}
