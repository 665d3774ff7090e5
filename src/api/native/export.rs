use std::io::{self, Write};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderValue, Method, header};
use tokio::sync::mpsc;

use crate::api::middleware::may_manage;
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::Error;
use crate::service::Exporting;

/// What an archive is sent as.
pub(super) const TAR: &str = "application/x-tar";
/// One piece of an archive; a few of them lie between the disk and the socket.
const PIECE: usize = 256 << 10;
const PIECES_AHEAD: usize = 4;
/// A client that takes nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// `GET /models/{name}/export`: the model as a Docker model archive. Blobs are hashed on the way out;
/// one that is damaged breaks the connection before the archive could be taken for a whole one.
pub(super) async fn export(
    state: &ApiState,
    name: &str,
    method: &Method,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Reply {
    // Whole models are for the owner alone.
    may_manage(headers, extensions).await?;
    let export = state.service.export(name).await?;
    let disposition = format!("attachment; filename=\"{}.tar\"", file_name(name));
    let disposition = HeaderValue::try_from(disposition).map_err(Error::internal)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(TAR)),
        (header::CONTENT_LENGTH, HeaderValue::from(export.total_bytes())),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    // Nobody reads the body of a HEAD, so that none is made.
    let body = if method == Method::HEAD { Body::empty() } else { stream(export) };
    let mut answer = Response::new(body);
    answer.headers_mut().extend(headers);
    Ok(answer)
}

/// What `export` writes on a thread of its own, which ends when nobody reads any more.
fn stream(export: Exporting) -> Body {
    let (pieces, mut written) = mpsc::channel(1);
    let (forward, mut received) = mpsc::channel(PIECES_AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut out = Pieces { pieces, buffer: Vec::with_capacity(PIECE) };
        let Err(error) = export.write_tar(&mut out) else { return };
        if error.kind() == io::ErrorKind::BrokenPipe {
            return;
        }
        tracing::error!(model = %export.id(), %error, "an export was broken off");
        // The connection ends without its last bytes, so that no client takes this for all.
        drop(out.send(Err(error)));
    });
    // A thread cannot wait for a while; this can.
    tokio::spawn(async move {
        while let Some(piece) = written.recv().await {
            if forward.send_timeout(piece, PATIENCE).await.is_err() {
                break;
            }
        }
    });
    Body::from_stream(futures_util::stream::poll_fn(move |context| received.poll_recv(context)))
}

struct Pieces {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Pieces {
    fn send(&self, piece: io::Result<Bytes>) -> io::Result<()> {
        self.pieces.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE));
        self.send(Ok(piece.into()))
    }
}

/// A name that every file system takes and no header misreads.
fn file_name(model: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    model.chars().map(plain).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_plain() {
        assert_eq!(file_name("docker.io/ai/smollm2:Q4_K"), "docker.io-ai-smollm2-Q4_K");
        assert_eq!(file_name("a\"b\r\nü"), "a-b---");
    }
}
