use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, Uri, header};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use crate::api::recorder::{Follow, Record, Recorder};
use crate::api::refusal::Reply;
use crate::api::reply;
use crate::api::state::ApiState;
use crate::domain::{Error, ErrorKind, Result};
use crate::service::Service;

use super::models::go_bool;

/// Events that may wait for a slow reader; then it loses records.
const EVENTS_AHEAD: usize = 8;
/// How often a silent stream shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Params {
    model: Option<String>,
    include_existing: Option<String>,
}

/// The records of one model.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Recorded)]
pub(super) struct Recorded {
    count: usize,
    /// Its id; the name, where it is not in the store.
    model: String,
    /// For Docker's client, which expects one.
    #[schema(value_type = Object)]
    config: serde_json::Value,
    records: Vec<WireRecord>,
}

/// One request and its answer.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Record)]
pub(super) struct WireRecord {
    id: String,
    /// The name it was asked for.
    model: String,
    method: String,
    url: String,
    /// The body; what is long in it is cut and marked.
    request: String,
    /// Likewise; a stream as the answer that it would have been in one piece.
    #[serde(skip_serializing_if = "String::is_empty")]
    response: String,
    /// The answer, where it is an error.
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
    timestamp: u64,
    status_code: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    user_agent: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    origin: String,
}

/// `GET /engines/requests`: the last requests and answers, or with `Accept: text/event-stream` those
/// to come.
pub(in crate::api) async fn requests(
    State(state): State<ApiState>,
    uri: Uri,
    headers: HeaderMap,
) -> Reply {
    let Some(recorder) = state.recorder.get() else {
        let message = "requests are not recorded; start the daemon with --record-requests (or \
                       MODELD_RECORD_REQUESTS=on), which keeps prompts and answers in memory";
        return Err(Error::new(ErrorKind::Conflict, message).into());
    };
    let Query(Params { model, include_existing }) = Query::try_from_uri(&uri).map_err(|fault| {
        Error::new(ErrorKind::InvalidValue, "the query cannot be read; check its encoding")
            .with_cause(fault)
    })?;
    let mut names = Names { service: state.service.clone(), ids: HashMap::new() };
    let wanted = match model.filter(|model| !model.is_empty()) {
        Some(model) => Some(names.id(&model).await),
        None => None,
    };
    let streams = headers.get(header::ACCEPT).is_some_and(|accept| accept == "text/event-stream");
    if streams {
        let existing = include_existing.is_some_and(|text| go_bool(&text) == Some(true));
        return Ok(follow(&state, &recorder, names, wanted, existing));
    }
    Ok(Json(names.grouped(recorder.all(), wanted.as_deref()).await?).into_response())
}

/// The ids of models by the names that requests had for them.
struct Names {
    service: Service,
    ids: HashMap<String, String>,
}

impl Names {
    /// The id of a model, or its name where the store has none of that name any more.
    async fn id(&mut self, name: &str) -> String {
        if let Some(id) = self.ids.get(name) {
            return id.clone();
        }
        let id = match self.service.inspect(name).await {
            Ok(entry) => entry.id.to_string(),
            Err(_) => name.to_owned(),
        };
        self.ids.insert(name.to_owned(), id.clone());
        id
    }

    async fn grouped(
        &mut self,
        records: Vec<Arc<Record>>,
        wanted: Option<&str>,
    ) -> Result<Vec<Recorded>> {
        let mut groups: Vec<Recorded> = Vec::new();
        for record in records {
            let id = self.id(&record.model).await;
            if wanted.is_some_and(|wanted| wanted != id) {
                continue;
            }
            let record = wire(&id, &record);
            match groups.iter_mut().find(|group| group.model == id) {
                Some(group) => group.records.push(record),
                None => groups.push(Recorded {
                    count: 0,
                    model: id,
                    config: json!({}),
                    records: vec![record],
                }),
            }
        }
        for group in &mut groups {
            group.count = group.records.len();
        }
        Ok(groups)
    }

    /// One record, as events show it; `None`: it is of another model.
    async fn event(
        &mut self,
        event: &str,
        record: &Arc<Record>,
        wanted: Option<&str>,
    ) -> Option<Bytes> {
        // A name may have got another meaning since the last one.
        self.ids.clear();
        let groups = self.grouped(vec![Arc::clone(record)], wanted).await.ok()?;
        (!groups.is_empty()).then(|| sse(event, &groups))
    }
}

fn wire(id: &str, record: &Record) -> WireRecord {
    let failed = record.status >= 400;
    let (response, error) = match failed {
        true => (String::new(), record.response.clone()),
        false => (record.response.clone(), String::new()),
    };
    WireRecord {
        id: format!("{id}_{}", record.nanos()),
        model: record.model.clone(),
        method: record.method.clone(),
        url: record.path.clone(),
        request: record.request.clone(),
        response,
        error,
        timestamp: record.seconds(),
        status_code: record.status,
        user_agent: record.user_agent.clone(),
        origin: record.origin.clone(),
    }
}

/// Answers with records as they come, until the client leaves or the daemon stops.
fn follow(
    state: &ApiState,
    recorder: &Recorder,
    mut names: Names,
    wanted: Option<String>,
    existing: bool,
) -> Response {
    let (past, mut follower) = recorder.follow();
    let (sender, mut events) = mpsc::channel::<Bytes>(EVENTS_AHEAD);
    let draining = state.draining.clone();
    tokio::spawn(async move {
        let mut said = vec![sse("connected", &json!({ "status": "connected" }))];
        if existing {
            for record in &past {
                said.extend(names.event("existing_request", record, wanted.as_deref()).await);
            }
        }
        drop(past);
        loop {
            for event in said.drain(..) {
                if sender.send(event).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = draining.cancelled() => return,
                () = sender.closed() => return,
                () = tokio::time::sleep(KEEP_ALIVE) => said.push(Bytes::from_static(b":\n\n")),
                news = follower.next() => match news {
                    Some(Follow::New(record)) => {
                        said.extend(names.event("new_request", &record, wanted.as_deref()).await);
                    }
                    Some(Follow::Lost(count)) => said.push(sse("lost", &json!({ "lost": count }))),
                    None => return,
                },
            }
        }
    });
    let events = futures_util::stream::poll_fn(move |context| {
        events.poll_recv(context).map(|event| event.map(Ok::<_, Infallible>))
    });
    reply::event_stream(HeaderMap::new(), Body::from_stream(events))
}

fn sse(event: &str, data: &impl Serialize) -> Bytes {
    // Texts, numbers and lists always serialise.
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {event}\ndata: {data}\n\n").into()
}
