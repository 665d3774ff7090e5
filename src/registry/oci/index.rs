use serde::Deserialize;

use crate::domain::{Digest, Error, ErrorKind};
use crate::registry::{FetchError, MAX_MANIFEST_BYTES, media};

use super::answer::{clean, invalid};
use super::document::{Document, fatal};

/// The most manifests of one index.
const MAX_ENTRIES: usize = 1024;
/// How many of them are looked into, where the index does not say what they are.
const MAX_LOOKED_AT: usize = 8;
/// What CNCF model manifests call themselves.
const CNCF_ARTIFACT: &str = "application/vnd.cncf.model.manifest.v1+json";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u64,
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: String,
    artifact_type: Option<String>,
    digest: String,
    size: i64,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
}

/// One manifest of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub digest: Digest,
    pub size: u64,
}

/// The manifests of an index that may be a model, best known first: the ones that say so, else
/// those that say nothing.
pub(super) fn candidates(document: &Document, what: &str) -> Result<Vec<Candidate>, FetchError> {
    if document.head.layers.is_some() || document.head.config.is_some() {
        return Err(invalid(format!("{what} is manifest and index at once")));
    }
    let index: Index = serde_json::from_slice(&document.bytes)
        .map_err(|e| invalid(format!("{what} is an index that cannot be read: {e}")))?;
    if index.schema_version != 2 {
        let version = index.schema_version;
        return Err(invalid(format!("{what} is an index of schema version {version}; 2 is known")));
    }
    let count = index.manifests.len();
    if count > MAX_ENTRIES {
        return Err(invalid(format!(
            "{what} is an index of {count} manifests, more than {MAX_ENTRIES}"
        )));
    }
    let (mut models, mut others) = (Vec::new(), Vec::new());
    for entry in index.manifests.iter().filter(|entry| entry.media_type == media::MANIFEST) {
        let size = u64::try_from(entry.size).ok().filter(|size| *size <= MAX_MANIFEST_BYTES as u64);
        let size = size
            .ok_or_else(|| invalid(format!("{what} names a manifest of {} bytes", entry.size)))?;
        let digest = entry.digest.parse().map_err(|_| {
            let digest = clean(&entry.digest);
            invalid(format!("{what} names the manifest {digest:?}, which is no sha256 digest"))
        })?;
        let candidate = Candidate { digest, size };
        match entry.artifact_type.as_deref() {
            Some(media::CONFIG_V1 | media::CONFIG_V2 | media::CONFIG_CNCF | CNCF_ARTIFACT) => {
                models.push(candidate)
            }
            Some(_) => {}
            // Attestations of image builders call their platform so.
            None if entry.platform.as_ref().is_some_and(|on| on.os == "unknown") => {}
            None => others.push(candidate),
        }
    }
    let found = if models.is_empty() { others } else { models };
    match found.len() {
        0 => Err(unsupported(format!(
            "{what} is an index of {count} manifests, none of which is a model"
        ))),
        1..=MAX_LOOKED_AT => Ok(found),
        many => Err(unsupported(format!(
            "{what} is an index of {many} manifests that may be models; name one by its digest"
        ))),
    }
}

/// The one model among those that were looked into.
pub(super) fn only_one(models: Vec<Document>, what: &str) -> Result<Document, FetchError> {
    let count = models.len();
    let mut models = models.into_iter();
    match (models.next(), models.next()) {
        (Some(model), None) => Ok(model),
        _ => Err(unsupported(format!(
            "{what} is an index of {count} models; name one by its digest, as in NAME@sha256:…"
        ))),
    }
}

fn unsupported(message: String) -> FetchError {
    fatal(Error::new(ErrorKind::UnsupportedModel, message))
}
