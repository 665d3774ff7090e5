use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use crate::domain::{Error, ErrorKind};

use super::super::family::Family;
use super::super::refusal::{Failure, Refusal, log};
use super::super::reply::{JSON, TEXT};
use super::super::{anthropic, native, ollama, openai, path, status};
use super::trace::RequestId;

/// Routes by the normalised path, and writes the body of every error in its reader's dialect.
pub(in crate::api) async fn front(mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let wants_json = accepts_exactly_json(request.headers());
    let id = request.extensions().get::<RequestId>().map(|RequestId(id)| id.clone());
    let (family, mut response) = match normalised(request.uri()) {
        Some(uri) => {
            let family = Family::of(uri.path(), request.headers());
            *request.uri_mut() = uri;
            (family, next.run(request).await)
        }
        None => {
            let family = Family::of(request.uri().path(), request.headers());
            let error =
                Error::new(ErrorKind::RouteNotFound, "paths with `.` or `..` are not served");
            (family, Refusal(error).into_response())
        }
    };
    if let Some(Failure(error)) = response.extensions_mut().remove::<Failure>() {
        log(&error);
        write_error(&mut response, &error, family, wants_json, id.as_ref());
    }
    match (family, id) {
        (Family::OpenAi, _) => {
            let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let name = HeaderName::from_static("openai-processing-ms");
            response.headers_mut().insert(name, HeaderValue::from(ms));
        }
        // Anthropic's clients look for the id under its other name.
        (Family::Anthropic, Some(id)) => {
            response.headers_mut().insert(HeaderName::from_static("request-id"), id);
        }
        (Family::Anthropic, None) | (Family::Native | Family::Ollama, _) => {}
    }
    response
}

fn write_error(
    response: &mut Response,
    error: &Error,
    family: Family,
    wants_json: bool,
    id: Option<&HeaderValue>,
) {
    let (kind, body) = match family {
        Family::Anthropic => {
            let id = id.and_then(|id| id.to_str().ok());
            (JSON, anthropic::error_body(error, id))
        }
        Family::OpenAi => (JSON, openai::error_body(error)),
        Family::Ollama => (JSON, ollama::error_body(error)),
        Family::Native if wants_json => (JSON, native::error_json(error)),
        Family::Native => (TEXT, native::error_text(error)),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Was counted for the body that was not there yet.
    headers.remove(header::CONTENT_LENGTH);
    status::retry_headers(error, headers);
    *response.body_mut() = Body::from(body);
}

/// The native clients print what they get, unless they ask for JSON and nothing else.
fn accepts_exactly_json(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|accept| accept == "application/json")
}

fn normalised(uri: &Uri) -> Option<Uri> {
    let path = path::normalise(uri.path()).ok()?;
    if path == uri.path() {
        return Some(uri.clone());
    }
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(text).ok()?);
    Uri::from_parts(parts).ok()
}
