use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::body::{self, MAX_SMALL_BODY};
use crate::api::json;
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::Error;

/// Which lines are logged.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = native::LogLevel)]
#[serde(deny_unknown_fields)]
pub(super) struct LogLevel {
    /// As `--log` has it: a level, or levels by module.
    filter: String,
}

/// `GET /modeld/log-level`.
pub(in crate::api) async fn log_level(State(state): State<ApiState>) -> Response {
    Json(LogLevel { filter: state.log_control.filter() }).into_response()
}

/// `PUT /modeld/log-level`: until the daemon ends, or is told otherwise.
pub(in crate::api) async fn set_log_level(
    State(state): State<ApiState>,
    request: Request,
) -> Reply {
    let (parts, body) = request.into_parts();
    let body = body::read(&parts, body, MAX_SMALL_BODY).await?;
    let LogLevel { filter } = json::decode(&body)?;
    let refused = |what| Error::invalid("filter", format!("the log filter cannot be used: {what}"));
    state.log_control.set_filter(&filter).map_err(refused)?;
    tracing::info!(filter, "what is logged was changed");
    Ok(Json(LogLevel { filter }).into_response())
}
