use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::domain::{Digest, Error, ErrorKind, Result};
use crate::registry::Role;
use crate::store::Store;

use super::card::Card;

static BUILDING: Mutex<()> = Mutex::new(());

/// The directory of a sharded model's files under the names that llama.cpp looks for; made when
/// it is not there or not whole. Laid out as DMR's bundles are, so that either finds the other's.
pub(super) fn sharded(store: &Store, id: &Digest, card: &Card) -> Result<PathBuf> {
    let bundle = store.bundle_path(id);
    let dir = bundle.join("model");
    let links = links(store, card);
    if links.iter().all(|(name, blob)| is_same_size(&dir.join(name), blob)) {
        return Ok(dir);
    }
    // One at a time: nobody may replace a directory that another load has just begun to use.
    let _one = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    if links.iter().all(|(name, blob)| is_same_size(&dir.join(name), blob)) {
        return Ok(dir);
    }
    let fresh = store.temporary_path("bundle");
    let made = fill(&fresh, &links, card).and_then(|()| {
        if bundle.symlink_metadata().is_ok() {
            std::fs::remove_dir_all(&bundle)?;
        }
        std::fs::rename(&fresh, &bundle)
    });
    match made {
        Ok(()) => Ok(dir),
        // Another load was faster.
        Err(_) if links.iter().all(|(name, blob)| is_same_size(&dir.join(name), blob)) => {
            let _ = std::fs::remove_dir_all(&fresh);
            Ok(dir)
        }
        Err(error) => {
            let _ = std::fs::remove_dir_all(&fresh);
            let full = error.kind() == io::ErrorKind::StorageFull;
            let kind = if full { ErrorKind::DiskFull } else { ErrorKind::Internal };
            let message = "the shards of the model cannot be laid out in the store";
            Err(Error::new(kind, message).with_cause(error))
        }
    }
}

/// Where shard `number` (from 1) of `count` lies in `dir`.
pub(super) fn shard_path(dir: &Path, number: usize, count: usize) -> PathBuf {
    dir.join(shard_name(number, count))
}

fn shard_name(number: usize, count: usize) -> String {
    format!("model-{number:05}-of-{count:05}.gguf")
}

fn links(store: &Store, card: &Card) -> Vec<(String, PathBuf)> {
    let path = |digest: &Digest| store.blob_path(digest);
    let count = card.artifact.with_role(Role::Weights).count();
    let shards = (1..).zip(card.artifact.with_role(Role::Weights));
    let others = [(Role::Projector, "model.mmproj"), (Role::ChatTemplate, "template.jinja")];
    shards
        .map(|(number, layer)| (shard_name(number, count), path(&layer.blob.digest)))
        .chain(others.into_iter().flat_map(|(role, name)| {
            let layer = card.artifact.with_role(role).next();
            layer.map(|layer| (name.to_owned(), path(&layer.blob.digest)))
        }))
        .collect()
}

fn fill(fresh: &Path, links: &[(String, PathBuf)], card: &Card) -> io::Result<()> {
    let dir = fresh.join("model");
    std::fs::create_dir_all(&dir)?;
    for (name, blob) in links {
        let link = dir.join(name);
        // File systems without hard links have symbolic ones; those without both get a copy.
        if std::fs::hard_link(blob, &link).is_err()
            && std::os::unix::fs::symlink(blob, &link).is_err()
        {
            std::fs::copy(blob, &link)?;
        }
    }
    let config = card.config.runtime_json.as_deref().unwrap_or("{}");
    std::fs::write(fresh.join("config.json"), config)
}

/// Follows links: a symbolic one to a blob is as good as a hard one.
fn is_same_size(link: &Path, blob: &Path) -> bool {
    match (link.metadata(), blob.symlink_metadata()) {
        (Ok(link), Ok(blob)) => link.is_file() && link.len() == blob.len(),
        _ => false,
    }
}
