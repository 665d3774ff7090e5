use crate::domain::{GenerateRequest, Wishes};

/// What a request comes to.
#[derive(Debug, PartialEq)]
pub(in crate::api::ollama) enum Task {
    /// There is nothing to answer: the model is loaded.
    Load,
    /// There is nothing to answer and the model is not to stay: it goes.
    Unload,
    /// An answer.
    Answer(Box<GenerateRequest>),
}

/// A request, with what its answering needs to know.
#[derive(Debug, PartialEq)]
pub(in crate::api::ollama) struct Converted {
    pub(in crate::api::ollama) task: Task,
    pub(in crate::api::ollama) stream: bool,
    pub(in crate::api::ollama) wishes: Wishes,
    /// What does not fit is cut.
    pub(in crate::api::ollama) truncate: bool,
    /// Tokens of the conversation so far, which go before the prompt.
    pub(in crate::api::ollama) context: Vec<i32>,
    /// The end tells the tokens of the conversation.
    pub(in crate::api::ollama) tells_context: bool,
}

impl Converted {
    /// A request of which only the task is known.
    pub(super) fn new(task: Task, stream: bool, wishes: Wishes) -> Self {
        Self { task, stream, wishes, truncate: false, context: Vec::new(), tells_context: false }
    }
}
