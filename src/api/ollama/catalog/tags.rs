use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::refusal::Reply;
use crate::api::state::ApiState;

use super::details::{Details, capabilities, modified, time};

/// The answer of `GET /api/tags`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ollama::Tags)]
pub(in crate::api::ollama) struct Tags {
    models: Vec<Tag>,
}

/// One name of a model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ollama::Tag)]
struct Tag {
    name: String,
    model: String,
    modified_at: String,
    size: u64,
    digest: String,
    details: Details,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    capabilities: Vec<&'static str>,
}

/// `GET /api/tags`: every name of every model, the newest first.
pub(in crate::api) async fn tags(State(state): State<ApiState>) -> Reply {
    let portraits = state.service.portraits().await?;
    let mut newest: Vec<_> = portraits.iter().collect();
    newest.sort_by_key(|portrait| std::cmp::Reverse(modified(portrait)));
    let of_model = |portrait: &crate::models::Portrait| {
        let details = Details::of(portrait);
        let (size, digest) = (portrait.bytes, portrait.entry.id.hex());
        let modified_at = time(modified(portrait));
        let capabilities = capabilities(portrait.abilities);
        portrait.names(&portraits).into_iter().map(move |name| Tag {
            model: name.clone(),
            name,
            modified_at: modified_at.clone(),
            size,
            digest: digest.clone(),
            details: details.clone(),
            capabilities: capabilities.clone(),
        })
    };
    let models = newest.into_iter().flat_map(of_model).collect();
    Ok(Json(Tags { models }).into_response())
}
