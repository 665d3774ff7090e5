use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use crate::domain::{Error, ErrorKind};
use crate::registry::egress::EgressResponse;
use crate::registry::{FetchError, Retry};

use super::client::Access;

/// No server makes anyone wait longer.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What the Hub adds to a refusal: `RepoNotFound`, `EntryNotFound`, `GatedRepo`, ….
const ERROR_CODE: &str = "x-error-code";

/// Why the Hub, or the server that it sent us to, did not answer what was asked about `what`.
pub(super) fn refusal(
    response: &EgressResponse,
    access: &Access,
    what: &str,
    from_hub: bool,
) -> FetchError {
    let host = response.url.host_str().unwrap_or_default();
    let status = response.status;
    if !from_hub && matches!(status.as_u16(), 400 | 401 | 403 | 404 | 410) {
        // The links that the Hub redirects to are signed and expire; asking it again gives new ones.
        let text = format!("{host} answered {status} for {what}; the link to it may have expired");
        return FetchError::passing(text);
    }
    let Access { page, name, authorization } = access;
    let code = response.headers.get(ERROR_CODE).and_then(|code| code.to_str().ok());
    let login = match authorization {
        Some(_) => "the token that was sent does not allow it",
        None => "no token was sent; `modeld login huggingface.co` keeps one",
    };
    match (status.as_u16(), code) {
        (401 | 403, Some("GatedRepo")) => FetchError::fatal(
            ErrorKind::RegistryUnauthorized,
            format!(
                "{name} is gated: sign in at {page} and accept its conditions, then run `modeld \
                 login huggingface.co` with a token of the same account ({login})"
            ),
        ),
        (401 | 403 | 404, Some("RepoNotFound")) => FetchError::fatal(
            ErrorKind::RegistryNotFound,
            format!("the Hub knows no {name}, or does not show it to this user ({login})"),
        ),
        (401 | 403, _) => FetchError::fatal(
            ErrorKind::RegistryUnauthorized,
            format!(
                "the Hub answered {status} for {what} of {name}: it is gated, private or not \
                 there; look at {page}, accept its conditions if it has any, and run `modeld \
                 login huggingface.co` ({login})"
            ),
        ),
        (404 | 410, _) => FetchError::fatal(
            ErrorKind::RegistryNotFound,
            format!("the Hub has no {what} of {name}; look at {page}"),
        ),
        _ => unexpected(status, &response.headers, host, what),
    }
}

/// Why an answer with a status that means nothing in particular is no answer.
pub(in crate::registry) fn unexpected(
    status: StatusCode,
    headers: &HeaderMap,
    host: &str,
    what: &str,
) -> FetchError {
    let after = retry_after(headers);
    let retry = Retry::of_status(status, after);
    if retry == Retry::Never {
        let text = format!("{host} answered {status} for {what}, which makes no sense there");
        return FetchError::fatal(ErrorKind::RegistryInvalid, text);
    }
    let again = match after {
        Some(after) => format!("try again in {} s", after.as_secs()),
        None => "try again later".to_owned(),
    };
    let text = format!("{host} answered {status} for {what}; {again}");
    let mut error = Error::new(ErrorKind::RegistryUnavailable, text);
    error.retry_after = after;
    FetchError { error, retry }
}

/// `Retry-After` in both of its forms (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            let seconds = date.as_second().saturating_sub(jiff::Timestamp::now().as_second());
            Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms_and_bounded() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("99999999999"), Some(LONGEST_WAIT));
        assert_eq!(of("-1"), None);
        assert_eq!(of("soon"), None);
        assert_eq!(of("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(of("Fri, 21 Oct 2095 07:28:00 GMT"), Some(LONGEST_WAIT));
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
