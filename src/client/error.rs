use std::io;

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
        match io_kind(error) {
            Some(io::ErrorKind::PermissionDenied) => Self::NoPermission { place: place.to_owned() },
            // Whatever else keeps a connection from coming about, nobody answers there.
            Some(_) | None => Self::NotRunning { place: place.to_owned() },
        }
    }

    pub(super) fn broken(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Broken(innermost(error).to_string())
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

fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut at = Some(error);
    while let Some(e) = at {
        if let Some(io) = e.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        at = e.source();
    }
    None
}
