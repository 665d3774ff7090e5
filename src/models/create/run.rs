use std::collections::HashSet;

use crate::domain::{Digest, Error, ErrorKind, ModelRef, Result};
use crate::gguf::{Facts, facts_of};
use crate::models::OllamaLayers;
use crate::models::catalog::{Inner, Models};
use crate::models::repackage::{Fresh, MAX_TEMPLATE, check_template};
use crate::models::resolve::{check_blobs, check_weights};
use crate::registry::{
    Artifact, Descriptor, Edit, MAX_CONFIG_BYTES, NewArtifact, Role, Source, recompose,
};
use crate::store::{Blob, Lease, Store};

use super::files;
use super::parts;
use super::recipe::{Base, Created, Recipe};
use super::template;

/// What a model is made from, as far as it is in the store.
struct Ground {
    manifest: Vec<u8>,
    config: Vec<u8>,
    artifact: Artifact,
    layers: OllamaLayers,
    chat_template: Option<String>,
    /// Keep its files in the store.
    _lease: Option<Lease>,
    _held: Vec<Blob>,
}

impl Models {
    /// Makes a model of a recipe without copying weights, and tags it `target`, which moves away from
    /// whatever has it. Equal recipes give equal ids.
    ///
    /// # Errors
    /// `InvalidReference` and `ModelNotFound`, with `from` as the field where it is the base;
    /// `InvalidValue` and `Unsupported` naming the field that cannot be used; `InvalidModel` where
    /// the result would be none. The store is as it was then.
    pub async fn create(&self, target: &str, recipe: Recipe) -> Result<Created> {
        let reference = ModelRef::parse(target).map_err(|error| error.with_param("model"))?;
        let tag = reference.qualified_tag().ok_or_else(|| {
            let message = format!("{target} is an id or a digest; a new model needs a name");
            Error::new(ErrorKind::InvalidReference, message).with_param("model")
        })?;
        self.blocking(move |inner| create(inner, tag, &recipe)).await
    }
}

fn create(inner: &Inner, tag: String, recipe: &Recipe) -> Result<Created> {
    let store = &inner.store;
    let ground = ground(store, &recipe.base)?;
    let facts = match &recipe.base {
        // Of files it was looked at already, but their artifact is not in the store yet.
        Base::Files(_) => weights_of(store, &ground.artifact)?,
        Base::Model(_) => check_weights(store, &ground.artifact)?,
    };
    if let Some(wanted) = &recipe.quantization {
        require_quantization(wanted, &facts)?;
    }
    let mut fresh = Fresh::new(store);
    let mut held = Vec::new();
    let edits = edits(store, &mut fresh, &ground, recipe, &mut held)?;
    let source = Source {
        manifest: &ground.manifest,
        artifact: &ground.artifact,
        config: &ground.config,
        facts: Some(&facts),
    };
    let made = recompose(source, None, &edits)?;
    let before = store.resolve(&ModelRef::named(&tag)?).ok().map(|found| found.model.id);
    let known: HashSet<Digest> =
        ground.artifact.layers.iter().map(|layer| layer.blob.digest).collect();
    let id = fresh.publish(&made, true, &tag)?;
    let artifact = Artifact::parse(&made.manifest)?;
    let digests = artifact.layers.iter().map(|layer| layer.blob).chain([artifact.config]);
    let adapters: HashSet<Digest> = recipe.adapters.iter().map(|(_, digest)| *digest).collect();
    let layers = digests
        .map(|blob| {
            (blob.digest, !known.contains(&blob.digest) && !adapters.contains(&blob.digest))
        })
        .collect();
    let orphaned = before.filter(|before| *before != id && is_untagged(store, before));
    Ok(Created { id, tag, layers, orphaned })
}

fn ground(store: &Store, base: &Base) -> Result<Ground> {
    match base {
        Base::Model(name) => {
            let found = store.find(name).map_err(|error| error.with_param("from"))?;
            let id = found.model.id;
            let lease = store.lease(&id)?;
            let manifest = store.read_manifest(&id)?;
            let artifact = Artifact::parse(&manifest)?;
            check_blobs(store, &artifact)?;
            let config = store.read_blob(&artifact.config.digest, MAX_CONFIG_BYTES as u64)?;
            let layers = OllamaLayers::read(store, &artifact);
            let chat_template = chat_template(store, &artifact)?;
            let (lease, held) = (Some(lease), Vec::new());
            Ok(Ground {
                manifest,
                config,
                artifact,
                layers,
                chat_template,
                _lease: lease,
                _held: held,
            })
        }
        Base::Files(files) => {
            let files::OfFiles { documents, held } = files::assemble(store, files)?;
            let NewArtifact { config, manifest } = documents;
            let artifact = Artifact::parse(&manifest)?;
            Ok(Ground {
                manifest,
                config,
                artifact,
                layers: OllamaLayers::default(),
                chat_template: None,
                _lease: None,
                _held: held,
            })
        }
    }
}

fn chat_template(store: &Store, artifact: &Artifact) -> Result<Option<String>> {
    let Some(layer) = artifact.with_role(Role::ChatTemplate).next() else { return Ok(None) };
    let bytes = store.read_blob(&layer.blob.digest, MAX_TEMPLATE)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn weights_of(store: &Store, artifact: &Artifact) -> Result<Facts> {
    let headers = artifact.with_role(Role::Weights).map(|layer| {
        let name = layer.path.as_deref().unwrap_or("the file");
        files::open(store, name, layer.blob)
    });
    facts_of(&headers.collect::<Result<Vec<_>>>()?)
}

fn edits(
    store: &Store,
    fresh: &mut Fresh<'_>,
    ground: &Ground,
    recipe: &Recipe,
    held: &mut Vec<Blob>,
) -> Result<Vec<Edit>> {
    let mut edits = Vec::new();
    if let Some(text) = new_template(store, ground, recipe.template.as_deref())? {
        check_template(text).map_err(|error| Error::invalid("template", error.message))?;
        let blob = fresh.write(text.as_bytes())?;
        let file_name = "chat_template.jinja".to_owned();
        edits.push(Edit { role: Role::ChatTemplate, blob, file_name });
    }
    for text in recipe.licenses.iter().filter(|text| !text.trim().is_empty()) {
        let blob = fresh.write(text.as_bytes())?;
        edits.push(Edit { role: Role::License, blob, file_name: "LICENSE".to_owned() });
    }
    for (name, digest) in &recipe.adapters {
        let blob = files::hold(store, name, digest, "adapters")?;
        let descriptor = Descriptor { digest: blob.digest, size: blob.size };
        held.push(blob);
        // Whether it is one, and for these weights, is looked at with the whole model.
        files::open(store, name, descriptor)
            .map_err(|error| Error { param: Some("adapters".to_owned()), ..error })?;
        let file_name = name.rsplit('/').next().unwrap_or(name).to_owned();
        edits.push(Edit { role: Role::Adapter, blob: descriptor, file_name });
    }
    for (part, bytes) in parts::write(recipe, &ground.layers)? {
        let blob = fresh.write(&bytes)?;
        let file_name = part.file_name().to_owned();
        edits.push(Edit { role: Role::Profile(part), blob, file_name });
    }
    Ok(edits)
}

/// The template to write, if it is another one than there is.
fn new_template<'a>(
    store: &Store,
    ground: &Ground,
    asked: Option<&'a str>,
) -> Result<Option<&'a str>> {
    let Some(text) = asked.filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    let same = |known: Option<&String>| known.is_some_and(|known| known.trim() == text.trim());
    if same(ground.chat_template.as_ref()) || same(ground.layers.template.as_ref()) {
        return Ok(None);
    }
    if template::is_go(text) {
        return Err(template::refuse_go());
    }
    template::require_placeholders(text)?;
    if ground.chat_template.is_none()
        && let Some(weights) = ground.artifact.with_role(Role::Weights).next()
    {
        let header = files::open(store, "the file", weights.blob)?;
        let own = header.get("tokenizer.chat_template").and_then(|value| value.as_str());
        if own.is_some_and(|own| own.trim() == text.trim()) {
            return Ok(None);
        }
    }
    Ok(Some(text))
}

fn require_quantization(wanted: &str, facts: &Facts) -> Result<()> {
    if wanted.trim().is_empty() || wanted.trim().eq_ignore_ascii_case(&facts.quantization) {
        return Ok(());
    }
    let is = match facts.quantization.as_str() {
        "" => "of a type that its file does not name",
        known => known,
    };
    let message = format!(
        "`quantize` is {wanted:?}, but the model is {is}, and modeld does not quantize; pull or \
         upload the model in {wanted}, or quantize its file with llama.cpp's llama-quantize first"
    );
    Err(Error::new(ErrorKind::Unsupported, message).with_param("quantize"))
}

fn is_untagged(store: &Store, id: &Digest) -> bool {
    store.resolve(&ModelRef::Id(*id)).is_ok_and(|found| found.model.tags.is_empty())
}
