use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;

use crate::domain::Digest;

use super::index::Snapshot;
use super::layout::Area;
use super::open::Inner;
use super::survey::{Entry, allocated};
use super::{Store, StoreError, durable, sys};

/// Younger files may belong to another process that has not named them yet.
const YOUNG: Duration = Duration::from_secs(60);
/// For how long a damaged index is kept, in case that somebody misses something.
const KEEP_DAMAGED: Duration = Duration::from_secs(7 * 24 * 3600);

/// What to remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneOptions {
    /// What no model needs and no lease holds, once it is older than a minute; what is noted about
    /// other programs' files that no model needs, never the files; old copies of damaged indexes.
    pub orphans: bool,
    /// Interrupted downloads that nobody wrote to for this long.
    pub partials_older_than: Option<Duration>,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// What, in words with its digest or name, and what it gives back. Bytes.
    pub removed: Vec<(String, u64)>,
    /// All of it.
    pub bytes: u64,
}

/// One thing that may go.
struct Candidate {
    what: String,
    path: PathBuf,
    bytes: u64,
    /// Under which digest a lease may hold it.
    digest: Option<Digest>,
    /// Held until it is gone, so that no writer takes it up.
    _lock: Option<File>,
}

impl Store {
    /// Removes what nobody needs. What a lease holds or a writer is writing stays.
    ///
    /// # Errors
    /// [`StoreError::Io`] where a directory or the index cannot be read. A file that cannot be
    /// removed is logged and left out of the answer.
    pub fn prune(&self, options: &PruneOptions) -> Result<Pruned, StoreError> {
        self.inner.prune(options, YOUNG, SystemTime::now())
    }

    /// Removes every model, every download and everything that belongs to none; what a lease
    /// holds goes when it ends, and what a writer is writing stays. The store remains one.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::DiskFull`]: nothing is removed then, or not all.
    pub fn purge(&self) -> Result<Pruned, StoreError> {
        self.inner.change_index(|index| {
            index.models.clear();
            let mut leases = self.inner.leases.lock();
            let held: Vec<Digest> = leases.counts.keys().copied().collect();
            leases.doomed.extend(held);
            Ok(())
        })?;
        let all = PruneOptions {
            orphans: true,
            partials_older_than: Some(Duration::ZERO),
            dry_run: false,
        };
        let pruned = self.inner.prune(&all, Duration::ZERO, SystemTime::now());
        // A lease that ended in between left its files to this.
        self.inner.sweep_logged();
        pruned
    }
}

impl Inner {
    pub(super) fn prune(
        &self,
        options: &PruneOptions,
        young: Duration,
        now: SystemTime,
    ) -> Result<Pruned, StoreError> {
        let guard = self.write_lock()?;
        let index = Snapshot::of(&self.load_or_rebuild()?);
        let mut candidates = Vec::new();
        if options.orphans {
            candidates.extend(self.orphans(&index, young, now)?);
            candidates.extend(self.debris(young, now)?);
        }
        if let Some(age) = options.partials_older_than {
            candidates.extend(self.stale_partials(age, now)?);
        }
        let mut gone = Vec::new();
        let mut pruned = Pruned::default();
        let mut forgotten = Vec::new();
        let leases = self.leases.lock();
        if options.orphans {
            for (digest, path) in self.idle_references(&index, young, now) {
                if !leases.counts.contains_key(&digest) {
                    pruned.removed.push((format!("reference {digest} to {}", path.display()), 0));
                    forgotten.push(digest);
                }
            }
        }
        for candidate in candidates {
            if candidate.digest.is_some_and(|digest| leases.counts.contains_key(&digest)) {
                continue;
            }
            if !options.dry_run {
                let aside = self.temporary_path("gone");
                if let Err(error) = sys::rename(&candidate.path, &aside) {
                    tracing::warn!(path = %candidate.path.display(), %error, "it stays");
                    continue;
                }
                gone.push(aside);
            }
            forgotten.extend(candidate.digest);
            pruned.bytes = pruned.bytes.saturating_add(candidate.bytes);
            pruned.removed.push((candidate.what, candidate.bytes));
        }
        // Deleting takes a while, and every request takes a lease. What a crash leaves here the
        // next start removes.
        drop(leases);
        let known = self.adopted();
        forgotten.retain(|digest| known.contains_key(digest));
        if !options.dry_run
            && let Err(error) = self.forget_adopted_within(&guard, &forgotten)
        {
            tracing::warn!(%error, "adopted.json still names removed blobs");
        }
        drop(guard);
        for path in gone {
            if let Err(error) = sys::remove_any(&path) {
                tracing::warn!(path = %path.display(), %error, "a removed file stays on disk");
            }
        }
        Ok(pruned)
    }

    /// What no model of the index needs.
    fn orphans(
        &self,
        index: &Snapshot,
        young: Duration,
        now: SystemTime,
    ) -> Result<Vec<Candidate>, StoreError> {
        let needs = self.needs(index);
        let adopted = self.adopted();
        let mut found = Vec::new();
        for (area, word) in
            [(Area::Bundles, "bundle"), (Area::Manifests, "manifest"), (Area::Blobs, "blob")]
        {
            for entry in self.entries(area)? {
                let Some(digest) = entry.digest else { continue };
                if needs.has(&digest) || entry.age(now) < young {
                    continue;
                }
                let theirs = matches!(area, Area::Blobs)
                    && adopted.get(&digest).is_some_and(|record| record.is_linked(&entry.found));
                let mut one = candidate(format!("{word} {digest}"), entry, Some(digest), None);
                if theirs {
                    // The other program's name keeps the bytes.
                    one.bytes = 0;
                }
                found.push(one);
            }
        }
        Ok(found)
    }

    /// Other programs' files that are blobs of no model. When each was noted nobody knows, only
    /// when the last one was.
    fn idle_references(
        &self,
        index: &Snapshot,
        young: Duration,
        now: SystemTime,
    ) -> Vec<(Digest, PathBuf)> {
        let noted = self.layout.adopted_file().metadata().and_then(|found| found.modified());
        let age = noted.ok().and_then(|noted| now.duration_since(noted).ok()).unwrap_or_default();
        let adopted = self.adopted();
        if age < young || adopted.is_empty() {
            return Vec::new();
        }
        let needs = self.needs(index);
        let idle =
            adopted.iter().filter(|(digest, record)| record.is_reference && !needs.has(digest));
        idle.map(|(digest, record)| (*digest, record.path.clone())).collect()
    }

    /// What writers that died left, and old copies of damaged indexes. The caller holds the lock,
    /// under which everything is created that is not locked itself, except directories.
    fn debris(&self, young: Duration, now: SystemTime) -> Result<Vec<Candidate>, StoreError> {
        let mut found = Vec::new();
        for entry in self.entries_of(&self.layout.ingest())? {
            let name = entry.name();
            if is_partial(&name) || entry.age(now) < young {
                continue;
            }
            let lock = match entry.found.is_file() {
                true => match lock(&entry) {
                    Some(lock) => Some(lock),
                    None => continue,
                },
                false => None,
            };
            let shared = entry.found.is_file() && entry.found.nlink() > 1;
            let mut one = candidate(format!("temporary file {name}"), entry, None, lock);
            if shared {
                one.bytes = 0;
            }
            found.push(one);
        }
        for entry in self.entries_of(&self.layout.root)? {
            let name = entry.name();
            let keep = if young.is_zero() { young } else { KEEP_DAMAGED };
            if name.starts_with("models.json.damaged-") && entry.age(now) >= keep {
                found.push(candidate(format!("damaged index {name}"), entry, None, None));
            }
        }
        Ok(found)
    }

    /// Downloads that nobody is writing now, with the journals beside them.
    fn stale_partials(
        &self,
        older_than: Duration,
        now: SystemTime,
    ) -> Result<Vec<Candidate>, StoreError> {
        let mut found = Vec::new();
        let entries = self.entries_of(&self.layout.ingest())?;
        let (data, beside): (Vec<Entry>, Vec<Entry>) = entries
            .into_iter()
            .filter(|entry| is_partial(&entry.name()) && entry.found.is_file())
            .partition(|entry| entry.name().ends_with(".part"));
        let mut kept: Vec<String> = Vec::new();
        let mut take = Vec::new();
        for entry in data {
            match lock(&entry).filter(|_| entry.idle(now) >= older_than) {
                Some(lock) => take.push((entry, Some(lock))),
                None => kept.push(entry.name()),
            }
        }
        for entry in beside {
            let name = entry.name();
            if !kept.iter().any(|kept| name.starts_with(kept)) && entry.idle(now) >= older_than {
                // First the journals: without one no byte of the rest is trusted.
                take.insert(0, (entry, None));
            }
        }
        for entry in self.entries(Area::Blobs)? {
            if entry.is_incomplete() && entry.idle(now) >= older_than {
                take.push((entry, None));
            }
        }
        for (entry, lock) in take {
            let bytes = allocated(&entry.found);
            let what = format!("interrupted download {}", entry.name());
            found.push(Candidate { bytes, ..candidate(what, entry, None, lock) });
        }
        Ok(found)
    }
}

fn candidate(what: String, entry: Entry, digest: Option<Digest>, lock: Option<File>) -> Candidate {
    Candidate { what, bytes: entry.freed(), path: entry.path, digest, _lock: lock }
}

/// Interrupted downloads are named by what they will be, everything else by who made it.
fn is_partial(name: &str) -> bool {
    name.starts_with("sha256-")
}

/// The lock of a file that nobody is writing.
fn lock(entry: &Entry) -> Option<File> {
    let file = durable::open_file(&entry.path).ok()?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(file)
}
