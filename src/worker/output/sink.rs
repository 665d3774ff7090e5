use std::collections::HashMap;
use std::io;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::format::Format;
use super::thread::Parsing;
use crate::domain::JobId;
use crate::protocol::ToDaemon;
use crate::worker::step::FrameSink;

/// Frames that wait for the output thread, at most: then the step loop waits for it, as it does for
/// a daemon that does not read.
const QUEUE: usize = 1_024;

/// The jobs whose answers are parsed.
#[derive(Debug, Default)]
pub struct Formats {
    /// With the format until the output thread takes it.
    jobs: Mutex<HashMap<JobId, Option<Format>>>,
}

impl Formats {
    /// From now on all frames of `job` take the way through the output thread. To be called before
    /// it is started.
    pub fn register(&self, job: JobId, format: Format) {
        self.lock().insert(job, Some(format));
    }

    pub(super) fn take(&self, job: JobId) -> Option<Format> {
        self.lock().get_mut(&job)?.take()
    }

    pub(super) fn forget(&self, job: JobId) {
        self.lock().remove(&job);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Option<Format>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends frames of jobs with a format through the output thread and all others straight on.
pub struct OutputSink {
    out: Arc<dyn FrameSink>,
    formats: Arc<Formats>,
    queue: SyncSender<ToDaemon>,
}

impl OutputSink {
    /// Starts the output thread, with a stack of so many bytes; frames go to `out`.
    ///
    /// # Errors
    /// Those of creating a thread.
    pub fn start(
        out: Arc<dyn FrameSink>,
        formats: Arc<Formats>,
        stack: usize,
    ) -> io::Result<Arc<Self>> {
        let (queue, frames) = mpsc::sync_channel(QUEUE);
        let parsing = Parsing::new(Arc::clone(&out), Arc::clone(&formats));
        thread::Builder::new()
            .name("output".to_owned())
            .stack_size(stack)
            .spawn(move || parsing.run(&frames))?;
        Ok(Arc::new(Self { out, formats, queue }))
    }

    fn queue(&self, frame: ToDaemon) {
        // The thread ends only with this sink.
        if let Err(unsent) = self.queue.send(frame) {
            self.out.send(unsent.0);
        }
    }
}

impl FrameSink for OutputSink {
    fn send(&self, frame: ToDaemon) {
        match frame {
            ToDaemon::Events(events) => {
                let (parsed, straight): (Vec<_>, Vec<_>) = {
                    let jobs = self.formats.lock();
                    events.into_iter().partition(|(job, _)| jobs.contains_key(job))
                };
                if !parsed.is_empty() {
                    self.queue(ToDaemon::Events(parsed));
                }
                if !straight.is_empty() {
                    self.out.send(ToDaemon::Events(straight));
                }
            }
            ToDaemon::Failed { job, .. } | ToDaemon::Released { job }
                if self.formats.lock().contains_key(&job) =>
            {
                self.queue(frame);
            }
            other => self.out.send(other),
        }
    }
}
