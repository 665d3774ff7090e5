use std::time::Duration;

use crate::domain::{JobId, Limits, OutputOptions, Sampling};
use crate::protocol::ToDaemon;
use crate::worker::compute::PreparedPrompt;

/// What the step loop is told, between steps.
#[derive(Debug)]
pub enum StepCommand {
    /// A prompt to keep until it is started or cancelled. To be sent before the daemon hears
    /// `Prepared`, so that its `Start` cannot overtake it.
    Prepared {
        /// Whose prompt.
        job: JobId,
        /// All of it.
        prompt: Box<PreparedPrompt>,
    },
    /// Generate from what was prepared.
    Start {
        /// A prepared job.
        job: JobId,
        /// How to choose tokens.
        sampling: Sampling,
        /// When to stop.
        limits: Limits,
        /// What to say besides the text.
        output: OutputOptions,
    },
    /// Forget the job, whatever its state; always answered by `Released`. To be preceded by
    /// [`CancelBoard::cancel`](crate::worker::cancel::CancelBoard::cancel).
    Cancel {
        /// Which one.
        job: JobId,
    },
}

/// Where the loop's frames go: to whatever writes them to the daemon.
pub trait FrameSink: Send + Sync {
    /// Takes a frame. Frames of one thread stay in order.
    fn send(&self, frame: ToDaemon);
}

/// How the loop behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct StepSettings {
    /// The model's own sampling (`general.sampling.*`), for what a request leaves open.
    pub defaults: Sampling,
    /// How long a step may take while anyone is decoding: the pause between two tokens of a stream.
    /// Three decode-only steps where these take longer.
    pub target_step: Duration,
    /// How long a step may take while nobody is decoding: a cancellation is felt after this.
    pub max_step: Duration,
    /// The fewest prompt tokens worth a place in a step, whatever they cost: below this llama.cpp
    /// spends about as much on fewer.
    pub min_chunk: usize,
    /// Free cells per running sequence without which no further one is let in, so that it is not
    /// sent back after a few tokens.
    pub headroom: usize,
    /// Requests that the daemon may have started at once: as many sequences are theirs, and only
    /// what is left is for further answers to requests that run.
    pub max_requests: usize,
    /// How often `Alive` is sent.
    pub alive_interval: Duration,
}

impl Default for StepSettings {
    fn default() -> Self {
        Self {
            defaults: Sampling::default(),
            target_step: Duration::from_millis(50),
            max_step: Duration::from_millis(500),
            min_chunk: 16,
            headroom: 32,
            max_requests: 0,
            alive_interval: Duration::from_secs(1),
        }
    }
}
