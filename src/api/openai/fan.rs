//! One stream of events out of several generations: text completions take several prompts.
//!
//! Must never give a prompt a way around the queue: each is a request of its own there.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use futures_util::StreamExt;

use crate::domain::{Error, Event, GenerateRequest, Outcome, Result, Timings, Usage};
use crate::scheduler::Generation;
use crate::service::{Caller, Service};

/// Prompts of one request that are in the queue or running at a time.
const IN_FLIGHT: usize = 8;

type Submitting = Pin<Box<dyn Future<Output = Result<Generation>> + Send>>;

/// The answers to one or several prompts, as the events of one generation: choice `k` of prompt `p`
/// is choice `p * n + k`, and the counts are of all together. The first error ends all of them.
/// Dropping it cancels all of them.
pub(super) struct Fan {
    submit: Box<dyn Fn(GenerateRequest) -> Submitting + Send>,
    waiting: VecDeque<(usize, GenerateRequest)>,
    submitting: Option<(usize, Submitting)>,
    running: Vec<(usize, Generation)>,
    /// Which of the running ones is asked first, so that none is always last.
    turn: usize,
    /// Answers to each prompt.
    choices: u32,
    prompt_tokens: Vec<u32>,
    started: bool,
    over: bool,
    total: Outcome,
    /// What [`Fan::ready`] has seen already.
    seen: VecDeque<Result<Event>>,
    position: u32,
}

impl Fan {
    /// Puts the first request into the queue; the others follow as places get free. `requests` are
    /// for the same number of choices each.
    ///
    /// # Errors
    /// Those of [`Service::generate`] for the first.
    pub(super) async fn submit(
        service: &Service,
        caller: Caller,
        model: &str,
        requests: Vec<GenerateRequest>,
    ) -> Result<Self> {
        let (service, model) = (service.clone(), model.to_owned());
        let submit = move |request: GenerateRequest| -> Submitting {
            let (service, caller, model) = (service.clone(), caller.clone(), model.clone());
            Box::pin(async move { service.generate(caller, &model, request).await })
        };
        let choices = requests.first().map_or(1, |request| request.output.choices);
        let mut fan = Self {
            submit: Box::new(submit),
            prompt_tokens: vec![0; requests.len()],
            waiting: requests.into_iter().enumerate().collect(),
            submitting: None,
            running: Vec::new(),
            turn: 0,
            choices,
            started: false,
            over: false,
            total: Outcome { usage: Usage::default(), timings: Timings::default() },
            seen: VecDeque::new(),
            position: 0,
        };
        let Some((number, request)) = fan.waiting.pop_front() else {
            return Err(Error::internal("a request without a prompt"));
        };
        let first = (fan.submit)(request).await?;
        fan.position = first.queue_position();
        fan.running.push((number, first));
        Ok(fan)
    }

    /// Waits until an answer was started, something has failed or `patience` is over; what came is
    /// still in the stream. `None`: without a bound.
    ///
    /// # Errors
    /// The error that ended the request before its first token.
    pub(super) async fn ready(&mut self, patience: Option<Duration>) -> Result<()> {
        match patience {
            None => self.first_event().await,
            Some(patience) => {
                tokio::time::timeout(patience, self.first_event()).await.unwrap_or(Ok(()))
            }
        }
    }

    async fn first_event(&mut self) -> Result<()> {
        loop {
            let event = std::future::poll_fn(|cx| self.poll_event(cx)).await;
            let kind = |event: &Result<Event>| event.as_ref().ok().map(std::mem::discriminant);
            match event {
                None => return Ok(()),
                Some(notice @ Ok(Event::Waiting { .. } | Event::Loading { .. })) => {
                    // Only the latest is worth telling.
                    self.seen.retain(|seen| kind(seen) != kind(&notice));
                    self.seen.push_back(notice);
                }
                Some(event) => {
                    let failed = event.as_ref().err().cloned();
                    self.seen.push_back(event);
                    return failed.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// The place of the first prompt when it entered the queue; 0: it was started at once.
    pub(super) fn queue_position(&self) -> u32 {
        self.position
    }

    /// How long the first prompt waited so far, or in all once it was started.
    pub(super) fn queue_wait(&self) -> Duration {
        self.running.first().map_or(Duration::ZERO, |(_, first)| first.queue_wait())
    }

    /// Tokens of each prompt, as far as they were counted.
    pub(super) fn prompt_tokens(&self) -> &[u32] {
        &self.prompt_tokens
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        while !self.over {
            match self.poll_submission(cx) {
                Poll::Ready(Ok(())) => continue,
                Poll::Ready(Err(error)) => return Poll::Ready(Some(self.fail(error))),
                Poll::Pending => {}
            }
            let Poll::Ready((at, event)) = self.poll_running(cx) else { return Poll::Pending };
            if let Some(event) = self.take(at, event) {
                return Poll::Ready(Some(event));
            }
        }
        Poll::Ready(None)
    }

    /// Ready when one more has got into the queue, or was refused.
    fn poll_submission(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.submitting.is_none() {
            if self.running.len() >= IN_FLIGHT {
                return Poll::Pending;
            }
            let Some((number, request)) = self.waiting.pop_front() else { return Poll::Pending };
            self.submitting = Some((number, (self.submit)(request)));
        }
        let Some((number, submitting)) = &mut self.submitting else { return Poll::Pending };
        let number = *number;
        submitting.as_mut().poll(cx).map(|submitted| {
            self.submitting = None;
            submitted.map(|generation| self.running.push((number, generation)))
        })
    }

    /// The next event of any, and whose.
    fn poll_running(&mut self, cx: &mut Context<'_>) -> Poll<(usize, Option<Result<Event>>)> {
        let count = self.running.len();
        for step in 0..count {
            let at = self.turn.wrapping_add(step).checked_rem(count).unwrap_or(0);
            let Some((_, generation)) = self.running.get_mut(at) else { continue };
            if let Poll::Ready(event) = generation.poll_next_unpin(cx) {
                self.turn = at.wrapping_add(1);
                return Poll::Ready((at, event));
            }
        }
        Poll::Pending
    }

    /// What an event of one is among the events of all.
    fn take(&mut self, at: usize, event: Option<Result<Event>>) -> Option<Result<Event>> {
        let prompt = self.running.get(at).map_or(0, |(prompt, _)| *prompt);
        let event = match event {
            Some(Ok(event)) => event,
            Some(Err(error)) => return Some(self.fail(error)),
            None => return Some(self.fail(Error::internal("a generation ended without a result"))),
        };
        let first = u32::try_from(prompt).unwrap_or(u32::MAX).saturating_mul(self.choices);
        match event {
            Event::Waiting { .. } | Event::Loading { .. } if self.started => None,
            Event::Waiting { .. } | Event::Loading { .. } | Event::Vector { .. } => Some(Ok(event)),
            Event::Started { prompt_tokens, .. } => {
                if let Some(count) = self.prompt_tokens.get_mut(prompt) {
                    *count = prompt_tokens;
                }
                (!std::mem::replace(&mut self.started, true)).then_some(Ok(event))
            }
            Event::Delta { choice, delta } => {
                Some(Ok(Event::Delta { choice: first.saturating_add(choice), delta }))
            }
            Event::Ended { choice, finish } => {
                Some(Ok(Event::Ended { choice: first.saturating_add(choice), finish }))
            }
            Event::Finished(outcome) => {
                add(&mut self.total, &outcome);
                self.running.remove(at);
                let left = self.running.len() + self.waiting.len();
                self.over = left == 0 && self.submitting.is_none();
                self.over.then(|| Ok(Event::Finished(self.total.clone())))
            }
        }
    }

    /// Ends everything.
    fn fail(&mut self, error: Error) -> Result<Event> {
        self.over = true;
        self.waiting.clear();
        self.submitting = None;
        self.running.clear();
        Err(error)
    }
}

impl Stream for Fan {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.seen.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None => self.poll_event(cx),
        }
    }
}

/// Tokens and computing add up; waiting is what the longest took.
fn add(total: &mut Outcome, more: &Outcome) {
    let Outcome { usage, timings } = more;
    let Usage { prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens } = *usage;
    for (sum, count) in [
        (&mut total.usage.prompt_tokens, prompt_tokens),
        (&mut total.usage.cached_tokens, cached_tokens),
        (&mut total.usage.completion_tokens, completion_tokens),
        (&mut total.usage.reasoning_tokens, reasoning_tokens),
    ] {
        *sum = sum.saturating_add(count);
    }
    let Timings { queue_ms, load_ms, prompt_ms, decode_ms } = *timings;
    total.timings.queue_ms = total.timings.queue_ms.max(queue_ms);
    total.timings.load_ms = total.timings.load_ms.max(load_ms);
    total.timings.prompt_ms += prompt_ms;
    total.timings.decode_ms += decode_ms;
}
