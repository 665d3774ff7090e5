use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api::body::Render;
use crate::domain::{
    Delta, Error, ErrorKind, Event, FinishReason, Outcome, Timings, ToolCallDelta, Usage,
};

fn meta() -> Meta {
    Meta { id: "msg_ID".into(), model: "ai/m".into(), stops: vec!["END".into()] }
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
    let thought = deltas.iter().any(|delta| matches!(delta, Delta::Reasoning(_)));
    events.extend(deltas.into_iter().map(|delta| Event::Delta { choice: 0, delta }));
    events.push(Event::Ended { choice: 0, finish });
    let usage = Usage {
        prompt_tokens: 10,
        cached_tokens: 4,
        completion_tokens: 7,
        reasoning_tokens: if thought { 2 } else { 0 },
    };
    events.push(Event::Finished(Outcome { usage, timings: Timings::default() }));
    events
}

fn stream(events: &[Event]) -> String {
    let mut render = MessageStream::new(meta());
    let mut out = BytesMut::new();
    for event in events {
        render.event(event.clone(), &mut out);
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn whole(events: &[Event]) -> String {
    let mut whole = Whole::new(meta());
    events.iter().for_each(|event| whole.push(event.clone()));
    String::from_utf8(whole.body().expect("complete").to_vec()).expect("text")
}

/// Both forms, for a snapshot.
fn both(deltas: Vec<Delta>, finish: FinishReason) -> String {
    let events = events(deltas, finish);
    format!("{}\n\n{}", whole(&events), stream(&events))
}

#[test]
fn text() {
    insta::assert_snapshot!(both(vec![content("Hel"), content("lo")], FinishReason::Stop));
}

#[test]
fn thinking_and_text() {
    let deltas = vec![
        Delta::Reasoning("Let me".into()),
        Delta::Reasoning(" see.".into()),
        Delta::Logprobs(Vec::new()),
        content("Hello"),
    ];
    insta::assert_snapshot!(both(deltas, FinishReason::Stop));
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
    insta::assert_snapshot!(both(deltas, FinishReason::ToolCalls));
}

#[test]
fn a_stop_sequence() {
    let finish = FinishReason::StopString("END".into());
    insta::assert_snapshot!(both(vec![content("Hello ")], finish));
}

#[test]
fn a_stop_text_of_the_format_is_a_normal_end() {
    let whole = whole(&events(Vec::new(), FinishReason::StopString("<|end|>".into())));
    let whole: Value = serde_json::from_str(&whole).expect("JSON");
    assert_eq!(
        (&whole["stop_reason"], &whole["stop_sequence"]),
        (&json!("end_turn"), &json!(null))
    );
    assert_eq!(whole["content"], json!([]));
}

#[test]
fn max_tokens_within_a_call() {
    let deltas = vec![call(0, "abcdefgh1", "clock", "{\"zone\":\"CET\",\"form")];
    insta::assert_snapshot!(both(deltas, FinishReason::Length));
}

#[test]
fn an_error_after_the_beginning() {
    let mut render = MessageStream::new(meta());
    let mut out = BytesMut::new();
    for event in events(vec![content("Hel")], FinishReason::Stop).into_iter().take(4) {
        render.event(event, &mut out);
    }
    let error = Error::new(ErrorKind::EngineCrashed, "It broke.").with_cause("a secret");
    render.error(&error, &mut out);
    insta::assert_snapshot!(String::from_utf8_lossy(&out));
}

#[test]
fn what_is_not_complete_is_an_error() {
    let mut unfinished = Whole::new(meta());
    unfinished.push(Event::content("Hel"));
    assert_eq!(unfinished.body().expect_err("incomplete").kind, ErrorKind::Internal);
}

#[test]
fn a_late_piece_of_a_call_overlaps_nothing() {
    let deltas = vec![
        call(0, "a", "f", "{}"),
        call(1, "b", "g", "{}"),
        call(0, "", "", "{\"late\":1}"),
        content("x"),
        call(1, "", "", "{}"),
    ];
    let events = events(deltas, FinishReason::ToolCalls);
    let read = Reader::read(&stream(&events));
    assert_eq!(read.message["content"].as_array().map(Vec::len), Some(3));
}

/// Reads a stream as Anthropic's client libraries do, and holds it to the order of events.
#[derive(Default)]
struct Reader {
    message: Value,
    open: Option<u64>,
    input: String,
    over: bool,
}

impl Reader {
    fn read(stream: &str) -> Self {
        let mut reader = Self::default();
        for event in stream.split_terminator("\n\n") {
            let (name, data) = event.split_once('\n').expect("two lines");
            let data = data.strip_prefix("data: ").expect("data");
            let data: Value = serde_json::from_str(data).expect("JSON");
            assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
            reader.event(&data);
        }
        assert!(reader.over, "no message_stop");
        reader
    }

    fn event(&mut self, data: &Value) {
        assert!(!self.over, "after message_stop: {data}");
        let kind = data["type"].as_str().expect("a type");
        if kind == "message_start" {
            assert!(self.message.is_null(), "twice");
            self.message = data["message"].clone();
            assert_eq!(self.message["content"], json!([]));
            return;
        }
        let content = self.message["content"].as_array_mut().expect("message_start comes first");
        let last = content.len().checked_sub(1).map(|index| index as u64);
        match kind {
            "content_block_start" => {
                assert_eq!(self.open, None, "overlap");
                assert_eq!(data["index"].as_u64(), Some(last.map_or(0, |last| last + 1)));
                self.open = data["index"].as_u64();
                self.input.clear();
                content.push(data["content_block"].clone());
            }
            "content_block_delta" => {
                assert!(self.open.is_some() && data["index"].as_u64() == self.open);
                let (block, delta) = (content.last_mut().expect("a block"), &data["delta"]);
                match delta["type"].as_str().expect("a type") {
                    "input_json_delta" => {
                        assert_eq!(block["type"], "tool_use");
                        self.input += delta["partial_json"].as_str().expect("text");
                    }
                    kind => {
                        let field = kind.strip_suffix("_delta").expect("a delta");
                        assert_eq!(block["type"], field);
                        let more = delta[field].as_str().expect("text");
                        let text = block[field].as_str().expect("text").to_owned() + more;
                        block[field] = text.into();
                    }
                }
            }
            "content_block_stop" => {
                assert!(self.open.is_some() && data["index"].as_u64() == self.open);
                self.open = None;
                if !self.input.is_empty() {
                    let input = serde_json::from_str(&self.input).expect("fragments join to JSON");
                    content.last_mut().expect("a block")["input"] = input;
                }
            }
            "message_delta" => {
                assert_eq!(self.open, None);
                for field in ["stop_reason", "stop_sequence"] {
                    self.message[field] = data["delta"][field].clone();
                }
                self.message["usage"] = data["usage"].clone();
            }
            "message_stop" => self.over = true,
            other => panic!("{other}"),
        }
    }
}

fn some_deltas() -> impl Strategy<Value = Vec<Delta>> {
    let piece = prop_oneof![
        "[a-z ]{0,3}".prop_map(Delta::Content),
        "[a-z ]{0,3}".prop_map(Delta::Reasoning),
        Just(Delta::Logprobs(Vec::new())),
        // A call with its arguments in up to three pieces; numbered below.
        (0usize..20, 0usize..20).prop_map(|(a, b)| call(0, &format!("{a}"), "f", &format!("{b}"))),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| {
        let arguments = "{\"key\":[1,\"é\"]}";
        let mut calls = 0;
        let mut all = Vec::new();
        for piece in pieces {
            let Delta::ToolCall(seed) = piece else {
                all.push(piece);
                continue;
            };
            let cut = |seed: &str| {
                let at = seed.parse::<usize>().unwrap_or(0).min(arguments.len());
                (0..=at).rev().find(|at| arguments.is_char_boundary(*at)).unwrap_or(0)
            };
            let (a, b) = (cut(seed.id.as_deref().unwrap_or("0")), cut(&seed.arguments));
            let (begun, last) = arguments.split_at(a.max(b));
            let (first, middle) = begun.split_at(a.min(b));
            all.push(call(calls, &format!("call{calls}"), "f", first));
            all.push(call(calls, "", "", middle));
            all.push(call(calls, "", "", last));
            calls += 1;
        }
        all
    })
}

proptest! {
    #[test]
    fn whole_and_streamed_answers_agree(deltas in some_deltas()) {
        let events = events(deltas, FinishReason::Stop);
        let whole: Value = serde_json::from_str(&whole(&events)).expect("JSON");
        prop_assert_eq!(Reader::read(&stream(&events)).message, whole);
    }
}
