use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::Extensions;

use crate::domain::{Error, ErrorKind, Result};

use super::super::ListenerClass;
use super::super::refusal::Refusal;

/// Lets only the Unix socket through: whoever reaches it is the owner, whoever reaches TCP may be
/// any program of any user, or a container.
pub(in crate::api) async fn require_management(request: Request, next: Next) -> Response {
    match may_manage(request.extensions()) {
        Ok(()) => next.run(request).await,
        Err(error) => Refusal(error).into_response(),
    }
}

/// Refuses whoever did not come by the Unix socket, for routes that only sometimes manage.
///
/// # Errors
/// `Forbidden`.
pub(in crate::api) fn may_manage(extensions: &Extensions) -> Result<()> {
    if extensions.get::<ListenerClass>() == Some(&ListenerClass::Unix) {
        return Ok(());
    }
    let message = "managing models is allowed on the Unix socket only, TCP serves inference and \
                   lists; try: curl --unix-socket \"$XDG_RUNTIME_DIR/modeld/modeld.sock\" \
                   http://localhost/…";
    Err(Error::new(ErrorKind::Forbidden, message))
}
