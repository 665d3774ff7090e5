use std::path::{Path, PathBuf};

use crate::domain::{Digest, Error, ErrorKind, ModelRef, Result};
use crate::registry::{
    Artifact, Config, Descriptor, Edit, MAX_CONFIG_BYTES, Recomposed, Role, Source, recompose,
};
use crate::store::{Blob, Store, StoreError};

use super::catalog::{Inner, Models};
use super::resolve::{check_blobs, check_weights};

/// The largest chat template, in bytes: no more is read when a model is loaded.
pub(super) const MAX_TEMPLATE: u64 = 1 << 20;

/// How a model is to differ from the one that it is made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The largest context to run it with, in tokens, at most `i32::MAX`.
    pub context_size: Option<u32>,
    /// The text of a chat template, in the place of the one that is there.
    pub chat_template: Option<String>,
    /// Texts of further licences.
    pub licenses: Vec<String>,
    /// The file of a projector, in the place of the one that is there. Taken over as
    /// [`Store::adopt`] does it.
    pub mmproj: Option<PathBuf>,
    /// Files of further LoRA adapters, likewise.
    pub adapters: Vec<PathBuf>,
}

/// A model that was made from another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repackaged {
    /// Its id.
    pub id: Digest,
    /// Its tag, qualified.
    pub tag: String,
    /// Whether a CNCF ModelPack became a Docker artifact on the way.
    pub converted: bool,
}

impl Models {
    /// Makes a model from another one without copying its weights, and tags it `target`. The time at
    /// which it was made stays, so that the same input gives the same id.
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`; `InvalidValue` naming the part that cannot be used;
    /// `InvalidModel` where the result would be none, as with an adapter of another model;
    /// `UnsupportedModel` where the source has no place for what is to change. The store is as it was
    /// then.
    pub async fn repackage(
        &self,
        source: &str,
        target: &str,
        changes: Changes,
    ) -> Result<Repackaged> {
        let tag = ModelRef::parse(target)
            .and_then(|target| {
                let none = || Error::new(ErrorKind::InvalidReference, "a digest is no tag");
                target.qualified_tag().ok_or_else(none)
            })
            .map_err(|error| error.with_param("target"))?;
        let source = source.to_owned();
        self.blocking(move |inner| repackage(inner, &source, tag, &changes)).await
    }
}

fn repackage(inner: &Inner, source: &str, tag: String, changes: &Changes) -> Result<Repackaged> {
    let store = &inner.store;
    let source = store.find(source)?.model.id;
    let _lease = store.lease(&source)?;
    let manifest = store.read_manifest(&source)?;
    let artifact = Artifact::parse(&manifest)?;
    check_blobs(store, &artifact)?;
    let config = store.read_blob(&artifact.config.digest, MAX_CONFIG_BYTES as u64)?;
    let facts = match artifact.with_role(Role::Weights).next() {
        Some(_) => Some(check_weights(store, &artifact)?),
        None => None,
    };
    let mut fresh = Fresh::new(store);
    let edits = fresh.edits(changes)?;
    let context_size = changes.context_size.map(context).transpose()?;
    let source =
        Source { manifest: &manifest, artifact: &artifact, config: &config, facts: facts.as_ref() };
    let made = recompose(source, context_size, &edits)?;
    let id = fresh.publish(&made, facts.is_some(), &tag)?;
    Ok(Repackaged { id, tag, converted: made.converted })
}

/// Docker's field is a signed 32-bit number.
fn context(size: u32) -> Result<u32> {
    if size == 0 || i32::try_from(size).is_err() {
        let message = format!("`context_size` is {size}; 1 to {} are possible", i32::MAX);
        return Err(Error::invalid("context_size", message));
    }
    Ok(size)
}

/// What is new in the store for a model; it goes again unless the model is made.
pub(super) struct Fresh<'a> {
    store: &'a Store,
    blobs: Vec<Blob>,
}

impl<'a> Fresh<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store, blobs: Vec::new() }
    }

    /// Checks the model of these documents and makes it visible under `tag`.
    pub(super) fn publish(
        &mut self,
        made: &Recomposed,
        has_gguf: bool,
        tag: &str,
    ) -> Result<Digest> {
        let Recomposed { config, manifest, converted: _ } = made;
        self.write(config)?;
        let artifact = Artifact::parse(manifest)?;
        Config::parse(config, &artifact)?;
        if has_gguf {
            artifact.require_runnable()?;
            check_weights(self.store, &artifact)?;
        }
        let id = self.store.put_model(manifest, &[tag.to_owned()])?;
        self.blobs.clear();
        Ok(id)
    }

    fn edits(&mut self, changes: &Changes) -> Result<Vec<Edit>> {
        let Changes { context_size: _, chat_template, licenses, mmproj, adapters } = changes;
        let mut edits = Vec::new();
        if let Some(path) = mmproj {
            edits.push(self.adopt(path, Role::Projector, "mmproj")?);
        }
        if let Some(template) = chat_template {
            check_template(template)?;
            let blob = self.write(template.as_bytes())?;
            let file_name = "chat_template.jinja".to_owned();
            edits.push(Edit { role: Role::ChatTemplate, blob, file_name });
        }
        for (index, text) in licenses.iter().enumerate() {
            if text.trim().is_empty() {
                let message = "the text of a licence is empty";
                return Err(Error::invalid(format!("licenses[{index}]"), message));
            }
            let blob = self.write(text.as_bytes())?;
            edits.push(Edit { role: Role::License, blob, file_name: "LICENSE".to_owned() });
        }
        for (index, path) in adapters.iter().enumerate() {
            edits.push(self.adopt(path, Role::Adapter, &format!("lora[{index}]"))?);
        }
        Ok(edits)
    }

    fn adopt(&mut self, path: &Path, role: Role, param: &str) -> Result<Edit> {
        let (blob, _) = self.store.adopt(path, None).map_err(|error| match error {
            full @ StoreError::DiskFull { .. } => full.into(),
            // These are the user's own files; their names help.
            other => Error::invalid(param, other.to_string()),
        })?;
        let descriptor = Descriptor { digest: blob.digest, size: blob.size };
        self.blobs.push(blob);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        Ok(Edit { role, blob: descriptor, file_name: name.to_owned() })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<Descriptor> {
        let mut writer = self.store.write_blob(Some(bytes.len() as u64))?;
        writer.append(bytes)?;
        let blob = writer.commit(None)?;
        let descriptor = Descriptor { digest: blob.digest, size: blob.size };
        self.blobs.push(blob);
        Ok(descriptor)
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        if self.blobs.is_empty() {
            return;
        }
        if let Err(error) = self.store.discard(std::mem::take(&mut self.blobs)) {
            tracing::warn!(%error, "blobs of a model that was not made stay");
        }
    }
}

/// What loading would refuse.
pub(super) fn check_template(template: &str) -> Result<()> {
    let wrong = if template.len() as u64 > MAX_TEMPLATE {
        format!("it has {} bytes, more than {MAX_TEMPLATE}", template.len())
    } else if template.trim().is_empty() {
        "it is empty".to_owned()
    } else if template.contains('\0') {
        "it contains a NUL character".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::invalid("chat_template", format!("the chat template cannot be used: {wrong}")))
}
