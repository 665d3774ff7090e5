use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use super::EgressError;

/// One request to a host that the user, the configuration or a checked answer named.
pub struct EgressRequest {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Its headers, without credentials.
    pub headers: HeaderMap,
    /// Sent to the origin of `url` and, after a redirect, to no other.
    pub authorization: Option<HeaderValue>,
    /// What is sent; bodies of any size are streams.
    pub body: Option<reqwest::Body>,
    /// The origin that the user named (the registry's), on whose word this is asked. Its own
    /// addresses may be private or loopback; those of any other host may not, unless it is this
    /// very host.
    pub named: Url,
}

impl EgressRequest {
    /// A GET of `url` on the word of `named`.
    pub fn get(url: Url, named: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            authorization: None,
            body: None,
            named,
        }
    }
}

/// The head of an answer, and its body on the way.
pub struct EgressResponse {
    /// The status of the last answer: never a redirect that could be followed.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Where it came from in the end.
    pub url: Url,
    /// Its body; ends in an error where it breaks off or stalls.
    pub body: BoxStream<'static, Result<Bytes, EgressError>>,
}

impl EgressResponse {
    /// The whole body.
    ///
    /// # Errors
    /// [`EgressError::Invalid`] for one of more than `max` bytes, of which no more is held; those of
    /// the body.
    pub async fn read(mut self, max: usize) -> Result<Bytes, EgressError> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.body.next().await {
            let piece = piece?;
            if whole.len().saturating_add(piece.len()) > max {
                let host = self.url.host_str().unwrap_or_default();
                let text = format!("the answer of {host} has more than {max} bytes");
                return Err(EgressError::Invalid(text));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}
