use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::domain::Digest;

use super::open::read_up_to;
use super::{StoreError, StoredModel};

/// The largest `models.json` that is read, in bytes: over a hundred thousand models.
const MAX_INDEX_BYTES: u64 = 64 << 20;

/// What lies where `models.json` should.
pub(super) enum IndexBytes {
    /// An index.
    Good(IndexFile),
    /// Something else: why it is none, and what text it begins with.
    Damaged(String, Vec<u8>),
    /// Nothing.
    Absent,
}

impl IndexBytes {
    pub(super) fn read(path: &Path) -> Result<Self, StoreError> {
        match path.symlink_metadata() {
            Ok(found) if found.is_file() => {}
            Ok(_) => return Ok(Self::Damaged("it is no regular file".to_owned(), Vec::new())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::Absent),
            Err(e) => return Err(StoreError::io("look at", path)(e)),
        }
        let bytes = match read_up_to(path, MAX_INDEX_BYTES) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::Absent),
            Err(e) => return Err(StoreError::io("read", path)(e)),
        };
        if bytes.len() as u64 > MAX_INDEX_BYTES {
            let why = format!("it has more than {MAX_INDEX_BYTES} bytes");
            return Ok(Self::Damaged(why, bytes));
        }
        Ok(match IndexFile::parse(&bytes) {
            Ok(index) => Self::Good(index),
            Err(error) => Self::Damaged(error.to_string(), bytes),
        })
    }
}

/// `models.json` as it is written; keys that we do not know are kept. One without its list is
/// damaged, not empty: nothing may take it for the word that no file is needed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct IndexFile {
    #[serde(deserialize_with = "null_is_empty")]
    pub(super) models: Vec<Record>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

/// One model of `models.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(super) tags: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(super) files: Vec<String>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

impl Record {
    pub(super) fn new(id: Digest, tags: Vec<String>, files: &[Digest]) -> Self {
        let files = files.iter().map(Digest::to_string).collect();
        Self { id: id.to_string(), tags, files, rest: serde_json::Map::new() }
    }

    pub(super) fn digest(&self) -> Option<Digest> {
        self.id.parse().ok()
    }
}

impl IndexFile {
    pub(super) fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }

    /// Indented by two, as DMR writes it.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Maps with text keys always serialise.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }
}

/// The index, ready to be asked. Records without a valid id are in the file only.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) models: Vec<Arc<StoredModel>>,
    by_id: HashMap<Digest, usize>,
    by_tag: HashMap<String, usize>,
}

impl Snapshot {
    pub(super) fn of(file: &IndexFile) -> Self {
        let mut snapshot = Self::default();
        for record in &file.models {
            let Some(id) = record.digest() else {
                tracing::warn!(id = record.id, "models.json names a model without a valid id");
                continue;
            };
            let at = snapshot.models.len();
            let tags: Vec<String> = record.tags.iter().map(|tag| canonical(tag)).collect();
            for tag in &tags {
                snapshot.by_tag.entry(tag.clone()).or_insert(at);
            }
            snapshot.by_id.entry(id).or_insert(at);
            let files = record.files.iter().filter_map(|file| file.parse().ok()).collect();
            snapshot.models.push(Arc::new(StoredModel { id, tags, files }));
        }
        snapshot
    }

    pub(super) fn by_id(&self, id: &Digest) -> Option<&Arc<StoredModel>> {
        self.models.get(*self.by_id.get(id)?)
    }

    pub(super) fn by_tag(&self, tag: &str) -> Option<&Arc<StoredModel>> {
        self.models.get(*self.by_tag.get(tag)?)
    }
}

/// The one spelling of a stored tag; older stores have two hosts under their other names.
pub(super) fn canonical(tag: &str) -> String {
    for (other, host) in [("hf.co/", "huggingface.co/"), ("index.docker.io/", "docker.io/")] {
        if let Some(rest) = tag.strip_prefix(other) {
            return format!("{host}{rest}");
        }
    }
    tag.to_owned()
}

/// Tells one content of a file from the next without reading it: each comes by rename.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Go writes an empty list as `null`.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<Vec<T>>::deserialize(deserializer).map(Option::unwrap_or_default)
}
