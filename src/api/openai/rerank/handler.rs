use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::response::Response;

use super::convert::{self, Rerank, pairs, probability, ranked};
use super::types::{
    Meta, MetaTokens, RerankAnswer, RerankRequest, ScoreAnswer, ScoreRequest, Scored, WireUsage,
};
use crate::api::ids::answer_id;
use crate::api::openai::plain::{read, run, to_json};
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::{Error, Result};
use crate::service::Embedded;

/// `POST …/rerank`.
pub(in crate::api) async fn rerank(State(state): State<ApiState>, request: Request) -> Reply {
    Ok(serve_rerank(&state, request).await?)
}

/// `POST …/score`.
pub(in crate::api) async fn score(State(state): State<ApiState>, request: Request) -> Reply {
    Ok(serve_score(&state, request).await?)
}

async fn serve_rerank(state: &ApiState, request: Request) -> Result<Response> {
    let (_, caller, request) = read::<RerankRequest>(request).await?;
    let Rerank { model, query, documents, top, return_documents } = convert::rerank(request)?;
    let inputs = pairs(&query, &documents);
    let answered = run(state, caller, &model, inputs).await;
    let (headers, embedded) = answered.map_err(|error| rename(error, "documents"))?;
    let usage = usage(&embedded);
    let input_tokens = usage.prompt_tokens;
    let build = move || {
        Ok(RerankAnswer {
            id: answer_id("rerank-"),
            object: "list",
            model,
            results: ranked(&logits(&embedded), documents, top, return_documents),
            usage,
            meta: Meta { tokens: MetaTokens { input_tokens } },
        })
    };
    to_json(headers, build).await
}

async fn serve_score(state: &ApiState, request: Request) -> Result<Response> {
    let (_, caller, request) = read::<ScoreRequest>(request).await?;
    let (model, inputs) = convert::score(request)?;
    let answered = run(state, caller, &model, inputs).await;
    let (headers, embedded) = answered.map_err(|error| rename(error, "text_2"))?;
    let scored = |(index, logit): (usize, &f32)| Scored {
        index,
        object: "score",
        score: probability(*logit),
    };
    let build = move || {
        let created = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(ScoreAnswer {
            id: answer_id("score-"),
            object: "list",
            created: created.map_or(0, |since| since.as_secs()),
            model,
            data: logits(&embedded).iter().enumerate().map(scored).collect(),
            usage: usage(&embedded),
        })
    };
    to_json(headers, build).await
}

fn logits(embedded: &Embedded) -> Vec<f32> {
    let first = |vector: &Vec<f32>| vector.first().copied().unwrap_or_default();
    embedded.vectors.iter().map(first).collect()
}

fn usage(embedded: &Embedded) -> WireUsage {
    let tokens = embedded.usage.prompt_tokens;
    WireUsage { prompt_tokens: tokens, total_tokens: tokens }
}

/// The engine counts inputs; the client knows them by another name.
fn rename(mut error: Error, field: &str) -> Error {
    if let Some(place) = error.param.as_deref().and_then(|param| param.strip_prefix("input")) {
        error.param = Some(format!("{field}{place}"));
    }
    error
}
