use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::FlockOperation;
use serde::Serialize;

use super::adopted::{AdoptedCache, BlobState};
use super::durable::{self, create_new};
use super::index::{Snapshot, Stamp};
use super::layout::{Area, Layout};
use super::lease::Leases;
use super::survey::walk;
use super::{Lease, StoreError, sys};
use crate::domain::Digest;

const LAYOUT_VERSION: &str = "1.0.0";

/// A model store; cheap to clone. All methods block.
#[derive(Clone)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) layout: Layout,
    pub(super) leases: Leases,
    pub(super) cache: Mutex<Option<(Option<Stamp>, Arc<Snapshot>)>>,
    pub(super) adopted: Mutex<AdoptedCache>,
    lock: Mutex<File>,
    names: AtomicU64,
}

/// The right to change the index; held within and across processes until dropped.
pub(super) struct WriteGuard<'a> {
    file: MutexGuard<'a, File>,
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        if let Err(error) = rustix::fs::flock(&*self.file, FlockOperation::Unlock) {
            tracing::error!(%error, "the lock of the model store cannot be released");
        }
    }
}

#[derive(Serialize)]
struct LayoutFile {
    version: String,
}

impl Store {
    /// Opens the store in `root`, makes it where there is none, and removes what writers that
    /// died have left in `ingest/`.
    ///
    /// # Errors
    /// A directory that is not a store, belongs to somebody else, can be written by others or
    /// cannot be written by us.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        durable::make_dirs(root).map_err(unwritable("create", root, root))?;
        // The user may have put the store behind a link; from here on no link is followed.
        let root = root.canonicalize().map_err(StoreError::io("find", root))?;
        check_owner(&root)?;
        let layout = Layout { root };
        check_version(&layout)?;
        for dir in [
            layout.area(Area::Blobs),
            layout.area(Area::Manifests),
            layout.area(Area::Bundles),
            layout.ingest(),
        ] {
            match dir.symlink_metadata() {
                Ok(found) if found.is_dir() => continue,
                Ok(_) => return Err(StoreError::NotAStore(layout.root)),
                Err(_) => {}
            }
            durable::make_dirs(&dir).map_err(unwritable("create", &dir, &layout.root))?;
        }
        let lock = layout.lock_file();
        let lock = open_lock(&lock).map_err(unwritable("write", &lock, &layout.root))?;
        let inner = Inner {
            layout,
            leases: Leases::default(),
            cache: Mutex::new(None),
            adopted: Mutex::new(None),
            lock: Mutex::new(lock),
            names: AtomicU64::new(0),
        };
        inner.write_version_file()?;
        inner.clean_ingest()?;
        let store = Self { inner: Arc::new(inner) };
        store.snapshot()?;
        Ok(store)
    }

    /// Where it lies, links resolved.
    pub fn root(&self) -> &Path {
        &self.inner.layout.root
    }

    /// Where a blob lies, which may be in another program's file; whether it does is another
    /// question.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        match self.inner.adopted().get(digest) {
            Some(adopted) if adopted.is_reference => adopted.path.clone(),
            _ => self.inner.layout.by_digest(Area::Blobs, digest),
        }
    }

    /// Where the directory of links lies that a sharded model is run from.
    pub fn bundle_path(&self, id: &Digest) -> PathBuf {
        self.inner.layout.by_digest(Area::Bundles, id)
    }

    /// A fresh name in `ingest/` for something that will be renamed into its place.
    pub fn temporary_path(&self, what: &str) -> PathBuf {
        self.inner.temporary_path(what)
    }

    /// Opens a blob for reading. Links are not followed.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open_blob(&self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.blob_path(digest);
        durable::open_file(&path).map_err(StoreError::io("open", &path))
    }

    /// The bytes of a blob that must be small.
    ///
    /// # Errors
    /// [`StoreError::Io`], also for one of more than `max` bytes.
    pub fn read_blob(&self, digest: &Digest, max: u64) -> Result<Vec<u8>, StoreError> {
        read_small(&self.blob_path(digest), max)
    }

    /// The size of a blob in bytes; `None` if it is not there as a regular file, or is one of
    /// another program's that changed since it was hashed.
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        match self.blob_state(digest) {
            BlobState::Present(size) => Some(size),
            BlobState::Missing | BlobState::Changed { .. } => None,
        }
    }

    /// The raw manifest of a model.
    ///
    /// # Errors
    /// [`StoreError::Io`]; [`StoreError::DigestMismatch`] where it was changed on disk.
    pub fn read_manifest(&self, id: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.inner.layout.by_digest(Area::Manifests, id);
        let bytes = read_small(&path, super::ingest::MAX_MANIFEST_BYTES)?;
        match Digest::of(&bytes) {
            found if found == *id => Ok(bytes),
            found => Err(StoreError::DigestMismatch { expected: *id, found }),
        }
    }

    /// When a model came into this store.
    pub fn added(&self, id: &Digest) -> Option<std::time::SystemTime> {
        let path = self.inner.layout.by_digest(Area::Manifests, id);
        path.symlink_metadata().and_then(|found| found.modified()).ok()
    }

    /// Whether any lease holds this model or blob.
    pub fn is_leased(&self, digest: &Digest) -> bool {
        self.inner.leases.is_leased(digest)
    }

    /// Keeps a model's files on disk for as long as the answer lives.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn lease(&self, id: &Digest) -> Result<Lease, StoreError> {
        // First the lease, then the look: a removal in between must see one of the two.
        let files = |store: &Self| -> Result<Vec<Digest>, StoreError> {
            let snapshot = store.snapshot()?;
            let model = snapshot.by_id(id).ok_or_else(|| StoreError::NotFound(id.to_string()))?;
            Ok(model.files.iter().copied().chain([*id]).collect())
        };
        let lease = Lease::new(&self.inner, files(self)?);
        files(self)?;
        Ok(lease)
    }
}

impl Inner {
    pub(super) fn temporary_path(&self, what: &str) -> PathBuf {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        let nanos = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.subsec_nanos());
        let name = format!("{}-{number}-{nanos}.{what}", std::process::id());
        self.layout.ingest().join(name)
    }

    pub(super) fn write_lock(&self) -> Result<WriteGuard<'_>, StoreError> {
        let file = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match rustix::fs::flock(&*file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(WriteGuard { file }),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => {
                    return Err(StoreError::io("lock", self.layout.lock_file())(e.into()));
                }
            }
        }
    }

    /// Creates a file in `ingest/` that [`Inner::clean_ingest`] of any process leaves alone while
    /// it is open.
    pub(super) fn create_ingest(&self) -> Result<(PathBuf, File), StoreError> {
        let path = self.temporary_path("part");
        let _guard = self.write_lock()?;
        let file = create_new(&path).map_err(|e| durable::disk_error("create", &path, 0, e))?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|e| StoreError::io("lock", &path)(e.into()))?;
        Ok((path, file))
    }

    fn write_version_file(&self) -> Result<(), StoreError> {
        let path = self.layout.version_file();
        let _guard = self.write_lock()?;
        let found = path.symlink_metadata();
        if found.as_ref().is_ok_and(|found| found.is_file()) && read_version(&path).is_some() {
            return Ok(());
        }
        if found.is_ok() {
            tracing::warn!("layout.json is damaged; it is written anew");
            // Over a file the new one is renamed; a directory or a link has to go first.
            let aside = self.temporary_path("gone");
            sys::rename(&path, &aside).map_err(StoreError::io("set aside", &path))?;
        }
        let content = LayoutFile { version: LAYOUT_VERSION.to_owned() };
        let bytes = serde_json::to_vec_pretty(&content).unwrap_or_default();
        durable::replace(&self.temporary_path("layout"), &path, &bytes)
    }

    /// Removes what nobody holds open any more: its writer died. Interrupted downloads stay for a
    /// while, see [`Inner::keeps_partial`].
    fn clean_ingest(&self) -> Result<(), StoreError> {
        let dir = self.layout.ingest();
        let _guard = self.write_lock()?;
        let entries = std::fs::read_dir(&dir).map_err(StoreError::io("read", &dir))?;
        for entry in entries.flatten() {
            let path = entry.path();
            if self.keeps_partial(&path) {
                continue;
            }
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed = if is_dir {
                sys::remove_any(&path)
            } else if is_abandoned(&path) {
                sys::remove_file(&path)
            } else {
                continue;
            };
            match removed {
                Ok(()) => tracing::info!(path = %path.display(), "removed an abandoned download"),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "an abandoned file stays");
                }
            }
        }
        Ok(())
    }
}

fn is_abandoned(path: &Path) -> bool {
    match durable::open_file(path) {
        Ok(file) => rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok(),
        // Links and devices have no business here.
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

pub(super) fn read_small(path: &Path, max: u64) -> Result<Vec<u8>, StoreError> {
    let bytes = read_up_to(path, max).map_err(StoreError::io("read", path))?;
    if bytes.len() as u64 > max {
        let error = io::Error::new(io::ErrorKind::FileTooLarge, format!("over {max} bytes"));
        return Err(StoreError::io("read", path)(error));
    }
    Ok(bytes)
}

/// At most one byte more than `max`.
pub(super) fn read_up_to(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = durable::open_file(path)?;
    let expected = file.metadata()?.len().min(max);
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or_default());
    sys::read_to_end(path, io::Read::take(file, max.saturating_add(1)), &mut bytes)?;
    Ok(bytes)
}

/// More than any layout.json has.
const MAX_LAYOUT: u64 = 64 << 10;

fn check_owner(root: &Path) -> Result<(), StoreError> {
    let found = root.metadata().map_err(StoreError::io("look at", root))?;
    let user = rustix::process::geteuid().as_raw();
    if found.uid() != user {
        return Err(StoreError::ForeignOwner { root: root.to_owned(), owner: found.uid(), user });
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(StoreError::Writable { root: root.to_owned(), mode });
    }
    Ok(())
}

pub(super) fn check_version(layout: &Layout) -> Result<(), StoreError> {
    let path = layout.version_file();
    let mut problem = StoreError::NotAStore(layout.root.clone());
    let started = match path.symlink_metadata() {
        Ok(_) => match read_version(&path) {
            Some(version) if version == "1" || version.starts_with("1.") => return Ok(()),
            Some(version) => {
                return Err(StoreError::UnknownLayout { root: layout.root.clone(), version });
            }
            None => {
                problem = match read_small(&path, MAX_LAYOUT) {
                    Err(StoreError::Io { source, .. }) => {
                        let user = rustix::process::geteuid().as_raw();
                        StoreError::UnreadableLayout { path: path.clone(), user, source }
                    }
                    Ok(_) | Err(_) => StoreError::DamagedLayout(path.clone()),
                };
                false
            }
        },
        Err(_) => {
            // A start that was interrupted before it wrote layout.json left only what is ours.
            let ours = ["modeld.lock", "ingest", "blobs", "manifests", "bundles"];
            let entries =
                || std::fs::read_dir(&layout.root).map_err(StoreError::io("read", &layout.root));
            let foreign = entries()?.any(|entry| match entry {
                Ok(entry) => !ours.iter().any(|name| entry.file_name() == *name),
                Err(_) => true,
            });
            let mut files: usize = 0;
            walk(&layout.root, 0, &mut |_, _| files = files.saturating_add(1));
            let begun = files == 0 || layout.lock_file().exists() || layout.ingest().exists();
            (begun && !foreign) || entries()?.next().is_none()
        }
    };
    // No other program's directory has both of these; such a store has lost one small file.
    let is_store = layout.area(Area::Blobs).is_dir() && layout.area(Area::Manifests).is_dir();
    if started || is_store {
        return Ok(());
    }
    Err(problem)
}

/// What layout.json says; `None` for one that says nothing.
pub(super) fn read_version(path: &Path) -> Option<String> {
    let file: serde_json::Value =
        serde_json::from_slice(&read_small(path, MAX_LAYOUT).ok()?).ok()?;
    match file.get("version")? {
        serde_json::Value::String(version) => Some(version.chars().take(40).collect()),
        serde_json::Value::Number(version) => Some(version.to_string()),
        _ => None,
    }
}

/// For `map_err`: who may not write what, where that is the reason.
fn unwritable(
    action: &'static str,
    path: &Path,
    root: &Path,
) -> impl FnOnce(io::Error) -> StoreError {
    let (path, root) = (path.to_owned(), root.to_owned());
    move |source| match source.kind() {
        io::ErrorKind::PermissionDenied => {
            let user = rustix::process::geteuid().as_raw();
            StoreError::NotWritable { root, user, source }
        }
        _ => durable::disk_error(action, &path, 0, source),
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(path)
}
