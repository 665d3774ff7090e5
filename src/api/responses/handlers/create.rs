use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::api::body::{self, EventStream, MAX_BODY};
use crate::api::caller::{caller, preload, require_json};
use crate::api::checks::missing;
use crate::api::refusal::{self, Reply};
use crate::api::reply::{
    EVENTS, JSON, STREAM_PATIENCE, answer, name_model, preloads_only, queue_headers,
};
use crate::api::state::ApiState;
use crate::api::{ids, json};
use crate::domain::{Error, Result, Wishes};
use crate::scheduler::Generation;
use crate::service::Caller;

use super::super::convert::{Converted, Past, convert};
use super::super::render::{Answer, FrameStream, Keep};
use super::super::store::{Owner, Record, ResponseStore};
use super::super::types::CreateRequest;

/// The stored responses of one client.
pub(super) struct Shelf<'a> {
    pub(super) store: &'a ResponseStore,
    pub(super) owner: &'a Owner,
}

impl Past for Shelf<'_> {
    fn conversation(&self, response: &str) -> Result<Vec<Value>> {
        self.store.conversation(self.owner, response)
    }

    fn item(&self, id: &str) -> Option<Value> {
        self.store.item(self.owner, id)
    }
}

/// `POST …/responses`.
pub(in crate::api) async fn create(State(state): State<ApiState>, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    require_json(&parts.headers, &parts.extensions)?;
    let caller = caller(&parts.headers, &parts.extensions)?;
    let owner = Owner::of(&parts.extensions);
    let body = body::read(&parts, body, MAX_BODY).await?;
    let request: CreateRequest = json::decode_large(body).await?;
    if preloads_only(&parts.headers) {
        let model = request.model.ok_or_else(|| missing("model", "name the model to load"))?;
        preload(&state, &model, Wishes::default(), &parts).await.map_err(name_model)?;
        return Ok(StatusCode::OK.into_response());
    }
    let id = ids::secret_id("resp_")?;
    let shelf = Shelf { store: &state.responses, owner: &owner };
    let converted = convert(request, id.trim_start_matches("resp_"), &shelf)?;
    match converted.settings.background {
        true => Ok(in_background(&state, caller, owner, id, converted).await?),
        false => Ok(attended(&state, caller, owner, id, converted).await?),
    }
}

/// For a client that waits or reads along; the response ends with its going.
async fn attended(
    state: &ApiState,
    caller: Caller,
    owner: Owner,
    id: String,
    converted: Converted,
) -> Result<Response> {
    let Converted { stream, settings, input, callables, request } = converted;
    let generation = state.service.generate(caller, &settings.model, request).await;
    let mut generation = generation.map_err(name_model)?;
    let keep = settings.store.then(|| keep(state.responses.clone(), owner, input));
    let response = Answer::new(id, settings, callables);
    if stream {
        // What fails early keeps its true status; what takes long gets its 200 and comments.
        generation.ready(Some(STREAM_PATIENCE)).await?;
        let headers = queue_headers(generation.queue_position(), generation.queue_wait());
        let body = EventStream::new(generation, FrameStream::new(response, keep)).into_body();
        return Ok(answer(headers, EVENTS, body));
    }
    generation.ready(None).await?;
    let headers = queue_headers(generation.queue_position(), generation.queue_wait());
    let response = fold(generation, response).await?;
    if let Some(keep) = keep {
        keep(&response);
    }
    let object = response.object(response.items());
    let body = serde_json::to_vec(&object).map_err(Error::internal)?;
    Ok(answer(headers, JSON, Body::from(body)))
}

async fn fold(mut generation: Generation, mut response: Answer) -> Result<Answer> {
    while let Some(event) = generation.next().await {
        response.push(Ok(event?));
    }
    match response.status().is_final() {
        true => Ok(response),
        false => Err(Error::internal("a generation ended without a result")),
    }
}

fn keep(store: ResponseStore, owner: Owner, input: Vec<Value>) -> Keep {
    Box::new(move |response| {
        store.insert(owner, Arc::new(Record::new(response.clone(), input)));
    })
}

/// Runs to its end whoever reads it or not.
async fn in_background(
    state: &ApiState,
    caller: Caller,
    owner: Owner,
    id: String,
    converted: Converted,
) -> Result<Response> {
    let Converted { stream, settings, input, callables, request } = converted;
    let place = state.responses.background()?;
    let generation = state.service.generate(caller, &settings.model, request).await;
    let generation = generation.map_err(name_model)?;
    let headers = queue_headers(generation.queue_position(), generation.queue_wait());
    let record = Arc::new(Record::new(Answer::new(id, settings, callables), input));
    state.responses.insert(owner, Arc::clone(&record));
    let at_once = record.json()?;
    let (events, render) = record.follow(None);
    let store = state.responses.clone();
    tokio::spawn(async move {
        run(generation, &record).await;
        store.settle(&record);
        drop(place);
    });
    Ok(match stream {
        true => answer(headers, EVENTS, EventStream::new(events, render).into_body()),
        false => answer(headers, JSON, Body::from(at_once)),
    })
}

/// Hands everything to the record, until it is cancelled. Returning gives the generation up.
async fn run(mut generation: Generation, record: &Record) {
    while !record.is_final() {
        let event = tokio::select! {
            biased;
            () = record.cancelled() => return,
            event = generation.next() => event,
        };
        let event =
            event.unwrap_or_else(|| Err(Error::internal("a generation ended without a result")));
        if let Err(error) = &event {
            refusal::log(error);
        }
        record.push(event);
    }
}

/// A JSON answer without a queue behind it.
pub(super) fn plain(body: impl Into<Body>) -> Response {
    answer(HeaderMap::new(), JSON, body.into())
}
