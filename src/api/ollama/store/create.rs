use axum::extract::{Request, State};
use axum::response::IntoResponse as _;
use tokio::sync::mpsc;

use crate::api::lines::{LINES_AHEAD, Work, line};
use crate::api::ollama::body;
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::{Error, ErrorKind, ModelRef, Result};
use crate::models::{Base, Created, Recipe};
use crate::service::Service;

use super::convert::{Order, convert};
use super::progress::{self, Outlet, status};
use super::pull::in_words;

/// Room for a template, several licences and a conversation.
const MAX_BODY: usize = 8 << 20;

/// `POST /api/create`: makes a model of another one or of uploaded files. Making one takes
/// milliseconds, so that failures have their status; a base that has to be pulled first is told of
/// as it comes.
pub(in crate::api) async fn create(State(state): State<ApiState>, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    let Order { model, recipe, streamed } = convert(body::read(&parts, body, MAX_BODY).await?)?;
    // Before a base of many gigabytes is pulled.
    ModelRef::parse(&model).map_err(in_words)?;
    let pulled = missing_base(&state.service, &recipe).await?;
    let service = state.service.clone();
    if !streamed {
        if let Some(name) = pulled {
            let transfer = service.pull(&name, None).await.map_err(in_words)?;
            transfer.finish().await.map_err(in_words)?;
        }
        service.create_model(&model, recipe).await?;
        return Ok(axum::Json(status("success")).into_response());
    }
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    let out = Outlet::new(sender.clone());
    let transfer = match pulled {
        Some(name) => Some(service.pull(&name, None).await.map_err(in_words)?),
        None => None,
    };
    let work: Work = Box::pin(async move {
        if let Some(transfer) = transfer {
            progress::follow(transfer, out).await.map_err(in_words)?;
        }
        let of_files = matches!(recipe.base, Base::Files(_));
        Ok(told(&service.create_model(&model, recipe).await?, of_files).into())
    });
    progress::stream(work, sender, receiver).await
}

/// The name of a base that is not in the store, to be pulled.
async fn missing_base(service: &Service, recipe: &Recipe) -> Result<Option<String>> {
    let Base::Model(name) = &recipe.base else { return Ok(None) };
    match service.inspect(name).await {
        Ok(_) => Ok(None),
        Err(error) if error.kind == ErrorKind::ModelNotFound => Ok(Some(name.clone())),
        Err(error) => Err(Error { message: format!("from: {}", error.message), ..error }),
    }
}

/// What was done, in Ollama's words.
fn told(created: &Created, of_files: bool) -> Vec<u8> {
    let first = of_files.then(|| "parsing GGUF".to_owned());
    let layers = created.layers.iter().map(|(digest, is_new)| match is_new {
        true => format!("creating new layer {digest}"),
        false => format!("using existing layer {digest}"),
    });
    let last = ["writing manifest", "success"].map(str::to_owned);
    first.into_iter().chain(layers).chain(last).flat_map(|text| line(&status(&text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Digest;

    #[test]
    fn the_lines_of_a_creation() {
        let created = Created {
            id: Digest::of(b"id"),
            tag: "docker.io/ai/x:latest".to_owned(),
            layers: vec![(Digest::of(b"weights"), false), (Digest::of(b"system"), true)],
            orphaned: None,
        };
        insta::assert_snapshot!(String::from_utf8(told(&created, true)).expect("UTF-8"));
    }
}
