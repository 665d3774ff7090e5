//! Clients that vanish and workers that die: neither costs anybody else anything.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::daemon::{children_of, is_running, send};
use crate::support::{Daemon, is_long, models, wait_until};

const CHAT: &str = "/engines/v1/chat/completions";
/// How soon nothing may be left of a client that hung up.
const GONE: Duration = Duration::from_millis(200);

fn count(stream: bool) -> Value {
    json!({
        "model": "ai/endless", "stream": stream,
        "messages": [{ "role": "user", "content": "Count" }],
    })
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

#[test]
fn a_client_that_leaves_its_stream_frees_its_place() {
    let daemon = Daemon::with("ai/endless", &models::endless());
    for _ in 0..5 {
        let mut events = daemon.client().stream(CHAT, &count(true));
        events.first_text();
        assert!(daemon.is_busy());
        drop(events);
        wait_until(GONE, "its place is free", || !daemon.is_busy());
    }
}

#[test]
fn a_client_that_waits_for_the_whole_answer_can_leave_too() {
    let daemon = Daemon::with("ai/endless", &models::endless());
    daemon.client().post(CHAT, &with(count(false), "max_tokens", json!(1))).expect(200);
    let wire = daemon.client().begin(CHAT, &count(false));
    wait_until(Duration::from_secs(5), "it computes", || daemon.is_busy());
    drop(wire);
    wait_until(GONE, "its place is free", || !daemon.is_busy());
}

#[test]
fn a_client_that_leaves_while_the_model_loads_leaves_nothing_queued() {
    let daemon = Daemon::with("ai/endless", &models::endless());
    let wire = daemon.client().begin(CHAT, &count(true));
    wait_until(Duration::from_secs(5), "it loads", || !daemon.loaded().is_empty());
    drop(wire);
    wait_until(Duration::from_secs(10), "all is quiet", || !daemon.is_busy());
}

/// 20 rounds always, 500 of each signal in a long run.
#[test]
fn a_worker_that_dies_ends_its_streams_with_an_error_and_is_replaced() {
    let mut daemon = Daemon::with("ai/endless", &models::endless());
    let rounds = if is_long() { 1000 } else { 20 };
    let pid = daemon.pid();
    let descriptors = || std::fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count);
    let mut after_first = None;
    for round in 0..rounds {
        let signal = if round % 2 == 0 { Signal::KILL } else { Signal::ABORT };
        let mut events = daemon.client().stream(CHAT, &count(true));
        events.first_text();
        let worker = daemon.worker();
        send(worker, signal);
        let last = events.last().expect("events");
        let error = last.json()["error"].clone();
        assert!(error["message"].is_string(), "round {round}: {}", last.data);
        assert_eq!(error["type"], "server_error", "round {round}");

        let asked = Instant::now();
        let body = with(count(false), "max_tokens", json!(3));
        daemon.client().post(CHAT, &body).expect(200);
        assert!(asked.elapsed() < Duration::from_secs(5), "round {round}: {:?}", asked.elapsed());
        assert_ne!(daemon.worker(), worker, "round {round}");
        assert!(daemon.is_alive());
        if let Ok(open) = descriptors() {
            let before = *after_first.get_or_insert(open);
            assert!(open <= before + 4, "round {round}: {open} descriptors, {before} at first");
        }
    }
    assert_eq!(children_of(pid).len(), 1, "the one that is loaded");
}

#[test]
fn a_death_in_one_model_is_not_noticed_in_another() {
    let mut daemon = Daemon::builder()
        .model("ai/endless", &models::endless())
        .model("ai/tiny", &models::tiny())
        .start();
    let body = with(count(true), "max_tokens", json!(2000));
    let mut survivor = daemon.client().stream(CHAT, &body);
    survivor.first_text();
    let endless = daemon.worker();
    let tiny = json!({
        "model": "ai/tiny", "max_tokens": 2,
        "messages": [{ "role": "user", "content": "Hi" }],
    });
    daemon.client().post(CHAT, &tiny).expect(200);
    let pids: Vec<i64> = daemon.loaded().iter().filter_map(|m| m["pid"].as_i64()).collect();
    let other = pids.iter().copied().find(|pid| *pid != i64::from(endless)).expect("two workers");
    send(i32::try_from(other).unwrap(), Signal::KILL);
    assert!(survivor.any(|event| event.data == "[DONE]"));
    daemon.client().post(CHAT, &tiny).expect(200);
    assert!(is_running(endless));
    assert!(daemon.is_alive());
}

#[test]
fn a_worker_killed_before_the_first_token_is_an_honest_status() {
    let mut daemon = Daemon::with("ai/hello", &models::hello());
    let body = with(count(false), "model", json!("ai/hello"));
    daemon.client().post(CHAT, &body).expect(200);
    let worker = daemon.worker();
    send(worker, Signal::STOP);
    let client = daemon.client();
    let answer = thread::spawn(move || client.post(CHAT, &body));
    wait_until(Duration::from_secs(5), "it is asked", || daemon.is_busy());
    send(worker, Signal::KILL);
    let answer = answer.join().unwrap();
    // The one replay may already have succeeded; else the client learns what happened.
    assert!([200, 500].contains(&answer.status), "{}: {}", answer.status, answer.text());
    assert!(daemon.is_alive());
}

#[test]
fn workers_die_with_a_daemon_that_is_killed() {
    let mut daemon = Daemon::with("ai/endless", &models::endless());
    let mut events = daemon.client().stream(CHAT, &count(true));
    events.first_text();
    let worker = daemon.worker();
    send(daemon.pid().cast_signed(), Signal::KILL);
    daemon.wait(Duration::from_secs(5));
    wait_until(Duration::from_secs(5), "the worker is gone", || !is_running(worker));
}
