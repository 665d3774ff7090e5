//! The way of one request's events from an engine to its reader.
//!
//! Sending never blocks and never fails: what the reader has not taken yet is joined up (texts that
//! follow each other become one text, of the waiting and loading notices only the latest stays), so
//! that memory is bounded by the answer and a slow reader slows down nobody. This module must never
//! wait for a reader and never reorder what it was given.
//!
//! An [`Attempt`] is one try of an engine to serve the request. It withholds the death of an engine
//! from the reader, because whoever schedules may try again; and what an attempt still sends after
//! its end goes nowhere.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::{Delta, Error, ErrorKind, Event, Outcome, Result};

/// Unread text beyond which a reader is given up, in bytes: far over any real answer.
const MAX_UNREAD_BYTES: usize = 8 << 20;

/// A new way for one request.
pub fn outbox() -> (EventSender, EventReceiver) {
    let shared = Arc::new(Shared::default());
    let sender =
        EventSender { sending: Arc::new(Sending { shared: Arc::clone(&shared) }), attempt: None };
    (sender, EventReceiver { shared })
}

/// The sending half; cheap to clone. When the last clone goes without a last event having been
/// sent, the reader gets an error instead, so that a cut answer never looks complete.
#[derive(Debug, Clone)]
pub struct EventSender {
    sending: Arc<Sending>,
    attempt: Option<Arc<Trying>>,
}

impl EventSender {
    /// Sends an event or the error that ends the request. Never blocks. Goes nowhere after the last
    /// event, and when the reader is gone.
    pub fn send(&self, event: Result<Event>) {
        match &self.attempt {
            None => drop(self.sending.shared.push(event)),
            Some(attempt) => attempt.state.pass(event, &self.sending.shared),
        }
    }

    /// Whether sending has become pointless: the reader is gone or the last event was sent.
    pub fn is_closed(&self) -> bool {
        let state = self.sending.shared.lock();
        state.ended || state.abandoned
    }

    /// How long the oldest unread event has been waiting for the reader; zero if there is none.
    pub fn stalled_for(&self) -> Duration {
        let state = self.sending.shared.lock();
        state.unread.front().map_or(Duration::ZERO, |oldest| oldest.since.elapsed())
    }

    /// A sender for one engine's try to serve the request, and the view on how it goes.
    pub fn attempt(&self) -> (EventSender, Attempt) {
        let state = Arc::new(AttemptState::default());
        let trying = Trying { state: Arc::clone(&state) };
        let sender = Self { sending: Arc::clone(&self.sending), attempt: Some(Arc::new(trying)) };
        (sender, Attempt { state })
    }
}

/// The receiving half: a stream of events that ends after `Finished` or an error.
#[derive(Debug)]
pub struct EventReceiver {
    shared: Arc<Shared>,
}

impl futures_core::Stream for EventReceiver {
    type Item = Result<Event>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.shared.lock();
        if let Some(Unread { event, .. }) = state.unread.pop_front() {
            state.unread_bytes = state.unread_bytes.saturating_sub(text_len(&event));
            return Poll::Ready(Some(event));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for EventReceiver {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.abandoned = true;
        state.unread.clear();
        state.unread_bytes = 0;
    }
}

/// How one try of an engine goes, for whoever schedules. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Attempt {
    state: Arc<AttemptState>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum AttemptEnd {
    /// The answer is complete; the reader has it.
    Finished(Outcome),
    /// The engine refused or failed this request; the reader has the error.
    Failed(Error),
    /// The engine died, or lost the request. The reader does not know.
    Crashed(Error),
    /// Nobody wants the answer any more.
    Abandoned,
}

impl Attempt {
    /// Waits for the end.
    pub async fn ended(&self) -> AttemptEnd {
        self.state.over.cancelled().await;
        self.state.lock().clone().unwrap_or(AttemptEnd::Abandoned)
    }

    /// How it ended, if it has. Whoever saw the last event sees the end here.
    pub fn end_so_far(&self) -> Option<AttemptEnd> {
        self.state.lock().clone()
    }

    /// Whether any text reached the reader: from then on the request cannot be tried again.
    pub fn answered(&self) -> bool {
        self.state.answered.load(Ordering::Relaxed)
    }

    /// Gives up: what the engine still sends goes nowhere.
    pub fn abandon(&self) {
        self.state.end(&mut self.state.lock(), AttemptEnd::Abandoned);
    }
}

#[derive(Debug, Default)]
struct AttemptState {
    end: Mutex<Option<AttemptEnd>>,
    answered: AtomicBool,
    over: CancellationToken,
}

impl AttemptState {
    fn lock(&self) -> MutexGuard<'_, Option<AttemptEnd>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, slot: &mut Option<AttemptEnd>, end: AttemptEnd) {
        if slot.is_none() {
            *slot = Some(end);
            self.over.cancel();
        }
    }

    fn pass(&self, event: Result<Event>, shared: &Shared) {
        // Held while pushing, so that nothing of an abandoned attempt slips in afterwards.
        let mut slot = self.lock();
        if slot.is_some() {
            return;
        }
        let end = match &event {
            Err(error) if error.kind == ErrorKind::EngineCrashed => {
                return self.end(&mut slot, AttemptEnd::Crashed(error.clone()));
            }
            Err(error) => Some(AttemptEnd::Failed(error.clone())),
            Ok(Event::Finished(outcome)) => Some(AttemptEnd::Finished(outcome.clone())),
            Ok(Event::Delta { .. } | Event::Ended { .. } | Event::Vector { .. }) => {
                self.answered.store(true, Ordering::Relaxed);
                None
            }
            Ok(Event::Waiting { .. } | Event::Loading { .. } | Event::Started { .. }) => None,
        };
        let taken = shared.push(event);
        match end {
            Some(end) => self.end(&mut slot, end),
            None if !taken => self.end(&mut slot, AttemptEnd::Abandoned),
            None => {}
        }
    }
}

/// Held by an attempt's senders: the last one to go ends the attempt.
#[derive(Debug)]
struct Trying {
    state: Arc<AttemptState>,
}

impl Drop for Trying {
    fn drop(&mut self) {
        let lost = Error::internal("the engine dropped a request without a last event");
        self.state.end(&mut self.state.lock(), AttemptEnd::Crashed(lost));
    }
}

/// Held by all senders: the last one to go ends the stream.
#[derive(Debug)]
struct Sending {
    shared: Arc<Shared>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.shared.push(Err(Error::internal("a request was dropped without a last event")));
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    unread: VecDeque<Unread>,
    unread_bytes: usize,
    /// A `Started` was sent: notices and a second one are of no use.
    started: bool,
    /// The last event was sent.
    ended: bool,
    /// The reader is gone.
    abandoned: bool,
    reader: Option<Waker>,
}

#[derive(Debug)]
struct Unread {
    event: Result<Event>,
    since: Instant,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an event; false once there is no point in sending more.
    fn push(&self, event: Result<Event>) -> bool {
        let mut state = self.lock();
        let open = state.push(event);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        open
    }
}

impl State {
    fn push(&mut self, event: Result<Event>) -> bool {
        if self.ended || self.abandoned {
            return false;
        }
        match event {
            Ok(Event::Waiting { .. } | Event::Loading { .. }) if self.started => {}
            Ok(notice @ (Event::Waiting { .. } | Event::Loading { .. })) => self.replace(notice),
            Ok(Event::Started { .. }) if self.started => {}
            Ok(Event::Delta { choice, delta }) => return self.append(choice, delta),
            piece @ Ok(Event::Ended { .. } | Event::Vector { .. }) => self.queue(piece),
            last @ (Ok(Event::Finished(_)) | Err(_)) => {
                self.queue(last);
                self.ended = true;
                return false;
            }
            started @ Ok(Event::Started { .. }) => {
                self.started = true;
                self.queue(started);
            }
        }
        true
    }

    fn queue(&mut self, event: Result<Event>) {
        self.unread.push_back(Unread { event, since: Instant::now() });
    }

    fn replace(&mut self, notice: Event) {
        let kind = std::mem::discriminant(&notice);
        let same = |unread: &&mut Unread| {
            unread.event.as_ref().is_ok_and(|event| std::mem::discriminant(event) == kind)
        };
        match self.unread.iter_mut().find(same) {
            Some(unread) => unread.event = Ok(notice),
            None => self.queue(Ok(notice)),
        }
    }

    /// Texts of one kind that follow each other become one.
    fn append(&mut self, choice: u32, delta: Delta) -> bool {
        let bytes = self.unread_bytes.saturating_add(delta_len(&delta));
        if bytes > MAX_UNREAD_BYTES {
            let message = format!("the client is {MAX_UNREAD_BYTES} bytes behind with reading");
            return self.push(Err(Error::new(ErrorKind::Cancelled, message)));
        }
        self.unread_bytes = bytes;
        if let Some(Unread { event: Ok(Event::Delta { choice: of, delta: before }), .. }) =
            self.unread.back_mut()
            && *of == choice
        {
            match (before, &delta) {
                (Delta::Content(before), Delta::Content(text))
                | (Delta::Reasoning(before), Delta::Reasoning(text)) => {
                    before.push_str(text);
                    return true;
                }
                (Delta::ToolCall(before), Delta::ToolCall(more))
                    if before.index == more.index && more.name.is_none() =>
                {
                    before.arguments.push_str(&more.arguments);
                    return true;
                }
                _ => {}
            }
        }
        self.queue(Ok(Event::Delta { choice, delta }));
        true
    }
}

fn text_len(event: &Result<Event>) -> usize {
    match event {
        Ok(Event::Delta { delta, .. }) => delta_len(delta),
        _ => 0,
    }
}

/// About what a piece takes in memory, in bytes.
fn delta_len(delta: &Delta) -> usize {
    const TOKEN: usize = 64;
    match delta {
        Delta::Content(text) | Delta::Reasoning(text) => text.len(),
        Delta::ToolCall(call) => call.arguments.len(),
        Delta::Logprobs(tokens) => {
            tokens.iter().map(|token| TOKEN * token.top.len().saturating_add(1)).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Timings, Usage};
    use futures_util::{FutureExt, StreamExt};
    use proptest::prelude::*;

    fn text(text: &str) -> Event {
        Event::Delta { choice: 0, delta: Delta::Content(text.into()) }
    }

    fn started() -> Event {
        Event::Started { prompt_tokens: 5, cached_tokens: 0 }
    }

    fn outcome() -> Outcome {
        Outcome { usage: Usage::default(), timings: Timings::default() }
    }

    fn take(receiver: &mut EventReceiver) -> Option<Result<Event>> {
        receiver.next().now_or_never().flatten()
    }

    fn crash() -> Error {
        Error::new(ErrorKind::EngineCrashed, "died")
    }

    proptest! {
        /// Whatever the reader's pace, it gets the same text, in order, in at most as many pieces.
        #[test]
        fn what_comes_out_is_what_went_in(
            steps in prop::collection::vec((".{0,6}", any::<bool>()), 0..40),
        ) {
            let (sender, mut receiver) = outbox();
            sender.send(Ok(started()));
            let (mut sent, mut got, mut pieces) = (String::new(), String::new(), 0);
            let mut read = |receiver: &mut EventReceiver| match take(receiver) {
                Some(Ok(Event::Delta { delta: Delta::Content(piece), .. })) => {
                    got.push_str(&piece);
                    pieces += 1;
                    true
                }
                Some(Ok(_)) => true,
                _ => false,
            };
            for (piece, reads) in &steps {
                sent.push_str(piece);
                sender.send(Ok(text(piece)));
                if *reads {
                    read(&mut receiver);
                }
            }
            sender.send(Ok(Event::Finished(outcome())));
            while read(&mut receiver) {}
            prop_assert_eq!(got, sent);
            prop_assert!(pieces <= steps.len());
            prop_assert_eq!(take(&mut receiver), None);
        }
    }

    #[test]
    fn unread_texts_are_joined() {
        let (sender, mut receiver) = outbox();
        for piece in ["a", "b", "c"] {
            sender.send(Ok(text(piece)));
        }
        assert_eq!(take(&mut receiver), Some(Ok(text("abc"))));
    }

    #[test]
    fn of_the_notices_only_the_latest_of_each_kind_stays() {
        let (sender, mut receiver) = outbox();
        for n in 0..3u8 {
            sender.send(Ok(Event::Waiting { position: 9 - u32::from(n) }));
            sender.send(Ok(Event::Loading { fraction: f32::from(n) }));
        }
        sender.send(Ok(started()));
        sender.send(Ok(Event::Waiting { position: 1 }));
        sender.send(Ok(started()));
        sender.send(Err(crash()));
        let all: Vec<_> = receiver.by_ref().collect::<Vec<_>>().now_or_never().unwrap();
        let expected = [
            Ok(Event::Waiting { position: 7 }),
            Ok(Event::Loading { fraction: 2.0 }),
            Ok(started()),
            Err(crash()),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn nothing_follows_the_last_event() {
        let (sender, mut receiver) = outbox();
        sender.send(Ok(Event::Finished(outcome())));
        sender.send(Ok(text("late")));
        assert!(sender.is_closed());
        assert_eq!(take(&mut receiver), Some(Ok(Event::Finished(outcome()))));
        assert_eq!(take(&mut receiver), None);
    }

    #[test]
    fn a_dropped_sender_is_an_error_for_the_reader() {
        let (sender, mut receiver) = outbox();
        sender.send(Ok(text("half an ans")));
        drop(sender);
        take(&mut receiver);
        let last = take(&mut receiver).unwrap();
        assert_eq!(last.map_err(|error| error.kind), Err(ErrorKind::Internal));
    }

    #[test]
    fn a_reader_too_far_behind_is_given_up() {
        let (sender, receiver) = outbox();
        let (attempt_sender, attempt) = sender.attempt();
        for _ in 0..9 {
            attempt_sender.send(Ok(text(&"x".repeat(1 << 20))));
        }
        assert_eq!(attempt.ended().now_or_never(), Some(AttemptEnd::Abandoned));
        let last = receiver.collect::<Vec<_>>().now_or_never().unwrap().pop().unwrap();
        assert_eq!(last.map_err(|error| error.kind), Err(ErrorKind::Cancelled));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_counted_from_the_oldest_unread_event() {
        let (sender, mut receiver) = outbox();
        assert_eq!(sender.stalled_for(), Duration::ZERO);
        sender.send(Ok(text("a")));
        tokio::time::advance(Duration::from_secs(7)).await;
        sender.send(Ok(text("b")));
        assert_eq!(sender.stalled_for(), Duration::from_secs(7));
        take(&mut receiver);
        assert_eq!(sender.stalled_for(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken() {
        let (sender, mut receiver) = outbox();
        let reader = tokio::spawn(async move { receiver.next().await });
        tokio::task::yield_now().await;
        sender.send(Ok(text("now")));
        assert_eq!(reader.await.unwrap(), Some(Ok(text("now"))));
    }

    #[test]
    fn a_crash_is_withheld_from_the_reader() {
        let (sender, mut receiver) = outbox();
        let (first, attempt) = sender.attempt();
        first.send(Ok(started()));
        first.send(Err(crash()));
        first.send(Ok(text("ghost")));
        assert_eq!(attempt.ended().now_or_never(), Some(AttemptEnd::Crashed(crash())));
        let (second, attempt) = sender.attempt();
        second.send(Ok(started()));
        second.send(Ok(text("answer")));
        assert!(attempt.answered());
        assert_eq!(take(&mut receiver), Some(Ok(started())));
        assert_eq!(take(&mut receiver), Some(Ok(text("answer"))));
    }

    #[test]
    fn an_attempt_ends_with_its_last_sender() {
        let (sender, _receiver) = outbox();
        let (attempt_sender, attempt) = sender.attempt();
        drop(attempt_sender.clone());
        assert_eq!(attempt.ended().now_or_never(), None);
        drop(attempt_sender);
        let end = attempt.ended().now_or_never();
        assert!(matches!(end, Some(AttemptEnd::Crashed(_))), "{end:?}");
    }

    #[test]
    fn an_attempt_without_a_reader_ends_at_its_next_event() {
        let (sender, receiver) = outbox();
        let (attempt_sender, attempt) = sender.attempt();
        drop(receiver);
        attempt_sender.send(Ok(started()));
        assert_eq!(attempt.ended().now_or_never(), Some(AttemptEnd::Abandoned));
    }
}
