use axum::Json;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::protocol::BUILD_ID;

/// Programs switch features on by Ollama's version; this is one that has what is served here.
const OLLAMA_VERSION: &str = "0.13.5";

/// What stands at the root of Ollama's port, to the letter: programs compare it.
pub(in crate::api) const RUNNING: &str = "Ollama is running";

/// The answer to `GET /api/version`.
#[derive(Serialize, ToSchema)]
#[schema(as = ollama::Version)]
pub(super) struct Version {
    version: &'static str,
    modeld: &'static str,
}

/// `GET /api/version`.
pub(in crate::api) async fn version() -> impl IntoResponse {
    Json(Version { version: OLLAMA_VERSION, modeld: BUILD_ID })
}
