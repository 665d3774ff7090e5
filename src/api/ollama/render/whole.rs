use bytes::Bytes;

use crate::domain::{Error, Event, Result, TokenLogprob, ToolCall};

use super::fold::{End, Fold, Piece};
use super::line::{Meta, Said};

/// Collects the events of an answer that is not streamed.
pub(in crate::api::ollama) struct Whole {
    meta: Meta,
    fold: Fold,
    content: String,
    thinking: String,
    calls: Vec<(u32, ToolCall)>,
    tokens: Vec<TokenLogprob>,
    end: Option<End>,
}

impl Whole {
    pub(in crate::api::ollama) fn new(meta: Meta) -> Self {
        Self {
            meta,
            fold: Fold::default(),
            content: String::new(),
            thinking: String::new(),
            calls: Vec::new(),
            tokens: Vec::new(),
            end: None,
        }
    }

    /// Takes in the next event.
    pub(in crate::api::ollama) fn push(&mut self, event: Event) {
        let Self { meta: _, fold, content, thinking, calls, tokens, end } = self;
        fold.push(event, &mut |piece| match piece {
            Piece::Thinking(text) => thinking.push_str(&text),
            Piece::Content(text, of_text) => {
                content.push_str(&text);
                tokens.extend(of_text);
            }
            Piece::Call(index, call) => calls.push((index, call)),
            Piece::End(mut last) => {
                tokens.append(&mut last.tokens);
                *end = Some(last);
            }
        });
    }

    /// The body of the answer.
    ///
    /// # Errors
    /// `Internal` if the answer is not complete.
    pub(in crate::api::ollama) fn body(&self) -> Result<Bytes> {
        let Self { meta, fold: _, content, thinking, calls, tokens, end } = self;
        let end =
            end.as_ref().ok_or_else(|| Error::internal("a generation ended without a result"))?;
        let line = meta.last(Said { content, thinking, calls, tokens }, end);
        serde_json::to_vec(&line).map(Bytes::from).map_err(Error::internal)
    }
}
