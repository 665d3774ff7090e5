use bytes::BytesMut;
use serde::Serialize;

use crate::api::body::{Render, sse_event};
use crate::domain::{Error, Event, FinishReason, Usage};

use super::super::error::Envelope;
use super::blocks::Blocks;
use super::parts::{Meta, Stop, WireMessage, WireUsage};

/// Turns events into those of Anthropic's stream: the message as it begins, its blocks one after
/// the other, why it ended and what it cost, and the end.
pub(in crate::api::anthropic) struct MessageStream {
    meta: Meta,
    blocks: Blocks,
    begun: bool,
    finish: Option<FinishReason>,
}

#[derive(Serialize)]
struct MessageStart<'a> {
    r#type: &'static str,
    message: WireMessage<'a>,
}

#[derive(Serialize)]
struct MessageDelta<'a> {
    r#type: &'static str,
    delta: Stop<'a>,
    usage: WireUsage,
}

#[derive(Serialize)]
struct MessageStop {
    r#type: &'static str,
}

impl MessageStream {
    pub(in crate::api::anthropic) fn new(meta: Meta) -> Self {
        Self { meta, blocks: Blocks::default(), begun: false, finish: None }
    }

    /// The first event, once: it says what the prompt cost.
    fn begin(&mut self, prompt_tokens: u32, cached_tokens: u32, out: &mut BytesMut) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let usage = Usage { prompt_tokens, cached_tokens, ..Usage::default() };
        let message = self.meta.message(&[], Stop::default(), WireUsage::new(usage));
        sse_event(out, "message_start", &MessageStart { r#type: "message_start", message });
    }
}

impl Render for MessageStream {
    fn event(&mut self, event: Event, out: &mut BytesMut) {
        match event {
            Event::Started { prompt_tokens, cached_tokens } => {
                self.begin(prompt_tokens, cached_tokens, out);
            }
            Event::Delta { choice: 0, delta } => {
                self.blocks.push(delta, &mut |step| sse_event(out, step.name(), &step));
            }
            Event::Ended { choice: 0, finish } => self.finish = Some(finish),
            Event::Finished(outcome) => {
                self.begin(outcome.usage.prompt_tokens, outcome.usage.cached_tokens, out);
                self.blocks.close(&mut |step| sse_event(out, step.name(), &step));
                let delta = MessageDelta {
                    r#type: "message_delta",
                    delta: self.meta.stop(self.finish.as_ref()),
                    usage: WireUsage::new(outcome.usage),
                };
                sse_event(out, "message_delta", &delta);
                sse_event(out, "message_stop", &MessageStop { r#type: "message_stop" });
            }
            // The wait is told in comments; there is one answer, and no vector.
            Event::Waiting { .. }
            | Event::Loading { .. }
            | Event::Delta { .. }
            | Event::Ended { .. }
            | Event::Vector { .. } => {}
        }
    }

    fn error(&mut self, error: &Error, out: &mut BytesMut) {
        sse_event(out, "error", &Envelope::new(error));
    }
}
