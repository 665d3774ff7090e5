//! stub
use crate::domain::{Event, Result};

/// The sending half.
#[derive(Debug, Clone)]
pub struct EventSender;

/// The receiving half: a stream of events; ends after `Finished` or an error.
#[derive(Debug)]
pub struct EventReceiver;

/// A pair.
pub fn outbox() -> (EventSender, EventReceiver) {
    (EventSender, EventReceiver)
}

impl EventSender {
    /// Never blocks.
    pub fn send(&self, _event: Result<Event>) {}
}

impl futures_core::Stream for EventReceiver {
    type Item = Result<Event>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(None)
    }
}
