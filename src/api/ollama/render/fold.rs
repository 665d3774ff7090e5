use crate::domain::{Delta, Event, FinishReason, Outcome, TokenLogprob, ToolCall, ToolCallDelta};

/// What an answer says next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    /// A thought.
    Thinking(String),
    /// Text with the tokens that it was made of, where they were asked for.
    Content(String, Vec<TokenLogprob>),
    /// A call, whole, with its number.
    Call(u32, ToolCall),
    /// The end.
    End(End),
}

/// How it ended and what it cost.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct End {
    /// Why.
    pub(super) finish: FinishReason,
    /// Counts and times.
    pub(super) outcome: Outcome,
    /// Tokens of which no text came: a stop string, or half a character.
    pub(super) tokens: Vec<TokenLogprob>,
}

/// Joins events to pieces: calls come whole or not at all.
#[derive(Debug, Default)]
pub(super) struct Fold {
    tokens: Vec<TokenLogprob>,
    call: Option<(u32, ToolCall)>,
    calls: u32,
    finish: Option<FinishReason>,
}

impl Fold {
    /// Takes in the next event and tells what it completes.
    pub(super) fn push(&mut self, event: Event, tell: &mut dyn FnMut(Piece)) {
        match event {
            Event::Delta { choice: 0, delta } => self.delta(delta, tell),
            Event::Ended { choice: 0, finish } => {
                self.end_call(tell);
                self.finish = Some(finish);
            }
            Event::Finished(outcome) => {
                self.end_call(tell);
                let finish = self.finish.take().unwrap_or(FinishReason::Stop);
                let tokens = std::mem::take(&mut self.tokens);
                tell(Piece::End(End { finish, outcome, tokens }));
            }
            // There is one answer, and no vector; how the request waits has no place.
            Event::Waiting { .. }
            | Event::Loading { .. }
            | Event::Started { .. }
            | Event::Delta { .. }
            | Event::Ended { .. }
            | Event::Vector { .. } => {}
        }
    }

    fn delta(&mut self, delta: Delta, tell: &mut dyn FnMut(Piece)) {
        match delta {
            Delta::Logprobs(tokens) => self.tokens.extend(tokens),
            Delta::ToolCall(piece) => self.call(piece, tell),
            Delta::Content(text) => {
                self.end_call(tell);
                let tokens = std::mem::take(&mut self.tokens);
                if !text.is_empty() || !tokens.is_empty() {
                    tell(Piece::Content(text, tokens));
                }
            }
            Delta::Reasoning(text) => {
                self.end_call(tell);
                if !text.is_empty() {
                    tell(Piece::Thinking(text));
                }
            }
        }
    }

    fn call(&mut self, piece: ToolCallDelta, tell: &mut dyn FnMut(Piece)) {
        let ToolCallDelta { index, id, name, arguments } = piece;
        if self.call.as_ref().is_some_and(|(open, _)| *open != index) {
            self.end_call(tell);
        }
        let (_, call) = self.call.get_or_insert_with(|| (index, ToolCall::default()));
        call.id.push_str(&id.unwrap_or_default());
        call.name.push_str(&name.unwrap_or_default());
        call.arguments.push_str(&arguments);
    }

    /// A call whose arguments broke off is not told: to make it would be to make another one.
    fn end_call(&mut self, tell: &mut dyn FnMut(Piece)) {
        let Some((_, mut call)) = self.call.take() else { return };
        if call.arguments.trim().is_empty() {
            "{}".clone_into(&mut call.arguments);
        }
        let whole = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>;
        if call.name.is_empty() || whole(&call.arguments).is_err() {
            return;
        }
        let number = self.calls;
        self.calls = self.calls.saturating_add(1);
        tell(Piece::Call(number, call));
    }
}
