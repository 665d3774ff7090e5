use http::{StatusCode, header};

use crate::domain::{Digest, ErrorKind};
use crate::registry::{Descriptor, FetchError};

use super::Access;
use super::answer::{invalid, refusal, refuse_coding};
use super::document::fatal;
use super::source::Source;

/// Fetches a blob of at most `max` bytes whole, once, and checks its length and digest; messages
/// call it `what`.
pub(super) async fn fetch(
    access: &dyn Access,
    source: &Source,
    blob: Descriptor,
    max: usize,
    what: &str,
) -> Result<Vec<u8>, FetchError> {
    let host = &source.host.name;
    let Descriptor { digest, size } = blob;
    let limit = usize::try_from(size).ok().filter(|size| *size <= max);
    let limit =
        limit.ok_or_else(|| invalid(format!("{what} has {size} bytes, more than {max}")))?;
    let url = source.blob_url(&digest).map_err(fatal)?;
    let build = || {
        let mut request = source.get(url.clone());
        let plain = http::HeaderValue::from_static("identity");
        request.headers.insert(header::ACCEPT_ENCODING, plain);
        request
    };
    let answer = access.send(&source.host, &source.scope, source.token.as_ref(), &build).await?;
    if answer.status != StatusCode::OK {
        let mut error = refusal(answer, host, what).await;
        // The manifest that names it is there: this is not the user's mistake.
        if error.error.kind == ErrorKind::RegistryNotFound {
            error.error.kind = ErrorKind::RegistryInvalid;
        }
        return Err(error);
    }
    refuse_coding(&answer.headers, host)?;
    let bytes = answer.read(limit).await?.to_vec();
    let found = Digest::of(&bytes);
    if bytes.len() != limit || found != digest {
        let got = bytes.len();
        return Err(invalid(format!(
            "{host} sends {got} bytes with the digest {found} as {what} instead of {limit} bytes \
             with {digest}"
        )));
    }
    Ok(bytes)
}
