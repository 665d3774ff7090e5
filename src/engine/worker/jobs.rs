//! Who waits for what from one worker: a plain table, without IO.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::domain::{Error, ErrorKind, Event, JobId, Result};
use crate::engine::EventSender;
use crate::protocol::{QueryAnswer, ToDaemon};

/// The longest error text taken from a worker, in characters.
const MAX_MESSAGE: usize = 2000;

/// Every job that the worker holds something of.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    live: HashMap<JobId, Job>,
    /// Set once the worker is gone: what every job gets from then on.
    epitaph: Option<Error>,
}

#[derive(Debug)]
struct Job {
    stage: Stage,
    /// Who waits for its end; not empty once it is being cancelled.
    cancels: Vec<oneshot::Sender<()>>,
}

#[derive(Debug)]
enum Stage {
    Preparing(oneshot::Sender<Result<u32>>),
    /// Asked about, not prepared.
    Asked(oneshot::Sender<Result<QueryAnswer>>),
    Prepared,
    Running(EventSender),
}

/// What a worker must never do, in words.
pub(super) type Violation = &'static str;

/// How to wait for the end of a cancelled job.
#[derive(Debug)]
pub(super) struct Cancelling {
    /// Whether the worker has yet to be told.
    pub(super) first: bool,
    /// Resolves, one way or the other, when the job is gone.
    pub(super) released: oneshot::Receiver<()>,
}

impl Jobs {
    /// Enters a job; its count comes through what this answers.
    pub(super) fn prepare(&mut self, job: JobId) -> Result<oneshot::Receiver<Result<u32>>> {
        if let Some(epitaph) = &self.epitaph {
            return Err(epitaph.clone());
        }
        if self.live.contains_key(&job) {
            return Err(Error::internal(format!("{job} was prepared twice")));
        }
        let (reply, count) = oneshot::channel();
        let stage = Stage::Preparing(reply);
        self.live.insert(job, Job { stage, cancels: Vec::new() });
        Ok(count)
    }

    /// Enters a question; its answer comes through what this answers.
    pub(super) fn ask(&mut self, job: JobId) -> Result<oneshot::Receiver<Result<QueryAnswer>>> {
        if let Some(epitaph) = &self.epitaph {
            return Err(epitaph.clone());
        }
        let (reply, answer) = oneshot::channel();
        let asked = Job { stage: Stage::Asked(reply), cancels: Vec::new() };
        if self.live.insert(job, asked).is_some() {
            return Err(Error::internal(format!("{job} was asked about while it existed")));
        }
        Ok(answer)
    }

    /// Marks a prepared job as running. False if it cannot run; `events` has been told why.
    pub(super) fn start(&mut self, job: JobId, events: EventSender) -> bool {
        match (self.live.get_mut(&job), &self.epitaph) {
            (_, Some(epitaph)) => events.send(Err(epitaph.clone())),
            (Some(Job { stage: stage @ Stage::Prepared, .. }), None) => {
                *stage = Stage::Running(events);
                return true;
            }
            _ => events.send(Err(Error::internal(format!("{job} was started unprepared")))),
        }
        false
    }

    /// Begins to cancel a job. `None`: there is nothing of it.
    pub(super) fn cancel(&mut self, job: JobId) -> Option<Cancelling> {
        let entry = self.live.get_mut(&job)?;
        let (done, released) = oneshot::channel();
        let first = entry.cancels.is_empty();
        entry.cancels.push(done);
        Some(Cancelling { first, released })
    }

    /// Forgets a job that the worker was never told of.
    pub(super) fn forget(&mut self, job: JobId) {
        self.live.remove(&job);
    }

    /// Takes in one frame.
    pub(super) fn handle(&mut self, frame: ToDaemon) -> std::result::Result<(), Violation> {
        match frame {
            ToDaemon::Prepared { job, prompt_tokens } => self.prepared(job, prompt_tokens),
            ToDaemon::Events(events) => {
                events.into_iter().try_for_each(|(job, event)| self.event(job, event))
            }
            ToDaemon::Failed { job, error } => {
                match self.live.remove(&job).ok_or("failed a job that does not exist")?.stage {
                    Stage::Preparing(reply) => drop(reply.send(Err(tame(error)))),
                    Stage::Asked(reply) => drop(reply.send(Err(tame(error)))),
                    Stage::Running(events) => events.send(Err(tame(error))),
                    Stage::Prepared => return Err("failed a job that it was not working on"),
                }
                Ok(())
            }
            // A job may end by itself while its cancellation is under way; the worker answers
            // that too.
            ToDaemon::Released { job } => match self.live.remove(&job) {
                Some(released) if released.cancels.is_empty() => {
                    Err("released a job that nobody cancelled")
                }
                _ => Ok(()),
            },
            ToDaemon::Answered { job, answer } => {
                let asked = self.live.remove(&job).map(|job| job.stage);
                let Some(Stage::Asked(reply)) = asked else {
                    return Err("answered what was not asked");
                };
                let _ = reply.send(Ok(answer));
                Ok(())
            }
            ToDaemon::Alive { .. } => Ok(()),
            ToDaemon::Hello(_)
            | ToDaemon::Progress(_)
            | ToDaemon::Ready(_)
            | ToDaemon::LoadFailed(_) => Err("sent a frame of the load after the load"),
        }
    }

    /// The worker is gone: every job gets `error`, now and later.
    pub(super) fn bury(&mut self, error: &Error) {
        self.epitaph = Some(error.clone());
        for (_, job) in self.live.drain() {
            match job.stage {
                Stage::Preparing(reply) => drop(reply.send(Err(error.clone()))),
                Stage::Asked(reply) => drop(reply.send(Err(error.clone()))),
                Stage::Running(events) => events.send(Err(error.clone())),
                Stage::Prepared => {}
            }
        }
    }

    fn prepared(&mut self, job: JobId, tokens: u32) -> std::result::Result<(), Violation> {
        let entry = self.live.get_mut(&job).ok_or("prepared a job that does not exist")?;
        match std::mem::replace(&mut entry.stage, Stage::Prepared) {
            Stage::Preparing(reply) => drop(reply.send(Ok(tokens))),
            Stage::Prepared | Stage::Asked(_) | Stage::Running(_) => {
                return Err("prepared a job that was not to be prepared");
            }
        }
        Ok(())
    }

    fn event(&mut self, job: JobId, event: Event) -> std::result::Result<(), Violation> {
        let entry = self.live.get(&job).ok_or("sent an event of a job that does not exist")?;
        let Stage::Running(events) = &entry.stage else {
            return Err("sent an event of a job that was not started");
        };
        match event {
            Event::Waiting { .. } | Event::Loading { .. } => return Err("sent a queue's event"),
            Event::Started { .. }
            | Event::Delta { .. }
            | Event::Ended { .. }
            | Event::Vector { .. } => events.send(Ok(event)),
            Event::Finished(_) => {
                events.send(Ok(event));
                self.live.remove(&job);
            }
        }
        Ok(())
    }
}

/// An error from a worker, cut to a sane size.
pub(super) fn tame(mut error: Error) -> Error {
    for text in [Some(&mut error.message), error.param.as_mut(), error.cause.as_mut()] {
        if let Some(text) = text
            && let Some((end, _)) = text.char_indices().nth(MAX_MESSAGE)
        {
            text.truncate(end);
        }
    }
    if matches!(error.kind, ErrorKind::EngineCrashed | ErrorKind::LoadCrashed) {
        // Only the daemon says who is dead.
        error.kind = ErrorKind::Internal;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outbox;
    use proptest::prelude::*;

    const JOB: JobId = JobId(1);

    fn prepared() -> Jobs {
        let mut jobs = Jobs::default();
        let mut count = jobs.prepare(JOB).unwrap();
        jobs.handle(ToDaemon::Prepared { job: JOB, prompt_tokens: 7 }).unwrap();
        assert_eq!(count.try_recv(), Ok(Ok(7)));
        jobs
    }

    #[test]
    fn a_finished_job_is_forgotten_and_its_late_release_forgiven() {
        let mut jobs = prepared();
        let (events, _reader) = outbox();
        assert!(jobs.start(JOB, events));
        let mut cancelling = jobs.cancel(JOB).unwrap();
        let error = Error::internal("x");
        jobs.handle(ToDaemon::Failed { job: JOB, error }).unwrap();
        assert!(
            cancelling.released.try_recv().is_err_and(|e| e != oneshot::error::TryRecvError::Empty)
        );
        assert_eq!(jobs.handle(ToDaemon::Released { job: JOB }), Ok(()));
        assert!(jobs.cancel(JOB).is_none());
    }

    #[test]
    fn only_the_first_cancel_tells_the_worker() {
        let mut jobs = prepared();
        assert!(jobs.cancel(JOB).unwrap().first);
        assert!(!jobs.cancel(JOB).unwrap().first);
    }

    #[test]
    fn frames_out_of_place_are_violations() {
        let started = Event::Started { prompt_tokens: 1, cached_tokens: 0 };
        let stranger = JobId(9);
        for frame in [
            ToDaemon::Progress(0.5),
            ToDaemon::Prepared { job: stranger, prompt_tokens: 1 },
            ToDaemon::Prepared { job: JOB, prompt_tokens: 1 },
            ToDaemon::Failed { job: stranger, error: Error::internal("x") },
            ToDaemon::Released { job: JOB },
            ToDaemon::Events(vec![(JOB, started.clone())]),
            ToDaemon::Events(vec![(stranger, started)]),
        ] {
            assert!(prepared().handle(frame.clone()).is_err(), "{frame:?}");
        }
    }

    #[test]
    fn the_dead_answer_everything_with_their_epitaph() {
        let mut jobs = Jobs::default();
        let mut count = jobs.prepare(JOB).unwrap();
        let error = Error::new(ErrorKind::EngineCrashed, "died");
        jobs.bury(&error);
        assert_eq!(count.try_recv(), Ok(Err(error.clone())));
        assert_eq!(jobs.prepare(JobId(2)).unwrap_err(), error);
    }

    proptest! {
        #[test]
        fn an_error_of_a_worker_is_cut_at_a_character(message in "[aé日]{0,3000}") {
            let tamed = tame(Error::new(ErrorKind::EngineCrashed, message.clone()));
            prop_assert!(tamed.message.chars().count() <= MAX_MESSAGE);
            prop_assert!(message.starts_with(&tamed.message));
            prop_assert_eq!(tamed.kind, ErrorKind::Internal);
        }
    }
}
