//! Frames from the daemon, to the threads that serve them.

use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::cancel::CancelBoard;
use super::jobs::Jobs;
use super::step::StepCommand;
use crate::domain::{Constraint, JobId, Prompt};
use crate::protocol::{CodecError, Query, ToWorker, read_frame};

/// What the prepare thread is asked for.
#[derive(Debug, PartialEq)]
pub enum Errand {
    /// Make a prompt ready to be computed.
    Prepare {
        /// Whose prompt.
        job: JobId,
        /// What to render.
        prompt: Prompt,
        /// What the answer has to look like.
        constraint: Constraint,
    },
    /// Answer a question.
    Query {
        /// The name for the answer.
        job: JobId,
        /// The question.
        query: Query,
    },
}

/// Where frames go.
pub struct Routes {
    /// Jobs that are being prepared.
    pub jobs: Arc<Jobs>,
    /// To the prepare thread.
    pub prepare: Sender<Errand>,
    /// To the step loop.
    pub step: Sender<StepCommand>,
    /// Past the step loop.
    pub board: Arc<CancelBoard>,
}

/// Why reading ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The daemon closed its end.
    DaemonGone,
    /// What it sent makes no sense.
    Protocol(String),
}

impl Routes {
    /// Reads frames until there are no more. Never waits for the threads that it feeds.
    pub fn serve(&self, input: &mut impl Read) -> End {
        loop {
            match read_frame::<ToWorker>(input) {
                Ok(Some(ToWorker::Load(_))) => {
                    return End::Protocol("a second model for one worker".to_owned());
                }
                Ok(Some(frame)) => self.route(frame),
                // A daemon that dies in the middle of a frame, or before it has read ours, is gone too.
                Ok(None) | Err(CodecError::Io(_)) => return End::DaemonGone,
                Err(error) => return End::Protocol(error.to_string()),
            }
        }
    }

    /// A thread that has ended takes no frames; its end is about to end the process.
    fn route(&self, frame: ToWorker) {
        match frame {
            ToWorker::Load(_) => {}
            ToWorker::Prepare { job, prompt, constraint } => {
                self.jobs.begin(job);
                let _ = self.prepare.send(Errand::Prepare { job, prompt, constraint });
            }
            ToWorker::Query { job, query } => {
                let _ = self.prepare.send(Errand::Query { job, query });
            }
            ToWorker::Start { job, sampling, mut limits, output } => {
                limits.stop.extend(self.jobs.take_stops(job));
                let _ = self.step.send(StepCommand::Start { job, sampling, limits, output });
            }
            ToWorker::Cancel { job } => {
                if !self.jobs.withdraw(job) {
                    self.board.cancel(job);
                    let _ = self.step.send(StepCommand::Cancel { job });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::sync::mpsc::{self, Receiver};

    use super::*;
    use crate::domain::{Limits, OutputOptions, Sampling};
    use crate::protocol::{LoadSpec, Purpose, write_frame};

    fn routes() -> (Routes, Receiver<Errand>, Receiver<StepCommand>) {
        let (prepare, prompts) = mpsc::channel();
        let (step, commands) = mpsc::channel();
        let routes = Routes { jobs: Arc::default(), prepare, step, board: CancelBoard::new() };
        (routes, prompts, commands)
    }

    fn bytes(frames: &[ToWorker]) -> Cursor<Vec<u8>> {
        let mut out = Vec::new();
        for frame in frames {
            write_frame(&mut out, frame).expect("written");
        }
        Cursor::new(out)
    }

    #[test]
    fn a_cancellation_goes_to_whoever_has_the_job() {
        let (routes, prompts, commands) = routes();
        let frames = [
            ToWorker::Prepare {
                job: JobId(1),
                prompt: Prompt::Text("a".into()),
                constraint: Constraint::None,
            },
            ToWorker::Cancel { job: JobId(1) },
            ToWorker::Cancel { job: JobId(2) },
        ];
        assert_eq!(routes.serve(&mut bytes(&frames)), End::DaemonGone);
        assert_eq!(prompts.try_iter().count(), 1);
        assert!(!routes.jobs.is_wanted(JobId(1)));
        let commands: Vec<_> = commands.try_iter().collect();
        assert!(matches!(commands[..], [StepCommand::Cancel { job: JobId(2) }]), "{commands:?}");
    }

    #[test]
    fn the_stops_of_the_format_join_those_of_the_request() {
        let (routes, _prompts, commands) = routes();
        routes.jobs.begin(JobId(1));
        routes.jobs.settle(JobId(1), vec!["</a>".into()], || {});
        let limits = Limits { stop: vec!["x".into()], ..Limits::default() };
        let sampling = Sampling::default();
        let output = OutputOptions::default();
        let start = ToWorker::Start { job: JobId(1), sampling, limits, output };
        routes.serve(&mut bytes(&[start]));
        let Ok(StepCommand::Start { limits, .. }) = commands.try_recv() else { panic!("no start") };
        assert_eq!(limits.stop, ["x", "</a>"]);
    }

    #[test]
    fn nonsense_and_a_second_load_end_the_worker() {
        let (routes, _prompts, _commands) = routes();
        let broken = [0, 0, 0, 2, 0xff, 0xff];
        assert!(matches!(routes.serve(&mut Cursor::new(broken)), End::Protocol(_)));
        let cut = [0, 0, 0, 9, 1];
        assert_eq!(routes.serve(&mut Cursor::new(cut)), End::DaemonGone);
        let spec = LoadSpec {
            name: String::new(),
            purpose: Purpose::Generate,
            weights: "x".into(),
            mmproj: None,
            chat_template: None,
            adapters: vec![],
            readable: vec![],
            context_size: 1,
            max_sequences: 1,
            threads: 0,
        };
        assert!(matches!(routes.serve(&mut bytes(&[ToWorker::Load(spec)])), End::Protocol(_)));
    }
}
