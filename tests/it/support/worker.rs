//! A worker process without a daemon: the frames of its socket, one by one.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use modeld::domain::{
    Constraint, Delta, Error, Event, GenerateRequest, JobId, Limits, Prompt, Sampling, Usage,
};
use modeld::protocol::{
    LoadSpec, ModelInfo, Purpose, Query, QueryAnswer, ToDaemon, ToWorker, read_frame, write_frame,
};

use super::http::PATIENCE;

/// A running worker.
pub struct Worker {
    child: Child,
    socket: UnixStream,
    /// Events that were read while waiting for others.
    early: VecDeque<(Instant, JobId, Event)>,
}

/// What became of a request.
#[derive(Debug)]
pub struct Answer {
    pub text: String,
    pub usage: Usage,
}

/// What to load.
pub fn spec(weights: &Path, mmproj: Option<PathBuf>) -> LoadSpec {
    LoadSpec {
        name: "ai/test".to_owned(),
        purpose: Purpose::Generate,
        weights: weights.to_owned(),
        mmproj,
        chat_template: None,
        adapters: vec![],
        readable: vec![weights.to_owned()],
        context_size: 2048,
        max_sequences: 4,
        threads: 2,
    }
}

impl Worker {
    /// Starts one and loads.
    pub fn load(spec: LoadSpec) -> Result<(Self, ModelInfo), Error> {
        let (socket, other) = UnixStream::pair().expect("a pair of sockets");
        socket.set_read_timeout(Some(PATIENCE)).expect("a positive timeout");
        let child = Command::new(env!("CARGO_BIN_EXE_modeld"))
            .arg("worker")
            .env("OMP_WAIT_POLICY", "passive")
            .env("GOMP_SPINCOUNT", "10000")
            .stdin(Stdio::from(OwnedFd::from(other)))
            .stdout(Stdio::null())
            .spawn()
            .expect("modeld starts");
        let mut worker = Self { child, socket, early: VecDeque::new() };
        worker.send(&ToWorker::Load(spec));
        loop {
            match worker.frame() {
                ToDaemon::Ready(info) => return Ok((worker, info)),
                ToDaemon::LoadFailed(error) => return Err(error),
                _ => {}
            }
        }
    }

    pub fn send(&mut self, frame: &ToWorker) {
        write_frame(&mut self.socket, frame).expect("a worker that reads");
    }

    /// The next frame.
    pub fn frame(&mut self) -> ToDaemon {
        read_frame(&mut self.socket).expect("a frame").expect("a worker that runs")
    }

    /// How many tokens a prompt has.
    pub fn count(&mut self, job: u64, prompt: Prompt) -> Result<usize, Error> {
        let job = JobId(job);
        self.send(&ToWorker::Query { job, query: Query::Tokenize(prompt) });
        loop {
            match self.frame() {
                ToDaemon::Answered { job: of, answer: QueryAnswer::Tokens(tokens) }
                    if of == job =>
                {
                    return Ok(tokens.len());
                }
                ToDaemon::Failed { job: of, error } if of == job => return Err(error),
                _ => {}
            }
        }
    }

    /// Prepares a prompt; its length.
    pub fn prepare(&mut self, job: JobId, prompt: Prompt) -> Result<u32, Error> {
        self.send(&ToWorker::Prepare { job, prompt, constraint: Constraint::None });
        loop {
            match self.frame() {
                ToDaemon::Prepared { job: other, prompt_tokens } if other == job => {
                    return Ok(prompt_tokens);
                }
                ToDaemon::Failed { job: other, error } if other == job => return Err(error),
                ToDaemon::Events(events) => self.keep(events),
                _ => {}
            }
        }
    }

    /// Starts a prepared prompt: greedy, so many tokens whatever they are.
    pub fn start(&mut self, job: JobId, tokens: u32) {
        let request = GenerateRequest::new(Prompt::Text(String::new()));
        let limits = Limits { max_tokens: Some(tokens), ignore_eos: true, ..Limits::default() };
        let sampling = Sampling { temperature: Some(0.0), ..Sampling::default() };
        self.send(&ToWorker::Start { job, sampling, limits, output: request.output });
    }

    /// The next event and when it came.
    pub fn event(&mut self) -> (Instant, JobId, Event) {
        loop {
            if let Some(event) = self.early.pop_front() {
                return event;
            }
            match self.frame() {
                ToDaemon::Events(events) => self.keep(events),
                ToDaemon::Failed { job, error } => panic!("{job}: {error:?}"),
                _ => {}
            }
        }
    }

    /// A whole answer.
    pub fn ask(&mut self, job: u64, prompt: Prompt, tokens: u32) -> Result<Answer, Error> {
        let job = JobId(job);
        self.prepare(job, prompt)?;
        self.start(job, tokens);
        let mut text = String::new();
        loop {
            match self.event() {
                (_, of, Event::Delta { delta: Delta::Content(more), .. }) if of == job => {
                    text.push_str(&more);
                }
                (_, of, Event::Finished(outcome)) if of == job => {
                    return Ok(Answer { text, usage: outcome.usage });
                }
                _ => {}
            }
        }
    }

    fn keep(&mut self, events: Vec<(JobId, Event)>) {
        let now = Instant::now();
        self.early.extend(events.into_iter().map(|(job, event)| (now, job, event)));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
