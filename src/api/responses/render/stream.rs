use bytes::BytesMut;

use crate::api::body::{Render, sse_event};
use crate::domain::{Error, Event};

use super::answer::Answer;
use super::frame::{Body, Frame};

/// What is done with a response once it is final.
pub(in crate::api::responses) type Keep = Box<dyn FnOnce(&Answer) + Send>;

/// Writes the events of a response, numbered from 0 without gaps.
pub(in crate::api::responses) struct FrameStream {
    answer: Answer,
    next: u64,
    /// The reader has seen all up to this one.
    seen: Option<u64>,
    keep: Option<Keep>,
}

impl FrameStream {
    /// For an answer that begins now.
    pub(in crate::api::responses) fn new(answer: Answer, keep: Option<Keep>) -> Self {
        Self { answer, next: 0, seen: None, keep }
    }

    /// For an answer that is told again to whoever has seen the events up to `seen`.
    pub(in crate::api::responses) fn again(answer: &Answer, seen: Option<u64>) -> Self {
        Self { answer: answer.anew(), next: 0, seen, keep: None }
    }

    /// The response is kept before its reader learns that it is complete.
    fn settle(&mut self) {
        if self.answer.status().is_final()
            && let Some(keep) = self.keep.take()
        {
            keep(&self.answer);
        }
    }
}

impl Render for FrameStream {
    fn event(&mut self, event: Event, out: &mut BytesMut) {
        let Self { answer, next, seen, .. } = self;
        answer.event(event, &mut |name, body| write(out, next, *seen, name, body));
        self.settle();
    }

    fn error(&mut self, error: &Error, out: &mut BytesMut) {
        let Self { answer, next, seen, .. } = self;
        answer.fail(error, &mut |name, body| write(out, next, *seen, name, body));
        self.settle();
    }
}

fn write(
    out: &mut BytesMut,
    next: &mut u64,
    seen: Option<u64>,
    name: &'static str,
    body: Body<'_>,
) {
    let sequence_number = *next;
    *next = next.saturating_add(1);
    if seen.is_none_or(|seen| sequence_number > seen) {
        sse_event(out, name, &Frame { r#type: name, sequence_number, body });
    }
}
