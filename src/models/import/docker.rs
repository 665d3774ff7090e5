use std::path::Path;

use serde::Deserialize;

use crate::domain::Digest;

use super::candidate::{Candidate, Content, ImportEvent, Origin};

const MAX_INDEX_BYTES: u64 = 64 << 20;
const MAX_MANIFEST_BYTES: u64 = 4 << 20;

#[derive(Deserialize)]
struct Index {
    models: Option<Vec<Record>>,
}

#[derive(Deserialize)]
struct Record {
    id: String,
    tags: Option<Vec<String>>,
}

/// A store of Docker Model Runner, which is laid out as ours is.
pub(super) fn scan(root: &Path) -> (Vec<Candidate>, Vec<ImportEvent>) {
    let (mut found, mut skipped) = (Vec::new(), Vec::new());
    let Some(index) = small(&root.join("models.json"), MAX_INDEX_BYTES)
        .and_then(|bytes| serde_json::from_slice::<Index>(&bytes).ok())
    else {
        return (found, skipped);
    };
    for record in index.models.unwrap_or_default() {
        let tags = record.tags.unwrap_or_default();
        let what = tags.first().unwrap_or(&record.id).clone();
        let manifest = record.id.parse::<Digest>().ok().and_then(|id| {
            let path = root.join("manifests/sha256").join(id.hex());
            small(&path, MAX_MANIFEST_BYTES).filter(|bytes| Digest::of(bytes) == id)
        });
        match manifest {
            Some(manifest) => found.push(Candidate {
                origin: Origin::Docker,
                content: Content::Artifact { manifest, tags, blobs: root.join("blobs/sha256") },
            }),
            None => skipped.push(ImportEvent::Skipped {
                origin: Origin::Docker,
                what,
                why: "its manifest is missing or damaged".to_owned(),
            }),
        }
    }
    (found, skipped)
}

fn small(path: &Path, max: u64) -> Option<Vec<u8>> {
    let found = path.metadata().ok().filter(|found| found.is_file() && found.len() <= max)?;
    std::fs::read(path).ok().filter(|bytes| bytes.len() as u64 == found.len())
}
