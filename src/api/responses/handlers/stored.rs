use axum::extract::{FromRequestParts, Query, RawPathParams, Request, State};
use http::HeaderMap;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::body::EventStream;
use crate::api::refusal::{Refusal, Reply};
use crate::api::reply::{EVENTS, answer};
use crate::api::state::ApiState;
use crate::domain::{Error, ErrorKind, Result};

use super::super::convert::invalid_choice;
use super::super::store::Owner;
use super::create::plain;

/// The most and the usual number of items on a page.
const PAGE: (usize, usize) = (100, 20);

/// Which response a path names, and who asks.
pub(in crate::api) struct Named {
    id: String,
    owner: Owner,
}

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &S,
    ) -> std::result::Result<Self, Refusal> {
        let invalid = || Refusal(Error::invalid("response_id", "the path names no response"));
        let params =
            RawPathParams::from_request_parts(parts, state).await.map_err(|_| invalid())?;
        let id = params.iter().find(|(key, _)| *key == "response_id").map(|(_, id)| id.to_owned());
        Ok(Self { id: id.ok_or_else(invalid)?, owner: Owner::of(&parts.extensions) })
    }
}

#[derive(Debug, Default, Deserialize)]
struct Retrieval {
    stream: Option<String>,
    starting_after: Option<String>,
}

/// `GET …/responses/{id}`; with `stream=true` all its events, those so far and those to come.
pub(in crate::api) async fn retrieve(
    State(state): State<ApiState>,
    named: Named,
    request: Request,
) -> Reply {
    let Retrieval { stream, starting_after } = query(&request)?;
    let record = state.responses.get(&named.owner, &named.id, "response_id")?;
    let stream = match stream.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => return Err(invalid_choice("stream", other, "true and false").into()),
    };
    if !stream {
        return Ok(plain(record.json()?));
    }
    let seen = match starting_after {
        None => None,
        Some(text) => Some(text.parse::<u64>().map_err(|_| {
            Error::invalid("starting_after", "`starting_after` is the number of an event")
        })?),
    };
    let (events, render) = record.follow(seen);
    Ok(answer(HeaderMap::new(), EVENTS, EventStream::new(events, render).into_body()))
}

#[derive(Serialize, ToSchema)]
#[schema(as = responses::Deleted)]
pub(in crate::api::responses) struct Deleted<'a> {
    id: &'a str,
    object: &'static str,
    deleted: bool,
}

/// `DELETE …/responses/{id}`.
pub(in crate::api) async fn delete(State(state): State<ApiState>, named: Named) -> Reply {
    state.responses.delete(&named.owner, &named.id)?;
    let deleted = Deleted { id: &named.id, object: "response", deleted: true };
    Ok(plain(serde_json::to_vec(&deleted).map_err(Error::internal)?))
}

/// `POST …/responses/{id}/cancel`: ends a response that runs in the background; one that is over
/// stays as it is.
pub(in crate::api) async fn cancel(State(state): State<ApiState>, named: Named) -> Reply {
    let record = state.responses.get(&named.owner, &named.id, "response_id")?;
    if !record.is_background() {
        let message = "only responses made with `background` can be cancelled; others end when \
                       their client closes the connection";
        return Err(Error::invalid("response_id", message).into());
    }
    record.cancel();
    Ok(plain(record.json()?))
}

#[derive(Debug, Default, Deserialize)]
struct Paging {
    limit: Option<String>,
    order: Option<String>,
    after: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = responses::InputItemList)]
pub(in crate::api::responses) struct Page<'a> {
    object: &'static str,
    #[schema(value_type = Vec<Object>)]
    data: Vec<&'a Value>,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
    has_more: bool,
}

/// `GET …/responses/{id}/input_items`: what the request brought, without what it continues.
pub(in crate::api) async fn input_items(
    State(state): State<ApiState>,
    named: Named,
    request: Request,
) -> Reply {
    let paging: Paging = query(&request)?;
    let record = state.responses.get(&named.owner, &named.id, "response_id")?;
    let page = page(record.input(), &paging)?;
    Ok(plain(serde_json::to_vec(&page).map_err(Error::internal)?))
}

fn page<'a>(items: &'a [Value], paging: &Paging) -> Result<Page<'a>> {
    let Paging { limit, order, after } = paging;
    let (most, usual) = PAGE;
    let limit = match limit {
        None => usual,
        Some(text) => {
            let limit = text.parse().ok().filter(|limit| (1..=most).contains(limit));
            limit.ok_or_else(|| {
                Error::invalid("limit", format!("`limit` must be an integer from 1 to {most}"))
            })?
        }
    };
    let mut ordered: Vec<&Value> = items.iter().collect();
    match order.as_deref() {
        // The latest first, as OpenAI has it.
        None | Some("desc") => ordered.reverse(),
        Some("asc") => {}
        Some(other) => return Err(invalid_choice("order", other, "asc and desc")),
    }
    let begin = match after {
        None => 0,
        Some(after) => {
            let at = ordered.iter().position(|item| id_of(item) == Some(after));
            let at = at.ok_or_else(|| {
                let message = "`after` names none of the response's input items";
                Error::new(ErrorKind::NotFound, message).with_param("after")
            })?;
            at.saturating_add(1)
        }
    };
    let rest = ordered.len().saturating_sub(begin);
    let data: Vec<&Value> = ordered.into_iter().skip(begin).take(limit).collect();
    Ok(Page {
        object: "list",
        first_id: data.first().and_then(|item| id_of(item)),
        last_id: data.last().and_then(|item| id_of(item)),
        has_more: rest > data.len(),
        data,
    })
}

fn id_of(item: &Value) -> Option<&str> {
    item.get("id").and_then(Value::as_str)
}

fn query<T: serde::de::DeserializeOwned>(request: &Request) -> Result<T> {
    Query::<T>::try_from_uri(request.uri()).map(|Query(query)| query).map_err(|fault| {
        Error::new(ErrorKind::InvalidValue, "the query of the URL cannot be read").with_cause(fault)
    })
}
