use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::api::body::{self, MAX_SMALL_BODY};
use crate::api::json;
use crate::api::params::BACKEND;
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::protocol::BUILD_ID;

use super::types::{Unload, Unloaded, WireLoaded};

/// `GET /engines/ps`.
pub(in crate::api) async fn ps(State(state): State<ApiState>) -> Response {
    let snapshot = state.service.snapshot();
    Json(snapshot.models.iter().map(WireLoaded::from).collect::<Vec<_>>()).into_response()
}

/// `GET /engines/status`. Docker's client shows what comes after `Running: `.
pub(in crate::api) async fn status(State(state): State<ApiState>) -> Response {
    let snapshot = state.service.snapshot();
    let loading = snapshot.models.iter().filter(|model| model.loading.is_some()).count();
    let loaded = snapshot.models.len().saturating_sub(loading);
    let models = if loaded == 1 { "1 model" } else { &format!("{loaded} models") };
    let loading = if loading == 0 { String::new() } else { format!(", {loading} loading") };
    let text = format!("Running: modeld {BUILD_ID}, {models} loaded{loading}");
    Json(json!({ BACKEND: text })).into_response()
}

/// `POST /engines/unload`: idle models go, busy ones stay, and so does what is configured for them.
pub(in crate::api) async fn unload(State(state): State<ApiState>, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    let body = body::read(&parts, body, MAX_SMALL_BODY).await?;
    let Unload { all, backend, models } = json::decode(&body)?;
    let ours = backend.is_none_or(|name| name.is_empty() || name == BACKEND);
    let names = models.unwrap_or_default();
    let unloaded_runners = match (ours, all.unwrap_or(false)) {
        (false, _) => 0,
        (true, true) => state.service.unload(&[]).await?,
        // To the service no names mean all, to this API none.
        (true, false) if names.is_empty() => 0,
        (true, false) => state.service.unload(&names).await?,
    };
    Ok(Json(Unloaded { unloaded_runners }).into_response())
}
