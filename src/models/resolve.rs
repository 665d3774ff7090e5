use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::{Digest, Error, ErrorKind, ModelEntry, Result};
use crate::gguf::{Adapter, Facts, Header, facts_of, human_bytes, read_header};
use crate::registry::{Artifact, Layer, Role};
use crate::store::{BlobState, Lease, Store};

use super::bundle;
use super::catalog::Inner;

/// A model whose files are all there, checked, and held in the store.
#[derive(Debug, Clone)]
pub struct LocalModel {
    /// What lists show of it.
    pub entry: ModelEntry,
    /// The GGUF file; of a sharded model the first shard, the others lie beside it.
    pub weights: PathBuf,
    /// The multimodal projector.
    pub mmproj: Option<PathBuf>,
    /// A chat template that replaces the one in the weights.
    pub chat_template: Option<PathBuf>,
    /// LoRA adapters, all to be applied.
    pub adapters: Vec<PathBuf>,
    /// Every file and directory that a worker must be able to read.
    pub readable: Vec<PathBuf>,
    /// What the weights say about themselves.
    pub facts: Arc<Facts>,
    /// Keeps the files in the store.
    pub lease: Arc<Lease>,
}

/// Facts by model, as long as the weight files are the same ones.
#[derive(Default)]
pub(super) struct FactsCache {
    by_id: Mutex<HashMap<Digest, CachedFacts>>,
}

/// What was read, and from which files.
type CachedFacts = (Vec<FileStamp>, Arc<Facts>);

#[derive(PartialEq, Eq)]
struct FileStamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FactsCache {
    pub(super) fn forget(&self, id: &Digest) {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    pub(super) fn clear(&self) {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Inner {
    pub(super) fn resolve(&self, text: &str) -> Result<LocalModel> {
        let found = self.store.find(text)?;
        let id = found.model.id;
        let lease = Arc::new(self.store.lease(&id)?);
        let card = self.cards.get(&self.store, &id)?;
        card.artifact.require_runnable()?;
        check_blobs(&self.store, &card.artifact)?;
        let facts = self.facts(&id, &card.artifact)?;

        let path = |layer: &Layer| self.store.blob_path(&layer.blob.digest);
        let weights: Vec<&Layer> = card.artifact.with_role(Role::Weights).collect();
        let mmproj = card.artifact.with_role(Role::Projector).next().map(path);
        let chat_template = card.artifact.with_role(Role::ChatTemplate).next().map(path);
        let mut readable: Vec<PathBuf> = weights.iter().map(|layer| path(layer)).collect();
        let first = match weights.as_slice() {
            [only] => path(only),
            _ => {
                let dir = bundle::sharded(&self.store, &id, &card)?;
                let first = bundle::shard_path(&dir, 1, weights.len());
                readable.push(dir);
                first
            }
        };
        let adapters: Vec<PathBuf> = card.artifact.with_role(Role::Adapter).map(path).collect();
        readable.extend(mmproj.iter().chain(&chat_template).chain(&adapters).cloned());
        Ok(LocalModel {
            entry: self.cards.entry(&self.store, &found.model),
            weights: first,
            mmproj,
            chat_template,
            adapters,
            readable,
            facts,
            lease,
        })
    }

    pub(super) fn facts(&self, id: &Digest, artifact: &Artifact) -> Result<Arc<Facts>> {
        let files = artifact
            .layers
            .iter()
            .filter(|layer| matches!(layer.role, Role::Weights | Role::Projector | Role::Adapter))
            .map(|layer| self.store.open_blob(&layer.blob.digest))
            .collect::<std::result::Result<Vec<File>, _>>()?;
        let stamps: Vec<FileStamp> = files.iter().filter_map(stamp).collect();
        let lock = || self.facts.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((cached, facts)) = lock().get(id)
            && *cached == stamps
            && stamps.len() == files.len()
        {
            return Ok(Arc::clone(facts));
        }
        drop(files);
        let facts = Arc::new(check_weights(&self.store, artifact)?);
        lock().insert(*id, (stamps, Arc::clone(&facts)));
        Ok(facts)
    }
}

/// Reads the headers of all weights (and of projector and adapters) and checks that they are one
/// model.
pub(super) fn check_weights(store: &Store, artifact: &Artifact) -> Result<Facts> {
    let header = |layer: &Layer| -> Result<Header> {
        let file = store.open_blob(&layer.blob.digest)?;
        Ok(read_header(file, layer.blob.size)?)
    };
    for projector in artifact.with_role(Role::Projector) {
        Facts::of(&header(projector)?)?;
    }
    let headers = artifact.with_role(Role::Weights).map(header).collect::<Result<Vec<Header>>>()?;
    let facts = facts_of(&headers)?;
    for layer in artifact.with_role(Role::Adapter) {
        let digest = layer.blob.digest.to_string();
        let name = layer.path.as_deref().unwrap_or(&digest);
        Adapter::of(&header(layer)?)
            .map_err(|rule| {
                let message = format!("the LoRA adapter {name} cannot be used: {rule}");
                Error::new(ErrorKind::InvalidModel, message)
            })?
            .require_base(name, &facts, &headers)?;
    }
    Ok(facts)
}

pub(super) fn check_blobs(store: &Store, artifact: &Artifact) -> Result<()> {
    for layer in &artifact.layers {
        let what = match store.blob_state(&layer.blob.digest) {
            BlobState::Present(size) if size == layer.blob.size => continue,
            BlobState::Present(size) => {
                format!("has {} instead of {}", human_bytes(size), human_bytes(layer.blob.size))
            }
            BlobState::Missing => "is missing".to_owned(),
            BlobState::Changed { path, why } => {
                let message = format!(
                    "the model uses the file {} of another program, which {why} since it was \
                     imported; import it again, or get the model with `modeld pull`",
                    path.display()
                );
                return Err(Error::new(ErrorKind::InvalidModel, message));
            }
        };
        return Err(Error::new(
            ErrorKind::InvalidModel,
            format!(
                "a file of the model ({}) {what} in the store; get the model again with \
                 `modeld pull`",
                layer.blob.digest
            ),
        ));
    }
    Ok(())
}

fn stamp(file: &File) -> Option<FileStamp> {
    let found = file.metadata().ok()?;
    Some(FileStamp {
        inode: found.ino(),
        bytes: found.len(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}
