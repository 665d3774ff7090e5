use axum::extract::Request;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;

use crate::domain::{Error, ErrorKind};

use super::refusal::Refusal;

/// The only backend there is.
pub(super) const BACKEND: &str = "llama.cpp";

/// The `{*model}` of a route, decoded: it may hold slashes, encoded or not.
#[derive(Debug)]
pub(super) struct ModelName(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for ModelName {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        Ok(Self(param(parts, state, "model").await?))
    }
}

/// Refuses `/engines/{backend}/…` for any backend but ours.
pub(super) async fn require_backend(request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match param(&mut parts, &(), "backend").await {
        Ok(name) if name == BACKEND => next.run(Request::from_parts(parts, body)).await,
        Ok(_) => Refusal(Error::new(ErrorKind::RouteNotFound, "backend not found")).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn param<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    name: &str,
) -> Result<String, Refusal> {
    let invalid = |text| Refusal(Error::new(ErrorKind::InvalidReference, text));
    let params = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| invalid("the name in the path is not UTF-8"))?;
    let found = params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
    found.ok_or_else(|| invalid("the path names no model"))
}
