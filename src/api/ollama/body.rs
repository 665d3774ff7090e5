use axum::body::Body;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::api::{body, json};
use crate::domain::{Error, ErrorKind, Result};

/// Reads a body of at most `limit` bytes as one JSON object, whatever content type it claims.
/// Clients send the default one of theirs, and foreign pages are kept out by their `Origin`.
///
/// # Errors
/// `MissingField` without a body; those of [`body::read`] and of [`json::decode`].
pub(super) async fn read<T>(parts: &Parts, body: Body, limit: usize) -> Result<T>
where
    T: DeserializeOwned + Send + 'static,
{
    let body = body::read(parts, body, limit).await?;
    if body.trim_ascii().is_empty() {
        return Err(Error::new(ErrorKind::MissingField, "missing request body"));
    }
    json::decode_large(body).await
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct One {
        n: Option<i64>,
    }

    async fn of(text: &'static str) -> Result<Option<i64>> {
        let kind = "application/x-www-form-urlencoded";
        let request = http::Request::builder().header("content-type", kind).body(());
        let (parts, ()) = request.expect("a request").into_parts();
        read(&parts, Body::from(text), 100).await.map(|One { n }| n)
    }

    #[tokio::test]
    async fn a_body_is_json_whatever_it_claims_to_be() {
        assert_eq!(of("{\"n\":1,\"unknown\":[]}").await, Ok(Some(1)));
        assert_eq!(of("{\"n\":null}").await, Ok(None));
        for none in ["", " \n"] {
            let error = of(none).await.expect_err("refused");
            assert_eq!(
                (error.kind, error.message.as_str()),
                (ErrorKind::MissingField, "missing request body")
            );
        }
        assert_eq!(of("n=1").await.expect_err("refused").kind, ErrorKind::InvalidJson);
    }
}
