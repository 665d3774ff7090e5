use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::domain::{Error, ErrorKind};

use super::super::ListenerClass;
use super::super::refusal::Refusal;

/// Lets only the Unix socket through: whoever reaches it is the owner, whoever reaches TCP may be
/// any program of any user, or a container.
pub(in crate::api) async fn require_management(request: Request, next: Next) -> Response {
    if request.extensions().get::<ListenerClass>() == Some(&ListenerClass::Unix) {
        return next.run(request).await;
    }
    let message = "managing models is allowed on the Unix socket only, TCP serves inference and \
                   lists; try: curl --unix-socket \"$XDG_RUNTIME_DIR/modeld/modeld.sock\" \
                   http://localhost/…";
    Refusal(Error::new(ErrorKind::Forbidden, message)).into_response()
}
