use serde::Serialize;

use super::super::object::{Item, Logprob, Object, Summary, Text};

/// Takes the events of a response in order, each with its type.
pub(super) type Sink<'a> = dyn FnMut(&'static str, Body<'_>) + 'a;

/// An event of a stream as it goes out.
#[derive(Serialize)]
pub(super) struct Frame<'a> {
    pub(super) r#type: &'static str,
    pub(super) sequence_number: u64,
    #[serde(flatten)]
    pub(super) body: Body<'a>,
}

/// What an event says.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Body<'a> {
    Response {
        response: Object<'a>,
    },
    Item {
        output_index: usize,
        item: &'a Item,
    },
    SummaryPart {
        item_id: &'a str,
        output_index: usize,
        summary_index: usize,
        part: &'a Summary,
    },
    SummaryDelta {
        item_id: &'a str,
        output_index: usize,
        summary_index: usize,
        delta: &'a str,
    },
    SummaryText {
        item_id: &'a str,
        output_index: usize,
        summary_index: usize,
        text: &'a str,
    },
    Part {
        item_id: &'a str,
        output_index: usize,
        content_index: usize,
        part: &'a Text,
    },
    TextDelta {
        item_id: &'a str,
        output_index: usize,
        content_index: usize,
        delta: &'a str,
        logprobs: &'a [Logprob],
    },
    Text {
        item_id: &'a str,
        output_index: usize,
        content_index: usize,
        text: &'a str,
        logprobs: &'a [Logprob],
    },
    Delta {
        item_id: &'a str,
        output_index: usize,
        delta: &'a str,
    },
    Arguments {
        item_id: &'a str,
        output_index: usize,
        name: &'a str,
        arguments: &'a str,
    },
    Input {
        item_id: &'a str,
        output_index: usize,
        input: &'a str,
    },
    Error {
        code: Option<&'static str>,
        message: &'a str,
        param: Option<&'a str>,
    },
}
