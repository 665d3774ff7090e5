use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::state::ApiState;
use crate::protocol::BUILD_ID;

/// The daemon and its processes.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Status)]
pub(super) struct Status {
    version: &'static str,
    build: &'static str,
    pid: u32,
    /// What the daemon's process has given up, in words.
    process: String,
    log: LogStatus,
    workers: Vec<WorkerStatus>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = native::LogStatus)]
struct LogStatus {
    filter: String,
    /// Lines that nobody took in time.
    dropped: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = native::WorkerStatus)]
struct WorkerStatus {
    model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// What the kernel holds it to, in words.
    sandbox: String,
}

/// `GET /modeld/status`.
pub(in crate::api) async fn daemon_status(State(state): State<ApiState>) -> Response {
    let snapshot = state.service.snapshot();
    let workers = snapshot.models.iter().filter(|model| model.loading.is_none());
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        build: BUILD_ID,
        pid: std::process::id(),
        process: state.process.to_string(),
        log: LogStatus {
            filter: state.log_control.filter(),
            dropped: state.log_control.dropped().count(),
        },
        workers: workers
            .map(|model| WorkerStatus {
                model: model.name.clone(),
                pid: model.pid,
                sandbox: model.sandbox.clone(),
            })
            .collect(),
    })
    .into_response()
}
