use std::io::Write;
use std::path::PathBuf;

use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use super::{CliError, Printer, names};
use crate::client::{Client, ClientError};
use crate::domain::ModelRef;
use crate::models::{PackageOptions, PackagePlan};

/// One piece of the archive on its way to the daemon.
const CHUNK: usize = 256 * 1024;

/// Pieces that may wait: reading stays ahead of sending, memory stays small.
const CHUNKS_AHEAD: usize = 4;

/// Make a model from a GGUF file and put it into the store
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model; of a split one the first file, the others beside it
    #[arg(long, value_name = "FILE")]
    gguf: PathBuf,
    /// The projector of a model that sees
    #[arg(long, value_name = "FILE")]
    mmproj: Option<PathBuf>,
    /// A Jinja template that replaces the model's own
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,
    /// A licence text; may be given several times
    #[arg(short, long, value_name = "FILE")]
    license: Vec<PathBuf>,
    /// The largest context that the model may get
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    context_size: Option<u32>,
    /// The name to give it
    #[arg(value_name = "MODEL")]
    name: String,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    // Hashing a large file takes a while; nobody should wait for it in vain.
    let (repo, tag) = names::split_target(&args.name);
    ModelRef::parse(&format!("{repo}:{tag}"))
        .map_err(|e| CliError::Usage(e.to_string()))?
        .qualified_tag()
        .ok_or_else(|| CliError::Usage(format!("{:?} cannot be a model's name", args.name)))?;
    client.version().await?;
    let options = PackageOptions {
        weights: args.gguf,
        mmproj: args.mmproj,
        chat_template: args.chat_template,
        licenses: args.license,
        context_size: args.context_size,
    };
    if printer.err_is_terminal() {
        printer.note(format!("Reading {}", options.weights.display()));
    }
    let plan = tokio::task::spawn_blocking(move || PackagePlan::new(&options))
        .await
        .map_err(|e| CliError::Failed(format!("cannot read the files: {e}")))?
        .map_err(|e| CliError::Failed(e.to_string()))?;
    let id = plan.manifest_digest().to_string();
    send(client, plan, printer.err_is_terminal()).await?;
    client.tag(&id, repo, tag).await?;
    printer.line(format!("Model {:?} packaged as {id}", args.name))
}

async fn send(client: &Client, plan: PackagePlan, visible: bool) -> Result<(), ClientError> {
    let length = plan.total_bytes();
    let bar = if visible { ProgressBar::new(length) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {eta}") {
        bar.set_style(style);
    }
    let stream = written(move |mut out| plan.write_tar(&mut out, &mut |_| ())).inspect({
        let bar = bar.clone();
        move |chunk| {
            if let Ok(bytes) = chunk {
                bar.inc(u64::try_from(bytes.len()).unwrap_or(0));
            }
        }
    });
    let sent = client.load(Some(length), stream).await;
    bar.finish_and_clear();
    sent.map(drop)
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

    #[tokio::test]
    async fn a_missing_file_is_named_and_nothing_is_sent() {
        let fake = Fake::start().await;
        let file = fake.dir().join("no.gguf").display().to_string();
        let done = fake.run(&["package", "--gguf", &file, "mine"]).await;
        assert_eq!(done.code, 1);
        assert!(done.err.contains("no.gguf"), "{}", done.err);
        assert_eq!(fake.all(), ["GET /version"]);
    }

    #[tokio::test]
    async fn without_a_daemon_no_file_is_read() {
        let done = Fake::absent().run(&["package", "--gguf", "/no.gguf", "mine"]).await;
        assert_eq!(done.code, 69);
    }

    #[tokio::test]
    async fn a_context_of_zero_is_a_usage_error() {
        let args = ["package", "--gguf", "f", "--context-size", "0", "mine"];
        assert_eq!(Fake::absent().run(&args).await.code, 2);
    }
}
