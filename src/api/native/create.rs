use axum::Json;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::body::{self, MAX_SMALL_BODY};
use crate::api::json;
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::{Error, ErrorKind};

use super::progress;
use super::transfers::WireTransfer;

/// The body of `POST /models/create`. What else Docker's clients may send is ignored.
#[derive(Deserialize, ToSchema)]
#[schema(as = native::CreateRequest)]
pub(super) struct Create {
    /// The model's name.
    from: Option<String>,
    /// A token for its registry, for this pull alone.
    #[serde(rename = "bearer-token")]
    bearer_token: Option<String>,
    /// An extension: the daemon goes on alone, the answer is 202 with the transfer.
    detach: Option<bool>,
}

/// `POST /models/create`: pulls a model.
pub(in crate::api) async fn create(State(state): State<ApiState>, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    let body = body::read(&parts, body, MAX_SMALL_BODY).await?;
    let Create { from, bearer_token, detach } = json::decode(&body)?;
    let Some(from) = from.filter(|from| !from.is_empty()) else {
        let message =
            "`from` is missing; it names the model to pull, as in {\"from\": \"smollm2\"}";
        return Err(Error::new(ErrorKind::MissingField, message).with_param("from").into());
    };
    let transfer = state.service.pull(&from, token(bearer_token)).await;
    let transfer = transfer.map_err(progress::adapted)?;
    if detach.unwrap_or(false) {
        transfer.detach();
        let info = WireTransfer::from(transfer.info());
        return Ok((StatusCode::ACCEPTED, Json(info)).into_response());
    }
    progress::answer_with(transfer, &parts.headers).await
}

/// An empty one counts as none.
pub(super) fn token(text: Option<String>) -> Option<SecretString> {
    text.filter(|text| !text.is_empty()).map(SecretString::from)
}
