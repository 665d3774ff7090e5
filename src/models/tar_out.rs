use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

use crate::domain::Digest;
use crate::registry::Descriptor;

/// Writes Docker model archives: two directories, blobs, `manifest.json`. Equal content always gives
/// equal bytes.
pub(super) struct ArchiveWriter<'a, W: Write> {
    tar: tar::Builder<Counted<'a, W>>,
}

/// How many bytes an archive of these blobs and this manifest has.
pub(super) fn archive_bytes(blobs: impl Iterator<Item = u64>, manifest: usize) -> u64 {
    let members = blobs.chain([manifest as u64]).map(|size| {
        size.checked_next_multiple_of(512)
            .and_then(|size| size.checked_add(512))
            .unwrap_or(u64::MAX)
    });
    // Two directories and the two blocks at the end.
    members.fold(4 * 512, u64::saturating_add)
}

impl<'a, W: Write> ArchiveWriter<'a, W> {
    /// Begins one; `progress` hears how many bytes of it are out.
    pub(super) fn new(out: W, progress: &'a mut dyn FnMut(u64)) -> io::Result<Self> {
        let mut tar = tar::Builder::new(Counted { inner: out, written: 0, progress });
        for dir in ["blobs/", "blobs/sha256/"] {
            tar.append_data(&mut header(0, tar::EntryType::Directory, 0o755), dir, io::empty())?;
        }
        Ok(Self { tar })
    }

    /// Adds a blob, hashing it on the way; `what` names it in the message.
    ///
    /// # Errors
    /// `InvalidData` where its bytes are not those that were promised.
    pub(super) fn blob(&mut self, from: impl Read, blob: Descriptor, what: &str) -> io::Result<()> {
        let mut checked = Checked::new(from.take(blob.size));
        let mut entry = header(blob.size, tar::EntryType::Regular, 0o644);
        let name = format!("blobs/sha256/{}", blob.digest.hex());
        self.tar.append_data(&mut entry, name, &mut checked)?;
        if checked.finish() == blob {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("{what} changed meanwhile")))
    }

    /// Adds the manifest and ends the archive.
    pub(super) fn finish(mut self, manifest: &[u8]) -> io::Result<()> {
        let mut entry = header(manifest.len() as u64, tar::EntryType::Regular, 0o644);
        self.tar.append_data(&mut entry, "manifest.json", manifest)?;
        self.tar.into_inner()?.inner.flush()
    }
}

/// Hashes and counts what is read through it.
pub(super) struct Checked<R> {
    inner: R,
    hash: Sha256,
    read: u64,
}

impl<R: Read> Checked<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new(), read: 0 }
    }

    /// What was read.
    pub(super) fn finish(self) -> Descriptor {
        Descriptor { digest: Digest::from_sha256(self.hash), size: self.read }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.hash.update(out.get(..read).unwrap_or_default());
        self.read = self.read.saturating_add(read as u64);
        Ok(read)
    }
}

/// Tells how much went out.
struct Counted<'a, W> {
    inner: W,
    written: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.written = self.written.saturating_add(written as u64);
        (self.progress)(self.written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn header(size: u64, kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(0);
    header
}
