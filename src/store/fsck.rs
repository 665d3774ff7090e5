use std::collections::{BTreeMap, HashMap};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use crate::domain::Digest;

use super::index::{IndexBytes, IndexFile, Snapshot, Stamp};
use super::ingest::{MAX_MANIFEST_BYTES, ManifestFiles, hash_file};
use super::layout::Area;
use super::open::{Inner, read_small};
use super::survey::Entry;
use super::{Store, StoreError, StoredModel};

/// What is wrong with one thing in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The bytes of a blob or manifest are not those that its name promises.
    Corrupt {
        /// What they are.
        found: Digest,
    },
    /// A blob has another size than a manifest says. Bytes.
    WrongSize {
        /// What the manifest says.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// A blob that a manifest names is not there.
    MissingBlob {
        /// Its size in bytes.
        expected: u64,
    },
    /// The index names a model whose manifest is not there.
    MissingManifest,
    /// A manifest that is what its name says, but cannot be read as one.
    BadManifest(String),
    /// A manifest that the index does not name: what a removal left, or what the index lost.
    Unlisted,
    /// The index lists other files for a model than its manifest.
    FilesDiffer,
    /// The index cannot be read.
    DamagedIndex(String),
    /// A record of the index has no valid id; it is kept and ignored.
    InvalidRecord(String),
    /// Something that has no business where it is, or that others may write.
    Foreign(String),
    /// A file that cannot be read.
    Unreadable(String),
    /// A media type that is unknown; the file is kept and not used.
    UnknownMedia(String),
}

/// One finding and whom it hurts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What.
    pub finding: Finding,
    /// Where, relative to the store.
    pub path: PathBuf,
    /// What it is named by.
    pub digest: Option<Digest>,
    /// The models that cannot be run because of it.
    pub models: Vec<FsckModel>,
    /// Whether it was put right: a damaged file is gone, so that it can come again.
    pub repaired: bool,
}

/// A model that a problem hurts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsckModel {
    /// Its id.
    pub id: Digest,
    /// Its tags.
    pub tags: Vec<String>,
    /// The command that gets it again; one without tags was packaged or loaded here.
    pub command: Option<String>,
}

/// How far a check is. Bytes of blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FsckProgress {
    /// The blob that was just read.
    pub digest: Digest,
    /// Read so far.
    pub done: u64,
    /// To be read in all.
    pub total: u64,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// Blobs that were read.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Manifests that were read.
    pub manifests: usize,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl FsckReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

impl FsckModel {
    /// With the command of its first tag.
    pub fn of(model: &StoredModel) -> Self {
        let name = model.tags.first().map(|tag| tag.strip_prefix("docker.io/").unwrap_or(tag));
        let command = name.map(|name| format!("modeld pull {name}"));
        Self { id: model.id, tags: model.tags.clone(), command }
    }
}

/// What the manifests promise.
type Manifests = BTreeMap<Digest, Vec<(Digest, u64)>>;

struct Check<'a> {
    inner: &'a Arc<Inner>,
    index: Snapshot,
    repair: bool,
    report: FsckReport,
}

impl Store {
    /// Reads every byte of the store and compares it with what names and manifests promise. With
    /// `repair`, damaged files are removed, so that a pull gets them again, and the index is put
    /// right. Readers and writers go on meanwhile; the lock is held only where something changes.
    ///
    /// # Errors
    /// [`StoreError::Io`] where a directory cannot be read; what is wrong with a single file is a
    /// problem in the report.
    pub fn fsck(
        &self,
        progress: &mut dyn FnMut(FsckProgress),
        repair: bool,
    ) -> Result<FsckReport, StoreError> {
        let mut report = FsckReport::default();
        let index = self.inner.checked_index(&mut report, repair)?;
        let mut check = Check { inner: &self.inner, index, repair, report };
        let manifests = check.manifests()?;
        check.index_against(&manifests)?;
        check.blobs(&manifests, progress)?;
        Ok(check.report)
    }
}

impl Inner {
    fn checked_index(&self, report: &mut FsckReport, repair: bool) -> Result<Snapshot, StoreError> {
        let path = self.layout.index_file();
        let (index, damage) = match IndexBytes::read(&path)? {
            IndexBytes::Good(index) => (index, None),
            IndexBytes::Absent => (self.rebuild("")?, Some("it is not there".to_owned())),
            IndexBytes::Damaged(why, bytes) => {
                (self.rebuild(&String::from_utf8_lossy(&bytes))?, Some(why))
            }
        };
        let mut problem = |finding, repaired| {
            let path = PathBuf::from("models.json");
            let models = Vec::new();
            report.problems.push(Problem { finding, path, digest: None, models, repaired });
        };
        for record in index.models.iter().filter(|record| record.digest().is_none()) {
            problem(Finding::InvalidRecord(record.id.clone()), false);
        }
        if let Some(why) = damage {
            if repair {
                let _guard = self.write_lock()?;
                self.load_or_rebuild()?;
            }
            problem(Finding::DamagedIndex(why), repair);
        }
        Ok(Snapshot::of(&index))
    }

    /// Removes a file that was found damaged, unless another one has taken its place since.
    fn quarantine(&self, path: &std::path::Path, found: &Metadata) -> Result<bool, StoreError> {
        let guard = self.write_lock()?;
        let same = path.symlink_metadata().is_ok_and(|now| Stamp::of(&now) == Stamp::of(found));
        if !same {
            return Ok(false);
        }
        let aside = self.temporary_path("gone");
        super::sys::rename(path, &aside).map_err(StoreError::io("set aside", path))?;
        drop(guard);
        super::sys::remove_any(&aside).map_err(StoreError::io("remove", &aside))?;
        Ok(true)
    }
}

impl Check<'_> {
    fn manifests(&mut self) -> Result<Manifests, StoreError> {
        let mut manifests = Manifests::new();
        for entry in self.inner.entries(Area::Manifests)? {
            let Some(id) = self.is_ours(&entry) else { continue };
            self.report.manifests = self.report.manifests.saturating_add(1);
            let bytes = match read_small(&entry.path, MAX_MANIFEST_BYTES) {
                Ok(bytes) => bytes,
                Err(_) if entry.path.symlink_metadata().is_err() => continue,
                Err(error) => {
                    self.problem(Finding::Unreadable(error.to_string()), &entry, false);
                    continue;
                }
            };
            match (Digest::of(&bytes), ManifestFiles::read(&bytes)) {
                (found, Ok(files)) if found == id => drop(manifests.insert(id, files)),
                (found, Err(error)) if found == id => {
                    self.problem(Finding::BadManifest(error.to_string()), &entry, false);
                }
                (found, _) => self.remove(Finding::Corrupt { found }, &entry),
            }
        }
        Ok(manifests)
    }

    /// Both ways, and the files of each model.
    fn index_against(&mut self, manifests: &Manifests) -> Result<(), StoreError> {
        let unlisted: Vec<Digest> =
            manifests.keys().filter(|id| self.index.by_id(id).is_none()).copied().collect();
        let mut renamed: HashMap<Digest, Digest> = HashMap::new();
        let mut relisted: Vec<Digest> = Vec::new();
        let models: Vec<Arc<StoredModel>> = self.index.models.clone();
        for model in &models {
            let path = self.inner.layout.by_digest(Area::Manifests, &model.id);
            let Some(files) = manifests.get(&model.id) else {
                let known = self.report.problems.iter().any(|p| p.digest == Some(model.id));
                let gone = !known && path.symlink_metadata().is_err();
                if gone && self.still_listed(&model.id)? {
                    let same = |id: &&Digest| lists(manifests, id, &model.files);
                    if let Some(id) = unlisted.iter().find(same) {
                        renamed.insert(model.id, *id);
                    }
                    let repaired = self.repair && renamed.contains_key(&model.id);
                    self.add(Finding::MissingManifest, path, Some(model.id), &[model], repaired);
                }
                continue;
            };
            if !lists(manifests, &model.id, &model.files) {
                relisted.push(model.id);
                self.add(Finding::FilesDiffer, path, Some(model.id), &[], self.repair);
            }
            for (digest, expected) in files {
                let blob = self.inner.layout.by_digest(Area::Blobs, digest);
                if blob.symlink_metadata().is_err() && self.still_listed(&model.id)? {
                    let finding = Finding::MissingBlob { expected: *expected };
                    self.add(finding, blob, Some(*digest), &[model], false);
                }
            }
        }
        for id in unlisted {
            let path = self.inner.layout.by_digest(Area::Manifests, &id);
            // One that is being stored or removed right now is none.
            let there = path.symlink_metadata().is_ok();
            if there && self.inner.snapshot()?.by_id(&id).is_none() {
                let repaired = self.repair && renamed.values().any(|taken| *taken == id);
                self.add(Finding::Unlisted, path, Some(id), &[], repaired);
            }
        }
        if self.repair && !(renamed.is_empty() && relisted.is_empty()) {
            self.inner.change_index(|index| {
                put_right(index, &renamed, &relisted, manifests);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn blobs(
        &mut self,
        manifests: &Manifests,
        progress: &mut dyn FnMut(FsckProgress),
    ) -> Result<(), StoreError> {
        let mut expected: HashMap<Digest, u64> = HashMap::new();
        for (digest, size) in manifests.values().flatten() {
            expected.entry(*digest).or_insert(*size);
        }
        let entries = self.inner.entries(Area::Blobs)?;
        let total = entries.iter().map(|entry| entry.found.len()).fold(0, u64::saturating_add);
        let mut done: u64 = 0;
        for entry in entries {
            done = done.saturating_add(entry.found.len());
            // Other programs' unfinished downloads are theirs.
            if entry.is_incomplete() {
                continue;
            }
            let Some(digest) = self.is_ours(&entry) else { continue };
            match hash_file(&entry.path) {
                Ok((found, bytes)) => {
                    self.report.blobs = self.report.blobs.saturating_add(1);
                    self.report.bytes = self.report.bytes.saturating_add(bytes);
                    let promised = expected.get(&digest).copied().unwrap_or(bytes);
                    if promised != bytes {
                        let finding = Finding::WrongSize { expected: promised, found: bytes };
                        // A manifest that lies about a good blob is no reason to remove it.
                        match found == digest {
                            true => self.problem(finding, &entry, false),
                            false => self.remove(finding, &entry),
                        }
                    } else if found != digest {
                        self.remove(Finding::Corrupt { found }, &entry);
                    }
                }
                Err(_) if entry.path.symlink_metadata().is_err() => {}
                Err(error) => self.problem(Finding::Unreadable(error.to_string()), &entry, false),
            }
            progress(FsckProgress { digest, done, total });
        }
        Ok(())
    }

    /// The digest of a regular file of this user; anything else is a problem.
    fn is_ours(&mut self, entry: &Entry) -> Option<Digest> {
        let Some(digest) = entry.digest else {
            let why = "its name is no digest".to_owned();
            self.problem(Finding::Foreign(why), entry, false);
            return None;
        };
        if !entry.found.is_file() {
            let why = "it is no regular file".to_owned();
            match entry.found.is_dir() {
                // Whatever somebody put there is not ours to delete.
                true => self.problem(Finding::Foreign(why), entry, false),
                false => self.remove(Finding::Foreign(why), entry),
            }
            return None;
        }
        let user = rustix::process::geteuid().as_raw();
        if entry.found.uid() != user {
            let why = format!("it belongs to user {}, not to user {user}", entry.found.uid());
            self.problem(Finding::Foreign(why), entry, false);
        }
        let mode = entry.found.mode() & 0o7777;
        if mode & 0o022 != 0 {
            let narrowed = std::os::unix::fs::PermissionsExt::from_mode(mode & !0o022);
            let repaired = self.repair && std::fs::set_permissions(&entry.path, narrowed).is_ok();
            let why = format!("others may write it (mode {mode:o})");
            self.problem(Finding::Foreign(why), entry, repaired);
        }
        Some(digest)
    }

    fn still_listed(&self, id: &Digest) -> Result<bool, StoreError> {
        Ok(self.inner.snapshot()?.by_id(id).is_some())
    }

    /// Reports a file and, when asked to repair, removes it.
    fn remove(&mut self, finding: Finding, entry: &Entry) {
        let removed = match self.repair {
            true => self.inner.quarantine(&entry.path, &entry.found),
            false => Ok(false),
        };
        let removed = removed.unwrap_or_else(|error| {
            tracing::warn!(path = %entry.path.display(), %error, "a damaged file stays");
            false
        });
        self.problem(finding, entry, removed);
    }

    fn problem(&mut self, finding: Finding, entry: &Entry, repaired: bool) {
        let needs = |model: &&Arc<StoredModel>| {
            entry.digest.is_some_and(|d| model.id == d || model.files.contains(&d))
        };
        let models: Vec<Arc<StoredModel>> =
            self.index.models.iter().filter(needs).cloned().collect();
        let models: Vec<&Arc<StoredModel>> = models.iter().collect();
        self.add(finding, entry.path.clone(), entry.digest, &models, repaired);
    }

    fn add(
        &mut self,
        finding: Finding,
        path: PathBuf,
        digest: Option<Digest>,
        models: &[&Arc<StoredModel>],
        repaired: bool,
    ) {
        let root = &self.inner.layout.root;
        let path = path.strip_prefix(root).map(PathBuf::from).unwrap_or(path);
        let models = models.iter().map(|model| FsckModel::of(model)).collect();
        self.report.problems.push(Problem { finding, path, digest, models, repaired });
    }
}

/// Whether the manifest names exactly these files, in whatever order.
fn lists(manifests: &Manifests, id: &Digest, files: &[Digest]) -> bool {
    let Some(promised) = manifests.get(id) else { return false };
    let mut promised: Vec<Digest> = promised.iter().map(|(digest, _)| *digest).collect();
    let mut files = files.to_vec();
    promised.sort_unstable();
    files.sort_unstable();
    files.dedup();
    promised == files
}

fn put_right(
    index: &mut IndexFile,
    renamed: &HashMap<Digest, Digest>,
    relisted: &[Digest],
    manifests: &Manifests,
) {
    let listed: Vec<Option<Digest>> = index.models.iter().map(|record| record.digest()).collect();
    for record in &mut index.models {
        let Some(id) = record.digest() else { continue };
        if let Some(right) = renamed.get(&id).filter(|right| !listed.contains(&Some(**right))) {
            record.id = right.to_string();
        }
        if let Some(files) = manifests.get(&id).filter(|_| relisted.contains(&id)) {
            record.files = files.iter().map(|(digest, _)| digest.to_string()).collect();
        }
    }
}
