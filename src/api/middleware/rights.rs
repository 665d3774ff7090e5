use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{Extensions, HeaderMap, header};

use crate::domain::{Error, ErrorKind, Result};

use super::super::refusal::Refusal;
use super::super::{ListenerClass, PeerInfo, owner};

/// Lets only the owner through: whoever reaches the Unix socket, and on loopback TCP programs of the
/// same user. Other users, containers and web pages may infer and list.
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
    let who = match (extensions.get(), extensions.get()) {
        (Some(ListenerClass::Unix), _) => return Ok(()),
        (Some(ListenerClass::Containers { .. }), _) => "a container",
        // The browser is the owner's, the page in it is not.
        _ if headers.contains_key(header::ORIGIN) => "a web page",
        (
            Some(ListenerClass::Tcp { local } | ListenerClass::Ollama { local }),
            Some(PeerInfo::Tcp { remote }),
        ) => {
            let (local, remote) = (*local, *remote);
            let looked = tokio::task::spawn_blocking(move || owner::is_our_user(remote, local));
            if looked.await.unwrap_or(false) {
                return Ok(());
            }
            "a client that is not known to be its user's"
        }
        _ => "this connection",
    };
    let message = format!(
        "{who} may not manage modeld, only use and list models; its user may, at any rate on the \
         Unix socket: curl --unix-socket \"$XDG_RUNTIME_DIR/modeld/modeld.sock\" http://localhost/…"
    );
    Err(Error::new(ErrorKind::Forbidden, message))
}
