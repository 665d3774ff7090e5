use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::Uri;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::{Error, ErrorKind};
use crate::service::TransferInfo;

use super::query::read_query;

/// A transfer that runs or waits.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Transfer)]
pub(super) struct WireTransfer {
    /// `pull` or `push`.
    mode: &'static str,
    reference: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// Bytes to move, and moved.
    total: u64,
    current: u64,
    /// RFC 3339.
    started: String,
    watchers: usize,
    detached: bool,
}

impl From<TransferInfo> for WireTransfer {
    fn from(info: TransferInfo) -> Self {
        let TransferInfo { direction, reference, id, total, current, started, watchers, detached } =
            info;
        let started = Timestamp::try_from(started).unwrap_or_default().to_string();
        let model = id.map(|id| id.to_string());
        let mode = direction.word();
        Self { mode, reference, model, total, current, started, watchers, detached }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Which {
    reference: Option<String>,
}

/// `GET /modeld/transfers`.
pub(in crate::api) async fn transfers(State(state): State<ApiState>) -> Response {
    let all = state.service.transfers().into_iter().map(WireTransfer::from);
    Json(all.collect::<Vec<_>>()).into_response()
}

/// `DELETE /modeld/transfers?reference=`: stops them and answers what they were.
pub(in crate::api) async fn cancel(State(state): State<ApiState>, uri: Uri) -> Reply {
    let which: Which = read_query(&uri)?;
    let Some(reference) = which.reference.filter(|text| !text.is_empty()) else {
        let message = "`reference` is missing; it names the transfer to stop";
        return Err(Error::new(ErrorKind::MissingField, message).with_param("reference").into());
    };
    let cancelled = state.service.cancel_transfer(&reference)?;
    Ok(Json(cancelled.into_iter().map(WireTransfer::from).collect::<Vec<_>>()).into_response())
}
