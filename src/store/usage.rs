use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use crate::domain::Digest;

use super::durable;
use super::layout::Area;
use super::survey::{allocated, walk};
use super::{Store, StoreError};

/// Where the disk space goes. Bytes; a file with several names counts once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Files that at least one model needs.
    pub model_bytes: u64,
    /// Those of them that several models need.
    pub shared_bytes: u64,
    /// Blobs, manifests and bundles that no model needs.
    pub orphan_bytes: u64,
    /// How many of them there are.
    pub orphans: usize,
    /// What is being written, and interrupted downloads: what they take on the disk.
    pub partial_bytes: u64,
    /// What this user may still write.
    pub free_bytes: u64,
    /// Each model with the bytes that would go with it, and those that other models need as well.
    pub per_model: Vec<(Digest, u64, u64)>,
}

/// A file, whatever its names.
#[derive(PartialEq, Eq, Hash)]
struct Inode(u64, u64);

#[derive(Default)]
struct Owned {
    bytes: u64,
    models: HashSet<Digest>,
}

impl Store {
    /// Measures the store. What changes meanwhile may be counted or not.
    ///
    /// # Errors
    /// [`StoreError::Io`] where a directory cannot be read.
    pub fn usage(&self) -> Result<DiskUsage, StoreError> {
        let inner = &self.inner;
        let index = self.snapshot()?;
        let needs = inner.needs(&index);
        let mut usage = DiskUsage {
            free_bytes: durable::free_bytes(&inner.layout.root)?,
            ..DiskUsage::default()
        };
        let mut files: HashMap<Inode, Owned> = HashMap::new();
        let mut count = |found: &Metadata, models: &[Digest]| {
            let file = files.entry(Inode(found.dev(), found.ino())).or_default();
            file.bytes = found.len();
            file.models.extend(models);
        };
        for area in [Area::Blobs, Area::Manifests, Area::Bundles] {
            for entry in inner.entries(area)? {
                if entry.is_incomplete() {
                    add(&mut usage.partial_bytes, allocated(&entry.found));
                    continue;
                }
                let Some(digest) = entry.digest else { continue };
                let models = needs.of(&digest);
                usage.orphans += usize::from(models.is_empty());
                match area {
                    Area::Bundles => walk(&entry.path, 0, &mut |_, found| count(found, models)),
                    _ if entry.found.is_file() => count(&entry.found, models),
                    _ => {}
                }
            }
        }
        let mut per_model: HashMap<Digest, (u64, u64)> = HashMap::new();
        for Owned { bytes, models } in files.into_values() {
            match models.len() {
                0 => add(&mut usage.orphan_bytes, bytes),
                1 => add(&mut usage.model_bytes, bytes),
                _ => {
                    add(&mut usage.model_bytes, bytes);
                    add(&mut usage.shared_bytes, bytes);
                }
            }
            let is_shared = models.len() > 1;
            for model in models {
                let (own, shared) = per_model.entry(model).or_default();
                add(if is_shared { shared } else { own }, bytes);
            }
        }
        usage.per_model = index
            .models
            .iter()
            .map(|model| {
                let (own, shared) = per_model.get(&model.id).copied().unwrap_or_default();
                (model.id, own, shared)
            })
            .collect();
        walk(&inner.layout.ingest(), 0, &mut |_, found| {
            // What a bundle in the making links to lies elsewhere.
            if found.nlink() <= 1 {
                add(&mut usage.partial_bytes, allocated(found));
            }
        });
        Ok(usage)
    }
}

fn add(total: &mut u64, bytes: u64) {
    *total = total.saturating_add(bytes);
}
