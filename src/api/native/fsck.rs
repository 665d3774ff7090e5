use std::ops::ControlFlow;

use axum::extract::{Request, State};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::ToSchema;

use crate::api::body::{self, MAX_SMALL_BODY};
use crate::api::json;
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::store::{FsckModel, FsckProgress, FsckReport, Problem};

use super::lines::{LINES_AHEAD, Work, line, stream};

/// The body of `POST /modeld/fsck`.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = native::FsckRequest)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Fsck {
    /// Remove damaged files, so that a pull gets them again, and put the index right.
    repair: bool,
}

/// One line of the answer.
#[derive(Serialize, ToSchema)]
#[schema(as = native::FsckLine)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum FsckLine {
    /// Bytes of blobs.
    Progress {
        /// The blob that is being read or was just read.
        digest: String,
        done: u64,
        total: u64,
    },
    /// The last one.
    Report { clean: bool, blobs: usize, bytes: u64, manifests: usize, problems: Vec<WireProblem> },
    /// The last one, where the check itself failed.
    Error { message: String },
}

/// Something that is wrong.
#[derive(Serialize, ToSchema)]
#[schema(as = native::FsckProblem)]
pub(super) struct WireProblem {
    /// Relative to the store, or absolute where it is elsewhere.
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// In words.
    problem: String,
    repaired: bool,
    /// Which cannot be run because of it.
    models: Vec<WireHurt>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = native::FsckModel)]
struct WireHurt {
    id: String,
    tags: Vec<String>,
    /// What gets it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
}

/// `POST /modeld/fsck`: how far the check is, as JSON lines, and what it found. It ends with its
/// client.
pub(in crate::api) async fn fsck(State(state): State<ApiState>, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    let body = body::read(&parts, body, MAX_SMALL_BODY).await?;
    let Fsck { repair } = json::decode(&body)?;
    let (sender, lines) = mpsc::channel::<Bytes>(LINES_AHEAD);
    let told = sender.clone();
    let service = state.service.clone();
    let work: Work = Box::pin(async move {
        let progress = move |progress| {
            let FsckProgress { digest, done, total } = progress;
            let said = line(&FsckLine::Progress { digest: digest.to_string(), done, total });
            match told.blocking_send(said) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        };
        let report = service.fsck(progress, repair).await?;
        Ok(line(&FsckLine::from(report)))
    });
    stream(work, sender, lines, |message| line(&FsckLine::Error { message })).await
}

impl From<FsckReport> for FsckLine {
    fn from(report: FsckReport) -> Self {
        let clean = report.is_clean();
        let FsckReport { blobs, bytes, manifests, problems } = report;
        let problems = problems.into_iter().map(WireProblem::from).collect();
        Self::Report { clean, blobs, bytes, manifests, problems }
    }
}

impl From<Problem> for WireProblem {
    fn from(problem: Problem) -> Self {
        let Problem { finding, path, digest, models, repaired } = problem;
        let hurt = |model| {
            let FsckModel { id, tags, command } = model;
            WireHurt { id: id.to_string(), tags, command }
        };
        Self {
            path: path.display().to_string(),
            digest: digest.map(|digest| digest.to_string()),
            problem: finding.to_string(),
            repaired,
            models: models.into_iter().map(hurt).collect(),
        }
    }
}
