use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use tokio_util::sync::DropGuard;

use crate::domain::{Event, Result};
use crate::engine::EventReceiver;
use crate::metrics::GenerationMeter;

use super::ticket::Times;

/// A request in the queue or running: a stream of events. Dropping it cancels the request; the
/// place is free when the engine has let go.
#[derive(Debug)]
pub struct Generation {
    events: EventReceiver,
    /// What [`Generation::ready`] has seen already.
    seen: VecDeque<Result<Event>>,
    times: Arc<Times>,
    position: u32,
    meter: Option<GenerationMeter>,
    _cancel: DropGuard,
}

impl Generation {
    pub(super) fn new(
        events: EventReceiver,
        times: Arc<Times>,
        position: u32,
        cancel: DropGuard,
    ) -> Self {
        Self { events, seen: VecDeque::new(), times, position, meter: None, _cancel: cancel }
    }

    /// Has what its reader sees of it counted.
    #[must_use]
    pub fn metered(mut self, meter: GenerationMeter) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Waits until the request was started, has failed or `patience` is over; what came is still
    /// in the stream. `None`: without a bound.
    ///
    /// # Errors
    /// The error that ended the request before its first token.
    pub async fn ready(&mut self, patience: Option<Duration>) -> Result<()> {
        match patience {
            None => self.started().await,
            Some(patience) => {
                tokio::time::timeout(patience, self.started()).await.unwrap_or(Ok(()))
            }
        }
    }

    /// Its place when it entered the queue; 0: it was started at once.
    pub fn queue_position(&self) -> u32 {
        self.position
    }

    /// How long it waited so far, or in all once it was started.
    pub fn queue_wait(&self) -> Duration {
        self.times.queued()
    }

    async fn started(&mut self) -> Result<()> {
        loop {
            match self.seen.back() {
                Some(Ok(Event::Waiting { .. } | Event::Loading { .. })) => {}
                Some(Ok(_)) => return Ok(()),
                Some(Err(error)) => return Err(error.clone()),
                None => {}
            }
            let Some(event) = self.events.next().await else { return Ok(()) };
            // Notices that nobody has looked at are out of date with the next one of their kind.
            self.seen.retain(|seen| !same_kind(seen, &event));
            self.seen.push_back(event);
        }
    }
}

impl futures_core::Stream for Generation {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(event) = self.seen.pop_front() {
            return Poll::Ready(Some(self.timed(event)));
        }
        let next = self.events.poll_next_unpin(cx);
        next.map(|event| event.map(|event| self.timed(event)))
    }
}

impl Generation {
    /// Fills in the times that only the scheduler knows.
    fn timed(&mut self, mut event: Result<Event>) -> Result<Event> {
        if let Ok(Event::Finished(outcome)) = &mut event {
            outcome.timings.queue_ms = self.times.queued().as_secs_f64() * 1000.0;
            outcome.timings.load_ms = self.times.loading().as_secs_f64() * 1000.0;
        }
        if let Some(meter) = &mut self.meter {
            meter.saw(&event, self.times.queued());
        }
        event
    }
}

fn same_kind(a: &Result<Event>, b: &Result<Event>) -> bool {
    let kind = |event: &Result<Event>| event.as_ref().ok().map(std::mem::discriminant);
    kind(a) == kind(b)
}
