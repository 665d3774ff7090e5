use std::path::{Path, PathBuf};

use crate::domain::{Digest, Error, ErrorKind, ModelRef, Result};
use crate::models::package::{PackageOptions, PackagePlan};
use crate::models::{Models, catalog::Inner, resolve::check_weights};
use crate::registry::{Artifact, Config, Descriptor, MAX_CONFIG_BYTES, Role};
use crate::store::{AdoptedAs, Blob, Store};

use super::candidate::{
    Candidate, Content, Files, ImportEvent, ImportOptions, Imported, Name, Origin,
};
use super::{docker, files, hub_cache, llama_cpp, lm_studio, names, ollama};

impl Models {
    /// Takes in what other programs have, without copying it; `events` hears of every model, on a
    /// thread that may block. What is wrong with one of them does not stop the others.
    ///
    /// # Errors
    /// `InvalidReference` for a name that is none; `Internal` where the store cannot be read.
    pub async fn import(
        &self,
        options: ImportOptions,
        events: impl Fn(ImportEvent) + Send + 'static,
    ) -> Result<()> {
        if let Some(name) = &options.name {
            ModelRef::named(name)?;
        }
        self.blocking(move |inner| {
            import(inner, &options, &events);
            Ok(())
        })
        .await
    }
}

fn import(inner: &Inner, options: &ImportOptions, events: &dyn Fn(ImportEvent)) {
    let mut all = Vec::new();
    let places = &options.places;
    for root in places.docker.iter().filter(|root| !is_same(root, inner.store.root())) {
        let (found, skipped) = docker::scan(root);
        all.extend(found);
        skipped.into_iter().for_each(events);
    }
    for root in &places.ollama {
        let (found, skipped) = ollama::scan(root);
        all.extend(found);
        skipped.into_iter().for_each(events);
    }
    all.extend(places.lm_studio.iter().flat_map(|root| lm_studio::scan(root)));
    all.extend(places.llama_cpp.iter().flat_map(|root| llama_cpp::scan(root)));
    all.extend(places.hub_cache.iter().flat_map(|root| hub_cache::scan(root)));
    all.extend(options.paths.iter().flat_map(|path| files::at(path, options.name.as_deref())));
    for candidate in all {
        let origin = candidate.origin;
        let what = what(&candidate);
        match register(inner, candidate, options.dry_run, events) {
            Ok(imported) => events(ImportEvent::Imported(imported)),
            Err(error) => {
                events(ImportEvent::Skipped { origin, what, why: error.message });
            }
        }
    }
}

fn register(
    inner: &Inner,
    candidate: Candidate,
    dry_run: bool,
    events: &dyn Fn(ImportEvent),
) -> Result<Imported> {
    let origin = candidate.origin;
    match candidate.content {
        Content::Artifact { manifest, tags, blobs } if dry_run => {
            let artifact = Artifact::parse(&manifest)?;
            artifact.require_runnable()?;
            let id = Some(Digest::of(&manifest));
            let missing = artifact.layers.iter().find(|l| !blob(&blobs, &l.blob.digest).is_file());
            let notes = missing.map(|l| format!("{} is missing", l.blob.digest));
            let (bytes, notes) = (artifact.layer_bytes(), notes.into_iter().collect());
            Ok(Imported { origin, id, tags, bytes, how: None, notes })
        }
        Content::Artifact { manifest, tags, blobs } => {
            artifact(inner, origin, &manifest, &tags, &blobs, events)
        }
        Content::Files(found) => of_files(inner, origin, &found, dry_run, events),
    }
}

fn artifact(
    inner: &Inner,
    origin: Origin,
    manifest: &[u8],
    tags: &[String],
    blobs: &Path,
    events: &dyn Fn(ImportEvent),
) -> Result<Imported> {
    let artifact = Artifact::parse(manifest)?;
    artifact.require_runnable()?;
    let mut adopting = Adopting::new(&inner.store, events);
    for wanted in artifact.layers.iter().map(|layer| layer.blob).chain([artifact.config]) {
        adopting.take(&blob(blobs, &wanted.digest), Some(wanted.digest))?;
    }
    let config = inner.store.read_blob(&artifact.config.digest, MAX_CONFIG_BYTES as u64)?;
    Config::parse(&config, &artifact)?;
    if artifact.with_role(Role::Weights).next().is_some() {
        check_weights(&inner.store, &artifact)?;
    }
    adopting.publish(origin, manifest, tags, artifact.layer_bytes())
}

fn of_files(
    inner: &Inner,
    origin: Origin,
    found: &Files,
    dry_run: bool,
    events: &dyn Fn(ImportEvent),
) -> Result<Imported> {
    let options = PackageOptions {
        weights: found.weights.clone(),
        mmproj: found.mmproj.clone(),
        licenses: found.licenses.clone(),
        adapters: found.adapters.clone(),
        profile: found.profile.clone(),
        ..PackageOptions::default()
    };
    if dry_run {
        let (facts, bytes) = PackagePlan::look(&options)?;
        let tags = names::qualified(&found.name, &facts.quantization).into_iter().collect();
        return Ok(Imported { origin, id: None, tags, bytes, how: None, notes: Vec::new() });
    }
    let mut adopting = Adopting::new(&inner.store, events);
    let plan = PackagePlan::hashed_by(&options, &mut |path: &Path| {
        adopting.take(path, found.expected.get(path).copied())
    })?;
    let config = adopting.write(plan.config_json())?;
    adopting.blobs.push(config);
    let tag = names::qualified(&found.name, &plan.facts().quantization);
    let tag = tag.map(|tag| free_tag(&inner.store, &tag, found, plan.manifest_digest()));
    let tags: Vec<String> = tag.into_iter().collect();
    adopting.publish(origin, plan.manifest(), &tags, plan.layer_bytes())
}

/// The tag, or, where another file of the same repository and quantisation has it, the file's name.
fn free_tag(store: &Store, tag: &str, found: &Files, id: Digest) -> String {
    let taken = ModelRef::named(tag)
        .and_then(|reference| Ok(store.resolve(&reference)?))
        .is_ok_and(|other| other.model.id != id);
    match &found.name {
        Name::Repository(repository) if taken => {
            let other = format!("{repository}:{}", names::tag(&files::stem(&found.weights)));
            ModelRef::named(&other).ok().and_then(|r| r.qualified_tag()).unwrap_or(other)
        }
        _ => tag.to_owned(),
    }
}

/// The blobs of one model on their way into the store; what is new goes again if it fails.
struct Adopting<'a> {
    store: &'a Store,
    events: &'a dyn Fn(ImportEvent),
    blobs: Vec<Blob>,
    how: AdoptedAs,
}

impl<'a> Adopting<'a> {
    fn new(store: &'a Store, events: &'a dyn Fn(ImportEvent)) -> Self {
        Self { store, events, blobs: Vec::new(), how: AdoptedAs::Present }
    }

    fn take(&mut self, path: &Path, expected: Option<Digest>) -> Result<Descriptor> {
        let bytes = path.metadata().map_or(0, |found| found.len());
        (self.events)(ImportEvent::Reading { path: path.to_owned(), bytes });
        let (blob, how) = self.store.adopt(path, expected).map_err(|error| {
            // These are the user's own files; their names help.
            Error::new(ErrorKind::InvalidModel, error.to_string())
        })?;
        let descriptor = Descriptor { digest: blob.digest, size: blob.size };
        self.blobs.push(blob);
        if rank(how) > rank(self.how) {
            self.how = how;
        }
        Ok(descriptor)
    }

    fn write(&self, bytes: &[u8]) -> Result<Blob> {
        let mut writer = self.store.write_blob(Some(bytes.len() as u64))?;
        writer.append(bytes)?;
        Ok(writer.commit(None)?)
    }

    fn publish(
        mut self,
        origin: Origin,
        manifest: &[u8],
        tags: &[String],
        bytes: u64,
    ) -> Result<Imported> {
        let id = Digest::of(manifest);
        let mut notes = Vec::new();
        let mut free = Vec::new();
        for tag in tags {
            let Some(reference) = ModelRef::named(tag).ok().filter(|r| r.qualified_tag().is_some())
            else {
                notes.push(format!("{tag:?} is no name here"));
                continue;
            };
            match self.store.resolve(&reference) {
                Ok(other) if other.model.id != id => {
                    notes.push(format!("{tag} names another model already, and still does"));
                }
                _ => free.extend(reference.qualified_tag()),
            }
        }
        self.store.put_model(manifest, &free)?;
        // What is published stays.
        self.blobs.clear();
        Ok(Imported { origin, id: Some(id), tags: free, bytes, how: Some(self.how), notes })
    }
}

impl Drop for Adopting<'_> {
    fn drop(&mut self) {
        if self.blobs.is_empty() {
            return;
        }
        if let Err(error) = self.store.discard(std::mem::take(&mut self.blobs)) {
            tracing::warn!(%error, "blobs of a model that was not imported stay");
        }
    }
}

fn rank(how: AdoptedAs) -> u8 {
    match how {
        AdoptedAs::Present => 0,
        AdoptedAs::Reflink => 1,
        AdoptedAs::HardLink => 2,
        AdoptedAs::Reference => 3,
    }
}

fn blob(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join(digest.hex())
}

fn is_same(root: &Path, ours: &Path) -> bool {
    root.canonicalize().is_ok_and(|root| root == ours)
}

fn what(candidate: &Candidate) -> String {
    match &candidate.content {
        Content::Artifact { tags, manifest, .. } => {
            tags.first().cloned().unwrap_or_else(|| Digest::of(manifest).to_string())
        }
        Content::Files(found) => found.weights.display().to_string(),
    }
}
