use std::sync::Arc;

use crate::domain::{Digest, Error, ErrorKind};
use crate::registry::{
    Artifact, ArtifactError, Config, FetchError, MAX_CONFIG_BYTES, NewArtifact, media,
};

use super::Access;
use super::answer::{clean, invalid};
use super::document::{self, Document, fatal};
use super::index;
use super::ollama;
use super::retry::{Patience, patiently};
use super::small;
use super::source::Source;

/// A model as one source has it.
pub(super) struct Found {
    /// The digest of the manifest as the source has it: what signatures are for.
    pub signed: Digest,
    /// The manifest of the model: that one, or Docker's form of it.
    pub manifest: Vec<u8>,
    pub artifact: Artifact,
    pub config: Vec<u8>,
}

/// Asks one source for what a tag or digest names, down to the config, and checks it all.
pub(super) async fn resolve(
    access: &Arc<dyn Access>,
    source: &Source,
    named: &str,
    pinned: Option<Digest>,
    patience: Patience,
) -> Result<Found, FetchError> {
    let access = access.as_ref();
    let what = format!("{}:{named}", source.name());
    let fetch = |named: String, digest, size| async move {
        let named = named.as_str();
        patiently(patience, || document::fetch(access, source, named, digest, size)).await
    };
    let mut document = fetch(named.to_owned(), pinned, None).await?;
    if document.head.manifests.is_some() {
        document = choose(&document, &what, fetch).await?;
    }
    let signed = document.digest;
    if ollama::is_one(&document) {
        if pinned.is_some() {
            return Err(fatal(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{what} is a model of Ollama's, which gets another digest here; pull it by a tag"
                ),
            )));
        }
        let made = ollama::translate(access, source, &document, &what, patience).await?;
        let NewArtifact { config, manifest } = made;
        let artifact = Artifact::parse(&manifest).map_err(|e| refused(&e, &what))?;
        artifact.require_runnable().map_err(|e| refused(&e, &what))?;
        return Ok(Found { signed, manifest, artifact, config });
    }
    let artifact = read(&document, &what)?;
    artifact.require_runnable().map_err(|e| refused(&e, &what))?;
    // It is needed whole before anything is promised to the user.
    let of_config = format!("the config of {what}");
    let fetch_config =
        || small::fetch(access, source, artifact.config, MAX_CONFIG_BYTES, &of_config);
    let config = patiently(patience, fetch_config).await?;
    Config::parse(&config, &artifact).map_err(|e| refused(&e, &what))?;
    Ok(Found { signed, manifest: document.bytes, artifact, config })
}

/// The one manifest of an index that is a model. Indexes of indexes are not followed.
async fn choose<F>(
    index: &Document,
    what: &str,
    fetch: impl Fn(String, Option<Digest>, Option<u64>) -> F,
) -> Result<Document, FetchError>
where
    F: Future<Output = Result<Document, FetchError>>,
{
    let candidates = index::candidates(index, what)?;
    let mut models = Vec::new();
    let mut refusal = None;
    for candidate in candidates {
        let digest = candidate.digest;
        let document = fetch(digest.to_string(), Some(digest), Some(candidate.size)).await?;
        if document.head.manifests.is_some() {
            return Err(invalid(format!("{what} is an index that names another index, {digest}")));
        }
        match read(&document, what) {
            Ok(_) => models.push(document),
            Err(error) => refusal = Some(error),
        }
    }
    match refusal {
        Some(refusal) if models.is_empty() => Err(refusal),
        _ => index::only_one(models, what),
    }
}

/// Reads a manifest, and says of what is no model what it is instead.
fn read(document: &Document, what: &str) -> Result<Artifact, FetchError> {
    let head = &document.head;
    let config_type = head.config.as_ref().and_then(|config| config.media_type.as_deref());
    let known = [media::CONFIG_V1, media::CONFIG_V2, media::CONFIG_CNCF];
    if let Some(other) = config_type.filter(|kind| !known.contains(kind))
        && head.schema_version == Some(2)
        && head.manifests.is_none()
    {
        let artifact = head.artifact_type.as_deref().map(clean).unwrap_or_default();
        let artifact = match artifact.is_empty() {
            true => String::new(),
            false => format!(" (artifact type {artifact:?})"),
        };
        let other = clean(other);
        return Err(fatal(Error::new(
            ErrorKind::UnsupportedModel,
            format!("{what} is no model that modeld can run: its config is {other:?}{artifact}"),
        )));
    }
    Artifact::parse(&document.bytes).map_err(|e| refused(&e, what))
}

fn refused(error: &ArtifactError, what: &str) -> FetchError {
    let kind = match error {
        ArtifactError::ConfigType(_)
        | ArtifactError::NoWeights
        | ArtifactError::SeveralWeights(_)
        | ArtifactError::Several(..) => ErrorKind::UnsupportedModel,
        _ => ErrorKind::RegistryInvalid,
    };
    fatal(Error::new(kind, format!("{what} is not taken: {error}")))
}
