use std::collections::{BTreeMap, HashMap};
use std::fs::Metadata;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use crate::domain::Digest;

use super::adopted::Adopted;
use super::fsck_progress::Watch;
use super::fsck_report::{Finding, FsckModel, FsckProgress, FsckReport, Problem};
use super::index::{IndexBytes, IndexFile, Snapshot, Stamp};
use super::ingest::{MAX_MANIFEST_BYTES, ManifestFiles};
use super::layout::Area;
use super::open::{Inner, read_small};
use super::survey::Entry;
use super::{BlobState, Store, StoreError, StoredModel};

/// What the manifests promise.
type Manifests = BTreeMap<Digest, Vec<(Digest, u64)>>;

pub(super) struct Check<'a> {
    pub(super) inner: &'a Arc<Inner>,
    index: Snapshot,
    pub(super) repair: bool,
    pub(super) report: FsckReport,
}

impl Store {
    /// Reads every byte of the store and compares it with what names and manifests promise. With
    /// `repair`, damaged files are removed, so that a pull gets them again, and the index is put
    /// right. Readers and writers go on meanwhile; the lock is held only where something changes.
    /// Files of other programs are read and never changed. `progress` may break it off: the
    /// report is then of what was read so far.
    ///
    /// # Errors
    /// [`StoreError::Io`] where a directory cannot be read; what is wrong with a single file is a
    /// problem in the report.
    pub fn fsck(
        &self,
        progress: &mut dyn FnMut(FsckProgress) -> ControlFlow<()>,
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
            let Some(id) = self.is_ours(&entry, &BTreeMap::new()) else { continue };
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
                // What is there in any other form is looked at with the blobs.
                let missing = self.inner.blob_state(digest) == BlobState::Missing
                    && blob.symlink_metadata().is_err();
                if missing && self.still_listed(&model.id)? {
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
        progress: &mut dyn FnMut(FsckProgress) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut expected: HashMap<Digest, u64> = HashMap::new();
        for (digest, size) in manifests.values().flatten() {
            expected.entry(*digest).or_insert(*size);
        }
        let adopted = self.inner.adopted();
        let references = adopted
            .iter()
            .filter(|(digest, record)| record.is_reference && expected.contains_key(digest));
        let references: Vec<(&Digest, &Adopted)> = references.collect();
        let entries = self.inner.entries(Area::Blobs)?;
        let sizes = entries.iter().map(|entry| entry.found.len());
        let elsewhere = references.iter().map(|(_, record)| record.identity.size);
        let mut watch = Watch::new(sizes.chain(elsewhere).fold(0, u64::saturating_add), progress);
        for entry in entries {
            // Other programs' unfinished downloads are theirs.
            let digest = match entry.is_incomplete() {
                true => None,
                false => self.is_ours(&entry, &adopted),
            };
            if let Some(digest) = digest {
                let promised = expected.get(&digest).copied();
                self.blob(digest, promised, &entry, adopted.get(&digest), &mut watch);
            }
            watch.pass(digest, entry.found.len());
            if watch.is_stopped() {
                return Ok(());
            }
        }
        for (digest, record) in references {
            self.reference(*digest, record, &mut watch);
            watch.pass(Some(*digest), record.identity.size);
            if watch.is_stopped() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn blob(
        &mut self,
        digest: Digest,
        promised: Option<u64>,
        entry: &Entry,
        adopted: Option<&Adopted>,
        watch: &mut Watch<'_>,
    ) {
        match watch.hash(digest, &entry.path) {
            Ok((found, bytes)) => {
                self.count(bytes);
                let promised = promised.unwrap_or(bytes);
                if promised != bytes {
                    let finding = Finding::WrongSize { expected: promised, found: bytes };
                    // A manifest that lies about a good blob is no reason to remove it.
                    match found == digest {
                        true => self.problem(finding, entry, false),
                        false => self.remove(finding, entry),
                    }
                } else if found != digest {
                    self.remove(Finding::Corrupt { found }, entry);
                } else if let Some(record) = adopted.filter(|record| !record.is_reference) {
                    self.still_adopted(digest, record, entry);
                }
            }
            Err(_) if watch.is_stopped() || entry.path.symlink_metadata().is_err() => {}
            Err(error) => self.problem(Finding::Unreadable(error.to_string()), entry, false),
        }
    }

    /// The digest of a regular file of this user; anything else is a problem.
    fn is_ours(&mut self, entry: &Entry, adopted: &BTreeMap<Digest, Adopted>) -> Option<Digest> {
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
        // Whose it is and who may write it is the other program's choice; it is watched instead.
        if adopted.get(&digest).is_some_and(|record| record.is_linked(&entry.found)) {
            return Some(digest);
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
            true => self.inner.quarantine(&entry.path, &entry.found).and_then(|gone| {
                if let Some(digest) = entry.digest.filter(|_| gone) {
                    self.inner.forget_adopted(&[digest])?;
                }
                Ok(gone)
            }),
            false => Ok(false),
        };
        let removed = removed.unwrap_or_else(|error| {
            tracing::warn!(path = %entry.path.display(), %error, "a damaged file stays");
            false
        });
        self.problem(finding, entry, removed);
    }

    pub(super) fn problem(&mut self, finding: Finding, entry: &Entry, repaired: bool) {
        self.at(finding, entry.path.clone(), entry.digest, repaired);
    }

    /// Reports what hurts every model that needs this digest.
    pub(super) fn at(
        &mut self,
        finding: Finding,
        path: PathBuf,
        digest: Option<Digest>,
        repaired: bool,
    ) {
        let needs = |model: &&Arc<StoredModel>| {
            digest.is_some_and(|d| model.id == d || model.files.contains(&d))
        };
        let models: Vec<Arc<StoredModel>> =
            self.index.models.iter().filter(needs).cloned().collect();
        let models: Vec<&Arc<StoredModel>> = models.iter().collect();
        self.add(finding, path, digest, &models, repaired);
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
