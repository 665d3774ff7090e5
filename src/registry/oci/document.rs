use http::{HeaderValue, header};
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use url::Url;

use crate::domain::{Digest, Error};
use crate::registry::{FetchError, MAX_MANIFEST_BYTES};

use super::Access;
use super::answer::{clean, invalid, refusal, refuse_coding, text_header};
use super::source::Source;

/// Everything that a tag may name. Registries answer 404 for what is not listed here, even where
/// they have it.
const ACCEPTED: [&str; 4] = [
    OCI_IMAGE_MEDIA_TYPE,
    OCI_IMAGE_INDEX_MEDIA_TYPE,
    IMAGE_MANIFEST_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE,
];

/// What a registry holds under a tag or digest, as it came: a manifest or an index of manifests.
pub(super) struct Document {
    pub bytes: Vec<u8>,
    pub digest: Digest,
    pub head: Head,
}

/// As much of it as tells what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    pub schema_version: Option<u64>,
    pub media_type: Option<String>,
    pub artifact_type: Option<String>,
    pub config: Option<ConfigHead>,
    pub layers: Option<IgnoredAny>,
    pub manifests: Option<IgnoredAny>,
}

/// The type of a config tells what the layers are.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConfigHead {
    pub media_type: Option<String>,
}

/// Fetches a document once. What is known of it beforehand has to hold: `digest` where it is asked
/// for by digest, `size` where an index says it.
pub(super) async fn fetch(
    access: &dyn Access,
    source: &Source,
    named: &str,
    digest: Option<Digest>,
    size: Option<u64>,
) -> Result<Document, FetchError> {
    let what = format!("the manifest of {}:{named}", source.scope.repository);
    let url = source.manifest_url(named).map_err(fatal)?;
    fetch_from(access, source, url, &what, digest, size).await
}

/// The same for a document that is not below `manifests/`; messages call it `what`.
pub(super) async fn fetch_from(
    access: &dyn Access,
    source: &Source,
    url: Url,
    what: &str,
    digest: Option<Digest>,
    size: Option<u64>,
) -> Result<Document, FetchError> {
    let host = &source.host.name;
    let accepted = HeaderValue::from_str(&ACCEPTED.join(", ")).map_err(|e| fatal(internal(e)))?;
    let build = || {
        let mut request = source.get(url.clone());
        request.headers.insert(header::ACCEPT, accepted.clone());
        request
    };
    let answer = access.send(&source.host, &source.scope, source.token.as_ref(), &build).await?;
    if answer.status != http::StatusCode::OK {
        return Err(refusal(answer, host, what).await);
    }
    let headers = answer.headers.clone();
    refuse_coding(&headers, host)?;
    let sent_type = text_header(&headers, &header::CONTENT_TYPE, host)?.map(essence);
    let said = text_header(&headers, &DIGEST_HEADER, host)?;
    let limit = size.and_then(|size| usize::try_from(size).ok()).unwrap_or(MAX_MANIFEST_BYTES);
    let bytes = answer.read(limit.min(MAX_MANIFEST_BYTES)).await?.to_vec();
    if let Some(size) = size.filter(|size| *size != bytes.len() as u64) {
        let got = bytes.len();
        return Err(invalid(format!("{host} sends {got} bytes of {what} instead of {size}")));
    }
    let found = Digest::of(&bytes);
    // Another algorithm's digest cannot be compared with ours and promises us nothing.
    let said = said.filter(|said| !said.starts_with("sha512:"));
    if let Some(said) = said.filter(|said| *said != found.to_string()) {
        let said = clean(said);
        return Err(invalid(format!("{host} says that {what} is {said}, but sends {found}")));
    }
    if let Some(pinned) = digest.filter(|pinned| *pinned != found) {
        return Err(invalid(format!("{host} sends {found} as {what} instead of {pinned}")));
    }
    let head: Head = serde_json::from_slice(&bytes).map_err(|e| {
        let kind = sent_type.as_deref().unwrap_or("without a type");
        let kind = clean(kind);
        invalid(format!(
            "{host} sends no manifest ({kind}) where {what} should be: {e}; \
             check that the name of the registry is right and nothing in between answers for it"
        ))
    })?;
    // Some registries send everything as text, which says nothing.
    let sent_type = sent_type.filter(|sent| sent != "text/plain");
    if let (Some(sent), Some(own)) = (&sent_type, &head.media_type)
        && *sent != own.to_ascii_lowercase()
    {
        let (sent, own) = (clean(sent), clean(own));
        return Err(invalid(format!("{host} sends {what} as {sent:?}, but it is {own:?}")));
    }
    Ok(Document { bytes, digest: found, head })
}

const DIGEST_HEADER: header::HeaderName = header::HeaderName::from_static("docker-content-digest");

/// The type without its parameters.
fn essence(value: &str) -> String {
    value.split(';').next().unwrap_or(value).trim().to_ascii_lowercase()
}

/// A fault of ours is final.
pub(super) fn fatal(error: Error) -> FetchError {
    FetchError { error, retry: crate::registry::Retry::Never }
}

fn internal(error: impl std::fmt::Display) -> Error {
    Error::internal(error)
}
