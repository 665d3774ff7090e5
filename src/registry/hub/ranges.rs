use std::ops::Range;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName};

use crate::domain::ErrorKind;
use crate::registry::egress::EgressResponse;
use crate::registry::{BlobBody, FetchError};

/// Holds an answer to what was asked for: `range` of `size` bytes.
///
/// A 206 must begin where it was asked to, end no later, and speak of a file of the same size; an
/// answer in full must have that size.
pub(super) fn checked(
    response: EgressResponse,
    range: &Range<u64>,
    size: u64,
    what: &str,
) -> Result<BlobBody, FetchError> {
    let EgressResponse { status, headers, url, body } = response;
    let host = url.host_str().unwrap_or_default();
    let invalid = |text: String| {
        let text = format!("{host} {text} for {what}, bytes {range:?} of {size}");
        FetchError::fatal(ErrorKind::RegistryInvalid, text)
    };
    if let Some(encoding) = text(&headers, CONTENT_ENCODING).filter(|name| *name != "identity") {
        let encoding: String = encoding.chars().take(20).collect();
        return Err(invalid(format!("sent the content encoding {encoding:?}")));
    }
    let length = text(&headers, CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    let (start, end) = if status.as_u16() == 206 {
        let declared = text(&headers, CONTENT_RANGE).unwrap_or_default();
        let (start, end) = content_range(declared, size)
            .filter(|(start, end)| *start == range.start && start < end && *end <= range.end)
            .ok_or_else(|| {
                let declared: String = declared.chars().take(60).collect();
                invalid(format!("sent the range {declared:?}"))
            })?;
        if length.is_some_and(|length| length != end.saturating_sub(start)) {
            return Err(invalid(format!("sent {} bytes as a range", length.unwrap_or_default())));
        }
        (start, end)
    } else {
        if let Some(length) = length.filter(|length| *length != size) {
            return Err(invalid(format!("sent {length} bytes")));
        }
        (0, size)
    };
    // Weak ones may stay the same when bytes change (RFC 9110, section 8.8.1).
    let validator = text(&headers, ETAG).filter(|tag| tag.starts_with('"')).map(str::to_owned);
    let stream = body.map(|piece| piece.map_err(FetchError::from)).boxed();
    Ok(BlobBody { start, end, validator, stream })
}

/// A body that is here already.
pub(super) fn of_memory(bytes: &Bytes, range: &Range<u64>) -> BlobBody {
    let at = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len());
    let (start, end) = (at(range.start), at(range.end));
    let piece = bytes.slice(start.min(end)..end);
    BlobBody {
        start: start.min(end) as u64,
        end: end as u64,
        validator: None,
        stream: futures_util::stream::iter([Ok(piece)]).boxed(),
    }
}

/// Start and end (exclusive) of `bytes 0-9/100`; the size may be `*`.
fn content_range(value: &str, size: u64) -> Option<(u64, u64)> {
    let (range, whole) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    if whole != "*" && whole.parse() != Ok(size) {
        return None;
    }
    Some((first.parse().ok()?, last.parse::<u64>().ok()?.checked_add(1)?))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::headers::collect;
    use http::{HeaderValue, StatusCode};

    fn answer(status: u16, headers: &[(&'static str, &'static str)]) -> EgressResponse {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        EgressResponse {
            status: StatusCode::from_u16(status).unwrap(),
            headers: map,
            url: "https://cdn.example/x".parse().unwrap(),
            body: futures_util::stream::empty().boxed(),
        }
    }

    #[test]
    fn only_the_asked_range_of_the_same_file_is_taken() {
        let part = |range: &'static str| {
            let answer = answer(206, &[("content-range", range), ("etag", "\"e\"")]);
            checked(answer, &(10..20), 100, "f").map(|body| (body.start, body.end, body.validator))
        };
        let etag = Some("\"e\"".to_owned());
        assert_eq!(part("bytes 10-19/100"), Ok((10, 20, etag.clone())));
        assert_eq!(part("bytes 10-14/*"), Ok((10, 15, etag)));
        for bad in [
            "",
            "bytes 0-19/100",
            "bytes 11-19/100",
            "bytes 10-20/100",
            "bytes 10-9/100",
            "bytes 10-19/101",
            "bytes 10-18446744073709551615/100",
            "10-19/100",
            "bytes */100",
        ] {
            let error = part(bad).unwrap_err();
            assert_eq!(error.error.kind, ErrorKind::RegistryInvalid, "{bad}");
        }
    }

    #[test]
    fn an_answer_in_full_begins_at_zero_and_has_the_whole_size() {
        let full = |headers: &[(&'static str, &'static str)]| {
            checked(answer(200, headers), &(10..20), 100, "f")
                .map(|body| (body.start, body.end, body.validator))
        };
        assert_eq!(full(&[]), Ok((0, 100, None)));
        assert_eq!(full(&[("content-length", "100"), ("etag", "W/\"e\"")]), Ok((0, 100, None)));
        assert!(full(&[("content-length", "99")]).is_err());
        assert!(full(&[("content-encoding", "gzip")]).is_err());
    }

    #[tokio::test]
    async fn what_is_collected_begins_where_it_was_asked_to() {
        let bytes = Bytes::from_static(b"0123456789");
        let mut out = b"x".to_vec();
        collect(of_memory(&bytes, &(0..10)), 4, 3, &mut out).await.unwrap();
        assert_eq!(out, b"x456");
        collect(of_memory(&bytes, &(8..10)), 8, 3, &mut out).await.unwrap();
        assert_eq!(out, b"x45689");
        assert_eq!(of_memory(&bytes, &(7..99)).end, 10);
    }
}
