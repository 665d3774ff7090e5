//! A look at a store from outside: what its own files say, and whether what they name is there.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::Digest;

use super::adopted::{self, Adopted};
use super::fsck_report::{AdoptedFault, Finding};
use super::index::{IndexBytes, Snapshot};
use super::ingest::{MAX_MANIFEST_BYTES, ManifestFiles};
use super::layout::{Area, Layout};
use super::open::{check_version, read_small, read_version};
use super::{BlobState, StoreError, StoredModel};

/// The most entries of directories that are looked at.
const MAX_ENTRIES: usize = 100_000;

/// What a look at a store shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Glance {
    /// Models that the index names.
    pub models: usize,
    /// What is wrong.
    pub flaws: Vec<Flaw>,
    /// Whether everything was looked at within the time.
    pub complete: bool,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub kind: FlawKind,
    /// The names of the model that it concerns; empty where that has none.
    pub models: Vec<String>,
    /// The short id of the model that it concerns, if it concerns one.
    pub id: Option<String>,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlawKind {
    /// The directory is not a model store.
    NotAStore,
    /// `layout.json` says a version that this program does not know.
    UnknownLayout(String),
    /// `layout.json` is not there, or says nothing.
    NoLayout,
    /// It belongs to another user.
    ForeignOwner(u32),
    /// What a check of the whole store would say.
    Found(Finding),
}

/// Looks at the store in `root`, for about `patience` at most. Takes no lock, changes nothing and
/// reads no blob. `None`: there is no such directory.
pub fn glance(root: &Path, patience: Duration) -> Option<Glance> {
    let root = root.canonicalize().ok().filter(|root| root.is_dir())?;
    let mut look = Look {
        layout: Layout { root },
        until: Instant::now().checked_add(patience),
        entries: 0,
        glance: Glance { complete: true, ..Glance::default() },
    };
    look.all();
    Some(look.glance)
}

struct Look {
    layout: Layout,
    until: Option<Instant>,
    entries: usize,
    glance: Glance,
}

impl Look {
    fn all(&mut self) {
        if !self.version() {
            return;
        }
        for file in [self.layout.version_file(), self.layout.index_file()] {
            self.owner(&file);
        }
        let (adopted, index) = (self.adopted(), self.index());
        self.models(&index.map(|index| index.models).unwrap_or_default(), &adopted);
        if self.is_out_of_time() {
            return;
        }
        let areas = [Area::Blobs, Area::Manifests, Area::Bundles].map(|a| self.layout.area(a));
        for dir in areas.into_iter().chain([self.layout.ingest()]) {
            self.directory(&dir);
        }
    }

    /// What concerns no model alone.
    fn add(&mut self, path: PathBuf, kind: FlawKind) {
        self.glance.flaws.push(Flaw { path, kind, models: Vec::new(), id: None });
    }

    fn add_of(&mut self, model: &StoredModel, path: PathBuf, finding: Finding) {
        let (models, id) = (model.tags.clone(), Some(model.id.short()));
        self.glance.flaws.push(Flaw { path, kind: FlawKind::Found(finding), models, id });
    }

    fn unreadable(&mut self, path: PathBuf, error: impl ToString) {
        self.add(path, FlawKind::Found(Finding::Unreadable(error.to_string())));
    }

    fn is_out_of_time(&mut self) -> bool {
        let late = self.until.is_some_and(|until| Instant::now() > until);
        if late || self.entries > MAX_ENTRIES {
            self.glance.complete = false;
        }
        !self.glance.complete
    }

    /// Whether it is a store that can be understood.
    fn version(&mut self) -> bool {
        let path = self.layout.version_file();
        match check_version(&self.layout) {
            Ok(()) if read_version(&path).is_none() => {
                // An empty directory is a store that has not begun.
                if self.layout.index_file().exists() || path.symlink_metadata().is_ok() {
                    self.add(path, FlawKind::NoLayout);
                }
                true
            }
            Ok(()) => true,
            Err(StoreError::UnknownLayout { version, .. }) => {
                self.add(path, FlawKind::UnknownLayout(version));
                false
            }
            Err(StoreError::NotAStore(root)) => {
                self.add(root, FlawKind::NotAStore);
                false
            }
            Err(error) => {
                self.unreadable(self.layout.root.clone(), error);
                false
            }
        }
    }

    fn owner(&mut self, path: &Path) {
        let Ok(found) = path.symlink_metadata() else { return };
        if found.uid() != rustix::process::geteuid().as_raw() {
            self.add(path.to_owned(), FlawKind::ForeignOwner(found.uid()));
        }
    }

    fn adopted(&mut self) -> BTreeMap<Digest, Adopted> {
        adopted::read_adopted(&self.layout).unwrap_or_else(|error| {
            self.unreadable(self.layout.adopted_file(), error);
            BTreeMap::new()
        })
    }

    fn index(&mut self) -> Option<Snapshot> {
        let path = self.layout.index_file();
        let damage = match IndexBytes::read(&path) {
            Ok(IndexBytes::Good(index)) => return Some(Snapshot::of(&index)),
            Ok(IndexBytes::Damaged(why, _)) => why,
            // A store in which nothing was ever kept has none.
            Ok(IndexBytes::Absent) => {
                let manifests = std::fs::read_dir(self.layout.area(Area::Manifests));
                drop(manifests.into_iter().flatten().next()?);
                "it is not there".to_owned()
            }
            Err(error) => {
                self.unreadable(path, error);
                return None;
            }
        };
        self.add(path, FlawKind::Found(Finding::DamagedIndex(damage)));
        None
    }

    /// What an index and a list of files that were taken where they lie say. Whoever removes or
    /// imports a model meanwhile changes both: what seems wrong is looked at again as they say it
    /// then, the index first, which is written last.
    fn models(&mut self, models: &[Arc<StoredModel>], adopted: &BTreeMap<Digest, Adopted>) {
        self.glance.models = models.len();
        let before = self.glance.flaws.len();
        let mut suspects = Vec::new();
        for model in models {
            if self.is_out_of_time() {
                break;
            }
            let so_far = self.glance.flaws.len();
            self.model(model, adopted);
            if self.glance.flaws.len() > so_far {
                suspects.push(&model.id);
            }
        }
        if suspects.is_empty() {
            return;
        }
        let Ok(IndexBytes::Good(index)) = IndexBytes::read(&self.layout.index_file()) else {
            return;
        };
        let Ok(adopted) = adopted::read_adopted(&self.layout) else { return };
        let index = Snapshot::of(&index);
        self.glance.models = index.models.len();
        self.glance.flaws.truncate(before);
        for model in suspects.into_iter().filter_map(|id| index.by_id(id)) {
            self.model(model, &adopted);
        }
    }

    /// The manifest, which is small, and the sizes of what it names.
    fn model(&mut self, model: &StoredModel, adopted: &BTreeMap<Digest, Adopted>) {
        let path = self.layout.by_digest(Area::Manifests, &model.id);
        let bytes = match read_small(&path, MAX_MANIFEST_BYTES) {
            Ok(bytes) => bytes,
            Err(_) if path.symlink_metadata().is_err() => {
                return self.add_of(model, path, Finding::MissingManifest);
            }
            Err(error) => {
                let finding = Finding::Unreadable(error.to_string());
                return self.add_of(model, path, finding);
            }
        };
        let files = match (Digest::of(&bytes), ManifestFiles::read(&bytes)) {
            (found, _) if found != model.id => Err(Finding::Corrupt { found }),
            (_, Err(error)) => Err(Finding::BadManifest(error.to_string())),
            (_, Ok(files)) => Ok(files),
        };
        let files = match files {
            Ok(files) => files,
            Err(finding) => return self.add_of(model, path, finding),
        };
        for (digest, expected) in files {
            let path = self.layout.by_digest(Area::Blobs, &digest);
            let finding = match adopted::state_of(&self.layout, adopted, &digest) {
                BlobState::Present(found) if found == expected => continue,
                BlobState::Present(found) => Finding::WrongSize { expected, found },
                BlobState::Missing => Finding::MissingBlob { expected },
                BlobState::Changed { path: file, why } => {
                    Finding::Adopted { file, what: AdoptedFault::Unreadable(why) }
                }
            };
            self.add_of(model, path, finding);
        }
    }

    /// Whether it can be read, and whose files are in it.
    fn directory(&mut self, dir: &Path) {
        self.owner(dir);
        let listed = match std::fs::read_dir(dir) {
            Ok(listed) => listed,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return,
            Err(e) => return self.unreadable(dir.to_owned(), e),
        };
        for entry in listed.flatten() {
            self.entries = self.entries.saturating_add(1);
            if self.is_out_of_time() {
                return;
            }
            self.owner(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Home, put_model};
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn flaws(home: &Home) -> Vec<FlawKind> {
        let glance = glance(&home.root(), LONG).unwrap();
        assert!(glance.complete);
        glance.flaws.into_iter().map(|flaw| flaw.kind).collect()
    }

    #[test]
    fn a_sound_store_shows_nothing_and_is_left_as_it_is() {
        let home = Home::new();
        assert_eq!(flaws(&home), []);
        put_model(&home.store, b"weights", b"config", &["a/x"]);
        let index = home.root().join("models.json");
        let before = index.metadata().unwrap().modified().unwrap();
        let shown = glance(&home.root(), LONG).unwrap();
        assert_eq!(shown, Glance { models: 1, flaws: Vec::new(), complete: true });
        assert_eq!(index.metadata().unwrap().modified().unwrap(), before);
        assert_eq!(glance(&home.root().join("nowhere"), LONG), None);
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(glance(empty.path(), LONG).unwrap().flaws, []);
        assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
    }

    #[test]
    fn its_own_files_are_judged() {
        let home = Home::new();
        put_model(&home.store, b"weights", b"config", &["a/x"]);
        let (layout, index) = (home.root().join("layout.json"), home.root().join("models.json"));
        std::fs::write(&layout, "{").unwrap();
        assert_eq!(flaws(&home), [FlawKind::NoLayout]);
        std::fs::remove_file(&layout).unwrap();
        assert_eq!(flaws(&home), [FlawKind::NoLayout]);
        std::fs::write(&layout, r#"{"version": "2.0.0"}"#).unwrap();
        assert_eq!(flaws(&home), [FlawKind::UnknownLayout("2.0.0".into())]);
        std::fs::write(&layout, r#"{"version": "1.0.0"}"#).unwrap();
        std::fs::write(&index, "{\"models\": [").unwrap();
        assert!(matches!(&flaws(&home)[..], [FlawKind::Found(Finding::DamagedIndex(_))]));
        std::fs::remove_file(&index).unwrap();
        assert!(matches!(&flaws(&home)[..], [FlawKind::Found(Finding::DamagedIndex(_))]));
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("letter.txt"), "").unwrap();
        let shown = glance(other.path(), LONG).unwrap().flaws;
        assert_eq!(shown[0].kind, FlawKind::NotAStore);
    }

    #[test]
    fn what_its_models_need_is_there_or_not() {
        let home = Home::new();
        let id = put_model(&home.store, b"weights", b"config", &["a/x", "a/y"]);
        let blob = home.store.blob_path(&Digest::of(b"weights"));
        let rewrite = |path: &Path, bytes: Option<&[u8]>| {
            std::fs::remove_file(path).unwrap();
            if let Some(bytes) = bytes {
                std::fs::write(path, bytes).unwrap();
            }
        };
        rewrite(&blob, Some(b"weight"));
        let shown = glance(&home.root(), LONG).unwrap().flaws;
        assert_eq!(shown[0].kind, FlawKind::Found(Finding::WrongSize { expected: 7, found: 6 }));
        assert_eq!(shown[0].models.len(), 2, "{shown:?}");
        rewrite(&blob, None);
        assert_eq!(flaws(&home), [FlawKind::Found(Finding::MissingBlob { expected: 7 })]);
        let manifest = home.root().join("manifests/sha256").join(id.hex());
        rewrite(&manifest, Some(b"{}"));
        assert!(matches!(flaws(&home)[..], [FlawKind::Found(Finding::Corrupt { .. })]));
        rewrite(&manifest, None);
        assert_eq!(flaws(&home), [FlawKind::Found(Finding::MissingManifest)]);
        std::fs::write(home.root().join("adopted.json"), "[").unwrap();
        assert!(matches!(flaws(&home)[0], FlawKind::Found(Finding::Unreadable(_))));
    }

    #[test]
    fn a_model_that_goes_during_the_look_is_no_fault() {
        let home = Home::new();
        put_model(&home.store, b"weights", b"config", &["a/x"]);
        put_model(&home.store, b"others", b"config2", &["a/y"]);
        let mut look = Look {
            layout: Layout { root: home.root() },
            until: None,
            entries: 0,
            glance: Glance { complete: true, ..Glance::default() },
        };
        let models = look.index().unwrap().models;
        home.store.remove("a/x", true).unwrap();
        std::fs::remove_file(home.store.blob_path(&Digest::of(b"others"))).unwrap();
        look.models(&models, &BTreeMap::new());
        let Glance { models, flaws, .. } = look.glance;
        assert_eq!(models, 1);
        let kinds: Vec<_> = flaws.iter().map(|flaw| (&flaw.kind, &flaw.models[0])).collect();
        let missing = FlawKind::Found(Finding::MissingBlob { expected: 6 });
        assert_eq!(kinds, [(&missing, &"docker.io/a/y:latest".to_owned())]);
    }

    #[test]
    fn a_look_has_an_end() {
        let home = Home::new();
        put_model(&home.store, b"weights", b"config", &["a/x"]);
        assert!(!glance(&home.root(), Duration::ZERO).unwrap().complete);
    }
}
