use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::convert::{Converted, Form, convert};
use super::types::{EmbeddingsAnswer, EmbeddingsRequest, WireUsage, WireVector};
use crate::api::caller::preload;
use crate::api::openai::plain::{named, read, run, to_json};
use crate::api::refusal::Reply;
use crate::api::reply::preloads_only;
use crate::api::state::ApiState;
use crate::domain::{Result, Wishes};
use crate::service::Embedded;

/// `POST …/v1/embeddings`.
pub(in crate::api) async fn embeddings(State(state): State<ApiState>, request: Request) -> Reply {
    Ok(serve(&state, request).await?)
}

async fn serve(state: &ApiState, request: Request) -> Result<Response> {
    let (parts, caller, request) = read::<EmbeddingsRequest>(request).await?;
    if preloads_only(&parts.headers) {
        let model = crate::api::openai::convert::model_name(request.model)?;
        preload(state, &model, Wishes::default(), &parts).await.map_err(named)?;
        return Ok(StatusCode::OK.into_response());
    }
    let Converted { model, inputs, form } = convert(request)?;
    let (headers, embedded) = run(state, caller, &model, inputs).await?;
    to_json(headers, move || answer(model, embedded, form)).await
}

fn answer(model: String, embedded: Embedded, form: Form) -> Result<EmbeddingsAnswer> {
    let Embedded { vectors, usage } = embedded;
    let wire = |(index, vector)| {
        Ok(WireVector { object: "embedding", index, embedding: form.write(vector)? })
    };
    let tokens = usage.prompt_tokens;
    Ok(EmbeddingsAnswer {
        object: "list",
        data: vectors.into_iter().enumerate().map(wire).collect::<Result<_>>()?,
        model,
        usage: WireUsage { prompt_tokens: tokens, total_tokens: tokens },
    })
}
