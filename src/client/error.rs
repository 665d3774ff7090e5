use std::io;

use super::tls::TlsFault;

/// What can go wrong between a client and its daemon. Each text is one line for people.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("modeld is not running (no daemon at {place}); start it with: modeld serve")]
    NotRunning {
        /// Where it was looked for.
        place: String,
    },
    /// Somebody listens, but not for us.
    #[error("no permission to connect to {place}: the daemon belongs to another user")]
    NoPermission {
        /// The socket.
        place: String,
    },
    /// Somebody listens, but TLS does not come about.
    #[error("{place} cannot be used: {problem}")]
    Tls {
        /// Where it was looked for.
        place: String,
        /// Why not, and what to do.
        problem: String,
    },
    /// The daemon answered with an error.
    #[error("{message}")]
    Status {
        /// Its status code.
        status: u16,
        /// What it said.
        message: String,
        /// Seconds after which to try again, where it said so.
        retry_after: Option<u64>,
    },
    /// The connection broke before the answer was complete.
    #[error("the connection to the daemon broke before its answer was complete: {0}")]
    Broken(String),
    /// The answer is not what this client understands.
    #[error("the daemon's answer to {what} cannot be read: {problem}")]
    Unreadable {
        /// Method and path.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The request cannot be expressed, for instance a model name with a line break.
    #[error("not a valid request: {0}")]
    Invalid(String),
    /// What was to be sent could not be read.
    #[error("{0}")]
    Upload(String),
}

impl ClientError {
    /// Whether the daemon said that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { status: 404, .. })
    }

    pub(super) fn connecting(place: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        if let Some(fault) = find::<TlsFault>(error) {
            return Self::Tls { place: place.to_owned(), problem: fault.to_string() };
        }
        match find::<io::Error>(error).map(io::Error::kind) {
            Some(io::ErrorKind::PermissionDenied) => Self::NoPermission { place: place.to_owned() },
            // Whatever else keeps a connection from coming about, nobody answers there.
            Some(_) | None => Self::NotRunning { place: place.to_owned() },
        }
    }

    pub(super) fn broken(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Broken(innermost(error).to_string())
    }

    /// Of a connection over TCP without TLS, which the other side may want.
    pub(super) fn broken_in_clear(error: &(dyn std::error::Error + 'static)) -> Self {
        let problem = innermost(error).to_string();
        // What answers plain HTTP with an alert of TLS.
        match find::<hyper::Error>(error) {
            Some(error) if error.is_parse() => {
                Self::Broken(format!("{problem}; if it speaks TLS: https://"))
            }
            Some(_) | None => Self::Broken(problem),
        }
    }
}

fn innermost<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> &'a (dyn std::error::Error + 'static) {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at
}

/// The outermost cause of a type.
fn find<'a, E: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a E> {
    let mut at = Some(error);
    while let Some(e) = at {
        if let Some(found) = e.downcast_ref::<E>() {
            return Some(found);
        }
        at = e.source();
    }
    None
}
