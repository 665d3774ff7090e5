//! The task that reads one worker's frames, watches that it lives, and buries it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::domain::{Error, ErrorKind};
use crate::engine::Exit;
use crate::protocol::{ToDaemon, decode};

use super::factory::{FrameReader, Patience};
use super::jobs::Jobs;
use super::process::Process;

/// Everything that belongs to one serving worker, except its engine's handle.
pub(super) struct Supervisor {
    pub(super) name: String,
    pub(super) process: Process,
    pub(super) reader: FrameReader,
    pub(super) writing: JoinHandle<()>,
    pub(super) patience: Patience,
    pub(super) jobs: Arc<Mutex<Jobs>>,
    pub(super) exit: watch::Sender<Option<Exit>>,
    pub(super) stop: CancellationToken,
    pub(super) overrun: CancellationToken,
}

/// Why a worker is to be buried.
#[derive(Debug, PartialEq)]
enum Cause {
    /// It was asked to end.
    Requested,
    /// It went by itself.
    Gone,
    /// It has to be killed, for this.
    Fault(String),
}

impl Supervisor {
    /// Runs until the process is gone and reaped and everybody knows.
    pub(super) async fn run(mut self) {
        let cause = self.watch().await;
        self.writing.abort();
        let _ = (&mut self.writing).await;
        let Self { name, mut process, reader, patience, jobs, exit, .. } = self;
        // Both halves of the socket are closed from here on: the worker sees the end of its stdin.
        drop(reader);
        let pid = process.pid();
        let requested = cause == Cause::Requested;
        let error = match cause {
            Cause::Requested => {
                process.bury(patience.shutdown).await;
                info!(model = name, pid, "worker ended");
                Error::new(ErrorKind::Cancelled, "the model was unloaded")
            }
            Cause::Gone | Cause::Fault(_) => {
                let reason = match cause {
                    Cause::Fault(reason) => Some(reason),
                    _ => None,
                };
                let error = process.obituary(reason).await;
                warn!(model = name, pid, %error, cause = error.cause, "worker died");
                error
            }
        };
        exit.send_replace(Some(Exit { error: error.clone(), requested }));
        jobs.lock().unwrap_or_else(PoisonError::into_inner).bury(&error);
    }

    async fn watch(&mut self) -> Cause {
        let mut pulse = Pulse::new(self.patience, Instant::now());
        loop {
            let next = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Cause::Requested,
                () = self.overrun.cancelled() => {
                    return Cause::Fault("the worker stopped reading its requests".into());
                }
                next = self.reader.next() => next,
                () = tokio::time::sleep_until(pulse.deadline()) => {
                    return Cause::Fault(pulse.complaint());
                }
            };
            let frame: ToDaemon = match next {
                None => return Cause::Gone,
                Some(Err(error)) if error.kind() != io::ErrorKind::InvalidData => {
                    return Cause::Gone;
                }
                Some(Err(error)) => return bad_frame(error),
                Some(Ok(bytes)) => match decode(&bytes) {
                    Ok(frame) => frame,
                    Err(error) => return bad_frame(error),
                },
            };
            pulse.felt(&frame, Instant::now());
            let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(violation) = jobs.handle(frame) {
                return Cause::Fault(format!("the worker {violation}"));
            }
        }
    }
}

fn bad_frame(error: impl std::fmt::Display) -> Cause {
    Cause::Fault(format!("the worker sent a bad frame: {error}"))
}

/// Whether a worker lives and gets on.
#[derive(Debug)]
struct Pulse {
    patience: Patience,
    last_frame: Instant,
    /// Steps done at the last report, and since when it is so many with work to do.
    steps: u64,
    stuck_since: Option<Instant>,
}

impl Pulse {
    fn new(patience: Patience, now: Instant) -> Self {
        Self { patience, last_frame: now, steps: 0, stuck_since: None }
    }

    fn felt(&mut self, frame: &ToDaemon, now: Instant) {
        self.last_frame = now;
        if let ToDaemon::Alive { steps, running, .. } = frame {
            if *running == 0 || *steps != self.steps {
                self.stuck_since = None;
            }
            if *running > 0 {
                self.stuck_since.get_or_insert(now);
            }
            self.steps = *steps;
        }
    }

    /// When to give up, unless something comes before.
    fn deadline(&self) -> Instant {
        let silent = self.last_frame + self.patience.silence;
        self.stuck_since.map_or(silent, |since| silent.min(since + self.patience.step))
    }

    fn complaint(&self) -> String {
        let stuck = self.stuck_since.map(|since| since + self.patience.step);
        let seconds = |patience: Duration| patience.as_secs();
        if stuck.is_some_and(|stuck| stuck <= self.last_frame + self.patience.silence) {
            let seconds = seconds(self.patience.step);
            format!("the worker stopped responding: no step was done in {seconds} s")
        } else {
            let seconds = seconds(self.patience.silence);
            format!("the worker stopped responding: no sign of life in {seconds} s")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(steps: u64, running: u32) -> ToDaemon {
        ToDaemon::Alive { steps, used_cells: 0, running }
    }

    #[test]
    fn silence_is_a_fault_after_thirty_seconds() {
        let t0 = Instant::now();
        let mut pulse = Pulse::new(Patience::default(), t0);
        pulse.felt(&alive(1, 0), t0 + Duration::from_secs(5));
        assert_eq!(pulse.deadline(), t0 + Duration::from_secs(35));
        assert!(pulse.complaint().contains("no sign of life in 30 s"));
    }

    #[test]
    fn standing_still_with_work_to_do_is_a_fault_after_sixty_seconds() {
        let t0 = Instant::now();
        let at = |seconds| t0 + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(Patience::default(), t0);
        pulse.felt(&alive(7, 1), at(0));
        for second in (2..58).step_by(2) {
            pulse.felt(&alive(7, 1), at(second));
        }
        assert_eq!(pulse.deadline(), at(60));
        assert!(pulse.complaint().contains("no step was done in 60 s"));
        pulse.felt(&alive(8, 1), at(58));
        assert_eq!(pulse.deadline(), at(88));
    }

    #[test]
    fn an_idle_worker_may_stand_still() {
        let t0 = Instant::now();
        let mut pulse = Pulse::new(Patience::default(), t0);
        for second in 0..300 {
            pulse.felt(&alive(7, 0), t0 + Duration::from_secs(second));
        }
        assert_eq!(pulse.deadline(), t0 + Duration::from_secs(299 + 30));
    }
}
