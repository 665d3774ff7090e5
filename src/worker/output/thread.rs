use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use super::answer::Answer;
use super::format::{Format, Reader};
use super::sink::Formats;
use crate::domain::{Delta, Event, FinishReason, JobId};
use crate::protocol::ToDaemon;
use crate::worker::step::FrameSink;

/// Frames taken in before answers are parsed.
const FRAMES_AT_ONCE: usize = 256;
/// After a parse an answer rests for so many times as long as it took, for each answer at work: all
/// of them together take a tenth of a core.
const PATIENCE: u32 = 10;

/// The jobs whose answers are parsed, and where their frames go.
pub(super) struct Parsing {
    out: Arc<dyn FrameSink>,
    formats: Arc<Formats>,
    jobs: HashMap<JobId, Job>,
    /// To be sent.
    events: Vec<(JobId, Event)>,
}

struct Job {
    format: Format,
    answers: BTreeMap<u32, Answer>,
}

impl Parsing {
    pub(super) fn new(out: Arc<dyn FrameSink>, formats: Arc<Formats>) -> Self {
        Self { out, formats, jobs: HashMap::new(), events: Vec::new() }
    }

    /// Works until the queue has no sender left.
    pub(super) fn run(mut self, queue: &Receiver<ToDaemon>) {
        loop {
            let frame = match self.due() {
                None => match queue.recv() {
                    Ok(frame) => Some(frame),
                    Err(_) => return,
                },
                Some(due) => {
                    let wait = due.saturating_duration_since(Instant::now());
                    match queue.recv_timeout(wait) {
                        Ok(frame) => Some(frame),
                        Err(RecvTimeoutError::Timeout) => None,
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            };
            let more = queue.try_iter().take(FRAMES_AT_ONCE);
            for frame in frame.into_iter().chain(more) {
                self.take(frame);
            }
            self.update();
        }
    }

    /// Takes in a frame; what ends an answer is passed on at once.
    pub(super) fn take(&mut self, frame: ToDaemon) {
        match frame {
            ToDaemon::Events(events) => {
                for (job, event) in events {
                    self.event(job, event);
                }
            }
            ToDaemon::Failed { job, .. } | ToDaemon::Released { job } => {
                self.send();
                self.out.send(frame);
                self.forget(job);
            }
            other => self.out.send(other),
        }
    }

    /// Parses the answers that have rested.
    pub(super) fn update(&mut self) {
        let at_work = u32::try_from(self.jobs.len()).unwrap_or(u32::MAX);
        let patience = PATIENCE.saturating_mul(at_work.max(1));
        for (id, job) in &mut self.jobs {
            for (choice, answer) in &mut job.answers {
                let now = Instant::now();
                if answer.due(now).is_none_or(|due| due > now) {
                    continue;
                }
                let deltas = answer.update(&job.format);
                answer.rest(now, patience);
                let event = |delta| (*id, Event::Delta { choice: *choice, delta });
                self.events.extend(deltas.into_iter().map(event));
            }
        }
        self.send();
    }

    fn due(&self) -> Option<Instant> {
        let now = Instant::now();
        let answers = self.jobs.values().flat_map(|job| job.answers.values());
        answers.filter_map(|answer| answer.due(now)).min()
    }

    fn event(&mut self, id: JobId, event: Event) {
        if let Some(format) = self.formats.take(id) {
            self.jobs.insert(id, Job { format, answers: BTreeMap::new() });
        }
        let Some(job) = self.jobs.get_mut(&id) else { return self.events.push((id, event)) };
        match event {
            Event::Delta { choice, delta } => {
                let plain = matches!(job.format.reader, Reader::Plain);
                let answer = job.answers.entry(choice).or_insert_with(|| Answer::new(&job.format));
                match delta {
                    Delta::Content(text) if !plain => answer.push(&text),
                    Delta::Logprobs(tokens) if !plain => answer.push_logprobs(tokens),
                    delta => self.events.push((id, Event::Delta { choice, delta })),
                }
            }
            Event::Ended { choice, finish } => {
                let answer = job.answers.remove(&choice);
                let mut answer = answer.unwrap_or_else(|| Answer::new(&job.format));
                let (deltas, finish) = match job.format.reader {
                    Reader::Plain => (Vec::new(), own_stop(&job.format, finish)),
                    _ => answer.end(&job.format, finish),
                };
                let event = |delta| (id, Event::Delta { choice, delta });
                self.events.extend(deltas.into_iter().map(event));
                self.events.push((id, Event::Ended { choice, finish }));
            }
            Event::Finished(_) => {
                self.events.push((id, event));
                self.send();
                self.forget(id);
            }
            other => self.events.push((id, other)),
        }
    }

    fn forget(&mut self, job: JobId) {
        self.jobs.remove(&job);
        self.formats.forget(job);
    }

    fn send(&mut self) {
        if !self.events.is_empty() {
            self.out.send(ToDaemon::Events(std::mem::take(&mut self.events)));
        }
    }
}

/// A stop of the format is the model's own end.
fn own_stop(format: &Format, reason: FinishReason) -> FinishReason {
    match reason {
        FinishReason::StopString(text) if format.stops.contains(&text) => FinishReason::Stop,
        other => other,
    }
}
