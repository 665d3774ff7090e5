use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};

use crate::domain::{Digest, Error, ErrorKind, Result};
use crate::gguf::{Facts, GgufError, Header, facts_of};
use crate::registry::headers::{collect, remote_header};
use crate::registry::{
    Artifact, Descriptor, NewArtifact, NewLayer, NewModel, RemoteModel, compose, media,
};

use super::blobs::{HubBlobs, Opener, Place};
use super::choose::Chosen;
use super::client::{Access, Hub};
use super::listing::{HubFile, Repository};

/// The largest file without a digest in the listing: it is fetched and hashed before the manifest
/// can be written. The Hub keeps everything above 10 MB as a large file with one.
const MAX_SMALL_BYTES: u64 = 8 << 20;
/// The longest header of the first file; vocabularies are in there.
const MAX_HEADER_BYTES: u64 = 64 << 20;
/// The longest header of further shards and of projectors.
const MAX_SHORT_HEADER_BYTES: u64 = 8 << 20;
/// How many files are asked for at once.
const AT_ONCE: usize = 4;

/// Writes the artifact that the chosen files are, reading no more of them than it needs.
///
/// # Errors
/// `InvalidModel` for a header that breaks a rule; `RegistryInvalid` for files that are not what
/// the listing says; those of opening a file.
pub(super) async fn assemble(
    hub: &Hub,
    access: &Access,
    repository: &Repository,
    chosen: &Chosen,
) -> Result<RemoteModel> {
    let opener =
        Opener { hub: hub.clone(), access: access.clone(), repository: repository.clone() };
    let small = fetch_small(&opener, chosen).await?;
    let facts = facts(&opener, chosen, &small).await?;

    let mut places = HashMap::new();
    let mut layers = Vec::new();
    for (file, media_type) in with_types(chosen) {
        let here = small.get(&file.path);
        let digest = match (file.sha256, here) {
            (Some(digest), _) => digest,
            (None, Some(bytes)) => Digest::of(bytes),
            (None, None) => return Err(Error::internal(format!("{} has no digest", file.path))),
        };
        let place = || here.cloned().map_or(Place::Hub(file.path.clone()), Place::Memory);
        places.entry(digest).or_insert_with(place);
        layers.push(NewLayer {
            media_type,
            blob: Descriptor { digest, size: file.size },
            file_name: Some(file.name().to_owned()),
        });
    }
    let weight_bytes = chosen.weights.iter().map(|file| file.size).fold(0, u64::saturating_add);
    let model =
        NewModel { facts: &facts, weight_bytes, context_size: None, created: repository.modified };
    let NewArtifact { config, manifest } = compose(model, &layers)?;
    let artifact = Artifact::parse(&manifest)?;
    artifact.require_runnable()?;
    let small_documents = [&config, &manifest].map(|bytes| Bytes::copy_from_slice(bytes));
    places.extend(small_documents.map(|bytes| (Digest::of(&bytes), Place::Memory(bytes))));
    Ok(RemoteModel {
        id: Digest::of(&manifest),
        manifest,
        artifact,
        config,
        blobs: Arc::new(HubBlobs { opener, places }),
        warnings: chosen.warnings.clone(),
    })
}

/// In the packager's order.
fn with_types(chosen: &Chosen) -> impl Iterator<Item = (&HubFile, &'static str)> {
    let Chosen { weights, projector, template, licenses, warnings: _ } = chosen;
    weights
        .iter()
        .map(|file| (file, media::GGUF))
        .chain(projector.iter().map(|file| (file, media::MMPROJ)))
        .chain(template.iter().map(|file| (file, media::CHAT_TEMPLATE)))
        .chain(licenses.iter().map(|file| (file, media::LICENSE)))
}

/// The files whose digests nobody knows, by their paths.
async fn fetch_small(opener: &Opener, chosen: &Chosen) -> Result<HashMap<String, Bytes>> {
    let without_digest = with_types(chosen).map(|(file, _)| file).filter(|f| f.sha256.is_none());
    let fetches = without_digest.map(|file| async move {
        if file.size > MAX_SMALL_BYTES {
            let text = format!(
                "the Hub gives no digest for {}, which with {} bytes is too large to be fetched \
                 for one (the limit is {MAX_SMALL_BYTES})",
                file.path, file.size
            );
            return Err(Error::new(ErrorKind::RegistryInvalid, text));
        }
        let mut bytes = Vec::new();
        let body = opener.open(&file.path, file.size, 0..file.size).await?;
        // One more than it has shows a file that is longer.
        let count = usize::try_from(file.size.saturating_add(1)).unwrap_or(usize::MAX);
        collect(body, 0, count, &mut bytes).await?;
        if bytes.len() as u64 != file.size {
            let text = format!("{} has not the {} bytes that the Hub lists", file.path, file.size);
            return Err(Error::new(ErrorKind::RegistryInvalid, text));
        }
        Ok((file.path.clone(), Bytes::from(bytes)))
    });
    let fetches: Vec<_> = fetches.collect();
    futures_util::stream::iter(fetches).buffered(AT_ONCE).try_collect().await
}

/// Reads all headers as the packager does.
async fn facts(opener: &Opener, chosen: &Chosen, small: &HashMap<String, Bytes>) -> Result<Facts> {
    let (first, rest) = chosen.weights.split_first().ok_or(GgufError::Empty)?;
    let first = header_of(opener, first, small, MAX_HEADER_BYTES).await?;
    let others: Vec<_> = rest
        .iter()
        .chain(&chosen.projector)
        .map(|file| header_of(opener, file, small, MAX_SHORT_HEADER_BYTES))
        .collect();
    let mut others: Vec<Header> =
        futures_util::stream::iter(others).buffered(AT_ONCE).try_collect().await?;
    if let Some(file) = &chosen.projector
        && let Some(header) = others.pop()
    {
        Facts::of(&header).map_err(|rule| breaks(file, &rule))?;
    }
    let headers: Vec<Header> = std::iter::once(first).chain(others).collect();
    facts_of(&headers)
}

/// The header of a file, of which no more is read than it needs.
async fn header_of(
    opener: &Opener,
    file: &HubFile,
    small: &HashMap<String, Bytes>,
    max: u64,
) -> Result<Header> {
    let here = small.get(&file.path).map(|bytes| bytes.to_vec()).unwrap_or_default();
    let open = |range| opener.open(&file.path, file.size, range).boxed();
    remote_header(&file.path, file.size, here, max, &open).await
}

fn breaks(file: &HubFile, rule: &GgufError) -> Error {
    Error::new(ErrorKind::InvalidModel, format!("{} cannot be run: {rule}", file.path))
}
