use std::cmp::Reverse;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::ModelRef;
use crate::scheduler::LoadedModel;
use crate::service::Loaded;

use super::details::{Details, time};

/// "For ever" in a list of times: a hundred years, which every parser takes.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The answer of `GET /api/ps`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ollama::Running)]
pub(in crate::api::ollama) struct Running {
    models: Vec<Entry>,
}

/// A loaded model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ollama::RunningModel)]
struct Entry {
    name: String,
    model: String,
    size: u64,
    digest: String,
    details: Details,
    expires_at: String,
    size_vram: u64,
    context_length: u32,
}

/// `GET /api/ps`: the loaded models, the one that stays longest first.
pub(in crate::api) async fn ps(State(state): State<ApiState>) -> Reply {
    let now = SystemTime::now();
    let mut loaded = state.service.loaded().await?;
    // One that is still being loaded cannot be said much of.
    loaded.retain(|loaded| loaded.model.info.is_some());
    loaded.sort_by_key(|loaded| Reverse(expires(&loaded.model, now)));
    let all = if loaded.is_empty() { Vec::new() } else { state.service.portraits().await? };
    let is_taken = |tag: &str| all.iter().any(|p| p.entry.tags.iter().any(|held| held == tag));
    let entry = |loaded: Loaded| {
        let Loaded { model, portrait, memory } = loaded;
        // By the name that it was asked for, while it has it.
        let asked = portrait.entry.tags.iter().find(|tag| **tag == model.name);
        let name = asked.map(|tag| ModelRef::short(tag, is_taken));
        let name = name.or_else(|| portrait.names(&all).into_iter().next()).unwrap_or_default();
        Entry {
            model: name.clone(),
            name,
            size: memory,
            digest: portrait.entry.id.hex(),
            details: Details::of(&portrait),
            expires_at: time(expires(&model, now)),
            // The workers compute on the processor.
            size_vram: 0,
            context_length: model.info.map_or(0, |info| info.context_size),
        }
    };
    Ok(Json(Running { models: loaded.into_iter().map(entry).collect() }).into_response())
}

/// One in use stays as long again as it would from now on.
fn expires(model: &LoadedModel, now: SystemTime) -> SystemTime {
    let later = || now.checked_add(model.keep_alive.unwrap_or(FOREVER).min(FOREVER));
    let most = now.checked_add(FOREVER).unwrap_or(now);
    model.expires.or_else(later).unwrap_or(now).min(most)
}
