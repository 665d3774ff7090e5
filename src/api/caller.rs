use std::time::{Duration, Instant};

use http::request::Parts;
use http::{Extensions, HeaderMap, header};

use crate::domain::{ClientKey, Error, ErrorKind, Result, Wishes};
use crate::protocol::Query;
use crate::service::Caller;

use super::bearer::Bearer;
use super::middleware::may_manage;
use super::state::ApiState;
use super::{ListenerClass, PeerInfo};

/// A header that says how many seconds the answer is of use.
const TIMEOUT: &str = "x-request-timeout";
/// The longest of them: a day.
const MAX_TIMEOUT: f64 = 86_400.0;

/// Who asks and until when the answer is of use.
///
/// # Errors
/// `InvalidValue` if `x-request-timeout` is no number of seconds.
pub(super) fn caller(headers: &HeaderMap, extensions: &Extensions) -> Result<Caller> {
    let client = match (extensions.get::<Bearer>(), extensions.get::<PeerInfo>()) {
        // One key on many machines is one client, as is one machine with several keys several.
        (Some(Bearer::Valid(token)), _) => ClientKey(format!("token:{}", token.id).into()),
        (_, Some(peer)) => peer.client_key(),
        (_, None) => ClientKey("unknown".into()),
    };
    let deadline = match headers.get(TIMEOUT) {
        None => None,
        Some(value) => {
            let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
            let seconds = seconds.filter(|s| *s > 0.0 && *s <= MAX_TIMEOUT).ok_or_else(|| {
                let text =
                    "`x-request-timeout` must be a number of seconds, over 0 and at most 86400";
                Error::invalid(TIMEOUT, text)
            })?;
            Instant::now().checked_add(Duration::from_secs_f64(seconds))
        }
    };
    Ok(Caller { client, deadline, wishes: Wishes::default() })
}

/// What a request may wish of its model: how long the model stays is its owner's to say, so that of
/// everybody else is left away, as the page on compatibility tells.
pub(super) async fn permitted(wishes: Wishes, parts: &Parts) -> Wishes {
    match wishes.keep_alive {
        Some(_) if may_manage(&parts.headers, &parts.extensions).await.is_err() => {
            Wishes { keep_alive: None, ..wishes }
        }
        _ => wishes,
    }
}

/// Loads a model for a request that asks it nothing. From its owner that is a word about the model:
/// it stays as long as is wished, and one in quarantine gets another try. From everybody else it is
/// what any request does that needs the model.
///
/// # Errors
/// Those of the load; `ModelQuarantined`.
pub(super) async fn preload(
    state: &ApiState,
    model: &str,
    wishes: Wishes,
    parts: &Parts,
) -> Result<()> {
    if may_manage(&parts.headers, &parts.extensions).await.is_ok() {
        return state.service.preload(model, wishes).await;
    }
    let nothing =
        Query::TokenizeText { text: String::new(), add_special: false, parse_special: false };
    state.service.query(model, nothing).await.map(drop)
}

/// On TCP a body must say that it is JSON: what a web page can send without asking first says
/// something else. Programs on the Unix socket need not.
pub(super) fn require_json(headers: &HeaderMap, extensions: &Extensions) -> Result<()> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let kind = kind.to_str().unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = essence == "application/json" || essence.ends_with("+json");
    if json || extensions.get::<ListenerClass>().is_some_and(|class| class.is_unix()) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::UnsupportedMediaType,
        "over TCP the body must be sent as JSON; add the header `Content-Type: application/json`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadline(text: &str) -> Result<Option<Instant>> {
        let mut headers = HeaderMap::new();
        headers.insert(TIMEOUT, text.parse().expect("a header value"));
        caller(&headers, &Extensions::new()).map(|caller| caller.deadline)
    }

    #[test]
    fn a_deadline_is_seconds_from_now() {
        for good in ["1", "0.5", " 30 ", "86400"] {
            assert!(deadline(good).expect(good).is_some(), "{good}");
        }
        for bad in ["", "0", "-1", "NaN", "inf", "1e300", "86401", "5s"] {
            assert_eq!(deadline(bad).expect_err(bad).param.as_deref(), Some(TIMEOUT), "{bad}");
        }
    }

    #[test]
    fn only_tcp_insists_on_json() {
        let mut headers = HeaderMap::new();
        let mut tcp = Extensions::new();
        tcp.insert(ListenerClass::Tcp { local: ([127, 0, 0, 1], 1).into() });
        let mut unix = Extensions::new();
        unix.insert(ListenerClass::Unix);
        assert!(require_json(&headers, &tcp).is_ok());
        for (kind, ok) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/ld+json", true),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("multipart/form-data; boundary=application/json", false),
        ] {
            headers.insert(header::CONTENT_TYPE, kind.parse().expect("a header value"));
            assert_eq!(require_json(&headers, &tcp).is_ok(), ok, "{kind}");
            assert!(require_json(&headers, &unix).is_ok(), "{kind}");
        }
    }
}
