use std::time::Instant;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::body::MAX_BODY;
use crate::api::caller::{caller, permitted, preload};
use crate::api::refusal::Reply;
use crate::api::reply::queue_headers;
use crate::api::state::ApiState;
use crate::api::vector::normalise;
use crate::domain::{EmbedInput, Error, ErrorKind, Result, Usage, Wishes};
use crate::models::Portrait;
use crate::service::{Caller, Embedded};

use super::super::body::read;
use super::super::convert::{self, Embedding, context, keep_alive, model_name};
use super::super::error::{Wanted, no_model, said};
use super::super::render::nanoseconds;
use super::super::types::{EmbedRequest, EmbeddingsRequest};
use super::ask::{Load, Token, ids, tokens_in, tokens_of};
use super::fit::Model;

/// The answer of `POST /api/embed`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ollama::Embeddings)]
pub(in crate::api::ollama) struct EmbedAnswer {
    model: String,
    embeddings: Vec<Vec<f32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    load_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_eval_count: Option<u32>,
}

/// The answer of `POST /api/embeddings`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ollama::Embedding)]
pub(in crate::api::ollama) struct EmbeddingAnswer {
    embedding: Vec<f32>,
}

/// `POST /api/embed`.
pub(in crate::api) async fn embed(State(state): State<ApiState>, request: Request) -> Reply {
    Ok(several(&state, request).await?)
}

/// `POST /api/embeddings`, the older form: one text, and its vector as the model pools it.
pub(in crate::api) async fn embeddings(State(state): State<ApiState>, request: Request) -> Reply {
    Ok(one(&state, request).await?)
}

async fn several(state: &ApiState, request: Request) -> Result<Response> {
    let begun = Instant::now();
    let (parts, body) = request.into_parts();
    let caller = caller(&parts.headers, &parts.extensions)?;
    let request: EmbedRequest = read(&parts, body, MAX_BODY).await?;
    let name = model_name(&request.model, &request.name).ok_or_else(no_model)?;
    let in_words = |error| said(&name, Wanted::Embed)(error);
    let portrait = state.service.portrait(&name).await.map_err(in_words)?;
    let Embedding { inputs, dimensions, truncate, wishes } = convert::embed(request, &portrait)?;
    if inputs.is_empty() {
        preload(state, &name, wishes, &parts).await.map_err(in_words)?;
        let (total_duration, load_duration, prompt_eval_count) = (None, None, None);
        let embeddings = Vec::new();
        let answer = EmbedAnswer {
            model: name,
            embeddings,
            total_duration,
            load_duration,
            prompt_eval_count,
        };
        return Ok(Json(answer).into_response());
    }
    let wishes = permitted(wishes, &parts).await;
    let asked = Asked { state, name: &name, portrait: &portrait, wishes };
    let (embedded, headers) =
        asked.run(caller, inputs, truncate).await.map_err(too_long).map_err(in_words)?;
    let Answered { vectors, usage, waited } = embedded;
    let embeddings = vectors
        .into_iter()
        .map(|mut vector| {
            // More than there are is all of them.
            vector.truncate(dimensions.unwrap_or(usize::MAX));
            finite(&vector)?;
            normalise(&mut vector);
            Ok(vector)
        })
        .collect::<Result<_>>()?;
    let answer = EmbedAnswer {
        model: name,
        embeddings,
        total_duration: Some(nanoseconds(begun.elapsed()).max(1)),
        load_duration: Some(waited.max(1)),
        prompt_eval_count: Some(usage.prompt_tokens),
    };
    Ok((headers, Json(answer)).into_response())
}

async fn one(state: &ApiState, request: Request) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let caller = caller(&parts.headers, &parts.extensions)?;
    let request: EmbeddingsRequest = read(&parts, body, MAX_BODY).await?;
    let EmbeddingsRequest { model, name, prompt, options, keep_alive: kept } = request;
    let name = model_name(&model, &name)
        .ok_or_else(|| Error::new(ErrorKind::MissingField, "model is required"))?;
    let in_words = |error| said(&name, Wanted::Embed)(error);
    let portrait = state.service.portrait(&name).await.map_err(in_words)?;
    let context = context(options, &portrait.ollama.parameters)?;
    let wishes = Wishes { keep_alive: keep_alive(kept)?, context };
    let prompt = prompt.unwrap_or_default();
    if prompt.is_empty() {
        preload(state, &name, wishes, &parts).await.map_err(in_words)?;
        return Ok(Json(EmbeddingAnswer { embedding: Vec::new() }).into_response());
    }
    let wishes = permitted(wishes, &parts).await;
    let asked = Asked { state, name: &name, portrait: &portrait, wishes };
    let (embedded, headers) =
        asked.run(caller, vec![prompt], false).await.map_err(too_long).map_err(in_words)?;
    let embedding = embedded.vectors.into_iter().next().unwrap_or_default();
    finite(&embedding)?;
    Ok((headers, Json(EmbeddingAnswer { embedding })).into_response())
}

/// A request for vectors.
struct Asked<'a> {
    state: &'a ApiState,
    name: &'a str,
    portrait: &'a Portrait,
    wishes: Wishes,
}

struct Answered {
    vectors: Vec<Vec<f32>>,
    usage: Usage,
    /// Nanoseconds until it was its turn.
    waited: u64,
}

impl Asked<'_> {
    async fn run(
        &self,
        mut caller: Caller,
        texts: Vec<String>,
        truncate: bool,
    ) -> Result<(Answered, http::HeaderMap)> {
        caller.wishes = self.wishes;
        let count = texts.len();
        let mut inputs = Vec::with_capacity(count);
        let mut cut = 0usize;
        for text in texts {
            let (input, tokens) = self.input(text, truncate).await?;
            inputs.push(input);
            cut = cut.saturating_add(tokens);
        }
        let mut generation = self.state.service.embed(caller, self.name, inputs).await?;
        generation.ready(None).await?;
        let waited = nanoseconds(generation.queue_wait());
        let mut headers = queue_headers(generation.queue_position(), generation.queue_wait());
        if truncate {
            headers.insert("x-truncated-tokens", cut.into());
        }
        let Embedded { vectors, usage } = Embedded::collect(&mut generation, count).await?;
        Ok((Answered { vectors, usage, waited }, headers))
    }

    /// An input, with how many of its tokens were cut.
    async fn input(&self, text: String, truncate: bool) -> Result<(EmbedInput, usize)> {
        if text.is_empty() {
            // Nothing but what the tokenizer puts around a text.
            let around = tokens_in(self.state, self.name, "", true, Load::IfNeeded).await?;
            return Ok((EmbedInput::Tokens(ids(&around).collect()), 0));
        }
        if !truncate {
            return Ok((EmbedInput::Text(text), 0));
        }
        let whole = crate::domain::Prompt::Embed(vec![EmbedInput::Text(text.clone())]);
        let whole = tokens_of(self.state, self.name, whole, Load::IfNeeded).await?;
        let id = self.portrait.entry.id;
        let model = Model { state: self.state, name: self.name, id, wishes: self.wishes };
        match model.context() {
            Some(context) if whole.len() > context => {
                let around = tokens_in(self.state, self.name, "", true, Load::IfNeeded).await?;
                let kept = cut_end(&whole, &around, context);
                let cut = whole.len().saturating_sub(kept.len());
                Ok((EmbedInput::Tokens(kept), cut))
            }
            _ => Ok((EmbedInput::Text(text), 0)),
        }
    }
}

/// The first tokens, at most `most` in all, before those that the tokenizer puts behind a text:
/// `around` is what an empty text becomes.
fn cut_end(whole: &[Token], around: &[Token], most: usize) -> Vec<i32> {
    let same = whole.iter().rev().zip(around.iter().rev()).take_while(|(a, b)| a.0 == b.0).count();
    // Of a single one nobody can tell whether it stands before or behind; it is before.
    let begins = whole.first().zip(around.first()).is_some_and(|(a, b)| a.0 == b.0);
    let behind = if begins { same.min(around.len().saturating_sub(1)) } else { same };
    let tail = whole.len().saturating_sub(behind);
    let head = most.saturating_sub(behind);
    ids(whole).take(head).chain(ids(whole).skip(tail)).collect()
}

fn too_long(error: Error) -> Error {
    if error.kind != ErrorKind::ContextLengthExceeded {
        return error;
    }
    let message = format!("the input length exceeds the context length: {}", error.message);
    // The message says which input; upstream's begins with these words.
    Error { message, param: None, ..error }
}

/// JSON has no infinity, and nobody could compare such vectors.
fn finite(vector: &[f32]) -> Result<()> {
    if vector.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    Err(Error::internal("a vector has values that are no numbers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(ids: &[i32]) -> Vec<Token> {
        ids.iter().map(|id| (*id, Vec::new())).collect()
    }

    #[test]
    fn the_end_of_an_input_is_cut_before_what_always_ends_it() {
        for (whole, around, kept) in [
            (&[1, 7, 8, 9, 2][..], &[1, 2][..], [1, 7, 2]),
            (&[1, 7, 8, 9], &[1], [1, 7, 8]),
            (&[7, 8, 9, 2], &[2], [7, 8, 2]),
            (&[7, 8, 9, 6], &[], [7, 8, 9]),
        ] {
            assert_eq!(cut_end(&tokens(whole), &tokens(around), 3), kept, "{whole:?}");
        }
    }
}
