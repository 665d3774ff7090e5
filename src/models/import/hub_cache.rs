use std::path::{Path, PathBuf};

use super::candidate::{Candidate, Content, Name, Origin};
use super::{files, names};

/// `models--ORG--REPO/snapshots/COMMIT/…`, whose files are links to `blobs/` that are named by
/// their digests (the layout of `huggingface_hub`). Only the newest snapshot of each is looked at.
pub(super) fn scan(root: &Path) -> Vec<Candidate> {
    files::dirs_in(root)
        .into_iter()
        .filter_map(|dir| {
            let (org, repository) =
                files::file_name(&dir).strip_prefix("models--")?.split_once("--")?;
            let (org, repository) = (names::component(org), names::component(repository));
            let name = format!("huggingface.co/{org}/{repository}");
            Some((name, newest(&dir)?))
        })
        .flat_map(|(name, snapshot)| {
            // Quantisations of large models have directories of their own.
            let dirs = std::iter::once(snapshot.clone()).chain(files::dirs_in(&snapshot));
            let found: Vec<Candidate> = dirs
                .flat_map(|dir| {
                    files::group(Origin::HubCache, &files::gguf_in(&dir), &|_| {
                        Name::Repository(name.clone())
                    })
                })
                .collect();
            found
        })
        .map(|mut candidate| {
            if let Content::Files(found) = &mut candidate.content {
                let paths: Vec<PathBuf> =
                    found.mmproj.iter().chain([&found.weights]).cloned().collect();
                found.expected = paths.into_iter().filter_map(promised).collect();
            }
            candidate
        })
        .collect()
}

fn newest(model: &Path) -> Option<PathBuf> {
    let modified = |dir: &PathBuf| dir.metadata().and_then(|found| found.modified()).ok();
    files::dirs_in(&model.join("snapshots")).into_iter().max_by_key(modified)
}

/// Large files are blobs named by their SHA-256; small ones have another digest of 40 digits.
fn promised(path: PathBuf) -> Option<(PathBuf, crate::domain::Digest)> {
    let blob = path.canonicalize().ok()?;
    let digest = format!("sha256:{}", files::file_name(&blob)).parse().ok()?;
    Some((path, digest))
}
