use std::time::SystemTime;

use crate::domain::{Digest, Error, ErrorKind, Result};
use crate::gguf::{Facts, GgufError, Header, ShardName, facts_of, read_header};
use crate::registry::{Descriptor, NewArtifact, NewLayer, NewModel, compose, media};
use crate::store::{Blob, Store};

/// The documents of a model of uploaded files.
pub(super) struct OfFiles {
    pub(super) documents: NewArtifact,
    /// Keep the files in the store.
    pub(super) held: Vec<Blob>,
}

/// One file, looked into.
struct Part {
    name: String,
    blob: Descriptor,
    header: Header,
}

/// Puts uploaded files together to a model: GGUF weights, in any number of shards, and at most one
/// projector.
///
/// # Errors
/// `InvalidValue` naming the file that is not there; `Unsupported` for one that is no GGUF file;
/// `InvalidModel` naming the rule that one breaks.
pub(super) fn assemble(store: &Store, files: &[(String, Digest)]) -> Result<OfFiles> {
    let mut held = Vec::new();
    let (mut weights, mut projectors) = (Vec::new(), Vec::new());
    for (name, digest) in files {
        let blob = hold(store, name, digest, "files")?;
        let descriptor = Descriptor { digest: blob.digest, size: blob.size };
        held.push(blob);
        let part = Part {
            name: last(name).to_owned(),
            blob: descriptor,
            header: open(store, name, descriptor)?,
        };
        match kind(&part.header) {
            Kind::Weights => weights.push(part),
            Kind::Projector => projectors.push(part),
            Kind::Adapter => {
                let message = format!("{name} is a LoRA adapter; name it in `adapters`");
                return Err(Error::invalid("files", message));
            }
        }
    }
    if let [_, second, ..] = projectors.as_slice() {
        let message = format!("{} is a second projector; one is possible", second.name);
        return Err(Error::invalid("files", message));
    }
    if weights.is_empty() {
        let message = "there are no GGUF weights among `files`; upload them with POST \
                       /api/blobs/sha256:… and name them here";
        return Err(Error::invalid("files", message));
    }
    // Shards are in order where their names are.
    weights.sort_by(|a, b| a.name.cmp(&b.name));
    require_shards(&weights)?;
    let headers: Vec<Header> = weights.iter().map(|part| part.header.clone()).collect();
    let facts = facts_of(&headers)?;
    for projector in &projectors {
        Facts::of(&projector.header).map_err(|rule| breaks(&projector.name, &rule))?;
    }
    let layer = |part: &Part, media_type| NewLayer {
        media_type,
        blob: part.blob,
        file_name: Some(part.name.clone()),
    };
    let layers: Vec<NewLayer> = weights
        .iter()
        .map(|part| layer(part, media::GGUF))
        .chain(projectors.iter().map(|part| layer(part, media::MMPROJ)))
        .collect();
    let model = NewModel {
        facts: &facts,
        weight_bytes: weights.iter().map(|part| part.blob.size).fold(0, u64::saturating_add),
        context_size: None,
        created: uploaded(store, &weights),
    };
    Ok(OfFiles { documents: compose(model, &layers)?, held })
}

/// Keeps an uploaded file in the store.
///
/// # Errors
/// `InvalidValue` naming the field where it is not there.
pub(super) fn hold(store: &Store, name: &str, digest: &Digest, field: &str) -> Result<Blob> {
    let size = store.blob_size(digest);
    size.and_then(|size| store.hold_blob(digest, size)).ok_or_else(|| {
        let message = format!(
            "{name} ({digest}) is not in the store; upload it first with POST /api/blobs/{digest}"
        );
        Error::invalid(field, message)
    })
}

/// The header of an uploaded file.
pub(super) fn open(store: &Store, name: &str, blob: Descriptor) -> Result<Header> {
    let file = store.open_blob(&blob.digest)?;
    read_header(file, blob.size).map_err(|rule| match rule {
        GgufError::BadMagic { .. } | GgufError::Empty => {
            let message = format!(
                "{name} is no GGUF file, and modeld converts no other formats; convert it with \
                 llama.cpp's convert_hf_to_gguf.py first"
            );
            Error::new(ErrorKind::Unsupported, message).with_param("files")
        }
        rule => breaks(name, &rule),
    })
}

fn breaks(name: &str, rule: &GgufError) -> Error {
    Error::new(ErrorKind::InvalidModel, format!("{name} cannot be run: {rule}"))
}

enum Kind {
    Weights,
    Projector,
    Adapter,
}

/// By what the file says of itself; names are the client's own.
fn kind(header: &Header) -> Kind {
    let says = |key: &str| header.get(key).and_then(|value| value.as_str()).unwrap_or_default();
    match (says("general.type"), says("general.architecture")) {
        ("adapter", _) => Kind::Adapter,
        ("mmproj", _) | (_, "clip") => Kind::Projector,
        _ => Kind::Weights,
    }
}

/// Several files of weights must be the shards of one model, all of them.
fn require_shards(weights: &[Part]) -> Result<()> {
    if weights.len() < 2 {
        return Ok(());
    }
    let stem = |part: &Part| {
        let shard = ShardName::of(&part.name).filter(|shard| shard.count == weights.len());
        shard.map(|shard| shard.stem.to_owned())
    };
    let first = weights.first().and_then(stem);
    if first.is_some() && weights.iter().all(|part| stem(part) == first) {
        return Ok(());
    }
    let names: Vec<&str> = weights.iter().take(5).map(|part| part.name.as_str()).collect();
    let message = format!(
        "{} files of weights that are not the shards of one model: {}; the shards of one are \
         called NAME-00001-of-{:05}.gguf and so on",
        weights.len(),
        names.join(", "),
        weights.len()
    );
    Err(Error::invalid("files", message))
}

/// When the newest file came: the same uploads always give the same model.
fn uploaded(store: &Store, weights: &[Part]) -> jiff::Timestamp {
    let times = weights.iter().filter_map(|part| {
        let found = store.blob_path(&part.blob.digest).metadata().ok()?;
        found.modified().ok()
    });
    let newest = times.max().unwrap_or(SystemTime::UNIX_EPOCH);
    jiff::Timestamp::try_from(newest).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
