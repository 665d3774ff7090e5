//! Which jobs are being prepared, so that a cancellation finds a job wherever it is.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::JobId;

/// Shared by the reader and the prepare thread.
///
/// A job is here from its `Prepare` frame until its prompt is with the step loop. In that time a
/// cancellation is answered by the prepare thread, which may be busy with it; after it by the loop.
#[derive(Debug, Default)]
pub struct Jobs {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    preparing: HashSet<JobId>,
    /// Stop texts of the chat format, until the job is started.
    stops: HashMap<JobId, Vec<String>>,
}

impl Jobs {
    /// The prompt has arrived.
    pub fn begin(&self, job: JobId) {
        self.lock().preparing.insert(job);
    }

    /// The job is cancelled. True if it was being prepared: then the prepare thread lets go of it
    /// and says so.
    pub fn withdraw(&self, job: JobId) -> bool {
        let mut state = self.lock();
        state.stops.remove(&job);
        state.preparing.remove(&job)
    }

    /// Whether nobody has withdrawn it.
    pub fn is_wanted(&self, job: JobId) -> bool {
        self.lock().preparing.contains(&job)
    }

    /// The prompt is ready: hands it on with `hand_on`, unless the job was withdrawn (then false).
    /// A cancellation comes either before this or after what `hand_on` did.
    pub fn settle(&self, job: JobId, stops: Vec<String>, hand_on: impl FnOnce()) -> bool {
        let mut state = self.lock();
        if !state.preparing.remove(&job) {
            return false;
        }
        if !stops.is_empty() {
            state.stops.insert(job, stops);
        }
        hand_on();
        true
    }

    /// The job is started: the stop texts that its format adds.
    pub fn take_stops(&self, job: JobId) -> Vec<String> {
        self.lock().stops.remove(&job).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_withdrawn_job_is_not_handed_on() {
        let jobs = Jobs::default();
        jobs.begin(JobId(1));
        assert!(jobs.withdraw(JobId(1)));
        assert!(!jobs.settle(JobId(1), vec![], || panic!("handed on")));
        assert!(!jobs.withdraw(JobId(1)), "it is nowhere any more");
    }

    #[test]
    fn a_settled_job_belongs_to_the_step_loop_and_keeps_its_stops_until_the_start() {
        let jobs = Jobs::default();
        jobs.begin(JobId(1));
        let mut handed = false;
        assert!(jobs.settle(JobId(1), vec!["</a>".into()], || handed = true));
        assert!(handed);
        assert_eq!(jobs.take_stops(JobId(1)), ["</a>"]);
        assert!(jobs.take_stops(JobId(1)).is_empty());
        assert!(!jobs.withdraw(JobId(1)), "the loop answers");
    }
}
