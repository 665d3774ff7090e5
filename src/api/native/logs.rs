use std::convert::Infallible;

use axum::body::Body;
use axum::extract::{Query, State};
use bytes::Bytes;
use http::{HeaderMap, Uri};
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::api::refusal::Reply;
use crate::api::reply::{self, TEXT};
use crate::api::state::ApiState;
use crate::domain::{Error, ErrorKind, Result};
use crate::logbook::{News, Reading};

use super::models::go_bool;

/// Pieces that may wait for a slow reader; then it loses lines.
const PIECES_AHEAD: usize = 8;
/// Lines are sent together up to this many bytes.
const PIECE: usize = 32 << 10;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Params {
    follow: Option<String>,
    #[serde(rename = "no-engines")]
    no_engines: Option<String>,
}

/// `GET /logs`: the daemon's log, and with `follow` what is added to it.
pub(in crate::api) async fn logs(State(state): State<ApiState>, uri: Uri) -> Reply {
    let Query(Params { follow, no_engines }) = Query::try_from_uri(&uri).map_err(|fault| {
        Error::new(ErrorKind::InvalidValue, "the query cannot be read; check its encoding")
            .with_cause(fault)
    })?;
    let follow = boolean("follow", follow)?;
    let engines = !boolean("no-engines", no_engines)?;
    let Some(log) = state.log.clone() else {
        let message = "service log not found: this daemon keeps no log file; start it without \
                       --no-log-file, and where that is missing, see its standard error";
        return Err(Error::new(ErrorKind::NotFound, message).into());
    };
    let reading = tokio::task::spawn_blocking(move || log.read(follow)).await;
    let reading = reading.map_err(|fault| Error::internal(fault.to_string()))?;
    let reading = reading.map_err(|fault| Error::internal(format!("reading the log: {fault}")))?;
    let (sender, mut pieces) = mpsc::channel(PIECES_AHEAD);
    let draining = state.draining.clone();
    tokio::spawn(async move {
        let told = sender.clone();
        let past = tokio::task::spawn_blocking(move || send_past(reading, engines, &told)).await;
        let Ok(reading) = past else { return };
        let Some(mut live) = reading.live(engines) else { return };
        loop {
            let news = tokio::select! {
                () = draining.cancelled() => return,
                () = sender.closed() => return,
                news = live.next() => news,
            };
            let piece = match news {
                Some(News::Lines(text)) => Bytes::copy_from_slice(text.as_bytes()),
                Some(News::Lost(count)) => format!(
                    "[{count} entries were left out: they came faster than they were read]\n"
                )
                .into(),
                None => return,
            };
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    });
    let pieces = futures_util::stream::poll_fn(move |context| {
        pieces.poll_recv(context).map(|piece| piece.map(Ok::<_, Infallible>))
    });
    Ok(reply::answer(HeaderMap::new(), TEXT, Body::from_stream(pieces)))
}

/// Blocks while the reader is slow; the daemon's own work does not wait for this.
fn send_past(mut reading: Reading, engines: bool, sender: &mpsc::Sender<Bytes>) -> Reading {
    let mut piece = String::new();
    reading.past(engines, |line| {
        piece += &line;
        piece.len() < PIECE || sender.blocking_send(std::mem::take(&mut piece).into()).is_ok()
    });
    if !piece.is_empty() {
        let _ = sender.blocking_send(piece.into());
    }
    reading
}

/// In Go's spelling, and with the words that Docker Model Runner has for what is none.
fn boolean(name: &'static str, given: Option<String>) -> Result<bool> {
    let Some(text) = given.filter(|text| !text.is_empty()) else { return Ok(false) };
    go_bool(&text).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        let message = format!("invalid {name} parameter: {shown:?} is not a valid boolean");
        Error::invalid(name, message)
    })
}
