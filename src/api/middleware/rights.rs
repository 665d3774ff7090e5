use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{Extensions, HeaderMap, header};

use crate::domain::{Error, ErrorKind, Result};
use crate::tokens::Scope;

use super::super::bearer::Bearer;
use super::super::owner::is_passed_on;
use super::super::refusal::Refusal;
use super::super::{ListenerClass, PeerInfo, PeerOwner};

/// Lets only the owner through: the user and root on a Unix socket, programs of the same user on
/// loopback TCP, and whoever has a token of the scope admin over TCP. Other users, members of a
/// socket's group, containers and web pages may infer and list.
pub(in crate::api) async fn require_management(request: Request, next: Next) -> Response {
    match may_manage(request.headers(), request.extensions()).await {
        Ok(()) => next.run(request).await,
        Err(error) => Refusal(error).into_response(),
    }
}

/// Refuses whoever is not the owner, for routes that only sometimes manage.
///
/// # Errors
/// `Forbidden`.
pub(in crate::api) async fn may_manage(headers: &HeaderMap, extensions: &Extensions) -> Result<()> {
    let bearer = extensions.get::<Bearer>();
    let scope = match bearer {
        Some(Bearer::Valid(token)) => Some(token.scope),
        Some(Bearer::Expired | Bearer::Unknown | Bearer::Absent) | None => None,
    };
    let who = match (extensions.get(), extensions.get()) {
        (Some(ListenerClass::Unix), _) => return Ok(()),
        (Some(ListenerClass::Group), _) => "a member of the socket's group",
        // Whatever it was given: what a container is told, its neighbours may learn.
        (Some(ListenerClass::Containers { .. }), _) => "a container, with a token or without,",
        // Nobody has one by accident, unlike a place in a browser or on this machine.
        (Some(_), _) if scope == Some(Scope::Admin) => return Ok(()),
        // Whoever passes on what others send, with their tokens, does not lend them its own rights.
        (Some(_), _) if scope == Some(Scope::Inference) => "a token of the scope inference",
        // Its end takes rights away, and must not leave whoever had them with more.
        _ if matches!(bearer, Some(Bearer::Expired | Bearer::Unknown)) => {
            "a token that has expired or was revoked"
        }
        // The browser is the owner's, the page in it is not.
        _ if headers.contains_key(header::ORIGIN) => "a web page",
        // The proxy is the owner's, whoever it speaks for is not.
        _ if is_passed_on(headers) => "what a proxy passed on",
        (
            Some(ListenerClass::Tcp { local } | ListenerClass::Ollama { local }),
            Some(PeerInfo::Tcp { remote }),
        ) => {
            let known = extensions.get::<PeerOwner>().cloned().unwrap_or_default();
            if known.is_our_user(*remote, *local).await {
                return Ok(());
            }
            "a client that is not known to be its user's"
        }
        _ => "this connection",
    };
    let message = format!(
        "{who} may not manage modeld, only use and list models; its user may, at any rate on the \
         Unix socket (or over TCP with a token of the scope admin): curl --unix-socket \"$XDG_RUNTIME_DIR/modeld/modeld.sock\" http://localhost/…"
    );
    Err(Error::new(ErrorKind::Forbidden, message))
}
