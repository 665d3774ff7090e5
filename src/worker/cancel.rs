//! How a cancellation reaches a step that is computing already.
//!
//! The step loop reads its commands only between steps. The board is the way past it: whoever reads
//! the frames marks a job here, and once every job of the step is marked the abort flag rises,
//! which llama.cpp looks at between nodes of its graph. It decides nothing else: a job ends when the
//! loop gets its `Cancel` command.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::JobId;

/// Which jobs are cancelled, which are computing, and whether to abort.
#[derive(Debug, Default)]
pub struct CancelBoard {
    state: Mutex<State>,
    abort: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct State {
    cancelled: HashSet<JobId>,
    computing: Vec<JobId>,
}

impl CancelBoard {
    /// An empty board.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Marks `job` as cancelled. To be called *before* the job's `Cancel` command is sent to the
    /// step loop, which takes the mark off.
    pub fn cancel(&self, job: JobId) {
        let mut state = self.lock();
        state.cancelled.insert(job);
        self.update(&state);
    }

    /// True while every job of the step that is computing is cancelled.
    pub fn abort_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.abort)
    }

    /// Whether the job is marked.
    pub(super) fn is_cancelled(&self, job: JobId) -> bool {
        self.lock().cancelled.contains(&job)
    }

    /// Takes the mark off: the loop has let go of the job.
    pub(super) fn forget(&self, job: JobId) {
        self.lock().cancelled.remove(&job);
    }

    /// A step for these jobs begins to compute.
    pub(super) fn begin(&self, jobs: impl IntoIterator<Item = JobId>) {
        let mut state = self.lock();
        state.computing.clear();
        state.computing.extend(jobs);
        self.update(&state);
    }

    /// The step is over; the flag is down when this returns.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.computing.clear();
        self.update(&state);
    }

    /// Under the lock, so that a flag for one step can never hit the next.
    fn update(&self, state: &State) {
        let all = !state.computing.is_empty()
            && state.computing.iter().all(|job| state.cancelled.contains(job));
        self.abort.store(all, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_rises_only_when_every_job_of_the_step_is_cancelled() {
        let board = CancelBoard::new();
        let flag = board.abort_flag();
        let raised = || flag.load(Ordering::Acquire);

        board.cancel(JobId(1));
        assert!(!raised(), "nothing is computing");
        board.begin([JobId(1), JobId(2)]);
        assert!(!raised(), "one goes on");
        board.cancel(JobId(2));
        assert!(raised());
        board.end();
        assert!(!raised(), "the flag must not reach the next step");
        board.begin([JobId(2)]);
        assert!(raised(), "cancelled before it began");
        board.forget(JobId(2));
        board.begin([JobId(2)]);
        assert!(!raised());
    }
}
