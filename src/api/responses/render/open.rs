use serde_json::Value;

use super::super::object::{Item, Logprob, Status, Summary, Text};
use super::frame::{Body, Sink};

/// An item that still grows. Its index in the output is given by whoever holds it.
#[derive(Debug, Clone)]
pub(super) enum Open {
    Reasoning { id: String, text: String },
    Message { id: String, text: String, logprobs: Vec<Logprob> },
    Call(Call),
}

/// A call that still grows.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// Its number among the calls of the answer.
    pub(super) number: u32,
    pub(super) id: String,
    pub(super) call_id: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    /// The arguments are an object with one text, `input`, which is what the client wants.
    pub(super) custom: bool,
    pub(super) arguments: String,
}

impl Open {
    /// Says that it is there, still empty.
    pub(super) fn announce(&self, output_index: usize, sink: &mut Sink<'_>) {
        let item = match self {
            Self::Reasoning { id, .. } => Item::Reasoning { id: id.clone(), summary: Vec::new() },
            Self::Message { id, .. } => message(id.clone(), Status::InProgress, Vec::new()),
            Self::Call(call) => call.item(Status::InProgress, String::new()),
        };
        sink("response.output_item.added", Body::Item { output_index, item: &item });
        let item_id = item.id();
        match self {
            Self::Reasoning { .. } => {
                let part = &Summary::new(String::new());
                let body = Body::SummaryPart { item_id, output_index, summary_index: 0, part };
                sink("response.reasoning_summary_part.added", body);
            }
            Self::Message { .. } => {
                let part = &Text::new(String::new(), Vec::new());
                let body = Body::Part { item_id, output_index, content_index: 0, part };
                sink("response.content_part.added", body);
            }
            Self::Call(_) => {}
        }
    }

    /// Takes in more of it.
    pub(super) fn grow(
        &mut self,
        delta: &str,
        tokens: Vec<Logprob>,
        output_index: usize,
        sink: &mut Sink<'_>,
    ) {
        match self {
            Self::Reasoning { id, text } => {
                text.push_str(delta);
                let body =
                    Body::SummaryDelta { item_id: id, output_index, summary_index: 0, delta };
                sink("response.reasoning_summary_text.delta", body);
            }
            Self::Message { id, text, logprobs } => {
                text.push_str(delta);
                let body = Body::TextDelta {
                    item_id: id,
                    output_index,
                    content_index: 0,
                    delta,
                    logprobs: &tokens,
                };
                sink("response.output_text.delta", body);
                logprobs.extend(tokens);
            }
            Self::Call(call) => {
                call.arguments.push_str(delta);
                // Free text is taken out of the arguments once they are whole.
                if !call.custom {
                    let body = Body::Delta { item_id: &call.id, output_index, delta };
                    sink("response.function_call_arguments.delta", body);
                }
            }
        }
    }

    /// Says that nothing follows; the item as it stays.
    pub(super) fn close(self, status: Status, output_index: usize, sink: &mut Sink<'_>) -> Item {
        let item = match self {
            Self::Reasoning { id, text } => {
                let (item_id, summary_index) = (id.as_str(), 0);
                let body = Body::SummaryText { item_id, output_index, summary_index, text: &text };
                sink("response.reasoning_summary_text.done", body);
                let part = Summary::new(text);
                let body = Body::SummaryPart { item_id, output_index, summary_index, part: &part };
                sink("response.reasoning_summary_part.done", body);
                Item::Reasoning { id, summary: vec![part] }
            }
            Self::Message { id, text, logprobs } => {
                let (item_id, content_index) = (id.as_str(), 0);
                let body = Body::Text {
                    item_id,
                    output_index,
                    content_index,
                    text: &text,
                    logprobs: &logprobs,
                };
                sink("response.output_text.done", body);
                let part = Text::new(text, logprobs);
                let body = Body::Part { item_id, output_index, content_index, part: &part };
                sink("response.content_part.done", body);
                message(id, status, vec![part])
            }
            Self::Call(call) => call.close(status, output_index, sink),
        };
        sink("response.output_item.done", Body::Item { output_index, item: &item });
        item
    }

    /// The item as it is now, for whoever asks before it is done.
    pub(super) fn so_far(&self) -> Item {
        self.clone().close(Status::InProgress, 0, &mut |_, _| {})
    }
}

impl Call {
    fn close(mut self, status: Status, output_index: usize, sink: &mut Sink<'_>) -> Item {
        let item_id = self.id.as_str();
        if self.custom {
            let input = free_text(&self.arguments);
            if !input.is_empty() {
                let body = Body::Delta { item_id, output_index, delta: &input };
                sink("response.custom_tool_call_input.delta", body);
            }
            let body = Body::Input { item_id, output_index, input: &input };
            sink("response.custom_tool_call_input.done", body);
            return self.item(status, input);
        }
        if self.arguments.is_empty() && status == Status::Completed {
            // Clients read the arguments as JSON.
            self.arguments.push_str("{}");
            let body = Body::Delta { item_id, output_index, delta: "{}" };
            sink("response.function_call_arguments.delta", body);
        }
        let arguments = std::mem::take(&mut self.arguments);
        let body =
            Body::Arguments { item_id, output_index, name: &self.name, arguments: &arguments };
        sink("response.function_call_arguments.done", body);
        self.item(status, arguments)
    }

    /// The item; `said` are its arguments or its free text.
    fn item(&self, status: Status, said: String) -> Item {
        let Self { id, call_id, namespace, name, .. } = self;
        let (id, call_id) = (id.clone(), call_id.clone());
        let (namespace, name) = (namespace.clone(), name.clone());
        match self.custom {
            true => Item::CustomToolCall { id, status, call_id, namespace, name, input: said },
            false => Item::FunctionCall { id, status, call_id, namespace, name, arguments: said },
        }
    }
}

fn message(id: String, status: Status, content: Vec<Text>) -> Item {
    Item::Message { id, status, role: "assistant", content }
}

/// The one text of the arguments; what is no such thing stays as it is.
fn free_text(arguments: &str) -> String {
    let whole = serde_json::from_str::<Value>(arguments).ok();
    let input = whole.as_ref().and_then(|value| value.get("input")).and_then(Value::as_str);
    input.unwrap_or(arguments).to_owned()
}
