use std::io::{self, Read};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use bytes::{Buf, Bytes};
use http::header;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::api::body;
use crate::api::refusal::Reply;
use crate::api::reply::{JSON, TEXT};
use crate::api::state::ApiState;
use crate::domain::{Error, Result};

use super::types::Loaded;

/// How long the end of a body may take once its archive is taken in.
const TAIL: Duration = Duration::from_secs(2);

/// `POST /models/load`: takes in a tar of any size as it comes.
pub(in crate::api) async fn load(State(state): State<ApiState>, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    body::refuse_encoded(&parts.headers)?;
    let (pieces, reader) = pipe();
    let mut pump = Box::pin(pump(body, pieces));
    let loading = state.service.load_archive(Box::new(reader));
    tokio::pin!(loading);
    let mut body_end = None;
    let loaded = loop {
        tokio::select! {
            loaded = &mut loading => break loaded,
            end = &mut pump, if body_end.is_none() => body_end = Some(end),
        }
    };
    let entry = match (loaded, body_end) {
        (Ok(entry), Some(_)) => entry,
        (Ok(entry), None) => {
            // A tar ends before its padding does; a client that is cut off there sees no answer.
            let _ = timeout(TAIL, pump).await;
            entry
        }
        // What ended the body says more than what the reader of the archive made of it.
        (Err(_), Some(Err(error))) | (Err(error), Some(Ok(()))) => return Err(error.into()),
        (Err(error), None) => {
            body::linger(async { drop(pump.await) });
            return Err(error.into());
        }
    };
    let line = serde_json::to_string(&Loaded::new(&entry)).map_err(Error::internal)? + "\n";
    let json = parts.headers.get(header::ACCEPT).is_some_and(|v| v == "application/json");
    let kind = if json { JSON } else { TEXT };
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], line).into_response())
}

/// Carries a body to the pipe, then, once nobody reads the pipe, to nowhere.
async fn pump(mut body: Body, pieces: mpsc::Sender<Piece>) -> Result<()> {
    let end = loop {
        match body::next_piece(&mut body).await {
            // A closed pipe is no failure: the archive's reader knows when it has seen enough.
            Ok(Some(data)) => drop(pieces.send(Piece::Data(data)).await),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let last = match &end {
        Ok(()) => Piece::End,
        Err(error) => Piece::Broken(error.message.clone()),
    };
    drop(pieces.send(last).await);
    end
}

enum Piece {
    Data(Bytes),
    End,
    Broken(String),
}

/// A few pieces lie in between, so that the disk and the socket work at the same time.
fn pipe() -> (mpsc::Sender<Piece>, PipeReader) {
    let (sender, pieces) = mpsc::channel(8);
    (sender, PipeReader { pieces, rest: Bytes::new(), ended: false })
}

/// The blocking end. A body whose client went away ends in an error, never in a clean end.
struct PipeReader {
    pieces: mpsc::Receiver<Piece>,
    rest: Bytes,
    ended: bool,
}

impl Read for PipeReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Data(data)) => self.rest = data,
                Some(Piece::End) => self.ended = true,
                Some(Piece::Broken(message)) => return Err(io::Error::other(message)),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let n = out.len().min(self.rest.len());
        let (Some(to), Some(from)) = (out.get_mut(..n), self.rest.get(..n)) else { return Ok(0) };
        to.copy_from_slice(from);
        self.rest.advance(n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(body: Body) -> (Result<()>, io::Result<Vec<u8>>) {
        let (pieces, mut reader) = pipe();
        let read = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        (pump(body, pieces).await, read.await.expect("the reader"))
    }

    #[tokio::test]
    async fn a_body_arrives_whole() {
        let parts: Vec<io::Result<Bytes>> =
            (0..100u8).map(|i| Ok(Bytes::from(vec![i; 1000]))).collect();
        let body = Body::from_stream(futures_util::stream::iter(parts));
        let (end, read) = read_all(body).await;
        assert!(end.is_ok());
        let read = read.expect("all of it");
        assert_eq!((read.len(), read.get(99_999)), (100_000, Some(&99)));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_no_clean_end() {
        let parts = [Ok(Bytes::from_static(b"half")), Err(io::Error::other("reset"))];
        let (end, read) = read_all(Body::from_stream(futures_util::stream::iter(parts))).await;
        assert!(end.is_err() && read.is_err());
        let (pieces, mut reader) = pipe();
        drop(pieces);
        let read = tokio::task::spawn_blocking(move || reader.read(&mut [0; 8])).await;
        assert_eq!(read.expect("joins").map_err(|e| e.kind()), Err(io::ErrorKind::UnexpectedEof));
    }

    #[tokio::test]
    async fn what_nobody_reads_does_not_hold_the_body_up() {
        let parts: Vec<io::Result<Bytes>> =
            (0..100).map(|_| Ok(Bytes::from(vec![0; 1000]))).collect();
        let (pieces, reader) = pipe();
        drop(reader);
        assert!(pump(Body::from_stream(futures_util::stream::iter(parts)), pieces).await.is_ok());
    }
}
