use axum::Json;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::body::{self, MAX_SMALL_BODY};
use crate::api::json;
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::config::parse_age;
use crate::domain::{Error, ErrorKind, Result};
use crate::store::{DiskUsage, ModelUsage, PruneOptions, Pruned};

use super::lines::{answer, line};
use super::models::go_bool;

/// Where the disk space goes. Bytes.
#[derive(Serialize, ToSchema)]
#[schema(as = native::DiskUsage)]
pub(super) struct WireUsage {
    /// All of the store: models, orphans and unfinished downloads.
    models_disk_usage: u64,
    /// Engines are part of the program.
    default_backend_disk_usage: u64,
    // What follows is ours; Docker's client does not know it.
    /// Files that at least one model needs.
    model_bytes: u64,
    /// Those of them that several models or other programs have.
    shared_bytes: u64,
    /// What models need and only other programs have; it is not in the store.
    adopted_bytes: u64,
    /// What no model needs.
    orphan_bytes: u64,
    orphans: usize,
    /// What is being written, and interrupted downloads.
    partial_bytes: u64,
    /// Downloads that nobody goes on with right now.
    interrupted: usize,
    interrupted_bytes: u64,
    /// What may still be written.
    free_bytes: u64,
    models: Vec<WireModelUsage>,
}

/// What one model takes. Bytes.
#[derive(Serialize, ToSchema)]
#[schema(as = native::ModelDiskUsage)]
struct WireModelUsage {
    id: String,
    tags: Vec<String>,
    /// What would go with it.
    own_bytes: u64,
    /// What other models or programs have as well.
    shared_bytes: u64,
    /// What only other programs have.
    adopted_bytes: u64,
}

impl From<DiskUsage> for WireUsage {
    fn from(usage: DiskUsage) -> Self {
        let DiskUsage {
            model_bytes,
            shared_bytes,
            adopted_bytes,
            orphan_bytes,
            orphans,
            partial_bytes,
            interrupted,
            interrupted_bytes,
            free_bytes,
            per_model,
        } = usage;
        let of_model = |model| {
            let ModelUsage { id, tags, own_bytes, shared_bytes, adopted_bytes } = model;
            WireModelUsage { id: id.to_string(), tags, own_bytes, shared_bytes, adopted_bytes }
        };
        Self {
            models_disk_usage: model_bytes
                .saturating_add(orphan_bytes)
                .saturating_add(partial_bytes),
            default_backend_disk_usage: 0,
            model_bytes,
            shared_bytes,
            adopted_bytes,
            orphan_bytes,
            orphans,
            partial_bytes,
            interrupted,
            interrupted_bytes,
            free_bytes,
            models: per_model.into_iter().map(of_model).collect(),
        }
    }
}

/// `GET /engines/df`.
pub(in crate::api) async fn df(State(state): State<ApiState>) -> Reply {
    Ok(Json(WireUsage::from(state.service.usage().await?)).into_response())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PurgeParams {
    force: Option<String>,
}

/// `DELETE /models/purge?force`: an empty 200.
pub(in crate::api) async fn purge(State(state): State<ApiState>, uri: Uri) -> Reply {
    let query = Query::<PurgeParams>::try_from_uri(&uri).map_err(|fault| {
        Error::new(ErrorKind::InvalidValue, "the query cannot be read; check its encoding")
            .with_cause(fault)
    })?;
    let force = match query.0.force {
        None => false,
        Some(text) => go_bool(&text)
            .ok_or_else(|| Error::invalid("force", "`force` must be true or false"))?,
    };
    state.service.purge(force).await?;
    Ok(StatusCode::OK.into_response())
}

/// The body of `POST /modeld/prune`.
#[derive(Deserialize, ToSchema)]
#[schema(as = native::PruneRequest)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Prune {
    /// What no model needs.
    orphans: bool,
    /// Interrupted downloads that nobody wrote to for so long: `12h`, `7d`; `0s` for all.
    partials_older_than: Option<String>,
    /// Change nothing.
    dry_run: bool,
}

impl Default for Prune {
    fn default() -> Self {
        Self { orphans: true, partials_older_than: None, dry_run: false }
    }
}

/// One line of the answer.
#[derive(Serialize, ToSchema)]
#[schema(as = native::PruneLine)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum PruneLine {
    Removed {
        /// In words.
        what: String,
        /// What it gives back.
        bytes: u64,
    },
    /// The last one.
    Report {
        /// How many things were removed, or would be.
        removed: usize,
        bytes: u64,
        dry_run: bool,
    },
}

/// `POST /modeld/prune`: what was removed, as JSON lines.
pub(in crate::api) async fn prune(State(state): State<ApiState>, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    let body = body::read(&parts, body, MAX_SMALL_BODY).await?;
    let options = options(json::decode(&body)?)?;
    let Pruned { removed, bytes } = state.service.prune(options).await?;
    Ok(pruned(removed, bytes, options.dry_run))
}

fn pruned(removed: Vec<(String, u64)>, bytes: u64, dry_run: bool) -> Response {
    let report = PruneLine::Report { removed: removed.len(), bytes, dry_run };
    let each = removed.into_iter().map(|(what, bytes)| PruneLine::Removed { what, bytes });
    let mut all = Vec::new();
    for one in each.chain([report]) {
        all.extend_from_slice(&line(&one));
    }
    answer(Body::from(all))
}

fn options(request: Prune) -> Result<PruneOptions> {
    let Prune { orphans, partials_older_than, dry_run } = request;
    let partials_older_than = match partials_older_than {
        None => None,
        Some(text) => Some(parse_age(&text).map_err(|problem| {
            let text: String = text.chars().take(40).collect();
            Error::invalid("partials_older_than", format!("{text:?} is no age: {problem}"))
        })?),
    };
    Ok(PruneOptions { orphans, partials_older_than, dry_run })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn orphans_go_unless_told_otherwise_and_downloads_by_their_age() {
        let read = |json: &str| options(serde_json::from_str(json).unwrap());
        assert_eq!(read("{}").map(|o| (o.orphans, o.partials_older_than)), Ok((true, None)));
        let week = read(r#"{"orphans": false, "partials_older_than": "7d"}"#).unwrap();
        let days = Duration::from_secs(7 * 24 * 3600);
        assert_eq!((week.orphans, week.partials_older_than), (false, Some(days)));
        let error = read(r#"{"partials_older_than": "soon"}"#).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("partials_older_than"));
    }
}
