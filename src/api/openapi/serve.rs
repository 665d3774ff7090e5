use std::sync::OnceLock;

use bytes::Bytes;
use http::HeaderMap;

use crate::api::refusal::Reply;
use crate::api::reply::json;
use crate::domain::Error;

use super::document::document;

/// Built by the first request: who never asks has no memory for it.
static DOCUMENT: OnceLock<Bytes> = OnceLock::new();

/// `GET /openapi.json`.
pub(in crate::api) async fn openapi() -> Reply {
    let document = match DOCUMENT.get() {
        Some(document) => document.clone(),
        None => {
            let text = document().to_json().map_err(Error::internal)?;
            DOCUMENT.get_or_init(|| text.into()).clone()
        }
    };
    Ok(json(HeaderMap::new(), document))
}
