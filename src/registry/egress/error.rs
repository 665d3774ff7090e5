use std::time::Duration;

use crate::domain::{Error, ErrorKind};
use crate::registry::{FetchError, Retry};

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// The policy does not allow it.
    #[error("{0}")]
    Forbidden(String),
    /// No connection, or it broke, or nothing came for too long.
    #[error("{0}")]
    Unreachable(String),
    /// The answer breaks HTTP, is too large, or redirects in circles.
    #[error("{0}")]
    Invalid(String),
}

impl From<EgressError> for FetchError {
    fn from(error: EgressError) -> Self {
        match error {
            EgressError::Forbidden(text) => Self::fatal(ErrorKind::RegistryForbidden, text),
            EgressError::Unreachable(text) => Self::passing(text),
            EgressError::Invalid(text) => Self::fatal(ErrorKind::RegistryInvalid, text),
        }
    }
}

impl From<EgressError> for Error {
    fn from(error: EgressError) -> Self {
        FetchError::from(error).error
    }
}

impl Retry {
    /// What a status and its `Retry-After` say about trying again.
    pub fn of_status(status: http::StatusCode, retry_after: Option<Duration>) -> Self {
        match (status.as_u16(), retry_after) {
            (408 | 429 | 500 | 502 | 503 | 504, Some(after)) => Self::After(after),
            (408 | 429 | 500 | 502 | 503 | 504, None) => Self::Soon,
            _ => Self::Never,
        }
    }
}
