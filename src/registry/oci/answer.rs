use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use crate::domain::{Error, ErrorKind};
use crate::registry::egress::EgressResponse;
use crate::registry::{FetchError, Retry};

/// The longest pause that a registry may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// How much of an error's body is read.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// How much of what a registry says is shown.
const MAX_SHOWN_CHARS: usize = 200;

/// The errors of the distribution specification.
#[derive(Deserialize)]
struct Envelope {
    errors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// What was tried, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Read,
    Write,
}

/// What an answer to a question means, other than the wanted one. `what` is what was asked for, as in `the
/// manifest of ai/smollm2:latest`; `host` is who answered.
pub(super) async fn refusal(answer: EgressResponse, host: &str, what: &str) -> FetchError {
    let status = answer.status;
    let after = retry_after(&answer.headers, jiff::Timestamp::now());
    // 416 comes with a body that is shorter than it says.
    let said = match status {
        StatusCode::RANGE_NOT_SATISFIABLE => None,
        _ => answer.read(MAX_ERROR_BYTES).await.ok().and_then(|body| message(&body)),
    };
    of_status(status, after, said.as_deref(), host, (Deed::Read, what))
}

/// The error for a status, with what the registry said.
pub(super) fn of_status(
    status: StatusCode,
    after: Option<Duration>,
    said: Option<&str>,
    host: &str,
    (deed, what): (Deed, &str),
) -> FetchError {
    let (give, to, have) = match deed {
        Deed::Read => ("give", "to", "does not have"),
        Deed::Write => ("take", "from", "knows no place for"),
    };
    let said = said.map(|said| format!(": {said}")).unwrap_or_default();
    let code = status.as_u16();
    let retry = Retry::of_status(status, after);
    let (kind, message) = match code {
        401 | 403 => (
            ErrorKind::RegistryUnauthorized,
            format!(
                "{host} does not {give} {what} {to} this user ({code}{said}); log in with \
                 `modeld login {host}`, and check that the name is right"
            ),
        ),
        404 => (ErrorKind::RegistryNotFound, format!("{host} {have} {what} (404{said})")),
        429 => (
            ErrorKind::RegistryUnavailable,
            format!("{host} has had too many requests for now (429{said}); try again later"),
        ),
        _ if retry != Retry::Never || status.is_server_error() => (
            ErrorKind::RegistryUnavailable,
            format!("{host} cannot {give} {what} now ({code}{said}); try again later"),
        ),
        _ => (ErrorKind::RegistryInvalid, format!("{host} answers {code} for {what}{said}")),
    };
    let mut error = Error::new(kind, message);
    if let Retry::After(after) = retry {
        error = error.with_retry_after(after);
    }
    let retry = match retry {
        Retry::Never if status.is_server_error() => Retry::Soon,
        other => other,
    };
    FetchError { error, retry }
}

/// A header that has to be text where it is there.
pub(super) fn text_header<'a>(
    headers: &'a HeaderMap,
    name: &header::HeaderName,
    host: &str,
) -> Result<Option<&'a str>, FetchError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.any(|other| other != value) {
        return Err(invalid(format!("{host} sends two different `{name}` headers")));
    }
    match value.to_str() {
        Ok(text) => Ok(Some(text.trim())),
        Err(_) => Err(invalid(format!("{host} sends a `{name}` header that is no text"))),
    }
}

/// Refuses bytes in a coding: what is hashed is what is sent.
pub(super) fn refuse_coding(headers: &HeaderMap, host: &str) -> Result<(), FetchError> {
    match text_header(headers, &header::CONTENT_ENCODING, host)? {
        None => Ok(()),
        Some(plain) if plain.is_empty() || plain.eq_ignore_ascii_case("identity") => Ok(()),
        Some(coding) => {
            let coding = clean(coding);
            Err(invalid(format!("{host} sends bytes in the coding {coding:?}, unasked")))
        }
    }
}

/// A broken promise or protocol.
pub(super) fn invalid(message: impl Into<String>) -> FetchError {
    FetchError::fatal(ErrorKind::RegistryInvalid, message)
}

/// What the registry says in an error's body: code and message, cleaned and short.
pub(super) fn message(body: &[u8]) -> Option<String> {
    let envelope: Envelope = serde_json::from_slice(body).ok()?;
    let first = envelope.errors.into_iter().next()?;
    let text = match (clean(&first.code), clean(&first.message)) {
        (code, message) if message.is_empty() => code,
        (code, message) if code.is_empty() => message,
        (code, message) => format!("{code}, {message}"),
    };
    (!text.is_empty()).then_some(text)
}

/// Text of a registry as it can be shown: one line, short, without controls.
pub(super) fn clean(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(MAX_SHOWN_CHARS).collect::<String>().trim().to_owned()
}

/// `Retry-After` in seconds or as a date, at most an hour
/// (<https://www.rfc-editor.org/rfc/rfc9110#name-retry-after>).
fn retry_after(headers: &HeaderMap, now: jiff::Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let after = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit are more than an hour, too.
        text.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        let date = jiff::fmt::rfc2822::DateTimeParser::new()
            .relaxed_weekday(true)
            .parse_timestamp(text)
            .ok()?;
        // A date that has passed asks for no pause.
        Duration::try_from(date.duration_since(now)).unwrap_or_default()
    };
    Some(after.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, value.parse().unwrap());
        retry_after(&headers, "1994-11-06T08:49:00Z".parse().unwrap())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_an_hour_at_most() {
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(after("7"), seconds(7));
        assert_eq!(after("0"), seconds(0));
        assert_eq!(after("1000000000"), seconds(3600));
        assert_eq!(after("99999999999999999999999999"), seconds(3600));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), seconds(37));
        assert_eq!(after("Sun, 06 Nov 1994 08:48:37 GMT"), seconds(0));
        assert_eq!(after("Sun, 06 Nov 2094 08:48:37 GMT"), seconds(3600));
        assert_eq!(after("-1"), None);
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn every_status_has_its_kind() {
        let of = |code: u16| {
            let status = StatusCode::from_u16(code).unwrap();
            let error = of_status(status, None, Some("X, y"), "r.example", (Deed::Read, "m:t"));
            (error.error.kind, error.retry)
        };
        assert_eq!(of(401), (ErrorKind::RegistryUnauthorized, Retry::Never));
        assert_eq!(of(403), (ErrorKind::RegistryUnauthorized, Retry::Never));
        assert_eq!(of(404), (ErrorKind::RegistryNotFound, Retry::Never));
        for passing in [408, 429, 500, 501, 502, 503, 504, 520] {
            assert_eq!(of(passing), (ErrorKind::RegistryUnavailable, Retry::Soon), "{passing}");
        }
        for broken in [204, 206, 301, 400, 405, 416, 418] {
            assert_eq!(of(broken), (ErrorKind::RegistryInvalid, Retry::Never), "{broken}");
        }
        let late = Duration::from_secs(9);
        let busy =
            of_status(StatusCode::TOO_MANY_REQUESTS, Some(late), None, "h", (Deed::Write, "w"));
        assert_eq!((busy.retry, busy.error.retry_after), (Retry::After(late), Some(late)));
    }

    #[test]
    fn a_registrys_words_are_cleaned() {
        let body =
            br#"{"errors":[{"code":"DENIED","message":"no\n\u001b[31m access","detail":{}}]}"#;
        assert_eq!(message(body).unwrap(), "DENIED, no  [31m access");
        assert_eq!(message(b"<html>"), None);
        assert_eq!(message(br#"{"errors":[]}"#), None);
        assert_eq!(message(br#"{"errors":[{}]}"#), None);
    }
}
