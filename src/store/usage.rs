use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use crate::domain::Digest;

use super::durable;
use super::layout::{Area, Layout, PartialFile};
use super::survey::{allocated, walk};
use super::{Store, StoreError, StoredModel};

/// Where the disk space goes. Bytes; a file with several names counts once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Files that at least one model needs.
    pub model_bytes: u64,
    /// Those of them that several models need, or that have a name in another program as well.
    pub shared_bytes: u64,
    /// What models need and only other programs have; it is not in the store.
    pub adopted_bytes: u64,
    /// Blobs, manifests and bundles that no model needs.
    pub orphan_bytes: u64,
    /// How many of them there are.
    pub orphans: usize,
    /// What is being written, and interrupted downloads: what they take on the disk.
    pub partial_bytes: u64,
    /// Downloads among them that nobody goes on with right now.
    pub interrupted: usize,
    /// What those take.
    pub interrupted_bytes: u64,
    /// What this user may still write.
    pub free_bytes: u64,
    /// Each model, in the order of the index.
    pub per_model: Vec<ModelUsage>,
}

/// What one model takes. Bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelUsage {
    /// Its id.
    pub id: Digest,
    /// Its tags.
    pub tags: Vec<String>,
    /// What would go with it.
    pub own_bytes: u64,
    /// What would stay, because other models or other programs have it, too.
    pub shared_bytes: u64,
    /// What only other programs have.
    pub adopted_bytes: u64,
}

/// A file, whatever its names.
#[derive(PartialEq, Eq, Hash)]
struct Inode(u64, u64);

#[derive(Default)]
struct Owned {
    bytes: u64,
    models: HashSet<Digest>,
    /// Names in the store.
    names: u64,
    /// Names anywhere.
    links: u64,
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
            file.names = file.names.saturating_add(1);
            file.links = found.nlink();
            file.models.extend(models);
        };
        for area in [Area::Blobs, Area::Manifests, Area::Bundles] {
            for entry in inner.entries(area)? {
                if entry.is_incomplete() {
                    usage.add_interrupted(allocated(&entry.found));
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
        let adopted = inner.adopted();
        let elsewhere = adopted.iter().filter(|(_, record)| record.is_reference);
        let elsewhere: HashMap<Digest, u64> =
            elsewhere.map(|(digest, record)| (*digest, record.identity.size)).collect();
        let mut per_model: HashMap<Digest, (u64, u64, u64)> = HashMap::new();
        for (digest, bytes) in &elsewhere {
            let models = needs.of(digest);
            if !models.is_empty() {
                add(&mut usage.adopted_bytes, *bytes);
            }
            for model in models {
                add(&mut per_model.entry(*model).or_default().2, *bytes);
            }
        }
        for Owned { bytes, models, names, links } in files.into_values() {
            let has_others = links > names;
            let is_shared = has_others || models.len() > 1;
            match (models.is_empty(), is_shared) {
                // Removing it would give nothing back.
                (true, true) => {}
                (true, false) => add(&mut usage.orphan_bytes, bytes),
                (false, _) => add(&mut usage.model_bytes, bytes),
            }
            if is_shared && !models.is_empty() {
                add(&mut usage.shared_bytes, bytes);
            }
            for model in models {
                let (own, shared, _) = per_model.entry(model).or_default();
                add(if is_shared { shared } else { own }, bytes);
            }
        }
        let of_model = |model: &Arc<StoredModel>| {
            let (own_bytes, shared_bytes, adopted_bytes) =
                per_model.get(&model.id).copied().unwrap_or_default();
            let tags = model.tags.clone();
            ModelUsage { id: model.id, tags, own_bytes, shared_bytes, adopted_bytes }
        };
        usage.per_model = index.models.iter().map(of_model).collect();
        let idle = self.partials().into_iter().filter(|partial| !partial.busy);
        let idle: HashSet<Digest> = idle.map(|partial| partial.digest).collect();
        walk(&inner.layout.ingest(), 0, &mut |path, found| match Layout::partial_of(path) {
            Some((digest, PartialFile::Data)) if idle.contains(&digest) => {
                usage.add_interrupted(allocated(found));
            }
            // What a bundle in the making links to lies elsewhere.
            _ if found.nlink() <= 1 => add(&mut usage.partial_bytes, allocated(found)),
            _ => {}
        });
        Ok(usage)
    }
}

impl DiskUsage {
    fn add_interrupted(&mut self, bytes: u64) {
        self.interrupted = self.interrupted.saturating_add(1);
        add(&mut self.interrupted_bytes, bytes);
        add(&mut self.partial_bytes, bytes);
    }
}

fn add(total: &mut u64, bytes: u64) {
    *total = total.saturating_add(bytes);
}
