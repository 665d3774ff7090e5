use std::collections::BTreeSet;

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::Type;
use utoipa::openapi::{Response, ResponseBuilder};

use crate::api::describe::{Schemas, of};
use crate::api::status::{ALL_KINDS, status_of};

use super::document::content;
use crate::api::describe::Dialect;

/// Every status of the table, lowest first.
pub(super) fn statuses() -> BTreeSet<u16> {
    ALL_KINDS.iter().map(|kind| status_of(*kind).as_u16()).collect()
}

/// Whether an operation of this method can fail so: what is only read has no body, no queue and
/// writes nothing. It can conflict: what is asked for may be switched off.
pub(super) fn concerns(status: u16, method: &str) -> bool {
    method != "GET" || !matches!(status, 408 | 413 | 415 | 429 | 499 | 507)
}

/// The name of a dialect's response of a status.
pub(super) fn name(dialect: &Dialect, status: u16) -> String {
    format!("{}.{status}", dialect.tag)
}

/// The response itself.
pub(super) fn response(dialect: &Dialect, status: u16, schemas: &mut Schemas) -> Response {
    let mut response = ResponseBuilder::new().description(meaning(status));
    for (kind, content) in content(dialect.errors, schemas) {
        response = response.content(kind, content);
    }
    if matches!(status, 429 | 503) {
        let header = HeaderBuilder::new()
            .schema(Some(of(Type::Integer)))
            .description(Some("seconds after which to try again"));
        response = response.header("retry-after", header.build());
    }
    response.build()
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "the request is at fault; the message says what and where",
        401 => "a token is missing or wrong, modeld's own or a registry's; the message says which",
        403 => "not allowed here: the listener, the token, the Host or the Origin",
        404 => "there is no such route, model or response",
        405 => "the path takes other methods, which the `Allow` header lists",
        408 => "the deadline has passed, or the body came too slowly",
        409 => "in conflict with what is going on; the message says with what",
        413 => "the body is too large",
        415 => "the body is compressed, or over TCP not said to be JSON",
        422 => "the model itself is at fault",
        429 => "the queue is full, or memory is held by busy models",
        499 => "the client went away or cancelled",
        502 => "a registry, or a proxy on the way to it, failed; the message says which and how",
        503 => "the daemon is stopping",
        507 => "the disk is full",
        _ => "a fault of modeld, which its log explains",
    }
}
