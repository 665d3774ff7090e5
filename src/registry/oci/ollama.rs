use futures_util::FutureExt as _;
use oci_client::manifest::IMAGE_DOCKER_CONFIG_MEDIA_TYPE;
use serde_json::Value;

use crate::domain::{Error, ErrorKind};
use crate::gguf::Facts;
use crate::registry::headers::remote_header;
use crate::registry::{
    Artifact, FetchError, Layer, NewArtifact, NewLayer, NewModel, Part, compose, media,
};

use super::Access;
use super::answer::{clean, invalid};
use super::blobs;
use super::document::{Document, fatal};
use super::retry::{Patience, patiently};
use super::source::Source;

/// The longest header of the weights, vocabulary included.
const MAX_HEADER_BYTES: u64 = 64 << 20;

/// Whether a manifest is one of Ollama's: it calls itself that of a container image, and its layers
/// tell otherwise.
pub(super) fn is_one(document: &Document) -> bool {
    let config = document.head.config.as_ref().and_then(|config| config.media_type.as_deref());
    if config != Some(IMAGE_DOCKER_CONFIG_MEDIA_TYPE) {
        return false;
    }
    let Ok(manifest) = serde_json::from_slice::<Value>(&document.bytes) else { return false };
    let layers = manifest.get("layers").and_then(Value::as_array);
    layers.into_iter().flatten().any(|layer| {
        let kind = layer.get("mediaType").and_then(Value::as_str);
        kind.is_some_and(|kind| kind.starts_with(media::OLLAMA_PREFIX))
    })
}

/// An artifact of Docker's form with the same blobs, so that every program that knows the store can
/// read it. Its documents depend on the layers alone. Of the weights no more is read than their
/// header.
pub(super) async fn translate(
    access: &dyn Access,
    source: &Source,
    document: &Document,
    what: &str,
    patience: Patience,
) -> Result<NewArtifact, FetchError> {
    let artifact = read(document, what)?;
    let mut layers: Vec<NewLayer> = Vec::new();
    let mut weights: Option<&Layer> = None;
    let (mut licenses, mut adapters) = (0_usize, 0_usize);
    for layer in &artifact.layers {
        let kind = layer.media_type.strip_prefix(media::OLLAMA_PREFIX).unwrap_or_default();
        let numbered = |count: &mut usize, name: &str| {
            *count = count.saturating_add(1);
            if *count == 1 { name.to_owned() } else { format!("{count}-{name}") }
        };
        let (media_type, file_name) = match kind {
            "model" if weights.is_some() => {
                let text = format!("{what} has several files of weights, which is not supported");
                return Err(unsupported(text));
            }
            "model" => {
                weights = Some(layer);
                (media::GGUF, "model.gguf".to_owned())
            }
            "projector" => (media::MMPROJ, "mmproj.gguf".to_owned()),
            "adapter" => (media::LORA, numbered(&mut adapters, "adapter.gguf")),
            "license" => (media::LICENSE, numbered(&mut licenses, "LICENSE")),
            "system" => of(Part::System),
            "params" => of(Part::Parameters),
            "messages" => of(Part::Messages),
            "template" => of(Part::GoTemplate),
            // What older versions kept, and what images are made of.
            other => {
                tracing::debug!(layer = %layer.blob.digest, kind = clean(other), "left out");
                continue;
            }
        };
        layers.push(NewLayer { media_type, blob: layer.blob, file_name: Some(file_name) });
    }
    let Some(weights) = weights else {
        return Err(unsupported(format!(
            "{what} has no GGUF weights; models in other formats cannot be run"
        )));
    };
    let blob = weights.blob;
    let open = |range: std::ops::Range<u64>| {
        async move {
            patiently(patience, || blobs::open(access, source, &blob, range.clone())).await
        }
        .boxed()
    };
    let header = remote_header(what, blob.size, Vec::new(), MAX_HEADER_BYTES, &open).await;
    let header = header.map_err(fatal)?;
    let facts = Facts::of(&header).map_err(|rule| {
        fatal(Error::new(ErrorKind::InvalidModel, format!("{what} cannot be run: {rule}")))
    })?;
    let model = NewModel {
        facts: &facts,
        weight_bytes: blob.size,
        context_size: None,
        // It does not say.
        created: jiff::Timestamp::UNIX_EPOCH,
    };
    compose(model, &layers).map_err(fatal)
}

fn of(part: Part) -> (&'static str, String) {
    (part.media_type(), part.file_name().to_owned())
}

/// The layers, held to the limits of every other artifact.
fn read(document: &Document, what: &str) -> Result<Artifact, FetchError> {
    let bad = |fault: &dyn std::fmt::Display| invalid(format!("{what} is not taken: {fault}"));
    let mut manifest: Value = serde_json::from_slice(&document.bytes).map_err(|e| bad(&e))?;
    for (pointer, kind) in
        [("/mediaType", media::MANIFEST), ("/config/mediaType", media::CONFIG_V1)]
    {
        if let Some(place) = manifest.pointer_mut(pointer) {
            *place = kind.into();
        }
    }
    let bytes = serde_json::to_vec(&manifest).map_err(|e| bad(&e))?;
    Artifact::parse(&bytes).map_err(|e| bad(&e))
}

fn unsupported(text: String) -> FetchError {
    fatal(Error::new(ErrorKind::UnsupportedModel, text))
}
