//! What the driver's small tasks report, and the tasks themselves.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::domain::{Constraint, Digest, Error, JobId, Prompt, Result};
use crate::engine::{Attempt, AttemptEnd, Engine, EngineFactory, Exit, LoadProgress};
use crate::protocol::LoadSpec;

use super::Driver;

pub(super) enum Report {
    /// A load has come so far.
    Progress { model: Digest, epoch: u64, fraction: f32 },
    /// A load is over; `None`: it was cancelled.
    Loaded { model: Digest, epoch: u64, result: Option<Result<Arc<dyn Engine>>> },
    /// An engine died.
    Exited { model: Digest, epoch: u64, exit: Exit },
    /// An engine was shut down.
    Unloaded { model: Digest, epoch: u64 },
    /// A prompt was counted.
    Prepared { job: JobId, model: Digest, epoch: u64, result: Result<u32> },
    /// An attempt has ended and the engine has let go of it.
    Over { job: JobId, end: AttemptEnd },
    /// The engine has let go of a prepared request that left.
    Released { model: Digest, epoch: u64 },
    /// A client is gone.
    Left { job: JobId },
    /// An engine is in nobody's hands any more, as far as one of them is concerned.
    Returned { model: Digest },
}

impl Driver {
    pub(super) fn report(&mut self, report: Report) {
        match report {
            Report::Progress { model, epoch, fraction } => self.progress(model, epoch, fraction),
            Report::Loaded { model, epoch, result } => self.loaded(model, epoch, result),
            Report::Exited { model, epoch, exit } => self.exited(model, epoch, exit),
            Report::Unloaded { model, epoch } => self.unloaded(model, epoch),
            Report::Prepared { job, model, epoch, result } => {
                self.prepared(job, (model, epoch), result);
            }
            Report::Over { job, end } => self.over(job, end),
            Report::Released { model, epoch } => self.released(model, epoch),
            Report::Left { job } => self.end(job, None),
            Report::Returned { model } => self.settle(model),
        }
    }
}

/// Where tasks report to. A driver that is gone needs no reports.
pub(super) type Reports = mpsc::Sender<Report>;

/// A fault of modeld becomes the error of whoever waits, who would wait for ever otherwise. Where it
/// happened the log says; what it said stays out, because that can quote a prompt.
async fn surviving<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.unwrap_or_else(|_| Err(Error::internal("a panic")))
}

/// Loads a model and passes its progress on, until `stop`.
pub(super) async fn load(
    factory: Arc<dyn EngineFactory>,
    spec: LoadSpec,
    stop: CancellationToken,
    (model, epoch): (Digest, u64),
    reports: Reports,
) {
    let (sender, mut progress) = watch::channel(LoadProgress::default());
    let mut loading = Box::pin(surviving(factory.load(spec, sender)));
    let result = loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break None,
            result = &mut loading => break Some(result),
            Ok(()) = progress.changed() => {
                let LoadProgress(fraction) = *progress.borrow_and_update();
                let _ = reports.send(Report::Progress { model, epoch, fraction }).await;
            }
        }
    };
    // Only now is everything that the load took being freed.
    drop(loading);
    let _ = reports.send(Report::Loaded { model, epoch, result }).await;
}

/// Waits for an engine's end.
pub(super) async fn watch_exit(
    mut exited: watch::Receiver<Option<Exit>>,
    (model, epoch): (Digest, u64),
    reports: Reports,
) {
    // An error means that the engine is gone and forgotten.
    let exit = match exited.wait_for(Option::is_some).await {
        Ok(exit) => exit.clone(),
        Err(_) => None,
    };
    if let Some(exit) = exit {
        let _ = reports.send(Report::Exited { model, epoch, exit }).await;
    }
}

/// Shuts an engine down.
pub(super) async fn unload(
    engine: Arc<dyn Engine>,
    (model, epoch): (Digest, u64),
    reports: Reports,
) {
    engine.shutdown().await;
    drop(engine);
    let _ = reports.send(Report::Unloaded { model, epoch }).await;
}

/// Counts a prompt.
pub(super) async fn prepare(
    engine: Arc<dyn Engine>,
    (prompt, constraint): (Prompt, Constraint),
    (job, model, epoch): (JobId, Digest, u64),
    reports: Reports,
) {
    let result = surviving(engine.prepare(job, prompt, constraint)).await;
    let _ = reports.send(Report::Prepared { job, model, epoch, result }).await;
}

/// Follows a started request to its end.
pub(super) async fn follow(
    engine: Arc<dyn Engine>,
    attempt: Attempt,
    job: JobId,
    reports: Reports,
) {
    let end = attempt.ended().await;
    engine.cancel(job).await;
    let _ = reports.send(Report::Over { job, end }).await;
}

/// Makes an engine forget a prepared request.
pub(super) async fn release(
    engine: Arc<dyn Engine>,
    job: JobId,
    (model, epoch): (Digest, u64),
    reports: Reports,
) {
    engine.cancel(job).await;
    let _ = reports.send(Report::Released { model, epoch }).await;
}

/// Waits for the end of a loan.
pub(super) async fn watch_loan(over: CancellationToken, model: Digest, reports: Reports) {
    over.cancelled().await;
    let _ = reports.send(Report::Returned { model }).await;
}

/// Waits for a client to leave.
pub(super) async fn watch_client(cancel: CancellationToken, job: JobId, reports: Reports) {
    cancel.cancelled().await;
    let _ = reports.send(Report::Left { job }).await;
}
