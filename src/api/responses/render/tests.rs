use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::callable::{Callable, Callables};
use super::super::object::{Settings, Status};
use super::{Answer, FrameStream, replay};
use crate::api::body::Render;
use crate::domain::{
    Delta, Error, ErrorKind, Event, FinishReason, Outcome, Result, Timings, TokenLogprob,
    ToolCallDelta, Usage,
};

fn answer() -> Answer {
    let settings = Settings {
        model: "ai/tiny".into(),
        parallel_tool_calls: true,
        store: true,
        service_tier: "default",
        text: json!({ "format": { "type": "text" } }),
        tool_choice: "auto".into(),
        truncation: "disabled".into(),
        ..Settings::default()
    };
    let callable = |name: &str, namespace: Option<&str>, custom| Callable {
        name: name.into(),
        namespace: namespace.map(str::to_owned),
        custom,
    };
    let callables = Callables::from([
        ("get_time".into(), callable("get_time", None, false)),
        ("files.read".into(), callable("read", Some("files"), false)),
        ("patch".into(), callable("patch", None, true)),
    ]);
    Answer::new("resp_T".into(), settings, callables)
}

fn say(delta: Delta) -> Result<Event> {
    Ok(Event::Delta { choice: 0, delta })
}

fn text(text: &str) -> Result<Event> {
    say(Delta::Content(text.into()))
}

fn call(index: u32, name: Option<&str>, arguments: &str) -> Result<Event> {
    let id = name.map(|_| format!("abcdefgh{index}"));
    let name = name.map(str::to_owned);
    say(Delta::ToolCall(ToolCallDelta { index, id, name, arguments: arguments.into() }))
}

fn events(middle: Vec<Result<Event>>, finish: FinishReason) -> Vec<Result<Event>> {
    let usage =
        Usage { prompt_tokens: 9, cached_tokens: 4, completion_tokens: 7, reasoning_tokens: 3 };
    let mut all = vec![Ok(Event::Started { prompt_tokens: 9, cached_tokens: 4 })];
    all.extend(middle);
    all.push(Ok(Event::Ended { choice: 0, finish }));
    all.push(Ok(Event::Finished(Outcome { usage, timings: Timings::default() })));
    all
}

fn streamed(mut render: FrameStream, events: Vec<Result<Event>>) -> String {
    let mut out = BytesMut::new();
    for event in events {
        match event {
            Ok(event) => render.event(event, &mut out),
            Err(error) => render.error(&error, &mut out),
        }
    }
    String::from_utf8(out.to_vec()).expect("text")
}

fn stream(events: Vec<Result<Event>>) -> String {
    streamed(FrameStream::new(answer(), None), events)
}

fn whole(events: Vec<Result<Event>>) -> Answer {
    let mut answer = answer();
    for event in events {
        answer.push(event);
    }
    answer
}

fn json_of(answer: &Answer) -> Value {
    let items = answer.so_far();
    // Through text, as clients get it: a value would hold numbers more exactly than they are sent.
    let text = serde_json::to_string(&answer.object(&items)).expect("JSON");
    untimed(serde_json::from_str(&text).expect("JSON"))
}

/// Without what differs from run to run.
fn untimed(mut response: Value) -> Value {
    for name in ["created_at", "completed_at"] {
        if response[name].is_number() {
            response[name] = "TIME".into();
        }
    }
    response
}

fn frames(stream: &str) -> Vec<Value> {
    let frame = |frame: &str| {
        let (name, data) = frame.split_once('\n').expect("two lines");
        let data: Value =
            serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    };
    stream.split_terminator("\n\n").map(frame).collect()
}

/// A stream for people: the response objects are shown once, at the end.
fn shown(stream: &str) -> String {
    let mut out = String::new();
    let frames = frames(stream);
    for (i, mut frame) in frames.iter().cloned().enumerate() {
        if frame.get("response").is_some() {
            let response = untimed(frame["response"].take());
            frame["response"] = match i.saturating_add(1) == frames.len() {
                true => response,
                false => response["status"].clone(),
            };
        }
        out += &format!("{frame}\n");
    }
    out
}

#[test]
fn a_text() {
    let events = || events(vec![text("Hel"), text("lo")], FinishReason::Stop);
    insta::assert_snapshot!("text_stream", shown(&stream(events())));
    insta::assert_json_snapshot!("text_whole", json_of(&whole(events())));
}

#[test]
fn thinking_then_text_then_calls() {
    let said = vec![
        say(Delta::Reasoning("Let me".into())),
        say(Delta::Reasoning(" see.".into())),
        text("I look."),
        call(0, Some("get_time"), ""),
        call(0, None, "{\"zone\":"),
        call(0, None, "\"UTC\"}"),
        call(1, Some("files.read"), "{}"),
        call(2, Some("patch"), "{\"input\":\"*** Begin\\n\"}"),
        call(3, Some("get_time"), ""),
    ];
    insta::assert_snapshot!(
        "reasoning_and_calls_stream",
        shown(&stream(events(said, FinishReason::ToolCalls)))
    );
}

#[test]
fn a_text_that_is_cut_is_incomplete() {
    let events = events(vec![text("Hel")], FinishReason::Length);
    insta::assert_snapshot!("incomplete_stream", shown(&stream(events)));
}

#[test]
fn a_failure_tells_both_kinds_of_readers() {
    let error = Error::new(ErrorKind::EngineCrashed, "The worker died.").with_cause("a secret");
    let stream = stream(vec![
        Ok(Event::Started { prompt_tokens: 1, cached_tokens: 0 }),
        text("Hel"),
        Err(error),
    ]);
    assert!(!stream.contains("secret"));
    insta::assert_snapshot!("failed_stream", shown(&stream));
}

#[test]
fn probabilities_come_with_their_text() {
    let token = TokenLogprob {
        token: 7,
        bytes: b"Hi".to_vec(),
        logprob: Some(-0.5),
        top: vec![(7, b"Hi".to_vec(), -0.5), (8, vec![0xf0], -1.5)],
    };
    let said = vec![say(Delta::Logprobs(vec![token])), text("Hi"), text("!")];
    let stream = stream(events(said, FinishReason::Stop));
    let frames = frames(&stream);
    let deltas: Vec<&Value> =
        frames.iter().filter(|frame| frame["type"] == "response.output_text.delta").collect();
    let wanted = json!([{
        "token": "Hi", "bytes": [72, 105], "logprob": -0.5,
        "top_logprobs": [
            { "token": "Hi", "bytes": [72, 105], "logprob": -0.5 },
            { "token": "\u{fffd}", "bytes": [240], "logprob": -1.5 },
        ],
    }]);
    assert_eq!((&deltas[0]["logprobs"], &deltas[1]["logprobs"]), (&wanted, &json!([])));
    let last = frames.last().expect("frames");
    assert_eq!(last["response"]["output"][0]["content"][0]["logprobs"], wanted);
}

#[test]
fn a_cancelled_response_says_so() {
    let answer = whole(vec![text("Hel"), Err(Error::new(ErrorKind::Cancelled, "enough"))]);
    assert_eq!(answer.status(), Status::Cancelled);
    assert_eq!(json_of(&answer)["error"], Value::Null);
    assert_eq!(json_of(&answer)["output"][0]["content"][0]["text"], "Hel");
}

#[test]
fn nothing_follows_the_end() {
    let mut twice = events(vec![text("a")], FinishReason::Stop);
    twice.extend(events(vec![text("b")], FinishReason::Stop));
    assert_eq!(json_of(&whole(twice))["output"][0]["content"][0]["text"], "a");
}

#[test]
fn a_reader_that_comes_back_gets_the_rest() {
    let events = || events(vec![text("Hel"), text("lo")], FinishReason::Stop);
    let (all, done) = (stream(events()), whole(events()));
    let rest = streamed(FrameStream::again(&done, Some(4)), events());
    assert!(all.ends_with(&rest) && rest.starts_with("event: response.output_text.delta"));
    assert_eq!(frames(&rest)[0]["sequence_number"], 5);
}

/// What a client makes of a stream: the items, put together from their pieces as OpenAI's own
/// library does it, by index.
fn accumulate(frames: &[Value]) -> Vec<Value> {
    let mut items: Vec<Value> = Vec::new();
    for frame in frames {
        let at = frame["output_index"].as_u64().and_then(|at| usize::try_from(at).ok());
        let grow = |slot: &mut Value, field: &str| {
            let delta = frame[field].as_str().expect("a text");
            *slot = format!("{}{delta}", slot.as_str().expect("a text to grow")).into();
        };
        match frame["type"].as_str().expect("a type") {
            "response.output_item.added" => {
                assert_eq!(at, Some(items.len()), "dense and in order");
                items.push(frame["item"].clone());
            }
            "response.content_part.added" => {
                let content = items[at.expect("an index")]["content"].as_array_mut();
                let content = content.expect("a content");
                assert_eq!(frame["content_index"], content.len());
                content.push(frame["part"].clone());
            }
            "response.reasoning_summary_part.added" => {
                let summary = items[at.expect("an index")]["summary"].as_array_mut();
                summary.expect("a summary").push(frame["part"].clone());
            }
            "response.output_text.delta" => {
                let part = &mut items[at.expect("an index")]["content"][0];
                grow(&mut part["text"], "delta");
                let tokens = frame["logprobs"].as_array().expect("tokens").clone();
                part["logprobs"].as_array_mut().expect("tokens").extend(tokens);
            }
            "response.reasoning_summary_text.delta" => {
                grow(&mut items[at.expect("an index")]["summary"][0]["text"], "delta");
            }
            "response.function_call_arguments.delta" => {
                grow(&mut items[at.expect("an index")]["arguments"], "delta");
            }
            "response.custom_tool_call_input.delta" => {
                grow(&mut items[at.expect("an index")]["input"], "delta");
            }
            "response.output_item.done" => {
                let (grown, done) = (&mut items[at.expect("an index")], &frame["item"]);
                assert_eq!(grown["id"], done["id"]);
                if grown.get("status").is_some() {
                    grown["status"] = done["status"].clone();
                }
                assert_eq!(grown, done, "the pieces make the whole");
            }
            _ => {}
        }
    }
    items
}

fn any_delta() -> impl Strategy<Value = Delta> {
    let token = (any::<Vec<u8>>(), -20f32..0.0).prop_map(|(bytes, logprob)| TokenLogprob {
        token: 1,
        bytes,
        logprob: Some(logprob),
        top: Vec::new(),
    });
    let name = prop::option::of(prop::sample::select(vec!["get_time", "files.read", "patch", "x"]));
    let call = (0u32..4, prop::option::of("[a-z]{9}"), name, ".{0,6}");
    prop_oneof![
        ".{0,6}".prop_map(Delta::Content),
        ".{0,6}".prop_map(Delta::Reasoning),
        prop::collection::vec(token, 1..3).prop_map(Delta::Logprobs),
        call.prop_map(|(index, id, name, arguments)| {
            let name = name.map(str::to_owned);
            Delta::ToolCall(ToolCallDelta { index, id, name, arguments })
        }),
    ]
}

fn any_end() -> impl Strategy<Value = Option<FinishReason>> {
    prop::option::of(prop_oneof![
        Just(FinishReason::Stop),
        Just(FinishReason::Length),
        Just(FinishReason::ToolCalls),
    ])
}

proptest! {
    #[test]
    fn whatever_an_engine_says_makes_a_sound_stream(
        deltas in prop::collection::vec((0u32..2, any_delta()), 0..24),
        end in any_end(),
    ) {
        let said = deltas.into_iter().map(|(choice, delta)| Ok(Event::Delta { choice, delta }));
        let mut all: Vec<Result<Event>> = said.collect();
        match end {
            Some(finish) => all = events(all, finish),
            None => all.push(Err(Error::new(ErrorKind::Internal, "broken"))),
        }
        let stream = stream(all.clone());
        let frames = frames(&stream);
        for (number, frame) in frames.iter().enumerate() {
            prop_assert_eq!(&frame["sequence_number"], &json!(number));
        }
        let last = frames.last().expect("an end");
        let finals = frames.iter().filter(|frame| {
            let status = frame["response"]["status"].as_str();
            status.is_some_and(|status| status != "in_progress" && status != "queued")
        });
        prop_assert_eq!(finals.count(), 1);
        // Streamed, put together by a client, and whole: the same.
        let whole = whole(all);
        prop_assert_eq!(&last["response"]["output"], &json!(accumulate(&frames)));
        prop_assert_eq!(untimed(last["response"].clone()), json_of(&whole));
        // Told again, it is the same once more.
        let again = streamed(FrameStream::again(&whole, None), replay(&whole));
        let again = self::frames(&again).pop().expect("an end");
        prop_assert_eq!(untimed(again["response"].clone()), json_of(&whole));
    }
}
