use super::{Delta, Event, Outcome};

/// A whole answer, folded from the same events that a stream would have shown: the two cannot
/// disagree.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transcript {
    /// The answer's text.
    pub content: String,
    /// Set once the answer is complete.
    pub outcome: Option<Outcome>,
}

impl Transcript {
    /// Takes in the next event.
    pub fn push(&mut self, event: Event) {
        match event {
            Event::Waiting { .. } | Event::Loading { .. } | Event::Started { .. } => {}
            Event::Delta(Delta::Content(text)) => self.content.push_str(&text),
            Event::Finished(outcome) => self.outcome = Some(outcome),
        }
    }
}
