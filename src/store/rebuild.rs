use std::collections::HashMap;

use crate::domain::{Digest, ModelRef};

use super::index::{IndexBytes, IndexFile, Record};
use super::ingest::{MAX_MANIFEST_BYTES, ManifestFiles};
use super::layout::{Area, Layout};
use super::open::{Inner, read_small};
use super::{BlobState, StoreError, durable, sys};

impl Inner {
    /// Reads the index for a change; the caller holds the lock. A damaged one is set aside and
    /// made anew from the manifests, with the tags that can still be read in it.
    pub(super) fn load_or_rebuild(&self) -> Result<IndexFile, StoreError> {
        let path = self.layout.index_file();
        let damaged = match IndexBytes::read(&path)? {
            IndexBytes::Good(index) => return Ok(index),
            IndexBytes::Damaged(error, bytes) => {
                let aside = self.set_aside()?;
                tracing::warn!(
                    error, aside = %aside.display(),
                    "models.json is damaged; it is made anew from the manifests"
                );
                bytes
            }
            IndexBytes::Absent => Vec::new(),
        };
        let index = self.rebuild(&String::from_utf8_lossy(&damaged))?;
        durable::replace(&self.temporary_path("index"), &path, &index.to_bytes())?;
        Ok(index)
    }

    fn set_aside(&self) -> Result<std::path::PathBuf, StoreError> {
        let path = self.layout.index_file();
        // The last of them is overwritten before a full directory stops the program.
        let aside = (1..1000)
            .map(|number| path.with_file_name(format!("models.json.damaged-{number}")))
            .find(|aside| aside.symlink_metadata().is_err())
            .unwrap_or_else(|| path.with_file_name("models.json.damaged-1000"));
        // The damaged one stays in its place, too, until the new one replaces it: a crash between
        // the two must not lose the tags that can still be read in it.
        // A directory or a link can only be moved.
        if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
            sys::rename(&path, &aside).map_err(StoreError::io("set aside", &path))?;
            return Ok(aside);
        }
        sys::hard_link(&path, &aside)
            .or_else(|_| std::fs::copy(&path, &aside).map(drop))
            .map_err(StoreError::io("set aside", &path))?;
        Ok(aside)
    }

    pub(super) fn rebuild(&self, damaged: &str) -> Result<IndexFile, StoreError> {
        let dir = self.layout.area(Area::Manifests);
        let entries = std::fs::read_dir(&dir).map_err(StoreError::io("read", &dir))?;
        let mut found: Vec<(std::time::SystemTime, Digest)> = entries
            .flatten()
            .filter_map(|entry| {
                let id = Layout::digest_of(&entry.path())?;
                Some((entry.metadata().ok()?.modified().ok()?, id))
            })
            .collect();
        found.sort();
        let mut salvaged = salvage_tags(damaged);
        let mut index = IndexFile::default();
        for (_, id) in found {
            let Some(files) = self.complete_model(&id) else {
                tracing::warn!(%id, "a manifest is damaged or misses blobs; it stays out");
                continue;
            };
            let tags = salvaged.remove(&id).unwrap_or_default();
            if tags.is_empty() && !damaged.is_empty() {
                tracing::warn!(%id, "its tags are lost; give it one with `modeld tag`");
            }
            index.models.push(Record::new(id, tags, &files));
        }
        Ok(index)
    }

    fn complete_model(&self, id: &Digest) -> Option<Vec<Digest>> {
        let path = self.layout.by_digest(Area::Manifests, id);
        let bytes = read_small(&path, MAX_MANIFEST_BYTES).ok()?;
        if Digest::of(&bytes) != *id {
            return None;
        }
        let files = ManifestFiles::read(&bytes).ok()?;
        let complete = files.iter().all(|(digest, size)| match self.blob_state(digest) {
            BlobState::Present(found) => found == *size,
            // Another program's file, perhaps on a disk that is away: the model keeps its name.
            BlobState::Changed { .. } => true,
            BlobState::Missing => false,
        });
        complete.then(|| files.into_iter().map(|(digest, _)| digest).collect())
    }
}

/// The tags that a damaged index still shows, by model: each list that follows an id, if it is
/// whole and comes before the next record. One pass, however large the text is.
fn salvage_tags(damaged: &str) -> HashMap<Digest, Vec<String>> {
    let mut found = HashMap::new();
    for record in damaged.split("\"id\"").skip(1) {
        if let Some((id, tags)) = salvage_record(record) {
            found.entry(id).or_insert(tags);
        }
    }
    found
}

/// What comes after the key `"id"`.
fn salvage_record(text: &str) -> Option<(Digest, Vec<String>)> {
    let text = after_colon(text)?.strip_prefix('"')?;
    let (id, rest) = text.split_once('"')?;
    let id: Digest = id.parse().ok()?;
    let (_, rest) = rest.split_once("\"tags\"")?;
    let (list, _) = after_colon(rest)?.split_once(']')?;
    let tags: Vec<String> = serde_json::from_str(&format!("{list}]")).ok()?;
    let is_tag = |tag: &String| ModelRef::parse(tag).is_ok_and(|tag| tag.qualified_tag().is_some());
    Some((id, tags.into_iter().filter(is_tag).collect()))
}

fn after_colon(text: &str) -> Option<&str> {
    Some(text.trim_start().strip_prefix(':')?.trim_start())
}
