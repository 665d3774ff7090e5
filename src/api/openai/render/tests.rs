use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::api::body::Render;
use crate::domain::{Error, ErrorKind, Event, FinishReason, Outcome, Timings, Transcript, Usage};

fn meta() -> Meta {
    Meta {
        id: "ID".into(),
        created: 1_700_000_000,
        model: "ai/m".into(),
        system_fingerprint: "FP".into(),
    }
}

fn events(texts: &[&str], finish: FinishReason) -> Vec<Event> {
    let mut events = vec![
        Event::Waiting { position: 3 },
        Event::Loading { fraction: 0.5 },
        Event::Started { prompt_tokens: 10, cached_tokens: 4 },
    ];
    events.extend(texts.iter().map(|text| Event::content(*text)));
    events.push(Event::Ended { choice: 0, finish });
    events.push(Event::Finished(Outcome {
        usage: Usage {
            prompt_tokens: 10,
            cached_tokens: 4,
            completion_tokens: 3,
            reasoning_tokens: 0,
        },
        timings: Timings { queue_ms: 1.0, load_ms: 0.5, prompt_ms: 12.0, decode_ms: 30.0 },
    }));
    events
}

fn stream(shape: Shape, include_usage: bool, events: Vec<Event>) -> String {
    let mut render = ChunkStream::new(shape, meta(), include_usage);
    let mut out = BytesMut::new();
    for event in events {
        render.event(event, &mut out);
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn a_chat_stream() {
    insta::assert_snapshot!(stream(Shape::Chat, false, events(&["Hel", "lo"], FinishReason::Stop)));
}

#[test]
fn a_chat_stream_with_usage() {
    let events = events(&["Hi"], FinishReason::StopString("END".into()));
    insta::assert_snapshot!(stream(Shape::Chat, true, events));
}

#[test]
fn an_empty_chat_stream_still_has_a_role_and_an_end() {
    insta::assert_snapshot!(stream(Shape::Chat, false, events(&[], FinishReason::Length)));
}

#[test]
fn a_text_stream_with_usage() {
    insta::assert_snapshot!(stream(
        Shape::Text,
        true,
        events(&["Hel", "lo"], FinishReason::Length)
    ));
}

#[test]
fn an_error_in_a_stream_is_an_event_of_its_own() {
    let mut render = ChunkStream::new(Shape::Chat, meta(), true);
    let mut out = BytesMut::new();
    render.event(Event::Started { prompt_tokens: 1, cached_tokens: 0 }, &mut out);
    render.error(&Error::new(ErrorKind::EngineCrashed, "The worker died."), &mut out);
    insta::assert_snapshot!(String::from_utf8_lossy(&out));
}

fn whole_text(shape: Shape, events: Vec<Event>) -> Value {
    let mut transcript = Transcript::default();
    events.into_iter().for_each(|event| transcript.push(event));
    let body = whole(shape, &meta(), &transcript).expect("complete");
    serde_json::from_slice(&body).expect("JSON")
}

#[test]
fn whole_answers() {
    let chat = whole_text(Shape::Chat, events(&["Hel", "lo"], FinishReason::Stop));
    let text = whole_text(Shape::Text, events(&["Hel", "lo"], FinishReason::Length));
    insta::assert_json_snapshot!([chat, text]);
}

#[test]
fn an_answer_that_took_no_time_has_no_infinite_speed() {
    let mut all = events(&[], FinishReason::Stop);
    if let Some(Event::Finished(outcome)) = all.last_mut() {
        outcome.timings = Timings::default();
        outcome.usage =
            Usage { prompt_tokens: 1, cached_tokens: 1, completion_tokens: 0, reasoning_tokens: 0 };
    }
    let timings = whole_text(Shape::Chat, all)["timings"].clone();
    assert!(timings.as_object().expect("an object").values().all(Value::is_number), "{timings}");
}

#[test]
fn an_answer_without_an_end_is_no_answer() {
    let refused = whole(Shape::Chat, &meta(), &Transcript::default());
    assert_eq!(refused.map_err(|error| error.kind), Err(ErrorKind::Internal));
}

proptest! {
    /// Whatever the text, every event is one line of JSON and the pieces join to the whole.
    #[test]
    fn a_stream_and_a_whole_answer_agree(texts in prop::collection::vec(any::<String>(), 0..8)) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let stream = stream(Shape::Chat, false, events(&texts, FinishReason::Stop));
        let mut joined = String::new();
        let frames: Vec<&str> = stream.split_terminator("\n\n").collect();
        let (done, chunks) = frames.split_last().expect("frames");
        prop_assert_eq!(*done, "data: [DONE]");
        for frame in chunks {
            let json = frame.strip_prefix("data: ").expect("data");
            let chunk: Value = serde_json::from_str(json).expect("JSON");
            joined += chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
        }
        let whole = whole_text(Shape::Chat, events(&texts, FinishReason::Stop));
        prop_assert_eq!(whole["choices"][0]["message"]["content"].as_str(), Some(joined.as_str()));
    }
}
