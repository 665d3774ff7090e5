use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::domain::{Error, ErrorKind, Result, TransferEvent, TransferPlan};
use crate::metrics::Metrics;

use super::job::{Direction, Job, Moved, TransferInfo};
use super::lane::Lane;
use super::transfer::Transfer;

/// Pulls, and pushes, at once.
pub const DEFAULT_MAX_PULLS: usize = 3;

/// Transfers that may run or wait. Each keeps a manifest in memory.
const MAX_JOBS: usize = 64;

/// All transfers of the daemon; cheap to clone.
#[derive(Clone)]
pub struct Transfers {
    inner: Arc<Inner>,
    metrics: Metrics,
}

struct Inner {
    /// In the order in which they came.
    jobs: Mutex<Vec<Arc<Job>>>,
    pulls: Lane,
    pushes: Lane,
    closing: CancellationToken,
}

impl Transfers {
    /// At most `places` pulls run at once, and as many pushes.
    pub(in crate::service) fn new(places: NonZeroUsize) -> Self {
        let inner = Inner {
            jobs: Mutex::default(),
            pulls: Lane::new(places),
            pushes: Lane::new(places),
            closing: CancellationToken::new(),
        };
        Self { inner: Arc::new(inner), metrics: Metrics::off() }
    }

    /// So many at once from now on.
    pub fn set_places(&self, places: NonZeroUsize) {
        self.inner.pulls.set_places(places);
        self.inner.pushes.set_places(places);
    }

    /// Has transfers counted that begin from now on.
    pub(in crate::service) fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Watches the job for this reference and manifest, or begins one that does `work` in its turn;
    /// `at_once` does not wait for a turn.
    pub(super) fn join_or_start<W, F>(
        &self,
        (direction, reference, plan): (Direction, String, TransferPlan),
        at_once: bool,
        work: W,
    ) -> Result<Transfer>
    where
        W: FnOnce(Arc<Job>) -> F + Send + 'static,
        F: Future<Output = Result<Moved>> + Send + 'static,
    {
        let mut jobs = self.lock();
        if self.inner.closing.is_cancelled() {
            return Err(stopping());
        }
        let same = |job: &&Arc<Job>| job.direction == direction && job.reference == reference;
        if let Some(watcher) =
            jobs.iter().filter(same).filter(|job| job.id == plan.id).find_map(Job::join)
        {
            return Ok(watcher);
        }
        if jobs.len() >= MAX_JOBS {
            let message = format!(
                "{MAX_JOBS} transfers run or wait, the limit; `modeld transfers` lists them"
            );
            return Err(Error::new(ErrorKind::QueueFull, message));
        }
        // One that is being stopped, or moves what the name meant before, lets go first.
        let before: Vec<_> = jobs.iter().filter(same).map(|job| job.gone.clone()).collect();
        let meter = self.metrics.moving(direction.word());
        let job = Arc::new(Job::new(direction, reference, plan, meter));
        let watcher =
            job.join().ok_or_else(|| Error::internal("a new transfer takes no watcher"))?;
        jobs.push(Arc::clone(&job));
        let leaving = Leaving { hub: self.clone(), job };
        tokio::spawn(async move {
            let end = tokio::select! {
                biased;
                () = leaving.job.stop.cancelled() => Err(leaving.job.reason()),
                end = leaving.hub.take_turn(&leaving.job, before, at_once, work) => end,
            };
            let outcome = match &end {
                Ok(_) => "done",
                Err(error) if error.kind == ErrorKind::Cancelled => "cancelled",
                Err(_) => "failed",
            };
            leaving.hub.metrics.transferred(direction.word(), outcome);
            leaving.job.board.end(end);
        });
        Ok(watcher)
    }

    async fn take_turn<W, F>(
        &self,
        job: &Arc<Job>,
        before: Vec<CancellationToken>,
        at_once: bool,
        work: W,
    ) -> Result<Moved>
    where
        W: FnOnce(Arc<Job>) -> F,
        F: Future<Output = Result<Moved>>,
    {
        for gone in before {
            gone.cancelled().await;
        }
        let (lane, what) = match job.direction {
            Direction::Pull => (&self.inner.pulls, "pull"),
            Direction::Push => (&self.inner.pushes, "push"),
        };
        let _place = if at_once {
            None
        } else {
            let place = lane.enter(|missing| {
                let others = match (what, missing) {
                    (what, 1) => format!("1 other {what}"),
                    ("push", count) => format!("{count} other pushes"),
                    (what, count) => format!("{count} other {what}s"),
                };
                let text = format!("waiting for {others}; {} at once may run", lane.places());
                job.board.post(TransferEvent::Status(text));
            });
            Some(place.await)
        };
        work(Arc::clone(job)).await
    }

    /// What `asking` finds out, or that the daemon stops.
    pub(super) async fn unless_closing<T>(
        &self,
        asking: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            biased;
            () = self.inner.closing.cancelled() => Err(stopping()),
            answer = asking => answer,
        }
    }

    /// All that run or wait, oldest first.
    pub(super) fn list(&self) -> Vec<TransferInfo> {
        self.lock().iter().map(|job| job.info()).collect()
    }

    /// Stops those of a reference; answers what they were.
    pub(super) fn cancel(&self, reference: &str) -> Vec<TransferInfo> {
        let jobs = self.lock();
        let meant = jobs.iter().filter(|job| job.reference == reference);
        let stop = |job: &Arc<Job>| {
            let info = job.info();
            let word = job.direction.word();
            let message = match job.direction {
                Direction::Pull => format!(
                    "the {word} of {reference} was cancelled; what came is kept, another goes on \
                     from there"
                ),
                Direction::Push => format!("the {word} of {reference} was cancelled"),
            };
            job.stop_because(Error::new(ErrorKind::Cancelled, message));
            info
        };
        meant.map(stop).collect()
    }

    /// Stops all that run or wait, and waits until nothing of them is left. Others may begin.
    pub(in crate::service) async fn stop_all(&self, why: &str) {
        let jobs: Vec<_> = self.lock().clone();
        for job in &jobs {
            let (word, reference) = (job.direction.word(), &job.reference);
            let message = format!("the {word} of {reference} was cancelled: {why}");
            job.stop_because(Error::new(ErrorKind::Cancelled, message));
        }
        for job in jobs {
            job.gone.cancelled().await;
        }
    }

    /// Whether none runs or waits.
    pub fn is_idle(&self) -> bool {
        self.lock().is_empty()
    }

    /// Takes no more transfers, stops all, and waits until nothing of them is left. What came stays
    /// for the next pull.
    pub async fn close(&self) {
        self.inner.closing.cancel();
        let jobs: Vec<_> = self.lock().clone();
        for job in &jobs {
            job.stop_because(stopping());
        }
        for job in jobs {
            job.gone.cancelled().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Job>>> {
        self.inner.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stopping() -> Error {
    let message = "modeld is stopping; what came of a pull is kept, pull again to go on";
    Error::new(ErrorKind::ShuttingDown, message)
}

/// Takes a job off the list when its task is over, however that came about.
struct Leaving {
    hub: Transfers,
    job: Arc<Job>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let Self { hub, job } = self;
        // Only after a panic is there no end yet.
        job.board.end(Err(Error::internal("a transfer broke down")));
        hub.lock().retain(|other| !Arc::ptr_eq(other, job));
        job.gone.cancel();
    }
}
