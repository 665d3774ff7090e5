use bytes::Bytes;

use crate::domain::{Error, Event, FinishReason, Outcome, Result};

use super::blocks::{Blocks, Content};
use super::parts::{Meta, WireUsage};

/// Collects the events of an answer that is not streamed.
pub(in crate::api::anthropic) struct Whole {
    meta: Meta,
    blocks: Blocks,
    content: Content,
    finish: Option<FinishReason>,
    outcome: Option<Outcome>,
}

impl Whole {
    pub(in crate::api::anthropic) fn new(meta: Meta) -> Self {
        let (blocks, content) = (Blocks::default(), Content::default());
        Self { meta, blocks, content, finish: None, outcome: None }
    }

    /// Takes in the next event.
    pub(in crate::api::anthropic) fn push(&mut self, event: Event) {
        let Self { blocks, content, .. } = self;
        match event {
            Event::Delta { choice: 0, delta } => {
                blocks.push(delta, &mut |step| content.apply(step));
            }
            Event::Ended { choice: 0, finish } => self.finish = Some(finish),
            Event::Finished(outcome) => {
                blocks.close(&mut |step| content.apply(step));
                self.outcome = Some(outcome);
            }
            // There is one answer, and no vector.
            Event::Waiting { .. }
            | Event::Loading { .. }
            | Event::Started { .. }
            | Event::Delta { .. }
            | Event::Ended { .. }
            | Event::Vector { .. } => {}
        }
    }

    /// The body of the answer.
    ///
    /// # Errors
    /// `Internal` if the answer is not complete.
    pub(in crate::api::anthropic) fn body(&self) -> Result<Bytes> {
        let outcome = self.outcome.as_ref();
        let outcome =
            outcome.ok_or_else(|| Error::internal("a generation ended without a result"))?;
        let stop = self.meta.stop(self.finish.as_ref());
        let usage = WireUsage::new(outcome.usage);
        let message = self.meta.message(&self.content.blocks, stop, usage);
        serde_json::to_vec(&message).map(Bytes::from).map_err(Error::internal)
    }
}
