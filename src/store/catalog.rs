use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use crate::domain::{Digest, ModelRef, Removal};

use super::durable;
use super::index::{IndexBytes, IndexFile, Record, Snapshot, Stamp, canonical};
use super::layout::Area;
use super::open::Inner;
use super::{Store, StoreError, sys};

/// A model of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredModel {
    /// The digest of its manifest.
    pub id: Digest,
    /// Qualified tags, oldest first.
    pub tags: Vec<String>,
    /// Its blobs: layers in order, the config last.
    pub files: Vec<Digest>,
}

/// A model, and what it was found by.
#[derive(Debug, Clone)]
pub struct Found {
    /// The model.
    pub model: Arc<StoredModel>,
    /// Which of its names was meant.
    pub by: FoundBy,
}

/// Which name of a model was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundBy {
    /// Its id, or a name pinned by digest.
    Id,
    /// This tag.
    Tag(String),
}

impl Store {
    /// All models, in the order in which they came.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn list(&self) -> Result<Vec<Arc<StoredModel>>, StoreError> {
        Ok(self.snapshot()?.models.clone())
    }

    /// Finds a model by any of its names: those of [`Store::named`]; for a bare word also by the last
    /// part of a tag, so that `smollm2` finds `myorg/smollm2:latest` when nothing else is meant. The
    /// one resolver of the program.
    ///
    /// # Errors
    /// `InvalidReference`, or `ModelNotFound`.
    pub fn find(&self, text: &str) -> crate::domain::Result<Found> {
        let reference = ModelRef::parse(text)?;
        let snapshot = self.snapshot()?;
        let found = named(&snapshot, text, &reference).or_else(|| {
            let text = text.trim();
            let bare = !text.contains(['/', ':', '@']);
            bare.then(|| by_last_part(&snapshot, text)).flatten()
        });
        Ok(found.ok_or_else(|| not_found(text, &reference))?)
    }

    /// Finds a model by the name that the text is: as it is normalised everywhere; where there is
    /// none, as Ollama's users mean it ([`ModelRef::on_ollama`]); at last both whatever the case of
    /// the tag. Unlike [`Store::find`] it never guesses, so what is found may be changed.
    ///
    /// # Errors
    /// `InvalidReference`, or `ModelNotFound`.
    pub fn named(&self, text: &str) -> crate::domain::Result<Found> {
        let reference = ModelRef::parse(text)?;
        let found = named(&*self.snapshot()?, text, &reference);
        Ok(found.ok_or_else(|| not_found(text, &reference))?)
    }

    /// Finds a model by exactly this reference.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn resolve(&self, reference: &ModelRef) -> Result<Found, StoreError> {
        resolve(&*self.snapshot()?, reference)
            .ok_or_else(|| StoreError::NotFound(reference.to_string()))
    }

    /// Gives the model a further tag, which moves away from any other; answers the qualified tag.
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`, `DiskFull`.
    pub fn tag(&self, model: &str, target: &ModelRef) -> crate::domain::Result<String> {
        let tag = as_tag(target)?;
        let id = self.find(model)?.model.id;
        self.inner.change_index(|index| {
            if !move_tag(index, &id, &tag) {
                return Err(StoreError::NotFound(model.to_owned()));
            }
            Ok(())
        })?;
        Ok(tag)
    }

    /// Removes a tag, and with the last one its model; by id the model with all its tags, if
    /// there is at most one or with `force`. Files that a lease holds go when it ends.
    ///
    /// # Errors
    /// `ModelNotFound`; `Conflict` for an id with several tags.
    pub fn remove(&self, text: &str, force: bool) -> crate::domain::Result<Vec<Removal>> {
        // Exactly this one: a name that happens to end alike must not go in its stead.
        let found = self.named(text)?;
        let id = found.model.id;
        let removals = self.inner.change_index(|index| {
            let at = position(index, &id).ok_or_else(|| StoreError::NotFound(text.to_owned()))?;
            let record =
                index.models.get_mut(at).ok_or_else(|| StoreError::NotFound(text.to_owned()))?;
            let mut removals = Vec::new();
            match &found.by {
                FoundBy::Tag(tag) if record.tags.iter().all(|t| canonical(t) != *tag) => {
                    // It was moved or removed since it was found.
                    return Err(StoreError::NotFound(text.to_owned()));
                }
                FoundBy::Tag(tag) if record.tags.len() > 1 => {
                    record.tags.retain(|t| canonical(t) != *tag);
                    return Ok(vec![Removal::Untagged(tag.clone())]);
                }
                FoundBy::Id if record.tags.len() > 1 && !force => {
                    return Err(StoreError::SeveralTags(text.to_owned()));
                }
                _ => {}
            }
            removals.extend(record.tags.iter().map(|tag| Removal::Untagged(canonical(tag))));
            removals.push(Removal::Deleted(id));
            let files = record.files.iter().filter_map(|file| file.parse().ok());
            let doomed: Vec<Digest> = files.chain([id]).collect();
            index.models.remove(at);
            self.inner.leases.lock().doomed.extend(doomed);
            Ok(removals)
        })?;
        // What cannot be deleted now is no reason to say that the removal failed.
        self.inner.sweep_logged();
        Ok(removals)
    }

    /// Deletes what was removed and is not in use any more.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the index cannot be read.
    pub fn sweep(&self) -> Result<(), StoreError> {
        self.inner.sweep()
    }

    pub(super) fn snapshot(&self) -> Result<Arc<Snapshot>, StoreError> {
        self.inner.snapshot()
    }
}

impl Inner {
    /// The index as of now; read again only when the file is another one.
    pub(super) fn snapshot(&self) -> Result<Arc<Snapshot>, StoreError> {
        let path = self.layout.index_file();
        let stamp = stamp(&path)?;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((cached, snapshot)) = &*cache
            && *cached == stamp
        {
            return Ok(Arc::clone(snapshot));
        }
        drop(cache);
        // The stamp is older than what is read: at worst it is read once more.
        let snapshot = Arc::new(match self.read_index()? {
            Some(index) => Snapshot::of(&index),
            None => {
                let _guard = self.write_lock()?;
                Snapshot::of(&self.load_or_rebuild()?)
            }
        });
        cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        *cache = Some((stamp, Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    /// Applies one change to the index under the lock; an error leaves it as it was.
    pub(super) fn change_index<T>(
        &self,
        change: impl FnOnce(&mut IndexFile) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _guard = self.write_lock()?;
        let mut index = self.load_or_rebuild()?;
        let answer = change(&mut index)?;
        let path = self.layout.index_file();
        durable::replace(&self.temporary_path("index"), &path, &index.to_bytes())?;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        *cache = Some((stamp(&path)?, Arc::new(Snapshot::of(&index))));
        Ok(answer)
    }

    /// Deletes doomed files that nothing names and nobody holds.
    pub(super) fn sweep(&self) -> Result<(), StoreError> {
        let guard = self.write_lock()?;
        let index = Snapshot::of(&self.load_or_rebuild()?);
        let mut leases = self.leases.lock();
        let mut gone = Vec::new();
        let mut forgotten = Vec::new();
        let free: Vec<Digest> =
            leases.doomed.iter().filter(|d| !leases.counts.contains_key(d)).copied().collect();
        for digest in free {
            leases.doomed.remove(&digest);
            let named = index.by_id(&digest).is_some()
                || index.models.iter().any(|model| model.files.contains(&digest));
            if named {
                continue;
            }
            forgotten.push(digest);
            for area in [Area::Blobs, Area::Manifests, Area::Bundles] {
                let path = self.layout.by_digest(area, &digest);
                let aside = self.temporary_path("gone");
                match sys::rename(&path, &aside) {
                    Ok(()) => gone.push(aside),
                    Err(error) => log_unless_gone(&path, Err(error)),
                }
            }
        }
        // Deleting a large file takes a while, and every request takes a lease. What a crash
        // leaves here the next start removes.
        drop(leases);
        drop(guard);
        self.forget_adopted(&forgotten)?;
        for path in gone {
            log_unless_gone(&path, sys::remove_any(&path));
        }
        Ok(())
    }

    pub(super) fn sweep_logged(&self) {
        if let Err(error) = self.sweep() {
            tracing::warn!(%error, "removed files stay until the next removal");
        }
    }

    /// `None` where it is absent or damaged; [`Inner::load_or_rebuild`] knows what to do then.
    pub(super) fn read_index(&self) -> Result<Option<IndexFile>, StoreError> {
        let path = self.layout.index_file();
        match IndexBytes::read(&path)? {
            IndexBytes::Good(index) => Ok(Some(index)),
            IndexBytes::Damaged(..) | IndexBytes::Absent => Ok(None),
        }
    }
}

/// Takes `tag` from whoever has it and gives it to `id`; `false` if there is no such model.
pub(super) fn move_tag(index: &mut IndexFile, id: &Digest, tag: &str) -> bool {
    let Some(at) = position(index, id) else { return false };
    for (other, record) in index.models.iter_mut().enumerate() {
        if other != at {
            record.tags.retain(|held| canonical(held) != tag);
        } else if !record.tags.iter().any(|held| canonical(held) == tag) {
            record.tags.push(tag.to_owned());
        }
    }
    true
}

fn position(index: &IndexFile, id: &Digest) -> Option<usize> {
    index.models.iter().position(|record: &Record| record.digest() == Some(*id))
}

fn resolve(snapshot: &Snapshot, reference: &ModelRef) -> Option<Found> {
    let by_id = |model: &Arc<StoredModel>| Found { model: Arc::clone(model), by: FoundBy::Id };
    if let Some(digest) = reference.digest() {
        return snapshot.by_id(&digest).map(by_id);
    }
    if let ModelRef::ShortId(hex) = reference
        && let Some(model) = snapshot.models.iter().find(|model| model.id.short() == *hex)
    {
        return Some(by_id(model));
    }
    let tag = as_tag(reference).ok()?;
    let model = Arc::clone(snapshot.by_tag(&tag)?);
    Some(Found { model, by: FoundBy::Tag(tag) })
}

fn named(snapshot: &Snapshot, text: &str, reference: &ModelRef) -> Option<Found> {
    let ollama = ModelRef::on_ollama(text);
    let meant = || std::iter::once(reference).chain(&ollama);
    meant()
        .find_map(|reference| resolve(snapshot, reference))
        .or_else(|| meant().find_map(|reference| in_any_case(snapshot, reference)))
}

/// By a tag that differs in case alone: to Ollama's clients that is no difference.
fn in_any_case(snapshot: &Snapshot, reference: &ModelRef) -> Option<Found> {
    let wanted = as_tag(reference).ok()?;
    snapshot.models.iter().find_map(|model| {
        let tag = model.tags.iter().find(|tag| tag.eq_ignore_ascii_case(&wanted))?;
        Some(Found { model: Arc::clone(model), by: FoundBy::Tag(tag.clone()) })
    })
}

fn by_last_part(snapshot: &Snapshot, word: &str) -> Option<Found> {
    snapshot.models.iter().find_map(|model| {
        let tag = model.tags.iter().find(|tag| last_part(tag) == word)?;
        Some(Found { model: Arc::clone(model), by: FoundBy::Tag(tag.clone()) })
    })
}

fn last_part(tag: &str) -> &str {
    let last = tag.rsplit('/').next().unwrap_or(tag);
    last.rsplit_once(':').map_or(last, |(name, _)| name)
}

/// A short id that is none is a name of twelve hexadecimal digits.
fn as_tag(reference: &ModelRef) -> Result<String, StoreError> {
    let not_a_tag = || StoreError::NotATag(reference.to_string());
    match reference {
        ModelRef::ShortId(hex) => {
            ModelRef::named(hex).ok().and_then(|named| named.qualified_tag()).ok_or_else(not_a_tag)
        }
        _ => reference.qualified_tag().ok_or_else(not_a_tag),
    }
}

fn not_found(text: &str, reference: &ModelRef) -> StoreError {
    let shown = match reference {
        ModelRef::Named(_) => reference.to_string(),
        _ => text.trim().to_owned(),
    };
    // As people write it: the default registry goes without saying.
    StoreError::NotFound(shown.strip_prefix("docker.io/").unwrap_or(&shown).to_owned())
}

fn stamp(path: &Path) -> Result<Option<Stamp>, StoreError> {
    match path.symlink_metadata() {
        Ok(found) => Ok(Some(Stamp::of(&found))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::io("look at", path)(e)),
    }
}

fn log_unless_gone(path: &Path, removed: io::Result<()>) {
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a removed file stays on disk");
    }
}
