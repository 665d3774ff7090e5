use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use crate::api::body::Render;
use crate::domain::{Error, Event};

use super::super::error::Envelope;
use super::fold::{Fold, Piece};
use super::line::{Meta, Said};

/// Turns events into lines: thoughts, text and calls as they come, and an end with what they cost.
pub(in crate::api::ollama) struct LineStream {
    meta: Meta,
    fold: Fold,
}

impl LineStream {
    pub(in crate::api::ollama) fn new(meta: Meta) -> Self {
        Self { meta, fold: Fold::default() }
    }
}

impl Render for LineStream {
    fn event(&mut self, event: Event, out: &mut BytesMut) {
        let Self { meta, fold } = self;
        fold.push(event, &mut |piece| match piece {
            Piece::Thinking(text) => {
                write(out, &meta.line(Said { thinking: &text, ..Said::default() }));
            }
            Piece::Content(text, tokens) => {
                let said = Said { content: &text, tokens: &tokens, ..Said::default() };
                write(out, &meta.line(said));
            }
            Piece::Call(index, call) => {
                let calls = [(index, call)];
                write(out, &meta.line(Said { calls: &calls, ..Said::default() }));
            }
            Piece::End(end) => {
                let said = Said { tokens: &end.tokens, ..Said::default() };
                write(out, &meta.last(said, &end));
            }
        });
    }

    fn error(&mut self, error: &Error, out: &mut BytesMut) {
        write(out, &Envelope::new(error));
    }

    /// Every line is read as a part of the answer: there is no place for a note.
    fn note(&mut self, _: &str) -> Bytes {
        Bytes::new()
    }

    /// A line that says nothing.
    fn alive(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        write(&mut out, &self.meta.line(Said::default()));
        out.freeze()
    }
}

/// Appends one line.
fn write(out: &mut BytesMut, line: &impl Serialize) {
    let mark = out.len();
    if serde_json::to_writer((&mut *out).writer(), line).is_err() {
        // Our own wire types hold nothing that JSON cannot.
        out.truncate(mark);
        out.extend_from_slice(b"{}");
    }
    out.extend_from_slice(b"\n");
}
