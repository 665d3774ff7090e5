use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api::body::Render;
use crate::domain::{
    Delta, Error, ErrorKind, Event, FinishReason, Outcome, Timings, TokenLogprob, ToolCallDelta,
    Usage,
};

fn meta(shape: Shape) -> Meta {
    Meta::new("llama3".into(), shape)
}

fn call(index: u32, id: &str, name: &str, arguments: &str) -> Delta {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Delta::ToolCall(ToolCallDelta {
        index,
        id: some(id),
        name: some(name),
        arguments: arguments.into(),
    })
}

fn content(text: &str) -> Delta {
    Delta::Content(text.into())
}

fn events(deltas: Vec<Delta>, finish: FinishReason) -> Vec<Event> {
    let mut events = vec![
        Event::Waiting { position: 3 },
        Event::Loading { fraction: 0.5 },
        Event::Started { prompt_tokens: 10, cached_tokens: 4 },
    ];
    events.extend(deltas.into_iter().map(|delta| Event::Delta { choice: 0, delta }));
    events.push(Event::Ended { choice: 0, finish });
    let usage =
        Usage { prompt_tokens: 10, cached_tokens: 4, completion_tokens: 7, reasoning_tokens: 0 };
    let timings = Timings { queue_ms: 2.0, load_ms: 1.0, prompt_ms: 3.5, decode_ms: 40.0 };
    events.push(Event::Finished(Outcome { usage, timings }));
    events
}

fn redacted(text: &str) -> String {
    let mut pieces = text.split("\"created_at\":\"");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (time, rest) = piece.split_once('"').expect("a time");
        assert!(time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok(), "{time}");
        out += &format!("\"created_at\":\"TIME\"{rest}");
    }
    out
}

fn stream(shape: Shape, events: &[Event]) -> String {
    let mut render = LineStream::new(meta(shape));
    let mut out = BytesMut::new();
    for event in events {
        render.event(event.clone(), &mut out);
    }
    redacted(&String::from_utf8_lossy(&out))
}

fn whole(shape: Shape, events: &[Event]) -> String {
    let mut whole = Whole::new(meta(shape));
    events.iter().for_each(|event| whole.push(event.clone()));
    redacted(&String::from_utf8_lossy(&whole.body().expect("complete")))
}

/// Both forms, for a snapshot.
fn both(shape: Shape, deltas: Vec<Delta>, finish: FinishReason) -> String {
    let events = events(deltas, finish);
    format!("{}\n\n{}", whole(shape, &events), stream(shape, &events))
}

#[test]
fn a_chat() {
    let deltas = vec![content("Hel"), content("lo")];
    insta::assert_snapshot!(both(Shape::Chat, deltas, FinishReason::Stop));
}

#[test]
fn a_generation_that_is_cut() {
    let deltas = vec![content("Hel"), content("lo")];
    insta::assert_snapshot!(both(Shape::Generate, deltas, FinishReason::Length));
}

#[test]
fn thoughts_come_first() {
    let deltas =
        || vec![Delta::Reasoning("Let me".into()), Delta::Reasoning(" see.".into()), content("Hi")];
    let chat = both(Shape::Chat, deltas(), FinishReason::Stop);
    let generated = both(Shape::Generate, deltas(), FinishReason::StopString("END".into()));
    insta::assert_snapshot!(format!("{chat}\n\n{generated}"));
}

#[test]
fn two_calls() {
    let deltas = vec![
        content("I look."),
        call(0, "abcdefgh1", "clock", ""),
        call(0, "", "", "{\"zone\":"),
        call(0, "", "", "\"CET\"}"),
        call(1, "abcdefgh2", "weather", ""),
    ];
    insta::assert_snapshot!(both(Shape::Chat, deltas, FinishReason::ToolCalls));
}

#[test]
fn a_call_that_breaks_off_is_not_told() {
    let deltas = vec![
        call(0, "abcdefgh1", "clock", "{\"zone\":\"CET\"}"),
        call(1, "abcdefgh2", "clock", "{\"zone\":\"CE"),
    ];
    let events = events(deltas, FinishReason::Length);
    let whole: Value = serde_json::from_str(&whole(Shape::Chat, &events)).expect("JSON");
    assert_eq!(whole["message"]["tool_calls"].as_array().map(Vec::len), Some(1));
    assert_eq!(whole["done_reason"], "length");
}

#[test]
fn tokens_with_their_probabilities() {
    let token = |bytes: &[u8], logprob| TokenLogprob {
        token: 1,
        bytes: bytes.to_vec(),
        logprob,
        top: vec![(1, bytes.to_vec(), -0.5), (2, b"x".to_vec(), f32::NEG_INFINITY)],
    };
    let deltas = vec![
        Delta::Logprobs(vec![token(b"Hi", Some(-0.5)), token(b"\xc3", None)]),
        content("Hi"),
        Delta::Logprobs(vec![token(b"END", Some(-2.0))]),
    ];
    insta::assert_snapshot!(both(Shape::Generate, deltas, FinishReason::Stop));
}

#[test]
fn an_error_after_the_beginning_is_the_last_line() {
    let mut render = LineStream::new(meta(Shape::Chat));
    let mut out = BytesMut::new();
    let error = Error::new(ErrorKind::EngineCrashed, "It broke.").with_cause("a secret");
    render.error(&error, &mut out);
    assert_eq!(&out[..], b"{\"error\":\"It broke.\"}\n");
}

#[test]
fn a_stream_that_waits_says_nothing_in_a_line_of_the_answer() {
    let mut render = LineStream::new(meta(Shape::Chat));
    assert!(render.note("queued, position 1").is_empty());
    let line: Value = serde_json::from_slice(&render.alive()).expect("JSON");
    assert_eq!((&line["done"], &line["message"]["content"]), (&json!(false), &json!("")));
}

#[test]
fn what_is_not_complete_is_an_error() {
    let mut unfinished = Whole::new(meta(Shape::Chat));
    unfinished.push(Event::content("Hel"));
    assert_eq!(unfinished.body().expect_err("incomplete").kind, ErrorKind::Internal);
}

#[test]
fn the_tokens_of_the_conversation_are_told_at_its_end() {
    let meta = meta(Shape::Generate);
    *meta.context.lock().expect("free") = vec![1, 2, 3];
    let mut whole = Whole::new(meta);
    events(vec![content("x")], FinishReason::Stop).into_iter().for_each(|event| whole.push(event));
    let whole: Value = serde_json::from_slice(&whole.body().expect("complete")).expect("JSON");
    assert_eq!(whole["context"], json!([1, 2, 3]));
}

#[test]
fn what_happened_took_some_time() {
    let events = vec![Event::Finished(Outcome {
        usage: Usage { prompt_tokens: 1, completion_tokens: 1, ..Usage::default() },
        timings: Timings::default(),
    })];
    let whole: Value = serde_json::from_str(&whole(Shape::Chat, &events)).expect("JSON");
    for field in ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration"] {
        assert!(whole[field].as_u64().is_some_and(|time| time > 0), "{field}: {whole}");
    }
}

fn some_deltas() -> impl Strategy<Value = Vec<Delta>> {
    let piece = prop_oneof![
        "[a-z ]{0,3}".prop_map(Delta::Content),
        "[a-z ]{0,3}".prop_map(Delta::Reasoning),
        (0u32..3, "[{}a]{0,2}").prop_map(|(index, text)| call(index, "", "", &text)),
        (0u32..3).prop_map(|index| call(index, "abcdefghi", "f", "{\"a\":1}")),
    ];
    prop::collection::vec(piece, 0..12)
}

proptest! {
    /// Clients join the lines; what they get is what the whole answer says.
    #[test]
    fn whole_and_streamed_answers_agree(deltas in some_deltas()) {
        let events = events(deltas, FinishReason::Stop);
        let whole: Value = serde_json::from_str(&whole(Shape::Chat, &events)).expect("JSON");
        let stream = stream(Shape::Chat, &events);
        let (mut content, mut thinking, mut calls) = (String::new(), String::new(), Vec::new());
        let mut last = Value::Null;
        for line in stream.lines() {
            prop_assert!(last["done"] != json!(true), "after the end");
            last = serde_json::from_str(line).expect("JSON");
            let message = &last["message"];
            content += message["content"].as_str().expect("a text");
            thinking += message["thinking"].as_str().unwrap_or_default();
            calls.extend(message["tool_calls"].as_array().cloned().unwrap_or_default());
        }
        prop_assert_eq!(&last["done"], &json!(true));
        prop_assert_eq!(whole["message"]["content"].as_str(), Some(content.as_str()));
        prop_assert_eq!(whole["message"]["thinking"].as_str().unwrap_or_default(), thinking);
        let whole_calls = whole["message"]["tool_calls"].as_array().cloned().unwrap_or_default();
        prop_assert_eq!(whole_calls, calls);
        prop_assert_eq!(&whole["eval_count"], &last["eval_count"]);
    }
}
