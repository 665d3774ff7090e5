use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;

use crate::domain::{Digest, Error, ErrorKind, Pulled, Result, TransferEvent};
use crate::models::catalog::Inner;
use crate::models::resolve::check_weights;
use crate::registry::{Descriptor, RemoteModel};
use crate::store::{Blob, StoreError};

use super::PullPlan;
use super::layer::Layers;
use super::meter::Events;

impl PullPlan {
    /// Moves what is missing and makes the model visible. Dropping the future stops it; what came
    /// is kept, and the next pull goes on from there.
    ///
    /// # Errors
    /// `DiskFull`, before anything is asked for; `RegistryInvalid` where bytes are not those that
    /// were promised; `RegistryUnavailable` and whatever else the registry answers; `InvalidModel`
    /// and `UnsupportedModel` for weights that modeld cannot run, of which nothing is left; and
    /// those of the store.
    pub async fn run(self, events: impl Fn(TransferEvent) + Send + Sync) -> Result<Pulled> {
        let events: Events<'_> = &events;
        events(TransferEvent::Planned(self.transfer()));
        for warning in &self.remote.warnings {
            events(TransferEvent::Warning(warning.clone()));
        }
        let Self { models, reference, remote } = self;
        let tag = reference.qualified_tag();
        let tags: Vec<String> = tag.iter().cloned().collect();
        let bytes = remote.artifact.layer_bytes();
        let (id, remote) = (remote.id, Arc::new(remote));

        let (known, named) = (Arc::clone(&remote), tags.clone());
        if models.blocking(move |inner| use_stored(inner, &known, &named)).await? {
            return Ok(Pulled { id, tag, cached: true, bytes });
        }
        let wanted = distinct(&remote);
        let missing = wanted.clone();
        models.blocking(move |inner| require_room(inner, &missing)).await?;

        let limits = models.pulls.limits;
        let room = Arc::new(Semaphore::new(limits.in_flight));
        let layers = Layers { models: &models, source: &*remote.blobs, events, room };
        let mut held: Vec<Blob> = Vec::with_capacity(wanted.len());
        let mut running = FuturesUnordered::new();
        let mut waiting = wanted.into_iter();
        loop {
            while running.len() < limits.layers.max(1) {
                let Some(blob) = waiting.next() else { break };
                running.push(layers.fetch(blob));
            }
            match running.next().await {
                Some(blob) => held.push(blob?),
                None => break,
            }
        }
        drop(running);
        models.blocking(move |inner| publish(inner, &remote, held, &tags)).await?;
        Ok(Pulled { id, tag, cached: false, bytes })
    }
}

/// Whether this very model is here, whole; it has the tags then.
fn use_stored(inner: &Inner, remote: &RemoteModel, tags: &[String]) -> Result<bool> {
    let Ok(_lease) = inner.store.lease(&remote.id) else { return Ok(false) };
    let blobs = distinct(remote).into_iter().chain([remote.artifact.config]);
    let whole = blobs.map(|blob| (inner.store.blob_size(&blob.digest), blob.size));
    if whole.into_iter().any(|(found, size)| found != Some(size)) {
        return Ok(false);
    }
    inner.store.put_model(&remote.manifest, tags)?;
    Ok(true)
}

fn require_room(inner: &Inner, layers: &[Descriptor]) -> Result<()> {
    let missing: Vec<(Digest, u64)> = layers
        .iter()
        .filter(|blob| inner.store.blob_size(&blob.digest) != Some(blob.size))
        .map(|blob| (blob.digest, blob.size))
        .collect();
    Ok(inner.store.require_room(&missing)?)
}

/// Checks the weights, then shows the model. Of one that is refused nothing is left.
fn publish(
    inner: &Inner,
    remote: &RemoteModel,
    mut held: Vec<Blob>,
    tags: &[String],
) -> Result<()> {
    let shown = (|| {
        held.push(put_config(inner, remote)?);
        check_weights(&inner.store, &remote.artifact)?;
        Ok(inner.store.put_model(&remote.manifest, tags)?)
    })();
    match shown {
        Ok(id) if id == remote.id => Ok(()),
        // The source of the manifest has checked this before.
        Ok(id) => Err(Error::internal(format!("{} was stored as {id}", remote.id))),
        Err(error) => {
            // Those, too, that an earlier attempt at this model left.
            held.iter_mut().for_each(|blob| blob.is_new = true);
            if let Err(cause) = inner.store.discard(held) {
                tracing::warn!(error = %cause, "blobs of a refused model stay");
            }
            Err(error)
        }
    }
}

fn put_config(inner: &Inner, remote: &RemoteModel) -> Result<Blob> {
    let mut writer = inner.store.write_blob(Some(remote.config.len() as u64))?;
    writer.append(&remote.config)?;
    writer.commit(Some(remote.artifact.config.digest)).map_err(|error| match error {
        StoreError::DigestMismatch { .. } => {
            let text = format!("what the registry sent as the model's config is wrong: {error}");
            Error::new(ErrorKind::RegistryInvalid, text)
        }
        error => error.into(),
    })
}

/// The layers, each blob once.
fn distinct(remote: &RemoteModel) -> Vec<Descriptor> {
    let mut seen = std::collections::HashSet::new();
    let layers = remote.artifact.layers.iter().map(|layer| layer.blob);
    layers.filter(|blob| seen.insert((blob.digest, blob.size))).collect()
}
