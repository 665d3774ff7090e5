use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;

use crate::api::refusal::Reply;
use crate::api::reply;
use crate::api::state::ApiState;
use crate::domain::{Error, ErrorKind};

/// The text form that Prometheus knows longest.
pub(super) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`.
pub(in crate::api) async fn metrics(State(state): State<ApiState>) -> Reply {
    let Some(text) = state.service.metrics_text() else {
        let message = "nothing is counted; start the daemon without --no-metrics (DISABLE_METRICS)";
        return Err(Error::new(ErrorKind::NotFound, message).into());
    };
    Ok(reply::answer(HeaderMap::new(), PROMETHEUS, Body::from(text)))
}
