use serde_json::json;

use crate::domain::{
    Delta, Event, FinishReason, Outcome, Result, Timings, TokenLogprob, ToolCallDelta,
};

use super::super::callable::Callable;
use super::super::object::{Item, Logprob};
use super::answer::Answer;

/// Events that lead to a final answer again: the same items with the same ids, each said at once.
pub(in crate::api::responses) fn replay(answer: &Answer) -> Vec<Result<Event>> {
    let mut events = vec![Ok(Event::Started { prompt_tokens: 0, cached_tokens: 0 })];
    let mut calls = 0;
    let mut say = |delta| events.push(Ok(Event::Delta { choice: 0, delta }));
    for item in answer.items() {
        match item {
            Item::Reasoning { summary, .. } => {
                let text = summary.iter().map(|part| part.text.as_str()).collect();
                say(Delta::Reasoning(text));
            }
            Item::Message { content, .. } => {
                for part in content {
                    say(Delta::Logprobs(part.logprobs.iter().map(token).collect()));
                    say(Delta::Content(part.text.clone()));
                }
            }
            Item::FunctionCall { call_id, namespace, name, arguments, .. } => {
                let call = call(calls, call_id, namespace.as_deref(), name, arguments.clone());
                calls = calls.saturating_add(1);
                say(call);
            }
            Item::CustomToolCall { call_id, namespace, name, input, .. } => {
                let arguments = json!({ "input": input }).to_string();
                let call = call(calls, call_id, namespace.as_deref(), name, arguments);
                calls = calls.saturating_add(1);
                say(call);
            }
        }
    }
    match (answer.failure(), answer.usage()) {
        (Some(error), _) => events.push(Err(error.clone())),
        (None, usage) => {
            let finish = answer.finish().cloned().unwrap_or(FinishReason::Stop);
            events.push(Ok(Event::Ended { choice: 0, finish }));
            let usage = usage.unwrap_or_default();
            let outcome = Outcome { usage, timings: Timings::default() };
            events.push(Ok(Event::Finished(outcome)));
        }
    }
    events
}

fn call(
    index: u32,
    call_id: &str,
    namespace: Option<&str>,
    name: &str,
    arguments: String,
) -> Delta {
    let id = call_id.strip_prefix("call_").unwrap_or(call_id).to_owned();
    let name = Callable::full_name(name, namespace);
    Delta::ToolCall(ToolCallDelta { index, id: Some(id), name: Some(name), arguments })
}

/// Nobody sees the ids of tokens.
fn token(logprob: &Logprob) -> TokenLogprob {
    let top = logprob.top_logprobs.iter();
    TokenLogprob {
        token: 0,
        bytes: logprob.bytes.clone(),
        logprob: Some(logprob.logprob),
        top: top.map(|other| (0, other.bytes.clone(), other.logprob)).collect(),
    }
}
