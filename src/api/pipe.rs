//! Request bodies of any size, for readers that block.

use std::io::{self, Read};
use std::time::Duration;

use axum::body::Body;
use bytes::{Buf, Bytes};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::domain::Result;

use super::body;

/// How long the end of a body may take once what it is for is done.
const TAIL: Duration = Duration::from_secs(2);

/// Lets `work` read a body as it comes, on a thread that may block.
///
/// # Errors
/// Those of `work`; where the body itself ended badly, what [`body::next_piece`] says of it.
pub(super) async fn feed<T, F>(body: Body, work: impl FnOnce(PipeReader) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let (pieces, reader) = pipe();
    let mut pump = Box::pin(pump(body, pieces));
    let work = work(reader);
    tokio::pin!(work);
    let mut body_end = None;
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            end = &mut pump, if body_end.is_none() => body_end = Some(end),
        }
    };
    match (done, body_end) {
        (Ok(done), Some(_)) => Ok(done),
        (Ok(done), None) => {
            // A tar ends before its padding does; a client that is cut off there sees no answer.
            let _ = timeout(TAIL, pump).await;
            Ok(done)
        }
        // What ended the body says more than what its reader made of it.
        (Err(_), Some(Err(error))) | (Err(error), Some(Ok(()))) => Err(error),
        (Err(error), None) => {
            body::linger(async { drop(pump.await) });
            Err(error)
        }
    }
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
pub(super) struct PipeReader {
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
