use super::{Delta, Event, FinishReason, Outcome, TokenLogprob, ToolCall};

/// Whole answers, folded from the same events that a stream would have shown: the two cannot
/// disagree.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transcript {
    /// The answers, by their number.
    pub choices: Vec<Choice>,
    /// The vectors, by the number of their input.
    pub vectors: Vec<Vec<f32>>,
    /// Set once everything is complete.
    pub outcome: Option<Outcome>,
}

/// One answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choice {
    /// Text for the reader.
    pub content: String,
    /// Thinking that precedes it.
    pub reasoning: String,
    /// What the model wants to have called.
    pub tool_calls: Vec<ToolCall>,
    /// The content's tokens, where they were asked for.
    pub logprobs: Vec<TokenLogprob>,
    /// Why it ended; set once it has.
    pub finish: Option<FinishReason>,
}

impl Transcript {
    /// Takes in the next event.
    pub fn push(&mut self, event: Event) {
        match event {
            Event::Waiting { .. } | Event::Loading { .. } | Event::Started { .. } => {}
            Event::Delta { choice, delta } => self.choice(choice).push(delta),
            Event::Ended { choice, finish } => self.choice(choice).finish = Some(finish),
            Event::Vector { index, values } => *at(&mut self.vectors, index) = values,
            Event::Finished(outcome) => self.outcome = Some(outcome),
        }
    }

    fn choice(&mut self, number: u32) -> &mut Choice {
        at(&mut self.choices, number)
    }
}

impl Choice {
    /// Takes in the next piece.
    pub fn push(&mut self, delta: Delta) {
        match delta {
            Delta::Content(text) => self.content.push_str(&text),
            Delta::Reasoning(text) => self.reasoning.push_str(&text),
            Delta::Logprobs(tokens) => self.logprobs.extend(tokens),
            Delta::ToolCall(delta) => {
                let call: &mut ToolCall = at(&mut self.tool_calls, delta.index);
                call.id.push_str(&delta.id.unwrap_or_default());
                call.name.push_str(&delta.name.unwrap_or_default());
                call.arguments.push_str(&delta.arguments);
            }
        }
    }
}

/// More of anything than this is not asked for anywhere.
const MAX_NUMBER: usize = 1 << 16;

/// The entry of that number, made with all before it where it is not there. Numbers come from a
/// worker and are bounded.
fn at<T: Default>(list: &mut Vec<T>, number: u32) -> &mut T {
    let number = usize::try_from(number).unwrap_or(usize::MAX).min(MAX_NUMBER);
    if list.len() <= number {
        list.resize_with(number.saturating_add(1), T::default);
    }
    #[expect(clippy::indexing_slicing, reason = "made long enough just above")]
    &mut list[number]
}
