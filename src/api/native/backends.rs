use axum::extract::Request;
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::body::{self, MAX_SMALL_BODY};
use crate::api::checks::missing;
use crate::api::json;
use crate::api::params::BACKEND;
use crate::api::refusal::Reply;
use crate::domain::{Error, ErrorKind, Result};

/// The body of `POST /engines/install-backend` and `…/uninstall-backend`.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = native::Backend)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Backend {
    /// `llama.cpp`
    backend: Option<String>,
    /// Ignored: there is the one that modeld was built with.
    version: Option<String>,
}

/// `POST /engines/install-backend`: 200, as Docker's client insists, for what is there anyway.
pub(in crate::api) async fn install(request: Request) -> Reply {
    require_ours(request).await?;
    Ok("llama.cpp is part of modeld; there is nothing to install\n".into_response())
}

/// `POST /engines/uninstall-backend`.
pub(in crate::api) async fn uninstall(request: Request) -> Reply {
    require_ours(request).await?;
    let message = "llama.cpp is part of modeld and cannot be uninstalled alone; to free its memory, \
                   unload the models";
    Err(Error::unsupported("backend", message).into())
}

async fn require_ours(request: Request) -> Result<()> {
    let (parts, body) = request.into_parts();
    let body = body::read(&parts, body, MAX_SMALL_BODY).await?;
    let Backend { backend, version: _ } = json::decode(&body)?;
    let backend = backend.filter(|name| !name.is_empty());
    let name = backend.ok_or_else(|| missing("backend", "the only one there is is llama.cpp"))?;
    if name == BACKEND {
        return Ok(());
    }
    let shown: String = name.chars().filter(|c| !c.is_control()).take(40).collect();
    let message = format!(
        "there is no backend {shown}: modeld runs models with llama.cpp, which is part of it, and \
         with nothing else"
    );
    Err(Error::new(ErrorKind::NotFound, message).with_param("backend"))
}
