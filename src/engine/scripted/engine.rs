use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::domain::{
    Constraint, Delta, Error, ErrorKind, Event, FinishReason, JobId, Outcome, Prompt, Result,
    Timings, Usage,
};
use crate::engine::{BoxFuture, Engine, EventSender, Exit, Start};
use crate::protocol::{ModelInfo, Query, QueryAnswer};

use super::control::{Shared, die};
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
        _constraint: Constraint,
    ) -> BoxFuture<'_, Result<u32>> {
        Box::pin(async move { self.count(job, prompt) })
    }

    /// A token for each of the script's prompt tokens, numbered from 0, without bytes.
    fn query(&self, _job: JobId, query: Query) -> BoxFuture<'_, Result<QueryAnswer>> {
        Box::pin(async move {
            if let Some(error) = self.exit_error() {
                return Err(error);
            }
            let tokens = match query {
                Query::Tokenize(prompt) => (self.scripts)(&prompt).prompt_tokens,
                Query::TokenizeText { text, .. } => {
                    (self.scripts)(&Prompt::Text(text)).prompt_tokens
                }
                Query::Detokenize(tokens) => {
                    return Ok(QueryAnswer::Text(format!("{} tokens", tokens.len())));
                }
            };
            let number = |number| i32::try_from(number).unwrap_or(i32::MAX);
            Ok(QueryAnswer::Tokens((0..tokens).map(|at| (number(at), Vec::new())).collect()))
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
            record.live += 1;
        }
        let play = Play {
            job,
            script: *script,
            max_tokens: start.limits.max_tokens,
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
                () = play.run(&mut dead) => {
                    jobs.lock().unwrap_or_else(PoisonError::into_inner).remove(&job);
                }
            }
            shared.record().live -= 1;
            over.cancel();
        });
    }

    fn cancel(&self, job: JobId) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut releasing = self.shared.releasing.subscribe();
            let mut exited = self.exit.subscribe();
            let found = self.jobs().remove(&job);
            if let Some(Job::Running { cancel, over }) = &found {
                cancel.cancel();
                over.cancelled().await;
            }
            if found.is_some() {
                tokio::select! {
                    _ = releasing.wait_for(|releasing| *releasing) => {}
                    _ = exited.wait_for(Option::is_some) => {}
                }
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

/// One answer being played.
struct Play {
    job: JobId,
    script: Script,
    max_tokens: Option<u32>,
    events: EventSender,
    shared: Arc<Shared>,
    by_hand: bool,
    exit: watch::Sender<Option<Exit>>,
}

impl Play {
    /// Plays to the end, or until the engine dies.
    async fn run(&self, dead: &mut watch::Receiver<Option<Exit>>) {
        let error = tokio::select! {
            biased;
            exit = dead.wait_for(Option::is_some) => exit.ok().and_then(|exit| exit.clone()),
            () = self.play() => None,
        };
        if let Some(exit) = error {
            self.events.send(Err(exit.error));
        }
    }

    async fn play(&self) {
        let Script { pieces, finish, prompt_tokens, cached_tokens, .. } = &self.script;
        let (prompt_tokens, cached_tokens) = (*prompt_tokens, *cached_tokens);
        self.events.send(Ok(Event::Started { prompt_tokens, cached_tokens }));
        if self.script.hang {
            return std::future::pending().await;
        }
        // The pieces are tokens here.
        let limit = self.max_tokens.map_or(usize::MAX, |limit| limit as usize);
        let mut played = 0;
        for piece in pieces.iter().take(limit) {
            if self.breaks(played) {
                return;
            }
            if self.by_hand
                && let Ok(permit) = self.shared.steps.acquire().await
            {
                permit.forget();
            }
            if !self.script.piece_delay.is_zero() {
                tokio::time::sleep(self.script.piece_delay).await;
            }
            *self.shared.record().steps.entry(self.job).or_default() += 1;
            played += 1;
            let delta = Delta::Content(piece.clone());
            self.events.send(Ok(Event::Delta { choice: 0, delta }));
        }
        if self.breaks(played) {
            return;
        }
        let cut = played < pieces.len();
        let completion = u32::try_from(played).unwrap_or(u32::MAX).saturating_add((!cut).into());
        let finish = if cut { FinishReason::Length } else { finish.clone() };
        self.events.send(Ok(Event::Ended { choice: 0, finish }));
        let usage = Usage {
            prompt_tokens,
            cached_tokens,
            completion_tokens: completion,
            reasoning_tokens: 0,
        };
        self.events.send(Ok(Event::Finished(Outcome { usage, timings: Timings::default() })));
    }

    /// Fails or crashes if the script says so at this point.
    fn breaks(&self, played: usize) -> bool {
        if let Some((after, error)) = &self.script.fail_after
            && *after == played
        {
            self.events.send(Err(error.clone()));
            return true;
        }
        let crash = self.script.crash_after == Some(played);
        if crash {
            let message = format!("the scripted engine crashed after {played} pieces");
            let error = Error::new(ErrorKind::EngineCrashed, message);
            die(&self.exit, error.clone(), false);
            self.events.send(Err(error));
        }
        crash
    }
}
