use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::domain::{Constraint, Error, ErrorKind, JobId, Prompt, Result};
use crate::engine::{BoxFuture, Engine, EventSender, Exit, Start};
use crate::protocol::{ModelInfo, Query, QueryAnswer};

use super::control::{Shared, die};
use super::play::Play;
use super::script::Script;

/// Chooses the script for a prompt.
type Scripts = Arc<dyn Fn(&Prompt) -> Script + Send + Sync>;

/// One loaded "model".
pub(super) struct ScriptedEngine {
    info: ModelInfo,
    scripts: Scripts,
    shared: Arc<Shared>,
    by_hand: bool,
    exit: watch::Sender<Option<Exit>>,
    jobs: Arc<Mutex<HashMap<JobId, Job>>>,
}

enum Job {
    Prepared(Box<Script>),
    Running { cancel: CancellationToken, over: CancellationToken },
}

impl ScriptedEngine {
    pub(super) fn new(
        info: ModelInfo,
        scripts: Scripts,
        shared: Arc<Shared>,
        by_hand: bool,
    ) -> Self {
        let exit = watch::Sender::new(None);
        shared.record().engines.push(exit.clone());
        Self { info, scripts, shared, by_hand, exit, jobs: Arc::default() }
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn exit_error(&self) -> Option<Error> {
        self.exit.borrow().as_ref().map(|exit| exit.error.clone())
    }

    fn count(&self, job: JobId, prompt: Prompt) -> Result<u32> {
        if let Some(error) = self.exit_error() {
            return Err(error);
        }
        let script = (self.scripts)(&prompt);
        self.shared.record().prompts.push(prompt);
        if let Some(error) = script.prepare_error {
            return Err(error);
        }
        let (tokens, context) = (script.prompt_tokens, self.info.context_size);
        if tokens >= context {
            let message = format!("the prompt has {tokens} tokens, the context {context}");
            return Err(Error::new(ErrorKind::ContextLengthExceeded, message));
        }
        self.jobs().insert(job, Job::Prepared(Box::new(script)));
        Ok(tokens)
    }
}

impl Engine for ScriptedEngine {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn pid(&self) -> Option<u32> {
        None
    }

    fn sandbox(&self) -> &str {
        "scripted: no process"
    }

    fn prepare(
        &self,
        job: JobId,
        prompt: Prompt,
        constraint: Constraint,
    ) -> BoxFuture<'_, Result<u32>> {
        Box::pin(async move {
            self.shared.record().constraints.push(constraint);
            self.count(job, prompt)
        })
    }

    /// The script's tokens; where it has none, one for each of its prompt tokens, numbered from 0,
    /// without bytes.
    fn query(&self, _job: JobId, query: Query) -> BoxFuture<'_, Result<QueryAnswer>> {
        Box::pin(async move {
            if let Some(error) = self.exit_error() {
                return Err(error);
            }
            let script = match query {
                Query::Tokenize(prompt) => (self.scripts)(&prompt),
                Query::TokenizeText { text, .. } => (self.scripts)(&Prompt::Text(text)),
                Query::Detokenize(tokens) => {
                    return Ok(QueryAnswer::Text(format!("{} tokens", tokens.len())));
                }
            };
            if !script.tokens.is_empty() {
                return Ok(QueryAnswer::Tokens(script.tokens));
            }
            let number = |number| i32::try_from(number).unwrap_or(i32::MAX);
            let tokens = (0..script.prompt_tokens).map(|at| (number(at), Vec::new()));
            Ok(QueryAnswer::Tokens(tokens.collect()))
        })
    }

    fn start(&self, job: JobId, start: Start, events: EventSender) {
        if let Some(error) = self.exit_error() {
            return events.send(Err(error));
        }
        let (cancel, over) = (CancellationToken::new(), CancellationToken::new());
        let running = Job::Running { cancel: cancel.clone(), over: over.clone() };
        let Some(Job::Prepared(script)) = self.jobs().insert(job, running) else {
            return events.send(Err(Error::internal(format!("{job} was started unprepared"))));
        };
        {
            let mut record = self.shared.record();
            record.started.push(job);
            record.starts.push(start.clone());
            record.live += 1;
        }
        let play = Play {
            job,
            script: *script,
            start,
            events,
            shared: Arc::clone(&self.shared),
            by_hand: self.by_hand,
            exit: self.exit.clone(),
        };
        let jobs = Arc::clone(&self.jobs);
        tokio::spawn(async move {
            let shared = Arc::clone(&play.shared);
            let exit = play.exit.clone();
            let mut dead = exit.subscribe();
            tokio::select! {
                biased;
                () = cancel.cancelled() => {}
                () = async {
                    play.run(&mut dead).await;
                    released(&shared, &exit).await;
                } => {
                    jobs.lock().unwrap_or_else(PoisonError::into_inner).remove(&job);
                }
            }
            shared.record().live -= 1;
            over.cancel();
        });
    }

    fn cancel(&self, job: JobId) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let found = self.jobs().remove(&job);
            if let Some(Job::Running { cancel, over }) = &found {
                cancel.cancel();
                over.cancelled().await;
            }
            if found.is_some() {
                released(&self.shared, &self.exit).await;
            }
        })
    }

    fn exited(&self) -> watch::Receiver<Option<Exit>> {
        self.exit.subscribe()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            die(&self.exit, Error::new(ErrorKind::Cancelled, "the model was unloaded"), true);
            self.shared.record().unloads += 1;
        })
    }
}

/// Back when places are let go of, or the engine is gone.
async fn released(shared: &Shared, exit: &watch::Sender<Option<Exit>>) {
    let (mut releasing, mut exited) = (shared.releasing.subscribe(), exit.subscribe());
    tokio::select! {
        _ = releasing.wait_for(|releasing| *releasing) => {}
        _ = exited.wait_for(Option::is_some) => {}
    }
}
