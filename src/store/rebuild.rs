use std::io;

use crate::domain::{Digest, ModelRef};

use super::StoreError;
use super::durable;
use super::index::{IndexFile, Record};
use super::ingest::{MAX_MANIFEST_BYTES, ManifestFiles};
use super::layout::{Area, Layout};
use super::open::Inner;

impl Inner {
    /// Reads the index for a change; the caller holds the lock. A damaged one is set aside and
    /// made anew from the manifests, with the tags that can still be read in it.
    pub(super) fn load_or_rebuild(&self) -> Result<IndexFile, StoreError> {
        let path = self.layout.index_file();
        let damaged = match std::fs::read(&path) {
            Ok(bytes) => match IndexFile::parse(&bytes) {
                Ok(index) => return Ok(index),
                Err(error) => {
                    let aside = self.set_aside()?;
                    tracing::warn!(
                        %error, aside = %aside.display(),
                        "models.json is damaged; it is made anew from the manifests"
                    );
                    bytes
                }
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(StoreError::io("read", &path)(e)),
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
        std::fs::hard_link(&path, &aside)
            .or_else(|_| std::fs::copy(&path, &aside).map(drop))
            .map_err(StoreError::io("set aside", &path))?;
        Ok(aside)
    }

    fn rebuild(&self, damaged: &str) -> Result<IndexFile, StoreError> {
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
        let mut index = IndexFile::default();
        for (_, id) in found {
            let Some(files) = self.complete_model(&id) else {
                tracing::warn!(%id, "a manifest is damaged or misses blobs; it stays out");
                continue;
            };
            let tags = salvage_tags(damaged, &id);
            if tags.is_empty() && !damaged.is_empty() {
                tracing::warn!(%id, "its tags are lost; give it one with `modeld tag`");
            }
            index.models.push(Record::new(id, tags, &files));
        }
        Ok(index)
    }

    fn complete_model(&self, id: &Digest) -> Option<Vec<Digest>> {
        let path = self.layout.by_digest(Area::Manifests, id);
        let found = path.symlink_metadata().ok()?;
        if !found.is_file() || found.len() > MAX_MANIFEST_BYTES {
            return None;
        }
        let bytes = std::fs::read(&path).ok()?;
        if Digest::of(&bytes) != *id {
            return None;
        }
        let files = ManifestFiles::read(&bytes).ok()?;
        let complete = files.iter().all(|(digest, size)| {
            let blob = self.layout.by_digest(Area::Blobs, digest);
            blob.symlink_metadata().is_ok_and(|found| found.is_file() && found.len() == *size)
        });
        complete.then(|| files.into_iter().map(|(digest, _)| digest).collect())
    }
}

/// The tags that a damaged index still shows for `id`: the list that follows it, if that is whole
/// and comes before the next record.
fn salvage_tags(damaged: &str, id: &Digest) -> Vec<String> {
    let after_id = format!("\"id\": \"{id}\"");
    let Some((_, rest)) = damaged.split_once(&after_id) else { return Vec::new() };
    let record = rest.split("\"id\":").next().unwrap_or_default();
    let Some((_, rest)) = record.split_once("\"tags\":") else { return Vec::new() };
    let Some((list, _)) = rest.split_once(']') else { return Vec::new() };
    let tags: Vec<String> = serde_json::from_str(&format!("{list}]")).unwrap_or_default();
    tags.into_iter()
        .filter(|tag| ModelRef::parse(tag).is_ok_and(|parsed| parsed.qualified_tag().is_some()))
        .collect()
}
