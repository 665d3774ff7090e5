use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::stream;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::domain::{Delta, Error, ErrorKind, Event, Result};

use super::super::object::Item;
use super::super::render::{Answer, FrameStream, replay};
use super::size::value_bytes;

/// What an event takes besides its text.
const EVENT: usize = 128;

/// A response with the items that it answers, final or still growing.
#[derive(Debug)]
pub(in crate::api::responses) struct Record {
    input: Vec<Value>,
    live: Mutex<Live>,
    changed: watch::Sender<()>,
    cancel: CancellationToken,
}

#[derive(Debug)]
struct Live {
    answer: Answer,
    /// All that happened, for those who follow; empty where nobody could from the start.
    log: Vec<Result<Event>>,
}

impl Record {
    pub(in crate::api::responses) fn new(answer: Answer, input: Vec<Value>) -> Self {
        let live = Mutex::new(Live { answer, log: Vec::new() });
        Self { input, live, changed: watch::Sender::new(()), cancel: CancellationToken::new() }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::api::responses) fn id(&self) -> String {
        self.live().answer.id().to_owned()
    }

    /// The response that this one continues.
    pub(in crate::api::responses) fn previous(&self) -> Option<String> {
        self.live().answer.settings().previous_response_id.clone()
    }

    pub(in crate::api::responses) fn is_background(&self) -> bool {
        self.live().answer.settings().background
    }

    pub(in crate::api::responses) fn is_final(&self) -> bool {
        self.live().answer.status().is_final()
    }

    pub(in crate::api::responses) fn input(&self) -> &[Value] {
        &self.input
    }

    /// What the model said, as items of an input.
    pub(in crate::api::responses) fn output(&self) -> Result<Vec<Value>> {
        let live = self.live();
        let values = live.answer.items().iter().map(serde_json::to_value);
        values.collect::<std::result::Result<_, _>>().map_err(Error::internal)
    }

    /// One of its items, in or out.
    pub(super) fn item(&self, id: &str) -> Option<Value> {
        let is = |item: &&Value| item.get("id").and_then(Value::as_str) == Some(id);
        if let Some(item) = self.input.iter().find(is) {
            return Some(item.clone());
        }
        let live = self.live();
        let item = live.answer.items().iter().find(|item| item.id() == id)?;
        serde_json::to_value(item).ok()
    }

    /// The response as JSON, as far as it is.
    pub(in crate::api::responses) fn json(&self) -> Result<Bytes> {
        let live = self.live();
        let items = live.answer.so_far();
        serde_json::to_vec(&live.answer.object(&items)).map(Bytes::from).map_err(Error::internal)
    }

    /// Takes in what happens next.
    pub(in crate::api::responses) fn push(&self, event: Result<Event>) {
        if matches!(event, Ok(Event::Waiting { .. } | Event::Loading { .. })) {
            return;
        }
        {
            let mut live = self.live();
            if live.answer.status().is_final() {
                return;
            }
            live.answer.push(event.clone());
            live.log.push(event);
        }
        self.changed.send_replace(());
    }

    /// Ends it, if it has not ended.
    pub(in crate::api::responses) fn cancel(&self) {
        self.push(Err(cancelled()));
        self.cancel.cancel();
    }

    /// Completes once it has been cancelled.
    pub(in crate::api::responses) async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// All that happened and will happen, and who writes it down for a reader that has seen the
    /// events up to `seen`.
    pub(in crate::api::responses) fn follow(
        self: &Arc<Self>,
        seen: Option<u64>,
    ) -> (impl Stream<Item = Result<Event>> + Send + Unpin + use<>, FrameStream) {
        let (told, render) = {
            let live = self.live();
            let told = live.log.is_empty() && live.answer.status().is_final();
            let events = if told { replay(&live.answer) } else { Vec::new() };
            (events, FrameStream::again(&live.answer, seen))
        };
        if !told.is_empty() {
            return (futures_util::future::Either::Left(stream::iter(told)), render);
        }
        let follower = (Arc::clone(self), self.changed.subscribe(), 0);
        let events = stream::unfold(follower, |(record, mut changed, at)| async move {
            loop {
                changed.borrow_and_update();
                let (event, over) = {
                    let live = record.live();
                    (live.log.get(at).cloned(), live.answer.status().is_final())
                };
                match event {
                    Some(event) => return Some((event, (record, changed, at.saturating_add(1)))),
                    None if over => return None,
                    None => changed.changed().await.ok()?,
                }
            }
        });
        (futures_util::future::Either::Right(Box::pin(events)), render)
    }

    /// About so many bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        let live = self.live();
        let settings = live.answer.settings();
        let instructions = settings.instructions.as_ref().map_or(0, String::len);
        let values = self.input.iter().chain(&settings.tools).chain(settings.metadata.values());
        let input: usize = values.chain([&settings.text]).map(value_bytes).sum();
        let items: usize = live.answer.items().iter().map(Item::bytes).sum();
        let log: usize = live.log.iter().map(event_bytes).sum();
        [1024, instructions, input, items, log].into_iter().fold(0, usize::saturating_add)
    }
}

/// The end of a response that its client cancels.
fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the response was cancelled")
}

fn event_bytes(event: &Result<Event>) -> usize {
    let text = match event {
        Ok(Event::Delta { delta: Delta::Content(text) | Delta::Reasoning(text), .. }) => text.len(),
        Ok(Event::Delta { delta: Delta::ToolCall(call), .. }) => call.arguments.len(),
        Ok(Event::Delta { delta: Delta::Logprobs(tokens), .. }) => {
            tokens.iter().map(|token| token.top.len().saturating_add(1).saturating_mul(64)).sum()
        }
        _ => 0,
    };
    text.saturating_add(EVENT)
}
