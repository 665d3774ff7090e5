use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};

use crate::domain::{Error, ErrorKind};
use crate::tokens::Tokens;

use super::super::ListenerClass;
use super::super::bearer::{self, Bearer};
use super::super::refusal::Refusal;

/// Takes keys and tokens out of the request before anything can record or log them, and leaves word
/// of what they are worth. On a Unix socket they are worth nothing: the kernel says who is there.
pub(in crate::api) async fn take_token(
    State(tokens): State<Tokens>,
    mut request: Request,
    next: Next,
) -> Response {
    let texts = bearer::take(request.headers_mut());
    let class = request.extensions().get::<ListenerClass>().copied();
    let bearer = match class {
        Some(class) if !class.is_unix() => bearer::recognise(&texts, &tokens),
        _ => Bearer::Absent,
    };
    drop(texts);
    request.extensions_mut().insert(bearer);
    next.run(request).await
}

/// Refuses requests without a valid token where one is required: over TCP that other machines reach,
/// always; over all TCP, if the owner says so.
pub(in crate::api) async fn require_token(
    State(everywhere): State<bool>,
    request: Request,
    next: Next,
) -> Response {
    let required = match request.extensions().get::<ListenerClass>() {
        Some(ListenerClass::Unix | ListenerClass::Group) => false,
        Some(
            ListenerClass::Tcp { .. }
            | ListenerClass::Containers { .. }
            | ListenerClass::Ollama { .. },
        ) => everywhere,
        Some(ListenerClass::Public { .. }) | None => true,
    };
    let problem = match request.extensions().get::<Bearer>() {
        _ if !required => return next.run(request).await,
        Some(Bearer::Valid(_)) => return next.run(request).await,
        Some(Bearer::Expired) => "the token has expired",
        Some(Bearer::Unknown) => "the token is none of this daemon's: it may have been revoked",
        Some(Bearer::Absent) | None => {
            "a token is required here, and this request has no valid one"
        }
    };
    let message = format!(
        "{problem}; make one with `modeld token create` where modeld runs, and send it as \
         `Authorization: Bearer mdl_…` or `x-api-key`"
    );
    let mut response = Refusal(Error::new(ErrorKind::TokenRequired, message)).into_response();
    let scheme = HeaderValue::from_static("Bearer");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    response
}
