use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::domain::{Error, ErrorKind};

/// THE table of statuses, for every dialect. 503 says that the daemon is stopping and nothing
/// else, because existing clients read any 503 as "not running"; and a failure that would repeat
/// itself is never a 5xx, because clients try those again.
pub(super) fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::InvalidJson
        | ErrorKind::InvalidValue
        | ErrorKind::MissingField
        | ErrorKind::Unsupported
        | ErrorKind::InvalidReference
        | ErrorKind::InvalidDigest
        | ErrorKind::ContextLengthExceeded
        | ErrorKind::UnsupportedModel => StatusCode::BAD_REQUEST,
        ErrorKind::HostRefused | ErrorKind::OriginRefused | ErrorKind::Forbidden => {
            StatusCode::FORBIDDEN
        }
        ErrorKind::ModelNotFound | ErrorKind::NotFound | ErrorKind::RouteNotFound => {
            StatusCode::NOT_FOUND
        }
        ErrorKind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorKind::RequestTimeout | ErrorKind::DeadlineExceeded => StatusCode::REQUEST_TIMEOUT,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorKind::InvalidModel
        | ErrorKind::LoadCrashed
        | ErrorKind::ModelQuarantined
        | ErrorKind::ModelTooLarge => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::QueueFull | ErrorKind::MemoryBusy => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Cancelled => client_closed_request(),
        ErrorKind::EngineCrashed | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorKind::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::TokenRequired | ErrorKind::RegistryUnauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::RegistryNotFound => StatusCode::NOT_FOUND,
        ErrorKind::RegistryForbidden | ErrorKind::SignatureRefused => StatusCode::FORBIDDEN,
        ErrorKind::RegistryInvalid | ErrorKind::RegistryUnavailable => StatusCode::BAD_GATEWAY,
    }
}

/// 499, which nginx made the customary one for a client that went away. Nobody is left to read it,
/// but the log does.
pub(super) fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
}

/// The headers that tell a client whether and when to try again.
///
/// OpenAI's clients retry 408, 409, 429 and 5xx by themselves; `x-should-retry`
/// stops them where that is useless.
pub(super) fn retry_headers(error: &Error, headers: &mut HeaderMap) {
    match error.kind {
        ErrorKind::QueueFull | ErrorKind::MemoryBusy | ErrorKind::ShuttingDown => {
            let after = error.retry_after.unwrap_or(Duration::from_secs(1));
            // Whole seconds, rounded up: coming back too early only costs both sides.
            let seconds =
                after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0)).max(1);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        ErrorKind::DeadlineExceeded | ErrorKind::Conflict => {
            headers.insert(
                HeaderName::from_static("x-should-retry"),
                HeaderValue::from_static("false"),
            );
        }
        _ => {}
    }
}

/// Every kind there is.
pub(super) const ALL_KINDS: [ErrorKind; 38] = [
    ErrorKind::InvalidJson,
    ErrorKind::InvalidValue,
    ErrorKind::MissingField,
    ErrorKind::Unsupported,
    ErrorKind::InvalidReference,
    ErrorKind::InvalidDigest,
    ErrorKind::ContextLengthExceeded,
    ErrorKind::ModelNotFound,
    ErrorKind::NotFound,
    ErrorKind::UnsupportedModel,
    ErrorKind::RouteNotFound,
    ErrorKind::MethodNotAllowed,
    ErrorKind::BodyTooLarge,
    ErrorKind::RequestTimeout,
    ErrorKind::UnsupportedMediaType,
    ErrorKind::HostRefused,
    ErrorKind::OriginRefused,
    ErrorKind::Forbidden,
    ErrorKind::TokenRequired,
    ErrorKind::QueueFull,
    ErrorKind::MemoryBusy,
    ErrorKind::DeadlineExceeded,
    ErrorKind::InvalidModel,
    ErrorKind::LoadCrashed,
    ErrorKind::ModelQuarantined,
    ErrorKind::ModelTooLarge,
    ErrorKind::Conflict,
    ErrorKind::DiskFull,
    ErrorKind::RegistryUnauthorized,
    ErrorKind::RegistryNotFound,
    ErrorKind::RegistryForbidden,
    ErrorKind::RegistryInvalid,
    ErrorKind::RegistryUnavailable,
    ErrorKind::SignatureRefused,
    ErrorKind::EngineCrashed,
    ErrorKind::Cancelled,
    ErrorKind::ShuttingDown,
    ErrorKind::Internal,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let table: String = ALL_KINDS
            .iter()
            .map(|kind| format!("{} {kind:?}\n", status_of(*kind).as_u16()))
            .collect();
        insta::assert_snapshot!(table);
    }

    #[test]
    fn retry_after_is_whole_seconds_and_never_zero() {
        for (after, seconds) in [
            (Some(Duration::ZERO), "1"),
            (Some(Duration::from_millis(300)), "1"),
            (Some(Duration::from_millis(2_001)), "3"),
            (Some(Duration::from_secs(7)), "7"),
            (None, "1"),
        ] {
            let mut error = Error::new(ErrorKind::QueueFull, "full");
            error.retry_after = after;
            let mut headers = HeaderMap::new();
            retry_headers(&error, &mut headers);
            assert_eq!(headers.get("retry-after").expect("set"), seconds, "{after:?}");
        }
    }

    #[test]
    fn what_repeats_itself_is_not_retried() {
        for kind in [ErrorKind::DeadlineExceeded, ErrorKind::Conflict] {
            let mut headers = HeaderMap::new();
            retry_headers(&Error::new(kind, "no"), &mut headers);
            assert_eq!(headers.get("x-should-retry").expect("set"), "false");
        }
    }
}
