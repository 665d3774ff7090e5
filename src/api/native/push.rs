use axum::extract::Request;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::body::{self, MAX_SMALL_BODY};
use crate::api::json;
use crate::api::refusal::Reply;
use crate::api::state::ApiState;

use super::create::token;
use super::progress;

/// The body of `POST /models/{name}/push`, which may be left out.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = native::PushRequest)]
pub(super) struct Push {
    /// A token for the registry, for this push alone.
    #[serde(rename = "bearer-token")]
    bearer_token: Option<String>,
}

/// `POST /models/{name}/push`: uploads a model under its own name.
pub(super) async fn push(state: &ApiState, name: &str, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    let body = body::read(&parts, body, MAX_SMALL_BODY).await?;
    let Push { bearer_token } =
        if body.trim_ascii().is_empty() { Push::default() } else { json::decode(&body)? };
    let transfer = state.service.push(name, token(bearer_token)).await;
    let transfer = transfer.map_err(progress::adapted)?;
    progress::answer_with(transfer, &parts.headers).await
}
