use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn;

use super::ListenerClass;
use super::middleware::front;
use super::refusal::Refusal;
use crate::domain::{Error, ErrorKind};

/// When to ask again: somebody has to correct something first.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Answers in the place of a daemon that could not start: 503 in each dialect, whatever is asked. The
/// reason may name files, and is for the owner alone.
pub fn unstarted(reason: &str) -> Router {
    let reason = reason.to_owned();
    let refuse = move |request: Request| {
        let why = match request.extensions().get::<ListenerClass>() {
            Some(ListenerClass::Unix) => reason.clone(),
            _ => "its user finds out with modeld doctor".to_owned(),
        };
        let error = Error::new(ErrorKind::ShuttingDown, format!("modeld cannot start: {why}"));
        std::future::ready(Refusal(error.with_retry_after(TRY_AGAIN)))
    };
    Router::new().fallback(refuse).layer(from_fn(front))
}
