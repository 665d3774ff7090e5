use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::callable::Callables;
use super::super::object::Settings;
use super::super::render::Answer;
use super::memory::{Bounds, Owner, ResponseStore};
use super::record::Record;
use crate::api::PeerInfo;
use crate::domain::{ErrorKind, Event, FinishReason, Outcome, Timings, Usage};

fn owner(uid: u32) -> Owner {
    let mut extensions = http::Extensions::new();
    // Another process group each time: it is the user that counts.
    extensions.insert(PeerInfo::Unix { uid, pgid: Some(fastrand::u32(..)) });
    Owner::of(&extensions)
}

fn running(id: &str, previous: Option<&str>) -> Arc<Record> {
    let settings = Settings {
        previous_response_id: previous.map(str::to_owned),
        background: true,
        ..Settings::default()
    };
    let input = vec![json!({ "id": format!("msg_in_{id}"), "type": "message", "role": "user" })];
    Arc::new(Record::new(Answer::new(format!("resp_{id}"), settings, Callables::new()), input))
}

fn finish(record: &Record, text: &str) {
    record.push(Ok(Event::content(text)));
    record.push(Ok(Event::Ended { choice: 0, finish: FinishReason::Stop }));
    let (usage, timings) = (Usage::default(), Timings::default());
    record.push(Ok(Event::Finished(Outcome { usage, timings })));
}

fn done(id: &str, previous: Option<&str>, text: &str) -> Arc<Record> {
    let record = running(id, previous);
    finish(&record, text);
    record
}

fn store(count: usize, bytes: usize) -> ResponseStore {
    ResponseStore::new(Bounds { count, bytes, age: Duration::from_secs(60) })
}

fn has(store: &ResponseStore, id: &str) -> bool {
    store.get(&owner(1), id, "response_id").is_ok()
}

#[tokio::test]
async fn what_was_not_of_use_for_longest_goes_first() {
    let store = store(2, usize::MAX);
    for id in ["a", "b"] {
        store.insert(owner(1), done(id, None, "x"));
    }
    assert!(has(&store, "resp_a"));
    store.insert(owner(1), done("c", None, "x"));
    assert!(has(&store, "resp_a") && !has(&store, "resp_b") && has(&store, "resp_c"));
    assert_eq!(store.held().0, 2);
}

#[tokio::test]
async fn bytes_are_bounded_and_counted() {
    let store = store(100, 50_000);
    for i in 0..40 {
        store.insert(owner(1), done(&i.to_string(), None, &"x".repeat(8_000)));
        let (count, bytes) = store.held();
        assert!(bytes <= 50_000 && count >= 1, "{bytes}");
    }
    assert!(store.held().0 < 10);
    // What would drive out everything and still not fit is not taken in.
    store.insert(owner(1), done("huge", None, &"x".repeat(60_000)));
    assert!(!has(&store, "resp_huge") && has(&store, "resp_39"));
    for i in 0..40 {
        let _ = store.delete(&owner(1), &format!("resp_{i}"));
    }
    assert_eq!(store.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn age_counts_from_the_last_use_and_frees_by_itself() {
    let store = store(100, usize::MAX);
    store.insert(owner(1), done("used", None, "x"));
    store.insert(owner(1), done("idle", None, "x"));
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(has(&store, "resp_used"));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(store.held().0, 1, "without anybody asking");
    assert!(has(&store, "resp_used") && !has(&store, "resp_idle"));
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(store.held(), (0, 0));
    // The next one ages as well.
    store.insert(owner(1), done("later", None, "x"));
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(store.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_runs_stays() {
    let store = store(1, usize::MAX);
    let record = running("a", None);
    store.insert(owner(1), Arc::clone(&record));
    store.insert(owner(1), done("b", None, "x"));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(has(&store, "resp_a"));
    let before = store.held().1;
    finish(&record, &"x".repeat(1_000));
    store.settle(&record);
    assert!(store.held().1 >= before + 1_000, "counted anew");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!has(&store, "resp_a"));
}

#[tokio::test]
async fn a_response_is_its_clients_alone() {
    let store = store(10, usize::MAX);
    store.insert(owner(1), done("a", None, "x"));
    let error = store.get(&owner(2), "resp_a", "response_id").expect_err("refused");
    let none = store.get(&owner(1), "resp_b", "response_id").expect_err("refused");
    assert_eq!((error.kind, none.kind), (ErrorKind::NotFound, ErrorKind::NotFound));
    assert_eq!(error.message.replace("resp_a", "resp_b"), none.message, "nothing is given away");
    assert!(store.delete(&owner(2), "resp_a").is_err());
    assert!(store.item(&owner(2), "msg_in_a").is_none());
    assert!(store.item(&owner(1), "msg_in_a").is_some() && has(&store, "resp_a"));
    let tcp = |port| {
        let mut extensions = http::Extensions::new();
        extensions.insert(PeerInfo::Tcp { remote: ([127, 0, 0, 1], port).into() });
        Owner::of(&extensions)
    };
    assert_eq!(tcp(1), tcp(2));
    assert_ne!(tcp(1), owner(1));
}

#[tokio::test]
async fn a_conversation_is_the_whole_chain_or_an_error() {
    let store = store(10, usize::MAX);
    store.insert(owner(1), done("a", None, "one"));
    store.insert(owner(1), done("b", Some("resp_a"), "two"));
    let items = store.conversation(&owner(1), "resp_b").expect("a conversation");
    let ids: Vec<_> = items.iter().filter_map(|item| item["id"].as_str()).collect();
    assert_eq!(ids, ["msg_in_a", "msg_a000", "msg_in_b", "msg_b000"]);
    store.delete(&owner(1), "resp_a").expect("deleted");
    let error = store.conversation(&owner(1), "resp_b").expect_err("broken");
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert_eq!(error.param.as_deref(), Some("previous_response_id"));
    store.insert(owner(1), running("c", None));
    let error = store.conversation(&owner(1), "resp_c").expect_err("not yet");
    assert_eq!(error.kind, ErrorKind::Conflict);
}

#[tokio::test]
async fn places_in_the_background_are_bounded_and_come_back() {
    let store = store(10, usize::MAX);
    let mut places = Vec::new();
    let refused = loop {
        match store.background() {
            Ok(place) => places.push(place),
            Err(error) => break error,
        }
    };
    assert_eq!((refused.kind, places.len()), (ErrorKind::QueueFull, 16));
    assert!(refused.retry_after.is_some());
    places.pop();
    assert!(store.background().is_ok());
}
