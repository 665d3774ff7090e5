use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderMap;

use super::convert::{Tokenize, tokenize as convert};
use super::types::{DetokenizeAnswer, DetokenizeRequest, TokenizeRequest};
use crate::api::json;
use crate::api::openai::convert::{chat, model_name};
use crate::api::openai::plain::{named, read, read_bytes, to_json};
use crate::api::openai::types::ChatRequest;
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::{Error, ErrorKind, Result};
use crate::protocol::{Query, QueryAnswer};

/// Tokens of one request.
const MAX_TOKENS: usize = 1 << 20;

/// `POST …/tokenize`.
pub(in crate::api) async fn tokenize(State(state): State<ApiState>, request: Request) -> Reply {
    Ok(serve_tokenize(&state, request).await?)
}

/// `POST …/detokenize`.
pub(in crate::api) async fn detokenize(State(state): State<ApiState>, request: Request) -> Reply {
    Ok(serve_detokenize(&state, request).await?)
}

async fn serve_tokenize(state: &ApiState, request: Request) -> Result<Response> {
    let (_, _, body) = read_bytes(request).await?;
    let request = json::decode_large::<TokenizeRequest>(body.clone()).await?;
    let Tokenize { model, query, show } = convert(request)?;
    let query = match query {
        Some(query) => query,
        // As a chat completion would read the same body.
        None => {
            let request = json::decode_large::<ChatRequest>(body).await?;
            let requests = chat(request)?.requests.into_iter();
            let prompt = requests.map(|request| request.prompt).next();
            Query::Tokenize(prompt.ok_or_else(|| Error::internal("a chat without a prompt"))?)
        }
    };
    match state.service.query(&model, query).await.map_err(named)? {
        QueryAnswer::Tokens(tokens) => {
            to_json(HeaderMap::new(), move || Ok(show.answer(tokens))).await
        }
        QueryAnswer::Text(_) => Err(Error::internal("a text came instead of tokens")),
    }
}

async fn serve_detokenize(state: &ApiState, request: Request) -> Result<Response> {
    let (_, _, request) = read::<DetokenizeRequest>(request).await?;
    let DetokenizeRequest { model, tokens } = request;
    let model = model_name(model)?;
    let Some(tokens) = tokens else {
        let message = "`tokens` is missing: send an array of token ids";
        return Err(Error::new(ErrorKind::MissingField, message).with_param("tokens"));
    };
    let count = tokens.len();
    if count > MAX_TOKENS {
        let message = format!("there are {count} tokens: send at most {MAX_TOKENS} at once");
        return Err(Error::invalid("tokens", message));
    }
    match state.service.query(&model, Query::Detokenize(tokens)).await.map_err(named)? {
        QueryAnswer::Text(text) => {
            let build = move || Ok(DetokenizeAnswer { content: text.clone(), prompt: text });
            to_json(HeaderMap::new(), build).await
        }
        QueryAnswer::Tokens(_) => Err(Error::internal("tokens came instead of a text")),
    }
}
