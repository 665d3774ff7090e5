use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::refusal::Refusal;
use crate::api::state::ApiState;
use crate::domain::{Error, ErrorKind};

/// `GET /`: for people and for clients that only look whether somebody is there.
pub(in crate::api) async fn root() -> &'static str {
    "modeld is running\n"
}

/// The answer to `GET /version`.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Version)]
pub(super) struct Version {
    version: &'static str,
}

/// The answer of `GET /health` and `GET /ready`.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Health)]
pub(super) struct Health {
    status: &'static str,
}

/// `GET /version`.
pub(in crate::api) async fn version() -> impl IntoResponse {
    Json(Version { version: env!("CARGO_PKG_VERSION") })
}

/// `GET /health`: the process answers.
pub(in crate::api) async fn health() -> impl IntoResponse {
    Json(Health { status: "ok" })
}

/// `GET /ready`: new requests are taken.
pub(in crate::api) async fn ready(
    State(state): State<ApiState>,
) -> Result<impl IntoResponse, Refusal> {
    if state.draining.is_cancelled() {
        let message = "modeld is stopping; it takes no new requests";
        return Err(Refusal(Error::new(ErrorKind::ShuttingDown, message)));
    }
    Ok(Json(Health { status: "ready" }))
}
