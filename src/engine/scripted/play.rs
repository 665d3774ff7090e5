use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

use crate::domain::{Delta, Error, ErrorKind, Event, FinishReason, JobId, Outcome, Timings, Usage};
use crate::engine::{EventSender, Exit, Start};

use super::control::{Shared, die};
use super::script::Script;

/// One request being played.
pub(super) struct Play {
    pub(super) job: JobId,
    pub(super) script: Script,
    pub(super) start: Start,
    pub(super) events: EventSender,
    pub(super) shared: Arc<Shared>,
    pub(super) by_hand: bool,
    pub(super) exit: watch::Sender<Option<Exit>>,
}

/// What is still to be said in one choice.
struct Choice {
    number: u32,
    left: VecDeque<Delta>,
    finish: FinishReason,
}

impl Play {
    /// Plays to the end, or until the engine dies.
    pub(super) async fn run(&self, dead: &mut watch::Receiver<Option<Exit>>) {
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
        let Script { prompt_tokens, cached_tokens, .. } = self.script;
        self.events.send(Ok(Event::Started { prompt_tokens, cached_tokens }));
        if self.script.hang {
            return std::future::pending().await;
        }
        let mut usage = Usage { prompt_tokens, cached_tokens, ..Usage::default() };
        let said = if self.script.vectors.is_empty() {
            self.answer(&mut usage).await
        } else {
            self.compute_vectors().await
        };
        if said {
            let outcome = Outcome { usage, timings: Timings::default() };
            let outcome = self.script.outcome.clone().unwrap_or(outcome);
            self.events.send(Ok(Event::Finished(outcome)));
        }
    }

    /// Says all choices, in turn; false if the script breaks off.
    async fn answer(&self, usage: &mut Usage) -> bool {
        let mut choices: VecDeque<Choice> =
            (0..self.start.output.choices.max(1)).map(|number| self.choice(number)).collect();
        let mut played = 0;
        while let Some(mut choice) = choices.pop_front() {
            if self.breaks(played) {
                return false;
            }
            let number = choice.number;
            let Some(delta) = choice.left.pop_front() else {
                usage.completion_tokens += u32::from(choice.finish != FinishReason::Length);
                self.events.send(Ok(Event::Ended { choice: number, finish: choice.finish }));
                continue;
            };
            self.pause().await;
            played += 1;
            usage.completion_tokens += u32::from(is_token(&delta));
            usage.reasoning_tokens += u32::from(matches!(delta, Delta::Reasoning(_)));
            self.events.send(Ok(Event::Delta { choice: number, delta }));
            choices.push_back(choice);
        }
        true
    }

    /// The pieces are tokens here.
    fn choice(&self, number: u32) -> Choice {
        let Script { pieces, answers, finish, finishes, .. } = &self.script;
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        let answer = at.checked_rem(answers.len()).and_then(|at| answers.get(at));
        let pieces = pieces.iter().cloned().map(Delta::Content);
        let all: Vec<Delta> = pieces.chain(answer.into_iter().flatten().cloned()).collect();
        let mut left = VecDeque::new();
        let mut tokens = 0;
        for delta in all {
            if is_token(&delta) && self.start.limits.max_tokens.is_some_and(|max| tokens >= max) {
                return Choice { number, left, finish: FinishReason::Length };
            }
            tokens += u32::from(is_token(&delta));
            left.push_back(delta);
        }
        Choice { number, left, finish: finishes.get(at).unwrap_or(finish).clone() }
    }

    async fn compute_vectors(&self) -> bool {
        for (played, values) in self.script.vectors.iter().enumerate() {
            if self.breaks(played) {
                return false;
            }
            self.pause().await;
            let index = u32::try_from(played).unwrap_or(u32::MAX);
            self.events.send(Ok(Event::Vector { index, values: values.clone() }));
        }
        !self.breaks(self.script.vectors.len())
    }

    /// What has to happen before the next piece.
    async fn pause(&self) {
        if self.by_hand
            && let Ok(permit) = self.shared.steps.acquire().await
        {
            permit.forget();
        }
        if !self.script.piece_delay.is_zero() {
            tokio::time::sleep(self.script.piece_delay).await;
        }
        *self.shared.record().steps.entry(self.job).or_default() += 1;
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

fn is_token(delta: &Delta) -> bool {
    !matches!(delta, Delta::Logprobs(_))
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use crate::domain::{Constraint, OutputOptions, Prompt, TokenLogprob, Transcript};
    use crate::engine::outbox;

    use super::super::ScriptedFactory;
    use super::*;

    async fn events(script: Script, start: Start) -> Vec<Event> {
        let engine = ScriptedFactory::new(script).engine();
        let (sender, mut receiver) = outbox();
        engine.prepare(JobId(1), Prompt::Text("x".into()), Constraint::None).await.expect("ready");
        engine.start(JobId(1), start, sender);
        let mut all = Vec::new();
        while let Some(event) = receiver.next().await {
            all.push(event.expect("no error"));
        }
        all
    }

    fn fold(events: Vec<Event>) -> Transcript {
        let mut transcript = Transcript::default();
        events.into_iter().for_each(|event| transcript.push(event));
        transcript
    }

    fn wanting(choices: u32) -> Start {
        Start { output: OutputOptions { choices, ..OutputOptions::default() }, ..Start::default() }
    }

    #[tokio::test]
    async fn every_choice_says_its_own_and_ends_once() {
        let token = TokenLogprob { token: 1, bytes: vec![97], logprob: Some(-1.0), top: vec![] };
        let script = Script::choices([
            vec![Delta::Reasoning("hm".into()), Delta::Content("a".into())],
            vec![Delta::Logprobs(vec![token.clone()]), Delta::Content("b".into())],
        ]);
        let script = Script { finishes: vec![FinishReason::ToolCalls], ..script };
        let events = events(script, wanting(3)).await;
        assert!(matches!(events.last(), Some(Event::Finished(_))));
        let transcript = fold(events);
        let said: Vec<_> = transcript.choices.iter().map(|c| c.content.as_str()).collect();
        assert_eq!(said, ["a", "b", "a"]);
        assert_eq!(transcript.choices[1].logprobs, [token]);
        let ends: Vec<_> = transcript.choices.iter().map(|c| c.finish.clone()).collect();
        use FinishReason::{Stop, ToolCalls};
        assert_eq!(ends, [Some(ToolCalls), Some(Stop), Some(Stop)]);
        let usage = transcript.outcome.expect("an outcome").usage;
        assert_eq!((usage.completion_tokens, usage.reasoning_tokens), (5 + 3, 2));
    }

    #[tokio::test]
    async fn vectors_come_instead_of_an_answer() {
        let events = events(Script::vectors([vec![1.0], vec![2.0]]), Start::default()).await;
        assert!(!events.iter().any(|event| matches!(event, Event::Ended { .. })));
        assert_eq!(fold(events).vectors, [[1.0], [2.0]]);
    }
}
