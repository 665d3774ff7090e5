use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};

use crate::domain::Digest;

use super::durable;
use super::index::Stamp;
use super::layout::{Area, Layout};
use super::open::{Inner, WriteGuard};
use super::{Store, StoreError};

/// Far over what any number of models needs.
const MAX_BYTES: u64 = 64 << 20;
const VERSION: u32 = 1;

/// What became of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobState {
    /// It is there, with so many bytes.
    Present(u64),
    /// It is not.
    Missing,
    /// It belongs to another program's file, which is not what it was.
    Changed {
        /// The file.
        path: PathBuf,
        /// What is different, in words.
        why: String,
    },
}

/// `adopted.json`: blobs whose bytes are, or are shared with, files of other programs.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct AdoptedFile {
    version: u32,
    #[serde(default)]
    blobs: BTreeMap<String, Adopted>,
}

/// One of them, as it was when its bytes were hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Adopted {
    /// The other program's file.
    pub(super) path: PathBuf,
    /// Whether the blob is that very file, elsewhere; otherwise it is a hard link to it.
    pub(super) is_reference: bool,
    pub(super) identity: Identity,
}

impl Adopted {
    /// Whether a blob of this store is the other program's file by another name.
    pub(super) fn is_linked(&self, blob: &Metadata) -> bool {
        !self.is_reference
            && self.path.symlink_metadata().is_ok_and(|other| {
                (other.dev(), other.ino()) == (blob.dev(), blob.ino()) && other.is_file()
            })
    }
}

/// Tells one content of a file from another without reading it. The device is left out: its number
/// may differ after the next start of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) size: u64,
    modified: (i64, i64),
    inode: u64,
}

impl Identity {
    pub(super) fn of(found: &Metadata) -> Self {
        Self {
            size: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            inode: found.ino(),
        }
    }

    fn difference(&self, now: &Self) -> Option<String> {
        if self.size != now.size {
            return Some(format!("has {} bytes instead of {}", now.size, self.size));
        }
        (self != now).then(|| "was written to or replaced".to_owned())
    }
}

/// All records by digest, and the file they were read from.
pub(super) type AdoptedCache = Option<(Option<Stamp>, Arc<BTreeMap<Digest, Adopted>>)>;

impl Store {
    /// Whether a blob is there and still what it was.
    pub fn blob_state(&self, digest: &Digest) -> BlobState {
        self.inner.blob_state(digest)
    }
}

impl Inner {
    pub(super) fn blob_state(&self, digest: &Digest) -> BlobState {
        state_of(&self.layout, &self.adopted(), digest)
    }

    /// The records as of now; read again only when the file is another one.
    pub(super) fn adopted(&self) -> Arc<BTreeMap<Digest, Adopted>> {
        let path = self.layout.adopted_file();
        let stamp = path.symlink_metadata().ok().map(|found| Stamp::of(&found));
        let mut cache = self.adopted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((cached, records)) = &*cache
            && *cached == stamp
        {
            return Arc::clone(records);
        }
        let file = self.read_adopted().unwrap_or_else(|error| {
            tracing::warn!(%error, "adopted.json cannot be read: models in other programs' files \
                                    are not found; import them again");
            AdoptedFile::default()
        });
        let records = Arc::new(file.records());
        *cache = Some((stamp, Arc::clone(&records)));
        records
    }

    /// Notes that a blob is another program's file. The caller does not hold the index's lock.
    pub(super) fn note_adopted(&self, digest: Digest, record: Adopted) -> Result<(), StoreError> {
        let guard = self.write_lock()?;
        self.change_adopted(&guard, |blobs| {
            blobs.insert(digest.to_string(), record);
        })
    }

    /// Forgets what is said of these blobs: they were removed, or have bytes of their own now. The
    /// caller does not hold the index's lock.
    pub(super) fn forget_adopted(&self, digests: &[Digest]) -> Result<(), StoreError> {
        let known = self.adopted();
        if !digests.iter().any(|digest| known.contains_key(digest)) {
            return Ok(());
        }
        self.forget_adopted_within(&self.write_lock()?, digests)
    }

    pub(super) fn forget_adopted_within(
        &self,
        guard: &WriteGuard<'_>,
        digests: &[Digest],
    ) -> Result<(), StoreError> {
        if digests.is_empty() {
            return Ok(());
        }
        self.change_adopted(guard, |blobs| {
            for digest in digests {
                blobs.remove(&digest.to_string());
            }
        })
    }

    fn change_adopted(
        &self,
        _guard: &WriteGuard<'_>,
        change: impl FnOnce(&mut BTreeMap<String, Adopted>),
    ) -> Result<(), StoreError> {
        let mut file = self.read_adopted().unwrap_or_default();
        file.version = VERSION;
        change(&mut file.blobs);
        // Text keys and plain values always serialise.
        let bytes = serde_json::to_vec_pretty(&file).unwrap_or_default();
        let path = self.layout.adopted_file();
        durable::replace(&self.temporary_path("adopted"), &path, &bytes)
    }

    fn read_adopted(&self) -> Result<AdoptedFile, StoreError> {
        AdoptedFile::read(&self.layout.adopted_file())
    }
}

impl AdoptedFile {
    fn read(path: &Path) -> Result<Self, StoreError> {
        let bytes = match super::open::read_small(path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(error),
        };
        let damaged = |why: String| {
            let source = io::Error::new(io::ErrorKind::InvalidData, why);
            StoreError::io("understand", path)(source)
        };
        let file: Self = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        if file.version != VERSION {
            return Err(damaged(format!("it has the version {}", file.version)));
        }
        Ok(file)
    }

    fn records(self) -> BTreeMap<Digest, Adopted> {
        let records = self.blobs.into_iter();
        records.filter_map(|(digest, record)| Some((digest.parse().ok()?, record))).collect()
    }
}

/// The records of `adopted.json`; none where it does not exist.
pub(super) fn read_adopted(layout: &Layout) -> Result<BTreeMap<Digest, Adopted>, StoreError> {
    AdoptedFile::read(&layout.adopted_file()).map(AdoptedFile::records)
}

/// What became of a blob, as its file's entry tells; no byte is read.
pub(super) fn state_of(
    layout: &Layout,
    adopted: &BTreeMap<Digest, Adopted>,
    digest: &Digest,
) -> BlobState {
    let record = adopted.get(digest);
    let path = match record.filter(|record| record.is_reference) {
        Some(record) => record.path.clone(),
        None => layout.by_digest(Area::Blobs, digest),
    };
    match (path.symlink_metadata(), record) {
        (Ok(found), Some(record)) if found.is_file() => {
            match record.identity.difference(&Identity::of(&found)) {
                None => BlobState::Present(found.len()),
                Some(why) => BlobState::Changed { path: record.path.clone(), why },
            }
        }
        (Ok(found), None) if found.is_file() => BlobState::Present(found.len()),
        (_, Some(record)) if record.is_reference => {
            BlobState::Changed { path: record.path.clone(), why: "is gone".to_owned() }
        }
        _ => BlobState::Missing,
    }
}
