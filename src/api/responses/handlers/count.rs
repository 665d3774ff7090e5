use axum::extract::{Request, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::body::{self, MAX_BODY};
use crate::api::caller::require_json;
use crate::api::json;
use crate::api::refusal::Reply;
use crate::api::reply::name_model;
use crate::api::state::ApiState;
use crate::domain::Error;
use crate::protocol::{Query, QueryAnswer};

use super::super::convert::convert;
use super::super::store::Owner;
use super::super::types::CreateRequest;
use super::create::{Shelf, plain};

#[derive(Serialize, ToSchema)]
#[schema(as = responses::InputTokens)]
pub(in crate::api::responses) struct Count {
    object: &'static str,
    input_tokens: usize,
}

/// `POST …/responses/input_tokens`: the tokens that the same request would be counted for.
pub(in crate::api) async fn count(State(state): State<ApiState>, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    require_json(&parts.headers, &parts.extensions)?;
    let owner = Owner::of(&parts.extensions);
    let body = body::read(&parts, body, MAX_BODY).await?;
    let request: CreateRequest = json::decode_large(body).await?;
    let shelf = Shelf { store: &state.responses, owner: &owner };
    let converted = convert(request, "", &shelf)?;
    let query = Query::Tokenize(converted.request.prompt);
    let answer = state.service.query(&converted.settings.model, query).await;
    let QueryAnswer::Tokens(tokens) = answer.map_err(name_model)? else {
        return Err(Error::internal("a count was answered with something else").into());
    };
    let count = Count { object: "response.input_tokens", input_tokens: tokens.len() };
    Ok(plain(serde_json::to_vec(&count).map_err(Error::internal)?))
}
