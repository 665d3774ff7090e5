use axum::Json;
use axum::extract::{Query, Request, State};
use axum::response::IntoResponse;
use http::{Extensions, HeaderMap, Method, StatusCode, Uri};
use serde::Deserialize;

use crate::api::middleware::may_manage;
use crate::api::params::ModelName;
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::{Error, ErrorKind, Result};

use super::export::export;
use super::progress::adapted;
use super::push::push;
use super::repackage::repackage;
use super::types::{Tagged, WireModel, WireRemoval};

/// Every query parameter of these routes.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Params {
    remote: Option<String>,
    force: Option<String>,
    repo: Option<String>,
    tag: Option<String>,
}

/// `GET /models`.
pub(in crate::api) async fn list(State(state): State<ApiState>) -> Reply {
    let models = state.service.list().await?;
    Ok(Json(models.iter().map(WireModel::from).collect::<Vec<_>>()).into_response())
}

/// `GET /models/{name}` and, since names may hold slashes, `GET /models/{name}/export`.
pub(in crate::api) async fn inspect(
    State(state): State<ApiState>,
    ModelName(name): ModelName,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    extensions: Extensions,
) -> Reply {
    if let Some(name) = name.strip_suffix("/export") {
        return export(&state, name, &method, &headers, &extensions).await;
    }
    // Present but empty counts as true, and what is no boolean as false: DMR's rule.
    if params(&uri)?.remote.is_some_and(|text| text.is_empty() || go_bool(&text) == Some(true)) {
        // It makes the daemon speak to whatever the name says.
        may_manage(&headers, &extensions).await?;
        let entry = state.service.remote_inspect(&name, None).await.map_err(adapted)?;
        return Ok(Json(WireModel::from(&entry)).into_response());
    }
    let entry = state.service.inspect(&name).await?;
    Ok(Json(WireModel::from(&entry)).into_response())
}

/// `DELETE /models/{name}?force`.
pub(in crate::api) async fn remove(
    State(state): State<ApiState>,
    ModelName(name): ModelName,
    uri: Uri,
) -> Reply {
    let force = match params(&uri)?.force {
        None => false,
        Some(text) => go_bool(&text)
            .ok_or_else(|| Error::invalid("force", "`force` must be true or false"))?,
    };
    let removals = state.service.remove(&name, force).await?;
    Ok(Json(removals.into_iter().map(WireRemoval::from).collect::<Vec<_>>()).into_response())
}

/// `POST /models/{name}/{action}`: the last segment of the path is the action, since names may
/// hold slashes.
pub(in crate::api) async fn act(
    State(state): State<ApiState>,
    ModelName(path): ModelName,
    request: Request,
) -> Reply {
    let (name, action) = path.rsplit_once('/').unwrap_or(("", &path));
    match (name, action) {
        ("", _) => {
            let message = "a POST to /models/ needs a name and an action: /models/{name}/tag";
            Err(Error::new(ErrorKind::RouteNotFound, message).into())
        }
        (name, "tag") => tag(&state, name, params(request.uri())?).await,
        (name, "push") => push(&state, name, request).await,
        (name, "repackage") => repackage(&state, name, request).await,
        (_, action) => {
            let action: String = action.chars().take(64).collect();
            let message = format!("unknown action {action:?}; there are: tag, push, repackage");
            Err(Error::new(ErrorKind::RouteNotFound, message).into())
        }
    }
}

async fn tag(state: &ApiState, name: &str, params: Params) -> Reply {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (Some(repo), Some(tag)) = (given(params.repo), given(params.tag)) else {
        let message = "missing repo or tag query parameter";
        return Err(Error::new(ErrorKind::MissingField, message).into());
    };
    state.service.tag(name, &repo, &tag).await?;
    let target = format!("{repo}:{tag}");
    let message = format!("Model tagged successfully with {target:?}");
    Ok((StatusCode::CREATED, Json(Tagged { message, target })).into_response())
}

fn params(uri: &Uri) -> Result<Params> {
    Query::try_from_uri(uri).map(|Query(params)| params).map_err(|fault| {
        Error::new(ErrorKind::InvalidValue, "the query cannot be read; check its encoding")
            .with_cause(fault)
    })
}

/// A boolean as Go's `strconv.ParseBool` reads it.
pub(super) fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
