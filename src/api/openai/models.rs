use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::params::ModelName;
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::{ModelConfig, ModelEntry};

#[derive(Serialize, ToSchema)]
#[schema(as = openai::ModelList)]
pub(super) struct List {
    object: &'static str,
    data: Vec<WireModel>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = openai::Model)]
pub(super) struct WireModel {
    id: String,
    object: &'static str,
    created: i64,
    owned_by: &'static str,
    dmr: Details,
}

/// Docker Model Runner's extension: what OpenAI's shape has no place for.
#[derive(Serialize, ToSchema)]
#[schema(as = openai::ModelDetails)]
struct Details {
    #[serde(skip_serializing_if = "Option::is_none")]
    context_window: Option<u32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    architecture: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    parameters: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    quantization: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    size: String,
}

impl From<ModelEntry> for WireModel {
    fn from(entry: ModelEntry) -> Self {
        let ModelEntry { id, tags, created, config } = entry;
        // The metadata and the format are shown by the native API.
        let ModelConfig {
            format: _,
            quantization,
            parameters,
            architecture,
            size,
            gguf: _,
            context_size,
        } = &*config;
        Self {
            id: tags.into_iter().next().unwrap_or_else(|| id.to_string()),
            object: "model",
            created,
            // What the clients of Docker Model Runner have always been told.
            owned_by: "docker",
            dmr: Details {
                context_window: *context_size,
                architecture: architecture.clone(),
                parameters: parameters.clone(),
                quantization: quantization.clone(),
                size: size.clone(),
            },
        }
    }
}

/// `GET …/v1/models`.
pub(in crate::api) async fn list(State(state): State<ApiState>) -> Reply {
    let data = state.service.list().await?.into_iter().map(WireModel::from).collect();
    Ok(Json(List { object: "list", data }).into_response())
}

/// `GET …/v1/models/{id}`; the id may contain slashes, encoded or not.
pub(in crate::api) async fn retrieve(
    State(state): State<ApiState>,
    ModelName(name): ModelName,
) -> Reply {
    let entry = state.service.inspect(&name).await?;
    Ok(Json(WireModel::from(entry)).into_response())
}
