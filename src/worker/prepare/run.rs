use std::cell::Cell;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use super::encode::Pending;
use super::media::{Placed, Senses};
use super::query::answered;
use super::validate::validate;
use crate::domain::{Constraint, Error, JobId, Prompt};
use crate::protocol::{Purpose, ToDaemon};
use crate::worker::compute::PreparedPrompt;
use crate::worker::constraint::Compiler;
use crate::worker::jobs::Jobs;
use crate::worker::llama::{ChatTemplates, Model};
use crate::worker::output::{Format, Formats};
use crate::worker::quote::Quotes;
use crate::worker::reader::Errand;
use crate::worker::step::{FrameSink, StepCommand};
use crate::worker::watchdog::Watchdog;

/// What the prepare thread works with.
pub struct Preparer {
    /// The model's name, for messages.
    pub name: String,
    /// What it was loaded for.
    pub purpose: Purpose,
    /// Its vocabulary.
    pub model: Arc<Model>,
    /// Its templates, or why there are none.
    pub templates: Result<ChatTemplates, String>,
    /// The longest sequence, in tokens.
    pub context_size: u32,
    /// Set while a prompt is only asked about: then none is too long.
    pub asked: Cell<bool>,
    /// Keeps special tokens in what users say from being more than text.
    pub quotes: Quotes,
    /// What it takes besides text.
    pub senses: Senses,
    /// Compiles what answers have to look like.
    pub constraints: Compiler,
    /// Ends a template that runs for too long.
    pub watchdog: Arc<Watchdog>,
    /// Shared with the reader.
    pub jobs: Arc<Jobs>,
    /// How answers are read.
    pub formats: Arc<Formats>,
    /// To the step loop.
    pub step: Sender<StepCommand>,
    /// To the daemon.
    pub out: Arc<dyn FrameSink>,
}

/// A prompt that is ready.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// For the step loop.
    pub(super) prompt: PreparedPrompt,
    /// Texts that end an answer in its format.
    pub(super) stops: Vec<String>,
    /// How its answers are read; `None`: as they stand.
    pub(super) format: Option<Format>,
    /// Images and sounds that are to be put in, in the order of their places.
    pub(super) media: Vec<Placed>,
}

impl Ready {
    /// Its length in tokens.
    fn tokens(&self) -> u32 {
        let inputs = self.prompt.inputs.iter().map(Vec::len).sum::<usize>();
        u32::try_from(self.prompt.tokens.len().saturating_add(inputs)).unwrap_or(u32::MAX)
    }
}

impl Preparer {
    /// Runs errands until the channel closes.
    pub fn run(&self, errands: &Receiver<Errand>) {
        while let Ok(errand) = errands.recv() {
            match errand {
                Errand::Prepare { job, prompt, constraint } => {
                    self.settle(job, &prompt, &constraint);
                }
                Errand::Query { job, query } => {
                    if let Some(answer) = self.answer(job, &query).transpose() {
                        self.out.send(answered(job, answer));
                    }
                }
            }
        }
    }

    fn settle(&self, job: JobId, prompt: &Prompt, constraint: &Constraint) {
        if !self.jobs.is_wanted(job) {
            return self.out.send(ToDaemon::Released { job });
        }
        let outcome = self.prepare(job, prompt, constraint);
        let outcome = match (outcome, &self.senses.encoder) {
            (Ok(ready), Some(encoder)) if !ready.media.is_empty() => {
                match encoder.send(Pending { job, ready, asked: false }) {
                    Ok(()) => return,
                    Err(_) => Err(Error::internal("the thread that encodes images is gone")),
                }
            }
            (outcome, _) => outcome,
        };
        hand_over(&self.jobs, &self.step, &self.formats, &*self.out, job, outcome);
    }

    fn prepare(
        &self,
        job: JobId,
        prompt: &Prompt,
        constraint: &Constraint,
    ) -> Result<Ready, Error> {
        validate(prompt)?;
        self.check_purpose(prompt)?;
        let mut ready = self.ready(job, prompt, constraint)?;
        if ready.tokens() == 0 && ready.media.is_empty() {
            let param = match prompt {
                Prompt::Chat(_) => "messages",
                Prompt::Embed(_) => "input",
                _ => "prompt",
            };
            return Err(Error::invalid(param, "the prompt has no tokens: give it some text"));
        }
        // That of a chat depends on its tools and is done.
        if !matches!(prompt, Prompt::Chat(_)) {
            ready.prompt.constraint = self.constraints.compile(constraint)?;
        }
        Ok(ready)
    }
}

/// The end of a preparation: the prompt goes to the step loop and its length to the daemon, or the
/// error does.
pub(super) fn hand_over(
    jobs: &Jobs,
    step: &Sender<StepCommand>,
    formats: &Formats,
    out: &dyn FrameSink,
    job: JobId,
    outcome: Result<Ready, Error>,
) {
    let (stops, outcome) = match outcome {
        Ok(mut ready) => (std::mem::take(&mut ready.stops), Ok(ready)),
        Err(error) => (Vec::new(), Err(error)),
    };
    let settled = jobs.settle(job, stops, || match outcome {
        Ok(mut ready) => {
            let prompt_tokens = ready.tokens();
            if let Some(format) = ready.format.take() {
                formats.register(job, format);
            }
            // The loop must know the job before the daemon can start it.
            let prompt = Box::new(ready.prompt);
            let _ = step.send(StepCommand::Prepared { job, prompt });
            out.send(ToDaemon::Prepared { job, prompt_tokens });
        }
        Err(error) => out.send(ToDaemon::Failed { job, error }),
    });
    if !settled {
        out.send(ToDaemon::Released { job });
    }
}
