use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use serde::Serialize;
use tokio::sync::oneshot;
use utoipa::ToSchema;

use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::config::Change;
use crate::domain::{Error, ErrorKind};

/// What became of a reload.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Reloaded)]
pub(super) struct Reloaded {
    /// What holds from now on.
    applied: Vec<WireChange>,
    /// What is said now and holds after a restart.
    needs_restart: Vec<WireChange>,
}

/// A setting with another value.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Change)]
struct WireChange {
    /// As the settings file spells it.
    key: &'static str,
    from: String,
    to: String,
}

impl From<Vec<Change>> for Reloaded {
    fn from(changes: Vec<Change>) -> Self {
        let (applied, rest): (Vec<_>, Vec<_>) = changes.into_iter().partition(|it| it.applied);
        let wire = |Change { key, from, to, applied: _ }| WireChange { key, from, to };
        Self {
            applied: applied.into_iter().map(wire).collect(),
            needs_restart: rest.into_iter().map(wire).collect(),
        }
    }
}

/// `POST /modeld/reload`: the settings files are read again; what is wrong with them changes nothing.
pub(in crate::api) async fn reload(State(state): State<ApiState>) -> Reply {
    let Some(reloads) = state.reloads.clone() else {
        let message = "this daemon was not started with settings that can be read again; \
                       restart it";
        return Err(Error::new(ErrorKind::Conflict, message).into());
    };
    let stopping =
        || Error::new(ErrorKind::ShuttingDown, "modeld is stopping; nothing is reloaded");
    let (reply, answer) = oneshot::channel();
    reloads.send(reply).await.map_err(|_| stopping())?;
    let changes = answer.await.map_err(|_| stopping())?.map_err(|problem| {
        Error::new(ErrorKind::Conflict, format!("{problem}; nothing was changed"))
    })?;
    Ok(Json(Reloaded::from(changes)).into_response())
}
