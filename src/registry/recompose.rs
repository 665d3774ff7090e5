use serde_json::{Map, Value, json};

use crate::domain::{Digest, Error, ErrorKind, Result};
use crate::gguf::Facts;

use super::compose::{NewModel, model_config};
use super::config::is_cncf;
use super::{Artifact, Config, Descriptor, Part, Role, media};

/// The artifact that another one is made from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Its manifest, as it stands.
    pub manifest: &'a [u8],
    /// The manifest, read.
    pub artifact: &'a Artifact,
    /// Its config, as it stands.
    pub config: &'a [u8],
    /// What its weights say; `None` where they are no GGUF.
    pub facts: Option<&'a Facts>,
}

/// A layer that is to be in the new artifact. A projector, a template and the parts of a profile take
/// the place of those that are there (a template also that of one in Go's language); licences and
/// adapters come on top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What it is for.
    pub role: Role,
    /// Its bytes.
    pub blob: Descriptor,
    /// The name of its file, without directories.
    pub file_name: String,
}

/// The documents of the new artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recomposed {
    /// The config.
    pub config: Vec<u8>,
    /// The manifest; its digest is the model's id.
    pub manifest: Vec<u8>,
    /// Whether a CNCF ModelPack became a Docker artifact, because what was asked for has no place in
    /// the former.
    pub converted: bool,
}

/// Writes the documents of an artifact that is another one but for `edits` and its context. What is
/// not to change stays as it is, the time it was made and fields that nobody here knows included;
/// where nothing changes, so do the bytes. Equal input gives equal bytes.
///
/// # Errors
/// `InvalidModel` for documents that cannot be read; `UnsupportedModel` for a context in a ModelPack
/// whose weights are no GGUF.
pub fn recompose(
    source: Source<'_>,
    context_size: Option<u32>,
    edits: &[Edit],
) -> Result<Recomposed> {
    let mut manifest = object(source.manifest, "manifest")?;
    let old_config = object(source.config, "config")?;
    let old_layers = take_layers(&manifest, source.artifact)?;
    let mut config = old_config.clone();
    let mut layers = old_layers.clone();
    let mut config_type = source.artifact.config_type;

    // A ModelPack config has no field for the context.
    let converted = context_size.is_some() && is_cncf(&config, source.artifact);
    if converted {
        config = docker_config(source, &config)?;
        config_type = media::CONFIG_V2;
        layers.iter_mut().for_each(to_docker);
    }
    if let Some(size) = context_size {
        inner(&mut config, "config")?.insert("context_size".to_owned(), size.into());
    }
    let modelpack = is_cncf(&config, source.artifact) && !converted;
    for edit in edits {
        apply(&mut layers, edit, modelpack);
    }
    if !converted && config == old_config && layers == old_layers {
        let (config, manifest) = (source.config.to_vec(), source.manifest.to_vec());
        return Ok(Recomposed { config, manifest, converted });
    }
    if converted || layers != old_layers {
        let (outer, key) = if modelpack { ("modelfs", "diffIds") } else { ("rootfs", "diff_ids") };
        // Layers are never compressed, so that these are their digests.
        let digests = layers.iter().map(|(_, layer)| digest_of(layer).into()).collect();
        let list = inner(&mut config, outer)?;
        let kind = if modelpack { "layers" } else { "rootfs" };
        list.entry("type").or_insert_with(|| kind.into());
        list.insert(key.to_owned(), Value::Array(digests));
    }
    let config = serde_json::to_vec(&config).map_err(Error::internal)?;
    let descriptor = inner(&mut manifest, "config")?;
    descriptor.insert("mediaType".to_owned(), config_type.into());
    descriptor.insert("digest".to_owned(), Digest::of(&config).to_string().into());
    descriptor.insert("size".to_owned(), config.len().into());
    if let Some(document) = manifest.as_object_mut() {
        let layers = layers.into_iter().map(|(_, layer)| layer).collect();
        document.insert("layers".to_owned(), Value::Array(layers));
        if converted {
            document.shift_remove("artifactType");
        }
    }
    let manifest = serde_json::to_vec(&manifest).map_err(Error::internal)?;
    Ok(Recomposed { config, manifest, converted })
}

/// A layer's descriptor, and what it is for.
type RoledLayer = (Role, Value);

fn take_layers(manifest: &Value, artifact: &Artifact) -> Result<Vec<RoledLayer>> {
    let layers = manifest.get("layers").and_then(Value::as_array).cloned().unwrap_or_default();
    if layers.len() != artifact.layers.len() {
        return Err(Error::internal("the manifest was read as another one"));
    }
    Ok(artifact.layers.iter().map(|layer| layer.role).zip(layers).collect())
}

fn apply(layers: &mut Vec<RoledLayer>, edit: &Edit, modelpack: bool) {
    let Edit { role, blob, file_name } = edit;
    if *role == Role::ChatTemplate {
        layers.retain(|(other, _)| *other != Role::Profile(Part::GoTemplate));
    }
    let digest = blob.digest.to_string();
    let replaces = matches!(role, Role::Projector | Role::ChatTemplate | Role::Profile(_));
    let same = |layer: &RoledLayer| layer.0 == *role && digest_of(&layer.1) == digest.as_str();
    if layers.iter().any(same) && (!replaces || count(layers, *role) == 1) {
        return;
    }
    let mut path = None;
    let mut at = layers.iter().rposition(|(other, _)| rank(*other) <= rank(*role)).map(|at| at + 1);
    if replaces && let Some(first) = layers.iter().position(|(other, _)| other == role) {
        path = layers.get(first).and_then(|(_, layer)| path_of(layer)).map(str::to_owned);
        layers.retain(|(other, _)| other != role);
        at = Some(first);
    }
    let path = path.unwrap_or_else(|| free_path(layers, *role, file_name));
    let layer = json!({
        "mediaType": media_type(*role, modelpack),
        "digest": digest,
        "size": blob.size,
        "annotations": { media::FILE_PATH: path },
    });
    layers.insert(at.unwrap_or(0).min(layers.len()), (*role, layer));
}

/// The order in which a new artifact has its layers.
fn rank(role: Role) -> u8 {
    match role {
        Role::Weights => 0,
        Role::Projector => 1,
        Role::ChatTemplate => 2,
        Role::License => 3,
        Role::Adapter | Role::Other => 4,
        Role::Profile(_) => 5,
    }
}

fn count(layers: &[RoledLayer], role: Role) -> usize {
    layers.iter().filter(|(other, _)| *other == role).count()
}

fn media_type(role: Role, modelpack: bool) -> &'static str {
    match (role, modelpack) {
        (Role::Adapter, _) => media::LORA,
        (Role::Profile(part), _) => part.media_type(),
        (Role::Weights, false) => media::GGUF,
        (Role::Projector, false) => media::MMPROJ,
        (Role::ChatTemplate, false) => media::CHAT_TEMPLATE,
        (Role::License, false) => media::LICENSE,
        (Role::Other, false) => media::FILE,
        (Role::Weights | Role::Projector, true) => media::CNCF_WEIGHTS,
        (Role::ChatTemplate, true) => media::CNCF_WEIGHT_CONFIG,
        (Role::License | Role::Other, true) => media::CNCF_DOC,
    }
}

fn to_docker((role, layer): &mut RoledLayer) {
    if let Some(layer) = layer.as_object_mut() {
        layer.insert("mediaType".to_owned(), media_type(*role, false).into());
    }
}

fn digest_of(layer: &Value) -> &str {
    layer.get("digest").and_then(Value::as_str).unwrap_or_default()
}

fn path_of(layer: &Value) -> Option<&str> {
    layer.get("annotations")?.get(media::FILE_PATH)?.as_str()
}

/// A path that no other layer has and that tells what the file is where its type does not.
fn free_path(layers: &[RoledLayer], role: Role, file_name: &str) -> String {
    let name = if super::check_path("layer", file_name).is_ok() && !file_name.contains('/') {
        file_name
    } else {
        "file"
    };
    let lower = name.to_ascii_lowercase();
    let name = match role {
        Role::Projector if !lower.contains("mmproj") || !lower.ends_with(".gguf") => {
            format!("mmproj-{name}.gguf")
        }
        Role::ChatTemplate if !lower.ends_with(".jinja") => format!("{name}.jinja"),
        _ => name.to_owned(),
    };
    let taken = |name: &str| layers.iter().any(|(_, layer)| path_of(layer) == Some(name));
    let numbered = (2..).map(|number: u32| format!("{number}-{name}"));
    std::iter::once(name.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(name)
}

/// A Docker config for the model of a ModelPack, made at the same time.
fn docker_config(source: Source<'_>, modelpack: &Value) -> Result<Value> {
    let facts = source.facts.ok_or_else(|| {
        let message = "the model is a CNCF ModelPack, which has no field for a context size, and \
                       only GGUF models can become Docker artifacts; leave the context size out";
        Error::new(ErrorKind::UnsupportedModel, message)
    })?;
    let weights = source.artifact.with_role(Role::Weights).map(|layer| layer.blob.size);
    let model = model_config(NewModel {
        facts,
        weight_bytes: weights.fold(0, u64::saturating_add),
        context_size: None,
        created: jiff::Timestamp::UNIX_EPOCH,
    });
    let created = modelpack.pointer("/descriptor/createdAt").and_then(Value::as_str);
    let bytes = Config::to_docker(&model, created.unwrap_or_default(), &[]);
    let mut config: Value = serde_json::from_slice(&bytes).map_err(Error::internal)?;
    if created.is_none() {
        inner(&mut config, "descriptor")?.clear();
    }
    Ok(config)
}

fn object(bytes: &[u8], what: &str) -> Result<Value> {
    serde_json::from_slice(bytes).ok().filter(Value::is_object).ok_or_else(|| {
        Error::new(ErrorKind::InvalidModel, format!("the {what} of the model is no JSON object"))
    })
}

/// An object in an object, made where it is not there.
fn inner<'a>(document: &'a mut Value, key: &str) -> Result<&'a mut Map<String, Value>> {
    document
        .as_object_mut()
        .map(|document| document.entry(key).or_insert_with(|| json!({})))
        .and_then(Value::as_object_mut)
        .ok_or_else(|| {
            let message = format!("`{key}` in a document of the model is no object");
            Error::new(ErrorKind::InvalidModel, message)
        })
}
