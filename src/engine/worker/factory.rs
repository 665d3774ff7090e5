use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};
use tracing::{info, warn};

use crate::domain::{Error, ErrorKind, Result};
use crate::engine::{BoxFuture, Engine, EngineFactory, LoadProgress};
use crate::logbook::LogControl;
use crate::protocol::{
    BUILD_ID, LoadSpec, MAX_FRAME, ModelInfo, PROTOCOL_VERSION, ToDaemon, ToWorker, WorkerHello,
    decode, encode,
};

use super::command::{command, own_program};
use super::engine::WorkerEngine;
use super::jobs::tame;
use super::process::Process;
use super::spawner::Spawner;

/// What a worker may claim of itself: the longest name in characters, sequences, KV cells.
const MAX_NAME: usize = 100;
const MAX_SEQUENCES: u32 = 200;
const MAX_CONTEXT: u32 = 1 << 22;

/// Frames coming from a worker.
pub(super) type FrameReader = FramedRead<OwnedReadHalf, LengthDelimitedCodec>;

/// Frames going to a worker.
pub(super) type FrameWriter = FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>;

/// The longest description of a sandbox that is shown, in characters.
const MAX_SANDBOX: usize = 400;

/// How workers are started and how patient the daemon is with them.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The program; by default the binary that runs now.
    pub program: PathBuf,
    /// Its arguments; by default `worker`.
    pub args: Vec<OsString>,
    /// `OMP_WAIT_POLICY` for the compute threads: `passive` by default.
    pub omp_wait_policy: String,
    /// What says which lines workers log that start from now on; `None`: warnings and worse.
    pub log: Option<LogControl>,
    /// Whether workers may leave core dumps.
    pub core_dumps: bool,
    /// When a worker counts as hung.
    pub patience: Patience,
}

/// When a worker counts as hung and is killed.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Without any frame while loading (60 s; a live one reports every 2 s).
    pub loading: Duration,
    /// Without any progress while loading (10 min: a disk may be slow, and analysing a template
    /// shows no progress).
    pub standstill: Duration,
    /// Without any frame after that (30 s; a live one reports every 2 s).
    pub silence: Duration,
    /// With sequences to compute and not one step done (60 s).
    pub step: Duration,
    /// To end by itself when asked to (2 s).
    pub shutdown: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            loading: Duration::from_secs(60),
            standstill: Duration::from_secs(600),
            silence: Duration::from_secs(30),
            step: Duration::from_secs(60),
            shutdown: Duration::from_secs(2),
        }
    }
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            program: own_program(),
            args: vec!["worker".into()],
            omp_wait_policy: "passive".into(),
            log: None,
            core_dumps: false,
            patience: Patience::default(),
        }
    }
}

/// Loads each model into a worker process of its own.
#[derive(Debug)]
pub struct WorkerFactory {
    config: WorkerConfig,
    spawner: Spawner,
}

impl WorkerFactory {
    /// Starts the thread that creates workers. One factory serves the whole daemon: its workers
    /// are killed with that thread.
    ///
    /// # Errors
    /// Those of creating a thread.
    pub fn new(config: WorkerConfig) -> io::Result<Self> {
        Ok(Self { config, spawner: Spawner::start()? })
    }

    /// How patient this factory is, for tests.
    #[cfg(test)]
    pub(super) fn patience(&mut self) -> &mut Patience {
        &mut self.config.patience
    }

    async fn spawn(&self, name: &str) -> io::Result<(Process, FrameReader, FrameWriter)> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let child = self.spawner.spawn(command(&self.config, OwnedFd::from(theirs))).await?;
        let process = Process::new(child, name);
        let (reader, writer) = UnixStream::from_std(ours)?.into_split();
        let codec = LengthDelimitedCodec::builder().max_frame_length(MAX_FRAME).new_codec();
        let reader = FramedRead::new(reader, codec.clone());
        Ok((process, reader, FramedWrite::new(writer, codec)))
    }

    async fn load_model(
        &self,
        spec: LoadSpec,
        progress: watch::Sender<LoadProgress>,
    ) -> Result<Arc<dyn Engine>> {
        let name = spec.name.clone();
        let order = encode(&ToWorker::Load(spec)).map_err(Error::internal)?;
        let (mut process, mut reader, mut writer) = self.spawn(&name).await.map_err(|cause| {
            let message = format!("the worker process could not be started: {cause}");
            Error::new(ErrorKind::Internal, message).with_cause(cause)
        })?;
        info!(model = name, pid = process.pid(), "worker started");
        let opened = match writer.send(Bytes::from(order)).await {
            Ok(()) => self.await_ready(&mut reader, &progress).await,
            Err(_) => Err(Refusal::Death(None)),
        };
        match opened {
            Ok((hello, info)) => {
                let patience = self.config.patience;
                let engine = WorkerEngine::start(
                    name,
                    process,
                    reader,
                    writer,
                    patience,
                    hello.sandbox,
                    info,
                );
                Ok(Arc::new(engine))
            }
            Err(Refusal::Death(reason)) => {
                let error = process.obituary_of_load(reason).await;
                warn!(model = name, %error, cause = error.cause, "worker died while loading");
                Err(error)
            }
            Err(Refusal::Said(error)) => {
                // The end of its stdin is what a worker ends at.
                drop((reader, writer));
                process.bury(self.config.patience.shutdown).await;
                warn!(model = name, %error, cause = error.cause, "model not loaded");
                Err(error)
            }
        }
    }

    /// Follows a worker from its hello to the loaded model.
    async fn await_ready(
        &self,
        reader: &mut FrameReader,
        progress: &watch::Sender<LoadProgress>,
    ) -> std::result::Result<(WorkerHello, ModelInfo), Refusal> {
        let mut hello = None;
        let (mut moved, mut reached) = (Instant::now(), -1.0);
        loop {
            let patience = self.config.patience.loading;
            let next = tokio::time::timeout(patience, reader.next()).await.map_err(|_| {
                let seconds = patience.as_secs();
                Refusal::fault(format!("the worker was silent for {seconds} s while loading"))
            })?;
            let still = moved.elapsed();
            if still > self.config.patience.standstill {
                let seconds = still.as_secs();
                return Err(Refusal::fault(format!("the load stood still for {seconds} s")));
            }
            match (read(next)?, &hello) {
                (ToDaemon::Hello(said), None) => hello = Some(check(said)?),
                (ToDaemon::Progress(fraction), Some(_)) if fraction.is_finite() => {
                    if fraction > reached {
                        (moved, reached) = (Instant::now(), fraction);
                    }
                    progress.send_replace(LoadProgress(fraction.clamp(0.0, 1.0)));
                }
                (ToDaemon::Alive { .. }, Some(_)) => {}
                (ToDaemon::LoadFailed(error), _) => return Err(Refusal::Said(tame(error))),
                (ToDaemon::Ready(info), Some(_)) if info.max_sequences == 0 => {
                    return Err(Refusal::fault("the worker serves no sequence".into()));
                }
                (ToDaemon::Ready(info), Some(_)) => {
                    if let Some(hello) = hello {
                        return Ok((hello, bounded(info)));
                    }
                }
                _ => return Err(Refusal::fault("the worker broke the protocol".into())),
            }
        }
    }
}

impl EngineFactory for WorkerFactory {
    fn load(
        &self,
        spec: LoadSpec,
        progress: watch::Sender<LoadProgress>,
    ) -> BoxFuture<'_, Result<Arc<dyn Engine>>> {
        Box::pin(self.load_model(spec, progress))
    }
}

/// A worker that says nonsense must not disable the scheduler's bounds.
fn bounded(mut info: ModelInfo) -> ModelInfo {
    info.architecture = info.architecture.chars().take(MAX_NAME).collect();
    info.max_sequences = info.max_sequences.min(MAX_SEQUENCES);
    info.context_size = info.context_size.min(MAX_CONTEXT);
    info
}

/// Why there is no engine.
enum Refusal {
    /// The worker said why, and ends by itself.
    Said(Error),
    /// It died, or is killed for this reason.
    Death(Option<String>),
}

impl Refusal {
    fn fault(reason: String) -> Self {
        Self::Death(Some(reason))
    }
}

/// A frame out of what the reader yielded.
fn read(next: Option<io::Result<bytes::BytesMut>>) -> std::result::Result<ToDaemon, Refusal> {
    match next {
        None => Err(Refusal::Death(None)),
        Some(Err(error)) if error.kind() != io::ErrorKind::InvalidData => Err(Refusal::Death(None)),
        Some(Err(error)) => Err(Refusal::fault(format!("the worker sent a bad frame: {error}"))),
        Some(Ok(bytes)) => decode(&bytes)
            .map_err(|error| Refusal::fault(format!("the worker sent a bad frame: {error}"))),
    }
}

/// Accepts only workers of this very build.
fn check(mut hello: WorkerHello) -> std::result::Result<WorkerHello, Refusal> {
    if hello.version != PROTOCOL_VERSION || hello.build_id != BUILD_ID {
        let message = "the modeld binary was replaced while the daemon runs: restart the daemon";
        let theirs: String = hello.build_id.chars().take(100).collect();
        let cause = format!("the daemon is {BUILD_ID}, the worker {theirs}");
        return Err(Refusal::Said(Error::new(ErrorKind::Internal, message).with_cause(cause)));
    }
    hello.sandbox = hello.sandbox.chars().take(MAX_SANDBOX).collect();
    Ok(hello)
}
