use axum::extract::{Request, State};
use axum::response::IntoResponse;
use http::header;

use crate::api::body;
use crate::api::pipe;
use crate::api::refusal::Reply;
use crate::api::reply::{JSON, TEXT};
use crate::api::state::ApiState;
use crate::domain::Error;

use super::types::Loaded;

/// `POST /models/load`: takes in a tar of any size as it comes.
pub(in crate::api) async fn load(State(state): State<ApiState>, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    body::refuse_encoded(&parts.headers)?;
    let service = state.service.clone();
    let entry = pipe::feed(body, |tar| async move { service.load_archive(Box::new(tar)).await });
    let entry = entry.await?;
    let line = serde_json::to_string(&Loaded::new(&entry)).map_err(Error::internal)? + "\n";
    let json = parts.headers.get(header::ACCEPT).is_some_and(|v| v == "application/json");
    let kind = if json { JSON } else { TEXT };
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], line).into_response())
}
