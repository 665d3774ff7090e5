use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::domain::Digest;

use super::StoreError;
use super::index::Snapshot;
use super::ingest::{MAX_MANIFEST_BYTES, ManifestFiles};
use super::layout::{Area, Layout};
use super::open::{Inner, read_small};

/// Directories in a bundle lie less deep than that.
const MAX_DEPTH: usize = 32;

/// Something that lies in one of the areas, or in `ingest/`.
pub(super) struct Entry {
    pub(super) path: PathBuf,
    /// What it is named by; `None` for names that have no business there.
    pub(super) digest: Option<Digest>,
    /// Of itself, not of what a link points to.
    pub(super) found: Metadata,
}

impl Entry {
    pub(super) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// For how long it has been here as it is. Files keep the time of their last change when they
    /// are moved or linked, so that does not count.
    pub(super) fn age(&self, now: SystemTime) -> Duration {
        let seconds = u64::try_from(self.found.ctime()).unwrap_or_default();
        let changed = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        changed.and_then(|changed| now.duration_since(changed).ok()).unwrap_or_default()
    }

    /// For how long nobody wrote to it.
    pub(super) fn idle(&self, now: SystemTime) -> Duration {
        let written = self.found.modified().unwrap_or(now);
        now.duration_since(written).unwrap_or_default()
    }

    /// Another program's unfinished download, which it keeps among the blobs.
    pub(super) fn is_incomplete(&self) -> bool {
        self.found.is_file() && self.name().ends_with(".incomplete")
    }

    /// What goes back to the disk with it: not what other names keep, nor holes.
    pub(super) fn freed(&self) -> u64 {
        if self.found.is_dir() {
            let mut total: u64 = 0;
            walk(&self.path, 0, &mut |_, found| {
                if found.nlink() <= 1 {
                    total = total.saturating_add(found.len());
                }
            });
            return total;
        }
        self.found.len()
    }
}

/// Which models need which file.
#[derive(Default)]
pub(super) struct Needs {
    by_digest: HashMap<Digest, Vec<Digest>>,
}

impl Needs {
    pub(super) fn of(&self, digest: &Digest) -> &[Digest] {
        self.by_digest.get(digest).map_or(&[], Vec::as_slice)
    }

    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.by_digest.contains_key(digest)
    }
}

impl Inner {
    /// What lies in an area; what vanishes meanwhile is left out.
    pub(super) fn entries(&self, area: Area) -> Result<Vec<Entry>, StoreError> {
        self.entries_of(&self.layout.area(area))
    }

    pub(super) fn entries_of(&self, dir: &Path) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        let listed = match std::fs::read_dir(dir) {
            Ok(listed) => listed,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(entries),
            Err(e) => return Err(StoreError::io("read", dir)(e)),
        };
        for entry in listed {
            let path = entry.map_err(StoreError::io("read", dir))?.path();
            match path.symlink_metadata() {
                Ok(found) => {
                    entries.push(Entry { digest: Layout::digest_of(&path), path, found });
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(StoreError::io("look at", path)(e)),
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// What the models of the index need, according to it and to their manifests: a mistake in
    /// one of the two must not cost a file.
    pub(super) fn needs(&self, index: &Snapshot) -> Needs {
        let mut needs = Needs::default();
        for model in &index.models {
            let path = self.layout.by_digest(Area::Manifests, &model.id);
            let manifest = read_small(&path, MAX_MANIFEST_BYTES).ok();
            let files = manifest.and_then(|bytes| ManifestFiles::read(&bytes).ok());
            let files = files.unwrap_or_default().into_iter().map(|(digest, _)| digest);
            let all: HashSet<Digest> =
                files.chain(model.files.iter().copied()).chain([model.id]).collect();
            for digest in all {
                needs.by_digest.entry(digest).or_default().push(model.id);
            }
        }
        needs
    }
}

/// Shows every regular file below `dir`; links are not followed, what vanishes is left out.
pub(super) fn walk(dir: &Path, depth: usize, show: &mut dyn FnMut(&Path, &Metadata)) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.symlink_metadata() {
            Ok(found) if found.is_dir() && depth < MAX_DEPTH => {
                walk(&path, depth.saturating_add(1), show);
            }
            Ok(found) if found.is_file() => show(&path, &found),
            _ => {}
        }
    }
}

/// Bytes on the disk, in the blocks of 512 that every Unix counts in.
pub(super) fn allocated(found: &Metadata) -> u64 {
    found.blocks().saturating_mul(512)
}
