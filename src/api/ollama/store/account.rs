use axum::Json;
use axum::response::IntoResponse;

use crate::api::refusal::Reply;
use crate::domain::{Error, ErrorKind};

use super::types::{Cloud, Recommendations, Status};

/// `GET /api/status`: nothing is asked of any cloud.
pub(in crate::api) async fn status() -> impl IntoResponse {
    Json(Status { cloud: Cloud { disabled: true, source: "env" } })
}

/// `GET /api/experimental/model-recommendations`.
pub(in crate::api) async fn recommendations() -> impl IntoResponse {
    Json(Recommendations { recommendations: Vec::new() })
}

/// `POST /api/me`.
pub(in crate::api) async fn me() -> Reply {
    Err(nobody().into())
}

/// `POST /api/signout`.
pub(in crate::api) async fn signout() -> Reply {
    Err(nobody().into())
}

fn nobody() -> Error {
    let message = "unauthorized: modeld has no account at ollama.com; `modeld login` is for \
                   registries";
    Error::new(ErrorKind::RegistryUnauthorized, message)
}
