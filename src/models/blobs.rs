use std::io::Read;

use crate::domain::{Digest, Error, ErrorKind, Result};
use crate::store::{Blob, Store, StoreError};

use super::catalog::Models;

/// How much is read at a time, in bytes.
const PIECE: usize = 256 << 10;

/// A blob of the store that somebody asked for by its digest.
#[derive(Debug)]
pub struct FoundBlob {
    /// Keeps it in the store.
    pub blob: Blob,
    /// Whether a model needs it.
    pub is_used: bool,
}

impl Models {
    /// Takes in one file of any size under its digest; nothing of one that is another is left. What
    /// `bytes` fails with is the cause of an `InvalidValue`.
    ///
    /// # Errors
    /// `InvalidDigest` with both digests where it is another file; `InvalidValue` where the bytes
    /// break off; `DiskFull`, `Internal`.
    pub async fn take_blob(
        &self,
        digest: Digest,
        size: Option<u64>,
        bytes: Box<dyn Read + Send>,
    ) -> Result<Blob> {
        self.blocking(move |inner| take(&inner.store, digest, size, bytes)).await
    }

    /// A blob, held in the store from now on.
    ///
    /// # Errors
    /// `Internal` where the index cannot be read.
    pub async fn find_blob(&self, digest: Digest) -> Result<Option<FoundBlob>> {
        self.blocking(move |inner| {
            let size = inner.store.blob_size(&digest);
            let held = size.and_then(|size| inner.store.hold_blob(&digest, size));
            let Some(blob) = held else { return Ok(None) };
            let models = inner.store.list()?;
            let is_used = models.iter().any(|model| model.files.contains(&digest));
            Ok(Some(FoundBlob { blob, is_used }))
        })
        .await
    }

    /// Lets go of blobs, and removes those that came in through [`Models::take_blob`] and that no
    /// model needs.
    ///
    /// # Errors
    /// `Internal` where the index cannot be read.
    pub async fn discard_blobs(&self, blobs: Vec<Blob>) -> Result<()> {
        self.blocking(move |inner| Ok(inner.store.discard(blobs)?)).await
    }
}

fn take(
    store: &Store,
    digest: Digest,
    size: Option<u64>,
    mut bytes: Box<dyn Read + Send>,
) -> Result<Blob> {
    let mut writer = store.write_blob(size)?;
    let mut buffer = vec![0; PIECE];
    loop {
        let read = match bytes.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let message = format!("the file broke off after {} bytes", writer.written());
                return Err(Error::new(ErrorKind::InvalidValue, message).with_cause(error));
            }
        };
        writer.append(buffer.get(..read).unwrap_or_default())?;
    }
    writer.commit(Some(digest)).map_err(|error| match error {
        StoreError::DigestMismatch { expected, found } => {
            let text = format!("digest mismatch, expected \"{expected}\", got \"{found}\"");
            Error::new(ErrorKind::InvalidDigest, text)
        }
        error => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{self, Cursor};

    use super::*;

    fn models() -> (tempfile::TempDir, Models) {
        let dir = tempfile::tempdir().unwrap();
        let models = Models::new(Store::open(&dir.path().join("models")).unwrap());
        (dir, models)
    }

    fn files(dir: &tempfile::TempDir) -> usize {
        let count = |area: &str| std::fs::read_dir(dir.path().join("models").join(area)).unwrap();
        count("blobs/sha256").count() + count("ingest").count()
    }

    #[tokio::test]
    async fn a_file_is_taken_under_its_digest_and_no_other() {
        let (dir, models) = models();
        let bytes = vec![7_u8; PIECE * 2 + 1];
        let digest = Digest::of(&bytes);
        let wrong = Digest::of(b"x");
        let read = || Box::new(Cursor::new(bytes.clone()));
        let refused = models.take_blob(wrong, None, read()).await.unwrap_err();
        assert_eq!(
            (refused.kind, refused.message),
            (
                ErrorKind::InvalidDigest,
                format!("digest mismatch, expected \"{wrong}\", got \"{digest}\"")
            )
        );
        assert_eq!(files(&dir), 0);
        assert!(models.find_blob(digest).await.unwrap().is_none());
        let blob = models.take_blob(digest, Some(bytes.len() as u64), read()).await.unwrap();
        assert_eq!((blob.size, blob.is_new), (bytes.len() as u64, true));
        let found = models.find_blob(digest).await.unwrap().unwrap();
        assert!(!found.is_used && !found.blob.is_new);
        // What somebody else holds stays until they let go.
        models.discard_blobs(vec![blob]).await.unwrap();
        assert_eq!(files(&dir), 1);
        drop(found);
        models.store().sweep().unwrap();
        assert_eq!(files(&dir), 0);
    }

    #[tokio::test]
    async fn a_file_that_breaks_off_leaves_nothing() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("reset"))
            }
        }
        let (dir, models) = models();
        let bytes = Box::new(Cursor::new(b"half".to_vec()).chain(Broken));
        let error = models.take_blob(Digest::of(b"half"), Some(10), bytes).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidValue);
        assert!(error.message.contains("after 4 bytes"), "{}", error.message);
        assert_eq!(files(&dir), 0);
    }
}
