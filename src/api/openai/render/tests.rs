use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::layout::Shape;
use super::*;
use crate::api::body::Render;
use crate::domain::{
    Delta, Error, ErrorKind, Event, FinishReason, Outcome, Timings, TokenLogprob, ToolCallDelta,
    Transcript, Usage,
};

fn meta() -> Meta {
    Meta {
        id: "ID".into(),
        created: 1_700_000_000,
        model: "ai/m".into(),
        system_fingerprint: "FP".into(),
    }
}

const STARTED: Event = Event::Started { prompt_tokens: 10, cached_tokens: 4 };

fn finished() -> Event {
    Event::Finished(Outcome {
        usage: Usage {
            prompt_tokens: 10,
            cached_tokens: 4,
            completion_tokens: 3,
            reasoning_tokens: 1,
        },
        timings: Timings { queue_ms: 1.0, load_ms: 0.5, prompt_ms: 12.0, decode_ms: 30.0 },
    })
}

fn says(choice: u32, delta: Delta) -> Event {
    Event::Delta { choice, delta }
}

fn ends(choice: u32, finish: FinishReason) -> Event {
    Event::Ended { choice, finish }
}

/// One answer of these deltas, with all that goes before and after.
fn answer(deltas: Vec<Delta>, finish: FinishReason) -> Vec<Event> {
    let mut events =
        vec![Event::Waiting { position: 3 }, Event::Loading { fraction: 0.5 }, STARTED];
    events.extend(deltas.into_iter().map(|delta| says(0, delta)));
    events.extend([ends(0, finish), finished()]);
    events
}

fn texts(texts: &[&str]) -> Vec<Delta> {
    texts.iter().map(|text| Delta::Content((*text).to_owned())).collect()
}

fn call(index: u32, id: &str, name: &str, arguments: &str) -> Delta {
    Delta::ToolCall(ToolCallDelta {
        index,
        id: Some(id.into()),
        name: Some(name.into()),
        arguments: arguments.into(),
    })
}

fn more(index: u32, arguments: &str) -> Delta {
    let arguments = arguments.into();
    Delta::ToolCall(ToolCallDelta { index, arguments, ..ToolCallDelta::default() })
}

fn token(text: &[u8], logprob: f32) -> TokenLogprob {
    let top = vec![(1, text.to_vec(), logprob), (2, b"other".to_vec(), -3.5)];
    TokenLogprob { token: 1, bytes: text.to_vec(), logprob: Some(logprob), top }
}

fn stream(layout: Layout, include_usage: bool, events: Vec<Event>) -> String {
    let mut render = ChunkStream::new(layout, meta(), include_usage);
    let mut out = BytesMut::new();
    for event in events {
        render.event(event, &mut out);
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn whole_of(layout: &Layout, events: Vec<Event>) -> Value {
    let mut transcript = Transcript::default();
    events.into_iter().for_each(|event| transcript.push(event));
    let body = whole(layout, &meta(), &transcript, &[10]).expect("complete");
    serde_json::from_slice(&body).expect("JSON")
}

/// The chunks of a stream, which ends with `[DONE]`.
fn chunks(stream: &str) -> Vec<Value> {
    let frames: Vec<&str> = stream.split_terminator("\n\n").collect();
    let (done, chunks) = frames.split_last().expect("frames");
    assert_eq!(*done, "data: [DONE]");
    let json = |frame: &&str| frame.strip_prefix("data: ").expect("data").to_owned();
    chunks.iter().map(|frame| serde_json::from_str(&json(frame)).expect("JSON")).collect()
}

/// What a client makes of a stream: texts are joined, lists go on, a value replaces null.
fn accumulated(stream: &str) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    for chunk in chunks(stream) {
        for choice in chunk["choices"].as_array().expect("choices") {
            let index = usize::try_from(choice["index"].as_u64().expect("an index")).expect("one");
            all.resize(all.len().max(index + 1), json!({ "index": null }));
            join(&mut all[index], choice);
        }
    }
    all
}

fn join(all: &mut Value, piece: &Value) {
    match (all, piece) {
        (_, Value::Null) => {}
        (Value::Object(all), Value::Object(piece)) => {
            for (key, value) in piece {
                // As the client libraries have it: all texts are joined but these.
                match all.get_mut(key) {
                    Some(old) if !["index", "type", "finish_reason"].contains(&key.as_str()) => {
                        join(old, value);
                    }
                    _ => drop(all.insert(key.clone(), value.clone())),
                }
            }
        }
        (Value::String(all), Value::String(piece)) => all.push_str(piece),
        (Value::Array(all), Value::Array(piece)) => {
            for item in piece {
                match item.get("index").and_then(Value::as_u64) {
                    Some(at) if (at as usize) < all.len() => join(&mut all[at as usize], item),
                    _ => all.push(item.clone()),
                }
            }
        }
        (all, piece) => *all = piece.clone(),
    }
}

/// What a stream says and what the whole answer says, in the same words.
#[track_caller]
fn assert_agreed(layout: &Layout, events: Vec<Event>) {
    let whole = whole_of(layout, events.clone());
    let told = accumulated(&stream(layout.clone(), true, events));
    let choices = whole["choices"].as_array().expect("choices");
    assert_eq!(told.len(), choices.len());
    for (told, whole) in told.iter().zip(choices) {
        assert_eq!(told["finish_reason"], whole["finish_reason"]);
        if layout.shape == Shape::Text {
            assert_eq!(told["text"], whole["text"]);
        } else {
            let (delta, message) = (&told["delta"], &whole["message"]);
            assert_eq!(delta["role"], message["role"]);
            assert_eq!(delta["content"].as_str(), message["content"].as_str().or(Some("")));
            for key in ["reasoning_content", "function_call"] {
                assert_eq!(delta[key], message[key], "{key}");
            }
            let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
            let told = delta["tool_calls"].as_array().cloned().unwrap_or_default();
            assert_eq!(told.len(), calls.len());
            for (at, (mut told, call)) in told.into_iter().zip(calls).enumerate() {
                let index = told.as_object_mut().and_then(|told| told.remove("index"));
                assert_eq!((index, told), (Some(json!(at)), call));
            }
        }
        let told_logprobs = told["logprobs"].as_object();
        match whole["logprobs"].as_object() {
            Some(logprobs) if told_logprobs.is_some() => assert_eq!(Some(logprobs), told_logprobs),
            Some(logprobs) => {
                let empty = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
                assert!(logprobs.values().all(empty), "{logprobs:?}");
            }
            None => assert_eq!(told_logprobs, None),
        }
    }
}

fn chat() -> Layout {
    Layout::chat(1, false)
}

fn legacy() -> Layout {
    Layout { legacy_functions: true, ..chat() }
}

#[test]
fn a_chat_stream() {
    let events = answer(texts(&["Hel", "lo"]), FinishReason::Stop);
    insta::assert_snapshot!(stream(chat(), false, events));
}

#[test]
fn a_chat_stream_with_usage() {
    let events = answer(texts(&["Hi"]), FinishReason::StopString("END".into()));
    insta::assert_snapshot!(stream(chat(), true, events));
}

#[test]
fn an_empty_chat_stream_still_has_a_role_and_an_end() {
    insta::assert_snapshot!(stream(chat(), false, answer(vec![], FinishReason::Length)));
}

#[test]
fn a_text_stream_with_usage() {
    let events = answer(texts(&["Hel", "lo"]), FinishReason::Length);
    insta::assert_snapshot!(stream(Layout::text(1, false), true, events));
}

#[test]
fn an_error_in_a_stream_is_an_event_of_its_own() {
    let mut render = ChunkStream::new(chat(), meta(), true);
    let mut out = BytesMut::new();
    render.event(Event::Started { prompt_tokens: 1, cached_tokens: 0 }, &mut out);
    render.error(&Error::new(ErrorKind::EngineCrashed, "The worker died."), &mut out);
    insta::assert_snapshot!(String::from_utf8_lossy(&out));
}

#[test]
fn whole_answers() {
    let chat = whole_of(&chat(), answer(texts(&["Hel", "lo"]), FinishReason::Stop));
    let text =
        whole_of(&Layout::text(1, false), answer(texts(&["Hel", "lo"]), FinishReason::Length));
    insta::assert_json_snapshot!([chat, text]);
}

fn calls() -> Vec<Event> {
    let deltas = vec![
        Delta::Reasoning("Let me ".into()),
        Delta::Reasoning("look.".into()),
        call(0, "aB3", "get_weather", ""),
        more(0, "{\"city\":"),
        more(0, "\"Paris\"}"),
        call(1, "cD4", "get_time", ""),
        call(2, "eF5", "add", "{\"a\":1}"),
    ];
    answer(deltas, FinishReason::ToolCalls)
}

#[test]
fn parallel_tool_calls() {
    insta::assert_snapshot!("calls_streamed", stream(chat(), false, calls()));
    insta::assert_json_snapshot!("calls_whole", whole_of(&chat(), calls())["choices"]);
    assert_agreed(&chat(), calls());
}

#[test]
fn a_function_call_of_old() {
    insta::assert_snapshot!("function_streamed", stream(legacy(), false, calls()));
    insta::assert_json_snapshot!("function_whole", whole_of(&legacy(), calls())["choices"]);
    assert_agreed(&legacy(), calls());
}

#[test]
fn an_answer_with_calls_ends_for_them_unless_it_was_cut() {
    for (finish, told) in [
        (FinishReason::Stop, "tool_calls"),
        (FinishReason::StopString("x".into()), "tool_calls"),
        (FinishReason::ToolCalls, "tool_calls"),
        (FinishReason::Length, "length"),
    ] {
        let events = answer(vec![call(0, "a", "f", "{}")], finish);
        assert_eq!(whole_of(&chat(), events.clone())["choices"][0]["finish_reason"], told);
        assert_agreed(&chat(), events);
    }
}

#[test]
fn reasoning_and_content() {
    let deltas = vec![Delta::Reasoning("Hm.".into()), Delta::Content("Yes.".into())];
    let events = answer(deltas, FinishReason::Stop);
    insta::assert_snapshot!("reasoning_streamed", stream(chat(), false, events.clone()));
    insta::assert_json_snapshot!("reasoning_whole", whole_of(&chat(), events));
}

fn likely() -> Vec<Event> {
    let deltas = vec![
        Delta::Logprobs(vec![token(b"Hi", -0.25)]),
        Delta::Content("Hi".into()),
        // A crab in two tokens.
        Delta::Logprobs(vec![token(b" \xf0\x9f", -0.5), token(b"\xa6\x80", f32::NEG_INFINITY)]),
        Delta::Content(" 🦀".into()),
        // Cut off: no text comes of it.
        Delta::Logprobs(vec![token(b"END", -1.0)]),
    ];
    answer(deltas, FinishReason::StopString("END".into()))
}

#[test]
fn logprobs_of_a_chat() {
    let layout = Layout::chat(1, true);
    insta::assert_snapshot!("logprobs_streamed", stream(layout.clone(), false, likely()));
    insta::assert_json_snapshot!("logprobs_whole", whole_of(&layout, likely())["choices"]);
    assert_agreed(&layout, likely());
}

#[test]
fn logprobs_that_nobody_asked_for_are_not_told() {
    for layout in [chat(), Layout::text(1, false)] {
        assert_eq!(whole_of(&layout, likely())["choices"][0]["logprobs"], Value::Null);
        assert_agreed(&layout, likely());
    }
}

/// The prompt "Onç" in two tokens, then an answer.
fn echoed() -> Vec<Event> {
    let first = TokenLogprob { token: 1, bytes: b"On".to_vec(), logprob: None, top: vec![] };
    let deltas = vec![
        Delta::Logprobs(vec![first, token("ç".as_bytes(), -2.0)]),
        Delta::Content("Onç".into()),
        Delta::Logprobs(vec![token(b"e", -0.5)]),
        Delta::Content("e".into()),
    ];
    answer(deltas, FinishReason::Length)
}

#[test]
fn an_echo_with_logprobs_in_the_old_shape() {
    let layout = Layout { echo: true, ..Layout::text(1, true) };
    insta::assert_snapshot!("echo_streamed", stream(layout.clone(), false, echoed()));
    insta::assert_json_snapshot!("echo_whole", whole_of(&layout, echoed())["choices"]);
    assert_agreed(&layout, echoed());
}

#[test]
fn without_an_echo_offsets_begin_behind_the_prompt() {
    let layout = Layout { offsets: vec![7], ..Layout::text(1, true) };
    let whole = whole_of(&layout, likely());
    let logprobs = &whole["choices"][0]["logprobs"];
    // The second half of the crab is where the crab is.
    assert_eq!(logprobs["text_offset"], json!([7, 9, 10, 11]));
    // The chosen token is among the alternatives, or joins them.
    let top = &logprobs["top_logprobs"][0];
    assert_eq!(*top, json!({ "Hi": -0.25, "other": -3.5 }));
    assert_agreed(&layout, likely());
}

fn two() -> Vec<Event> {
    vec![
        STARTED,
        says(0, Delta::Content("a".into())),
        says(1, Delta::Content("b".into())),
        says(0, Delta::Content("A".into())),
        ends(0, FinishReason::Stop),
        says(1, Delta::Content("B".into())),
        ends(1, FinishReason::Length),
        finished(),
    ]
}

#[test]
fn two_answers() {
    let layout = Layout::chat(2, false);
    insta::assert_snapshot!("two_streamed", stream(layout.clone(), true, two()));
    insta::assert_json_snapshot!("two_whole", whole_of(&layout, two()));
    assert_agreed(&layout, two());
    assert_agreed(&Layout::text(2, false), two());
}

#[test]
fn every_answer_has_a_role_and_one_end_whatever_comes() {
    let lost =
        vec![STARTED, ends(1, FinishReason::Length), ends(1, FinishReason::Stop), finished()];
    let beyond =
        vec![STARTED, says(9, Delta::Content("x".into())), ends(9, FinishReason::Stop), finished()];
    for events in [lost, beyond, vec![finished()]] {
        let layout = Layout::chat(3, false);
        let chunks = chunks(&stream(layout, false, events));
        for index in 0..3 {
            let of = |key: &str| {
                let mine = chunks.iter().map(|chunk| &chunk["choices"][0]);
                mine.filter(|c| {
                    c["index"] == index && !c.pointer(key).unwrap_or(&Value::Null).is_null()
                })
                .count()
            };
            assert_eq!((of("/delta/role"), of("/finish_reason")), (1, 1), "{chunks:?}");
        }
        assert!(chunks.iter().all(|chunk| chunk["choices"][0]["index"].as_u64() < Some(3)));
    }
}

#[test]
fn the_best_are_told_the_likeliest_first() {
    let said = |choice: u32, text: &str, logprobs: &[f32]| {
        let prompt = [token(b"P", -9.0), token(b"Q", -9.0)];
        let own = logprobs.iter().map(|logprob| token(b"x", *logprob));
        let tokens = prompt.into_iter().chain(own).collect();
        vec![
            says(choice, Delta::Logprobs(tokens)),
            says(choice, Delta::Content(text.into())),
            ends(choice, FinishReason::Stop),
        ]
    };
    let mut events = vec![STARTED];
    for (choice, text, logprobs) in [
        (0, "worst", &[-5.0][..]),
        // Long, and in sum less likely than any.
        (1, "best", &[-1.0, -1.0, -1.0, -1.0, -1.0, -1.0]),
        (2, "nothing", &[]),
        (3, "second", &[-1.0, -3.0]),
    ] {
        events.extend(said(choice, text, logprobs));
    }
    events.push(finished());
    let mut transcript = Transcript::default();
    events.into_iter().for_each(|event| transcript.push(event));
    let layout = Layout { generated: 4, echo: true, ..Layout::text(2, false) };
    let body = whole(&layout, &meta(), &transcript, &[2]).expect("complete");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let told = |at: usize| (&body["choices"][at]["index"], &body["choices"][at]["text"]);
    assert_eq!(told(0), (&json!(0), &json!("best")));
    assert_eq!(told(1), (&json!(1), &json!("second")));
    assert_eq!(body["choices"].as_array().map(Vec::len), Some(2));
    assert_eq!(body["choices"][0]["logprobs"], Value::Null, "nobody asked");
}

#[test]
fn an_answer_that_took_no_time_has_no_infinite_speed() {
    let mut all = answer(vec![], FinishReason::Stop);
    if let Some(Event::Finished(outcome)) = all.last_mut() {
        outcome.timings = Timings::default();
        outcome.usage =
            Usage { prompt_tokens: 1, cached_tokens: 1, completion_tokens: 0, reasoning_tokens: 0 };
    }
    let timings = whole_of(&chat(), all)["timings"].clone();
    assert!(timings.as_object().expect("an object").values().all(Value::is_number), "{timings}");
}

#[test]
fn an_answer_without_an_end_is_no_answer() {
    let refused = whole(&chat(), &meta(), &Transcript::default(), &[]);
    assert_eq!(refused.map_err(|error| error.kind), Err(ErrorKind::Internal));
}

/// Anything that an engine may say in one of three answers, calls in their order.
fn deltas() -> impl Strategy<Value = Vec<(u32, Delta)>> {
    let piece = prop_oneof![
        any::<String>().prop_map(Delta::Content),
        any::<String>().prop_map(Delta::Reasoning),
        prop::collection::vec(any::<u8>(), 0..4)
            .prop_map(|bytes| Delta::Logprobs(vec![token(&bytes, -1.0)])),
        "[{}a]{0,3}".prop_map(|arguments| call(u32::MAX, "id", "f", &arguments)),
    ];
    prop::collection::vec((0u32..3, piece), 0..24).prop_map(|mut all| {
        let mut counts = [0u32; 3];
        for (choice, delta) in &mut all {
            if let Delta::ToolCall(call) = delta {
                let count = &mut counts[*choice as usize];
                call.index = *count;
                *count += 1;
            }
        }
        all
    })
}

proptest! {
    /// Whatever is said, every event is one line of JSON and the pieces join to the whole.
    #[test]
    fn a_stream_and_a_whole_answer_agree(
        deltas in deltas(),
        logprobs in any::<bool>(),
        legacy_functions in any::<bool>(),
        text in any::<bool>(),
    ) {
        let mut events = vec![STARTED];
        events.extend(deltas.into_iter().map(|(choice, delta)| says(choice, delta)));
        events.extend([2, 0, 1].map(|choice| ends(choice, FinishReason::Stop)));
        events.push(finished());
        let base = if text { Layout::text(3, logprobs) } else { Layout::chat(3, logprobs) };
        assert_agreed(&Layout { legacy_functions, ..base }, events);
    }
}
