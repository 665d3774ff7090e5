use std::io::Write;

use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use crate::client::wire::Progress;
use crate::client::{Client, ClientError};

/// One piece of an archive on its way to the daemon.
const CHUNK: usize = 256 * 1024;

/// Pieces that may wait: reading stays ahead of sending, memory stays small.
const CHUNKS_AHEAD: usize = 4;

/// A bar over so many bytes, or one that only counts them; nothing where nobody looks.
pub(super) fn bar(length: Option<u64>, visible: bool) -> ProgressBar {
    let bar = match length {
        _ if !visible => ProgressBar::hidden(),
        Some(length) => ProgressBar::new(length),
        None => ProgressBar::no_length(),
    };
    let template = match length {
        Some(_) => "{bar:30} {bytes}/{total_bytes} {eta}",
        None => "{spinner} {bytes} {bytes_per_sec}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Hands the archive that `write` writes in to the daemon.
pub(super) async fn load<F>(
    client: &Client,
    length: Option<u64>,
    visible: bool,
    write: F,
) -> Result<Progress, ClientError>
where
    F: FnOnce(&mut dyn Write) -> std::io::Result<()> + Send + 'static,
{
    let bar = bar(length, visible);
    let stream = written(write).inspect({
        let bar = bar.clone();
        move |chunk| {
            if let Ok(bytes) = chunk {
                bar.inc(u64::try_from(bytes.len()).unwrap_or(0));
            }
        }
    });
    let sent = client.load(length, stream).await;
    bar.finish_and_clear();
    sent
}

/// What `write` writes, as a stream; it runs in a thread that ends when nobody reads any more.
fn written<F>(write: F) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static
where
    F: FnOnce(&mut dyn Write) -> std::io::Result<()> + Send + 'static,
{
    let (chunks, received) = mpsc::channel(CHUNKS_AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut pieces = Pieces { chunks, buffer: Vec::new() };
        let done = write(&mut pieces);
        if let Err(error) = done.and_then(|()| pieces.flush()) {
            // The reader is gone when the daemon refused; then it has said why.
            let _ = pieces.chunks.blocking_send(Err(error));
        }
    });
    futures_util::stream::unfold(received, async |mut received: mpsc::Receiver<_>| {
        Some((received.recv().await?, received))
    })
}

/// Writes from a thread become chunks of a stream.
struct Pieces {
    chunks: mpsc::Sender<std::io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let bytes = std::mem::take(&mut self.buffer);
        if bytes.is_empty() {
            return Ok(());
        }
        self.chunks
            .blocking_send(Ok(bytes.into()))
            .map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;
    use super::*;

    #[tokio::test]
    async fn everything_that_is_written_arrives_in_order() {
        let fake = Fake::start().await;
        let bytes: Vec<u8> = (0..3 * CHUNK + 7).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let sent = bytes.clone();
        let stream = written(move |out| sent.chunks(100_001).try_for_each(|c| out.write_all(c)));
        let length = u64::try_from(bytes.len()).unwrap();
        let said = fake.client().load(Some(length), stream).await.unwrap();
        assert_eq!(said.kind, "success");
        assert!(fake.uploaded() == bytes);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_to_its_end_is_the_error_that_is_shown() {
        let fake = Fake::start().await;
        let stream = written(|out| {
            out.write_all(&[0; CHUNK])?;
            Err(std::io::Error::other("m.gguf became shorter while it was read"))
        });
        let error = fake.client().load(None, stream).await.unwrap_err();
        assert_eq!(error.to_string(), "m.gguf became shorter while it was read");
    }
}
