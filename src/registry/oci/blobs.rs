use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::domain::Error;
use crate::registry::egress::EgressError;
use crate::registry::{BlobBody, BlobSource, Descriptor, FetchError};

use super::Access;
use super::answer::{clean, invalid, refusal, refuse_coding, text_header};
use super::document::fatal;
use super::source::Source;

/// The layers of a model that was found at the first of these sources.
pub(super) struct OciBlobs {
    access: Arc<dyn Access>,
    sources: Vec<Source>,
    /// Which source is asked now. It only goes forward: layers that came in ranges from sources
    /// taking turns would begin anew at each turn.
    current: AtomicUsize,
}

impl OciBlobs {
    pub fn new(access: Arc<dyn Access>, sources: Vec<Source>) -> Self {
        Self { access, sources, current: AtomicUsize::new(0) }
    }

    async fn open_somewhere(
        &self,
        blob: &Descriptor,
        range: Range<u64>,
    ) -> Result<BlobBody, FetchError> {
        loop {
            let at = self.current.load(Ordering::Acquire);
            let Some(source) = self.sources.get(at) else {
                return Err(fatal(Error::internal("a model without a source")));
            };
            let error = match open(self.access.as_ref(), source, blob, range.clone()).await {
                Ok(body) => return Ok(body),
                Err(error) => error,
            };
            let next = at.saturating_add(1);
            let Some(other) = self.sources.get(next) else { return Err(error) };
            tracing::warn!(%error, from = %source.host.name, to = %other.host.name,
                "a mirror failed; its layers now come from elsewhere");
            self.current.fetch_max(next, Ordering::AcqRel);
        }
    }
}

impl BlobSource for OciBlobs {
    fn open<'a>(
        &'a self,
        blob: &'a Descriptor,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<BlobBody, FetchError>> {
        self.open_somewhere(blob, range).boxed()
    }
}

/// Asks one source for a range of a blob and checks that the answer is that range.
pub(super) async fn open(
    access: &dyn Access,
    source: &Source,
    blob: &Descriptor,
    range: Range<u64>,
) -> Result<BlobBody, FetchError> {
    let Descriptor { digest, size } = *blob;
    let range = range.start..range.end.min(size);
    let whole = range.start == 0 && range.end == size;
    let Some(last) = range.end.checked_sub(1).filter(|last| *last >= range.start) else {
        // Registries answer a range that begins at the end with an error, and some of them with a
        // length that never comes; an empty blob needs no question.
        let at = range.start.min(size);
        return Ok(BlobBody {
            start: at,
            end: at,
            validator: None,
            stream: stream::empty().boxed(),
        });
    };
    let url = source.blob_url(&digest).map_err(fatal)?;
    let wanted = HeaderValue::from_str(&format!("bytes={}-{last}", range.start))
        .map_err(|e| fatal(Error::internal(e)))?;
    let build = || {
        let mut request = source.get(url.clone());
        let plain = HeaderValue::from_static("identity");
        request.headers.insert(header::ACCEPT_ENCODING, plain);
        if !whole {
            request.headers.insert(header::RANGE, wanted.clone());
        }
        request
    };
    let host = source.host.name.as_str();
    let answer = access.send(&source.host, &source.scope, source.token.as_ref(), &build).await?;
    let headers = &answer.headers;
    let (start, end) = match answer.status {
        StatusCode::PARTIAL_CONTENT if !whole => {
            check_content_range(headers, &range, size, host)?;
            (range.start, range.end)
        }
        StatusCode::OK => (0, size),
        _ => {
            let what = format!("the layer {digest} of {}", source.scope.repository);
            return Err(refusal(answer, host, &what).await);
        }
    };
    refuse_coding(headers, host)?;
    let promised = end.saturating_sub(start);
    if let Some(length) = text_header(headers, &header::CONTENT_LENGTH, host)?
        && length.parse() != Ok(promised)
    {
        let length = clean(length);
        return Err(invalid(format!(
            "{host} has {length} bytes for the layer {digest} where {promised} are due"
        )));
    }
    let validator = text_header(headers, &header::ETAG, host)?;
    // A weak one does not promise that the bytes are the same.
    let validator = validator.filter(|tag| !tag.starts_with("W/")).map(|tag| {
        // Another host's name for the content is another name.
        format!("{host} {tag}")
    });
    let label = format!("{host} the layer {digest}");
    let stream = counted(answer.body, promised, label);
    Ok(BlobBody { start, end, validator, stream })
}

/// Holds `Content-Range` to exactly what was asked for.
fn check_content_range(
    headers: &HeaderMap,
    range: &Range<u64>,
    size: u64,
    host: &str,
) -> Result<(), FetchError> {
    let said = text_header(headers, &header::CONTENT_RANGE, host)?.unwrap_or_default();
    if parse_content_range(said) == Some((range.clone(), size)) {
        return Ok(());
    }
    let said = clean(said);
    Err(invalid(format!(
        "{host} answers for the bytes {}-{} of {size} with the range {said:?}",
        range.start,
        range.end.saturating_sub(1)
    )))
}

/// `bytes FIRST-LAST/TOTAL`, all three as plain decimal numbers.
fn parse_content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| digits.parse::<u64>().ok()).flatten()
    };
    Some((number(first)?..number(last)?.checked_add(1)?, number(total)?))
}

/// The bytes of an answer, with an error where there are fewer or more than it promised.
fn counted(
    body: BoxStream<'static, Result<bytes::Bytes, EgressError>>,
    promised: u64,
    label: String,
) -> BoxStream<'static, Result<bytes::Bytes, FetchError>> {
    let state = Some((body, 0u64));
    stream::unfold(state, move |state| {
        let label = label.clone();
        async move {
            let (mut body, got) = state?;
            let missing = promised.saturating_sub(got);
            match body.next().await {
                Some(Ok(piece)) if piece.len() as u64 > missing => {
                    let text = format!("{label} goes on after the {promised} bytes it promised");
                    Some((Err(invalid(text)), None))
                }
                Some(Ok(piece)) => {
                    let got = got.saturating_add(piece.len() as u64);
                    Some((Ok(piece), Some((body, got))))
                }
                Some(Err(error)) => Some((Err(error.into()), None)),
                None if missing > 0 => {
                    let text = format!("{label} broke off after {got} of {promised} bytes");
                    Some((Err(FetchError::passing(text)), None))
                }
                None => None,
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_to_the_letter() {
        assert_eq!(parse_content_range("bytes 0-9/100"), Some((0..10, 100)));
        for text in [
            "",
            "bytes */100",
            "bytes 0-9/*",
            "bytes=0-9/100",
            "Bytes 0-9/100",
            "bytes 0-9",
            "bytes -9/100",
            "bytes +0-9/100",
            "bytes 0-9/100, 20-29/100",
            "bytes 0-18446744073709551615/18446744073709551615",
            "items 0-9/100",
        ] {
            assert_eq!(parse_content_range(text), None, "{text}");
        }
    }
}
