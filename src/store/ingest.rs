use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::domain::Digest;

use super::durable::{self, disk_error};
use super::index::{IndexFile, Record};
use super::layout::Area;
use super::open::Inner;
use super::{Lease, Store, StoreError, sys};

/// The largest manifest, in bytes (the OCI distribution specification's own bound).
pub(super) const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// Takes in one blob. Nothing is visible before [`BlobWriter::commit`]; dropped without it,
/// nothing is left.
pub struct BlobWriter {
    inner: Arc<Inner>,
    path: PathBuf,
    file: File,
    hash: Sha256,
    written: u64,
    committed: bool,
}

/// A blob in the store, kept there by its lease until a manifest names it.
#[derive(Debug)]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Whether this writer brought it; otherwise it was there already.
    pub is_new: bool,
    _lease: Lease,
}

/// What the store needs to know of a manifest.
#[derive(Deserialize)]
pub(super) struct ManifestFiles {
    config: Descriptor,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    size: u64,
}

impl ManifestFiles {
    /// Layers first, the config last, as `models.json` lists them; without repetitions.
    pub(super) fn read(bytes: &[u8]) -> Result<Vec<(Digest, u64)>, StoreError> {
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|e| StoreError::BadManifest(e.to_string()))?;
        let mut files: Vec<(Digest, u64)> = Vec::new();
        for descriptor in manifest.layers.iter().chain([&manifest.config]) {
            let digest = descriptor
                .digest
                .parse()
                .map_err(|e| StoreError::BadManifest(format!("{:?}: {e}", descriptor.digest)))?;
            if !files.iter().any(|(known, _)| *known == digest) {
                files.push((digest, descriptor.size));
            }
        }
        Ok(files)
    }
}

impl Store {
    /// Begins a blob. With a size, the disk space is reserved before the first byte.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] with both numbers, [`StoreError::Io`].
    pub fn write_blob(&self, size: Option<u64>) -> Result<BlobWriter, StoreError> {
        let size = size.unwrap_or(0);
        durable::require_space(&self.inner.layout.root, size)?;
        let (path, file) = self.inner.create_ingest()?;
        let writer = BlobWriter {
            inner: Arc::clone(&self.inner),
            path,
            file,
            hash: Sha256::new(),
            written: 0,
            committed: false,
        };
        durable::reserve(&writer.file, &writer.path, size)?;
        Ok(writer)
    }

    /// Keeps a blob that is there with this size until a manifest names it; `None` if it is not.
    pub fn hold_blob(&self, digest: &Digest, size: u64) -> Option<Blob> {
        // The lease comes first, so that no sweep takes what was just found.
        let lease = Lease::new(&self.inner, vec![*digest]);
        let there = self.blob_size(digest) == Some(size);
        there.then_some(Blob { digest: *digest, size, is_new: false, _lease: lease })
    }

    /// Makes a model visible under `tags` (qualified), which move away from other models. All its
    /// blobs must be in the store with the sizes that the manifest says.
    ///
    /// # Errors
    /// [`StoreError::MissingBlob`], [`StoreError::BadManifest`], [`StoreError::DiskFull`].
    pub fn put_model(&self, manifest: &[u8], tags: &[String]) -> Result<Digest, StoreError> {
        if manifest.len() as u64 > MAX_MANIFEST_BYTES {
            let why = format!("it has {} bytes, over {MAX_MANIFEST_BYTES}", manifest.len());
            return Err(StoreError::BadManifest(why));
        }
        let files = ManifestFiles::read(manifest)?;
        let id = Digest::of(manifest);
        let digests: Vec<Digest> = files.iter().map(|(digest, _)| *digest).collect();
        let _lease = Lease::new(&self.inner, digests.clone());
        for (digest, expected) in files {
            let found = match self.blob_size(&digest) {
                Some(size) if size == expected => continue,
                Some(size) => format!("has {size}"),
                None => "does not have it".to_owned(),
            };
            return Err(StoreError::MissingBlob { digest, expected, found });
        }
        let path = self.inner.layout.by_digest(Area::Manifests, &id);
        let stored = self.inner.change_index(|index: &mut IndexFile| {
            durable::replace(&self.inner.temporary_path("manifest"), &path, manifest)?;
            if !index.models.iter().any(|record| record.digest() == Some(id)) {
                index.models.push(Record::new(id, Vec::new(), &digests));
            }
            for tag in tags {
                super::catalog::move_tag(index, &id, tag);
            }
            Ok(())
        });
        if stored.is_err() {
            // A manifest that came and that no index names goes again.
            self.inner.leases.lock().doomed.insert(id);
            self.inner.sweep_logged();
        }
        stored.map(|()| id)
    }

    /// Takes back blobs of an artifact that failed half-way: those that were new and that no
    /// model names.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the index cannot be read.
    pub fn discard(&self, blobs: Vec<Blob>) -> Result<(), StoreError> {
        let new: Vec<Digest> =
            blobs.iter().filter(|blob| blob.is_new).map(|blob| blob.digest).collect();
        drop(blobs);
        self.inner.leases.lock().doomed.extend(new);
        self.inner.sweep()
    }
}

impl Blob {
    pub(super) fn new(digest: Digest, size: u64, is_new: bool, lease: Lease) -> Self {
        Self { digest, size, is_new, _lease: lease }
    }

    /// Gives the synced file at `from`, whose bytes have this digest and size, its place among
    /// the blobs. `false`: a good one was there already, and the file still lies at `from`.
    pub(super) fn publish(
        inner: &Arc<Inner>,
        from: &Path,
        digest: Digest,
        size: u64,
    ) -> Result<(Self, bool), StoreError> {
        let path = inner.layout.by_digest(Area::Blobs, &digest);
        // The lease comes first, so that no sweep takes a blob that was just found there.
        let lease = Lease::new(inner, vec![digest]);
        let is_new =
            durable::publish(from, &path).map_err(|e| disk_error("write", &path, size, e))?;
        let mut moved = is_new;
        // One that is shared with another program's file gets bytes of its own.
        let is_shared = || inner.adopted().contains_key(&digest);
        if !is_new && (is_shared() || hash_file(&path).ok() != Some((digest, size))) {
            tracing::warn!(%digest, "a damaged or shared blob on disk is replaced");
            sys::rename(from, &path).map_err(StoreError::io("replace", &path))?;
            moved = true;
        }
        durable::sync_parent(&path)?;
        inner.forget_adopted(&[digest])?;
        Ok((Self::new(digest, size, is_new, lease), moved))
    }
}

impl BlobWriter {
    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Makes the blob durable and visible.
    ///
    /// # Errors
    /// [`StoreError::DigestMismatch`] where it is not what was expected; nothing is left then.
    pub fn commit(mut self, expected: Option<Digest>) -> Result<Blob, StoreError> {
        let digest = Digest::from_sha256(self.hash.clone());
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(StoreError::DigestMismatch { expected, found: digest });
        }
        // Reserved space past the end goes back.
        let synced = durable::finish_blob(&self.path, &self.file, self.written);
        synced.map_err(|e| disk_error("write", &self.path, self.written, e))?;
        let (blob, moved) = Blob::publish(&self.inner, &self.path, digest, self.written)?;
        self.committed = moved;
        Ok(blob)
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`], [`StoreError::Io`].
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        sys::write_all(&self.path, &mut self.file, bytes)
            .map_err(|e| disk_error("write", &self.path, bytes.len() as u64, e))?;
        self.hash.update(bytes);
        self.written = self.written.saturating_add(bytes.len() as u64);
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.committed
            && let Err(error) = sys::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a temporary file stays");
        }
    }
}

pub(super) fn hash_file(path: &Path) -> io::Result<(Digest, u64)> {
    hash_file_watched(path, &mut |_| ControlFlow::Continue(()))
}

/// `watch` hears how many bytes were read so far; if it breaks, the error is `Interrupted`.
pub(super) fn hash_file_watched(
    path: &Path,
    watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> io::Result<(Digest, u64)> {
    let mut file = durable::open_file(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut total: u64 = 0;
    loop {
        let read = sys::read(path, &mut file, &mut buffer)?;
        if read == 0 {
            return Ok((Digest::from_sha256(hash), total));
        }
        hash.update(buffer.get(..read).unwrap_or_default());
        total = total.saturating_add(read as u64);
        if watch(total).is_break() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
}
