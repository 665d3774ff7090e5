use oci_client::manifest::{OciDescriptor, OciImageManifest};

use crate::domain::{Digest, Error, ModelConfig, Result};
use crate::gguf::{Facts, human_bytes, human_count};

use super::{Config, Descriptor, check_path, media};

/// A layer of an artifact that is about to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLayer {
    /// What it is, as [`media`] names it.
    pub media_type: &'static str,
    /// Its bytes.
    pub blob: Descriptor,
    /// The name of its file, without directories; one that is no path inside a model is left out.
    pub file_name: Option<String>,
}

/// What an artifact says besides its layers.
#[derive(Debug, Clone, Copy)]
pub struct NewModel<'a> {
    /// What the weights say about themselves.
    pub facts: &'a Facts,
    /// Bytes of all GGUF weights, without projector.
    pub weight_bytes: u64,
    /// The largest context to run it with, in tokens; `None`: what it was trained for.
    pub context_size: Option<u32>,
    /// When it was made; fractions of a second are dropped.
    pub created: jiff::Timestamp,
}

/// The two documents of an artifact in Docker's v0.1 form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewArtifact {
    /// The config.
    pub config: Vec<u8>,
    /// The manifest; its digest is the model's id.
    pub manifest: Vec<u8>,
}

/// Writes the documents of a model. Equal input always gives equal bytes, so that a model has the
/// same id whoever packages it, from a file or straight from where it is published.
///
/// # Errors
/// `Internal` for sizes and times that no document can hold.
pub fn compose(model: NewModel<'_>, layers: &[NewLayer]) -> Result<NewArtifact> {
    let digests: Vec<Digest> = layers.iter().map(|layer| layer.blob.digest).collect();
    let created =
        jiff::Timestamp::from_second(model.created.as_second()).map_err(Error::internal)?;
    let config = Config::to_docker(&model_config(model), &created.to_string(), &digests);
    let layers = layers
        .iter()
        .map(|layer| {
            let mut wire = descriptor(layer.media_type, &layer.blob)?;
            let name = layer.file_name.as_ref();
            wire.annotations = name
                .filter(|name| check_path("layer", name).is_ok())
                .map(|name| [(media::FILE_PATH.to_owned(), name.clone())].into());
            Ok(wire)
        })
        .collect::<Result<Vec<_>>>()?;
    let config_blob = Descriptor { digest: Digest::of(&config), size: config.len() as u64 };
    let manifest = OciImageManifest {
        media_type: Some(media::MANIFEST.to_owned()),
        config: descriptor(media::CONFIG_V1, &config_blob)?,
        layers,
        ..OciImageManifest::default()
    };
    let manifest = serde_json::to_vec(&manifest).map_err(Error::internal)?;
    Ok(NewArtifact { config, manifest })
}

pub(super) fn model_config(model: NewModel<'_>) -> ModelConfig {
    let NewModel { facts, weight_bytes, context_size, created: _ } = model;
    ModelConfig {
        format: "gguf".to_owned(),
        quantization: facts.quantization.clone(),
        parameters: human_count(facts.parameters),
        architecture: facts.architecture.clone(),
        size: human_bytes(weight_bytes),
        gguf: facts.metadata.clone(),
        // Docker's field is a signed 32-bit number.
        context_size: context_size
            .or(facts.context_length)
            .filter(|size| i32::try_from(*size).is_ok()),
    }
}

fn descriptor(media_type: &str, blob: &Descriptor) -> Result<OciDescriptor> {
    Ok(OciDescriptor {
        media_type: media_type.to_owned(),
        digest: blob.digest.to_string(),
        size: i64::try_from(blob.size).map_err(Error::internal)?,
        ..OciDescriptor::default()
    })
}
