use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::domain::{Constraint, Error, ErrorKind, JobId, Prompt, Result};
use crate::engine::{BoxFuture, Engine, EventSender, Exit, Start};
use crate::protocol::{ModelInfo, Query, QueryAnswer, ToWorker, encode};

use super::factory::{FrameReader, FrameWriter, Patience};
use super::jobs::Jobs;
use super::process::Process;
use super::supervisor::Supervisor;

/// Frames on their way to the worker. It reads them at once, whatever it computes; a worker that
/// lets so many pile up is not well.
const MAX_UNSENT: usize = 1024;

/// A model in a worker process. Dropping it ends the process.
#[derive(Debug)]
pub(super) struct WorkerEngine {
    info: ModelInfo,
    pid: Option<u32>,
    sandbox: String,
    jobs: Arc<Mutex<Jobs>>,
    frames: mpsc::Sender<Vec<u8>>,
    exit: watch::Receiver<Option<Exit>>,
    stop: CancellationToken,
    overrun: CancellationToken,
}

impl WorkerEngine {
    /// Takes over a worker that has just become ready.
    pub(super) fn start(
        name: String,
        process: Process,
        reader: FrameReader,
        mut writer: FrameWriter,
        patience: Patience,
        sandbox: String,
        info: ModelInfo,
    ) -> Self {
        let (frames, mut unsent) = mpsc::channel::<Vec<u8>>(MAX_UNSENT);
        let (exit_sender, exit) = watch::channel(None);
        let engine = Self {
            info,
            pid: process.pid(),
            sandbox,
            jobs: Arc::default(),
            frames,
            exit,
            stop: CancellationToken::new(),
            overrun: CancellationToken::new(),
        };
        let writing = tokio::spawn(async move {
            while let Some(frame) = unsent.recv().await {
                // The reading side learns of a broken socket too, and says so.
                if writer.send(Bytes::from(frame)).await.is_err() {
                    break;
                }
            }
        });
        let supervisor = Supervisor {
            name,
            process,
            reader,
            writing,
            patience,
            jobs: Arc::clone(&engine.jobs),
            exit: exit_sender,
            stop: engine.stop.clone(),
            overrun: engine.overrun.clone(),
        };
        tokio::spawn(supervisor.run());
        engine
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn count(&self, job: JobId, prompt: Prompt, constraint: Constraint) -> Result<u32> {
        let frame =
            encode(&ToWorker::Prepare { job, prompt, constraint }).map_err(Error::internal)?;
        let count = self.jobs().prepare(job)?;
        if self.frames.send(frame).await.is_err() {
            self.jobs().forget(job);
            return Err(self.epitaph());
        }
        count.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Cancelled, "the request was cancelled while it was prepared"))
        })
    }

    async fn ask(&self, job: JobId, query: Query) -> Result<QueryAnswer> {
        let frame = encode(&ToWorker::Query { job, query }).map_err(Error::internal)?;
        let answer = self.jobs().ask(job)?;
        if self.frames.send(frame).await.is_err() {
            self.jobs().forget(job);
            return Err(self.epitaph());
        }
        answer.await.unwrap_or_else(|_| Err(self.epitaph()))
    }

    fn epitaph(&self) -> Error {
        let exit = self.exit.borrow();
        let unknown = || Error::new(ErrorKind::EngineCrashed, "the worker process is gone");
        exit.as_ref().map_or_else(unknown, |exit| exit.error.clone())
    }
}

impl Engine for WorkerEngine {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn pid(&self) -> Option<u32> {
        self.pid
    }

    fn sandbox(&self) -> &str {
        &self.sandbox
    }

    fn prepare(
        &self,
        job: JobId,
        prompt: Prompt,
        constraint: Constraint,
    ) -> BoxFuture<'_, Result<u32>> {
        Box::pin(self.count(job, prompt, constraint))
    }

    fn query(&self, job: JobId, query: Query) -> BoxFuture<'_, Result<QueryAnswer>> {
        Box::pin(self.ask(job, query))
    }

    fn start(&self, job: JobId, start: Start, events: EventSender) {
        let Start { sampling, limits, output } = start;
        let frame = match encode(&ToWorker::Start { job, sampling, limits, output }) {
            Ok(frame) => frame,
            Err(error) => return events.send(Err(Error::internal(error))),
        };
        if self.jobs().start(job, events)
            && let Err(mpsc::error::TrySendError::Full(_)) = self.frames.try_send(frame)
        {
            self.overrun.cancel();
        }
    }

    fn cancel(&self, job: JobId) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let Some(cancelling) = self.jobs().cancel(job) else { return };
            if cancelling.first
                && let Ok(frame) = encode(&ToWorker::Cancel { job })
            {
                // Failing means that the worker is gone: then the wait below is short.
                let _ = self.frames.send(frame).await;
            }
            let _ = cancelling.released.await;
        })
    }

    fn exited(&self) -> watch::Receiver<Option<Exit>> {
        self.exit.clone()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.stop.cancel();
            let mut exit = self.exit.clone();
            let _ = exit.wait_for(Option::is_some).await;
        })
    }
}

impl Drop for WorkerEngine {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
