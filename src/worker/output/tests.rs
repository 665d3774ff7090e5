//! The output side against text in pieces, and frames in order.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::answer::Answer;
use super::families::{FAMILIES, format, hear, render, request};
use super::thread::Parsing;
use super::{Format, Formats, OutputSink, Reader};
use crate::domain::{
    Delta, Error, Event, FinishReason, JobId, Message, Outcome, Role, Timings, ToolChoice, Usage,
};
use crate::protocol::ToDaemon;
use crate::worker::step::FrameSink;

#[derive(Default)]
struct Frames(Mutex<Vec<ToDaemon>>);

impl FrameSink for Frames {
    fn send(&self, frame: ToDaemon) {
        self.0.lock().expect("no panic").push(frame);
    }
}

impl Frames {
    /// What was sent, one event after the other; errors and releases as text.
    fn said(&self, job: JobId) -> Vec<String> {
        let mut said = Vec::new();
        for frame in self.0.lock().expect("no panic").iter() {
            match frame {
                ToDaemon::Events(events) => {
                    said.extend(events.iter().filter(|(of, _)| *of == job).map(|(_, event)| {
                        match event {
                            Event::Delta { choice, delta } => format!("{choice} {delta:?}"),
                            Event::Ended { choice, finish } => format!("{choice} {finish:?}"),
                            Event::Finished(_) => "finished".to_owned(),
                            other => format!("{other:?}"),
                        }
                    }))
                }
                ToDaemon::Failed { job: of, .. } if *of == job => said.push("failed".to_owned()),
                ToDaemon::Released { job: of } if *of == job => said.push("released".to_owned()),
                _ => {}
            }
        }
        said
    }
}

fn generic(parallel_calls: bool) -> Format {
    Format { reader: Reader::Generic(None), stops: vec!["</s>".into()], parallel_calls }
}

fn text(choice: u32, text: &str) -> Event {
    Event::Delta { choice, delta: Delta::Content(text.to_owned()) }
}

fn finished() -> Event {
    Event::Finished(Outcome { usage: Usage::default(), timings: Timings::default() })
}

fn cut<'a>(text: &'a str, places: &[usize]) -> Vec<&'a str> {
    let mut ends: Vec<usize> = places
        .iter()
        .map(|place| text.floor_char_boundary(place % (text.len() + 1)))
        .chain([text.len()])
        .collect();
    ends.sort_unstable();
    let mut from = 0;
    ends.into_iter()
        .map(|end| text.get(std::mem::replace(&mut from, end)..end).expect("boundaries"))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_does_not_depend_on_how_it_is_cut(
        family in 0..FAMILIES.len(),
        places in prop::collection::vec(0usize..4096, 0..12),
    ) {
        let family = &FAMILIES[family];
        let format = format(&render(family.template, &request(ToolChoice::Auto, true)));
        for whole in [family.one, family.two, family.thought] {
            let once = hear(&format, &[whole], FinishReason::Stop);
            let often = hear(&format, &cut(whole, &places), FinishReason::Stop);
            prop_assert_eq!(&once.0.calls, &often.0.calls, "{}", family.name);
            prop_assert_eq!(&once.0.content, &often.0.content);
            prop_assert_eq!(&once.0.reasoning, &often.0.reasoning);
            prop_assert_eq!(once.1, often.1);
        }
    }

    #[test]
    fn generic_calls_and_text_do_not_depend_on_how_they_are_cut(
        whole in r#"(\{"tool_calls": ?\[\{"name":"f","arguments":\{"x":"[a-z]{0,9}\\\\n"\}\}\]\}|[ {a-z"]{0,20})"#,
        places in prop::collection::vec(0usize..4096, 0..12),
    ) {
        let once = hear(&generic(true), &[whole.as_str()], FinishReason::Stop);
        let often = hear(&generic(true), &cut(&whole, &places), FinishReason::Stop);
        prop_assert_eq!(&once.0.calls, &often.0.calls);
        prop_assert_eq!(&once.0.content, &often.0.content);
        prop_assert_eq!(once.0.calls.is_empty(), !whole.starts_with("{\"tool"));
        if once.0.calls.is_empty() {
            prop_assert_eq!(once.0.content, whole);
        }
    }
}

#[test]
fn text_that_is_not_in_the_format_is_content_after_all() {
    let family = &FAMILIES[0];
    let format = format(&render(family.template, &request(ToolChoice::Auto, true)));
    let broken = "Well.\n<tool_call>\n{\"name\": \"no_such\", \"arguments\": {}}\n</tool_call>";
    let (heard, reason) = hear(&format, &[broken], FinishReason::Stop);
    assert!(heard.calls.is_empty(), "{heard:?}");
    assert!(heard.content.starts_with("Well."), "{heard:?}");
    assert!(heard.content.contains("no_such"), "{heard:?}");
    assert_eq!(reason, FinishReason::Stop);
}

#[test]
fn an_answer_cut_short_says_so_and_keeps_what_there_is() {
    let half = r#"{"tool_calls":[{"name":"f","arguments":{"x":"ab"#;
    let (heard, reason) = hear(&generic(true), &[half], FinishReason::Length);
    assert_eq!(heard.calls, [("f".to_owned(), "{\"x\":\"ab".to_owned())]);
    assert_eq!(reason, FinishReason::Length);
}

#[test]
fn a_prefill_is_not_said_again() {
    let chat = crate::domain::ChatPrompt {
        messages: vec![
            Message::text(Role::User, "hi"),
            Message::text(Role::Assistant, "Well then,"),
        ],
        ..request(ToolChoice::Auto, true)
    };
    let format = format(&render(FAMILIES[0].template, &chat));
    let (heard, _) = hear(&format, &[" hello"], FinishReason::Stop);
    assert_eq!(heard.content, " hello");
}

#[test]
fn logprobs_come_before_their_content_and_only_with_it() {
    let format = generic(true);
    let mut answer = Answer::new(&format);
    let token = crate::domain::TokenLogprob {
        token: 1,
        bytes: b"Hello".to_vec(),
        logprob: Some(-0.5),
        top: vec![],
    };
    answer.push_logprobs(vec![token]);
    answer.push("Hello");
    let deltas = answer.update(&format);
    assert!(
        matches!(&deltas[..], [Delta::Logprobs(t), Delta::Content(c)] if t.len() == 1 && c == "Hello"),
        "{deltas:?}"
    );
}

#[test]
fn every_choice_of_a_job_is_read_by_itself() {
    let (frames, formats) = (Arc::new(Frames::default()), Arc::new(Formats::default()));
    let mut parsing = Parsing::new(frames.clone(), formats.clone());
    let job = JobId(1);
    formats.register(job, generic(true));
    let call = r#"{"tool_calls":[{"name":"f","arguments":{}}]}"#;
    let events = vec![
        text(0, call),
        text(1, "plain"),
        Event::Ended { choice: 1, finish: FinishReason::StopString("</s>".into()) },
        Event::Ended { choice: 0, finish: FinishReason::StopString("</s>".into()) },
        finished(),
    ];
    parsing.take(ToDaemon::Events(events.into_iter().map(|event| (job, event)).collect()));
    parsing.update();
    let said = frames.said(job);
    assert_eq!(said.len(), 6, "{said:#?}");
    assert_eq!(said[0], "1 Content(\"plain\")");
    assert_eq!(said[1], "1 Stop", "a stop of the format is the model's own end");
    assert!(said[2].contains("name: Some(\"f\")"), "{said:#?}");
    assert!(said[3].contains("arguments: \"{}\""), "{said:#?}");
    assert_eq!(&said[4..], ["0 ToolCalls", "finished"]);
}

#[test]
fn a_stop_of_the_client_stays_one() {
    let call = r#"{"tool_calls":[{"name":"f","arguments":{}}]}"#;
    let stop = FinishReason::StopString("x".into());
    assert_eq!(hear(&generic(true), &[call], stop.clone()).1, stop);
    let own = FinishReason::StopString("</s>".into());
    assert_eq!(hear(&generic(true), &[call], own).1, FinishReason::ToolCalls);
}

#[test]
fn frames_of_every_job_keep_their_order() {
    let (frames, formats) = (Arc::new(Frames::default()), Arc::new(Formats::default()));
    let sink = OutputSink::start(frames.clone(), formats.clone(), 1 << 20).expect("a thread");
    let (parsed, straight, failed) = (JobId(1), JobId(2), JobId(3));
    formats.register(parsed, generic(true));
    formats.register(failed, generic(true));
    sink.send(ToDaemon::Events(vec![
        (parsed, text(0, "a")),
        (straight, text(0, "b")),
        (failed, text(0, "c")),
    ]));
    let ended = Event::Ended { choice: 0, finish: FinishReason::Stop };
    let end = |job| vec![(job, ended.clone()), (job, finished())];
    sink.send(ToDaemon::Events(end(straight)));
    sink.send(ToDaemon::Events(end(parsed)));
    sink.send(ToDaemon::Released { job: parsed });
    sink.send(ToDaemon::Failed { job: failed, error: Error::internal("x") });
    sink.send(ToDaemon::Released { job: failed });
    drop(sink);
    // The thread ends when it has sent all.
    while Arc::strong_count(&frames) > 1 {
        std::thread::yield_now();
    }
    assert_eq!(frames.said(parsed), ["0 Content(\"a\")", "0 Stop", "finished", "released"]);
    assert_eq!(frames.said(straight), ["0 Content(\"b\")", "0 Stop", "finished"]);
    let failed = frames.said(failed);
    assert_eq!(&failed[failed.len() - 2..], ["failed", "released"], "{failed:?}");
}

#[test]
fn a_plain_format_only_tells_stops_apart() {
    let (frames, formats) = (Arc::new(Frames::default()), Arc::new(Formats::default()));
    let mut parsing = Parsing::new(frames.clone(), formats.clone());
    let job = JobId(7);
    let plain = Format { reader: Reader::Plain, stops: vec!["</a>".into()], parallel_calls: true };
    formats.register(job, plain);
    let ended = Event::Ended { choice: 0, finish: FinishReason::StopString("</a>".into()) };
    parsing.take(ToDaemon::Events(vec![(job, text(0, " a ")), (job, ended)]));
    parsing.update();
    assert_eq!(frames.said(job), ["0 Content(\" a \")", "0 Stop"]);
}
