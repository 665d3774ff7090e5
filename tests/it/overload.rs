//! More requests than there is room for: refused at once, with a time to come back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::JSON;
use crate::support::{Daemon, models, wait_until};

const CHAT: &str = "/engines/v1/chat/completions";

fn count(max_tokens: u32) -> Value {
    json!({
        "model": "ai/endless", "stream": true, "max_tokens": max_tokens,
        "messages": [{ "role": "user", "content": "Count" }],
    })
}

/// Whatever the number of sequences that compute at once: 600 requests cannot all be running or
/// waiting in two places.
#[test]
fn a_full_queue_answers_429_with_a_time_and_serves_the_rest() {
    let daemon = Daemon::builder()
        .args(&["--max-queue", "2"])
        .model("ai/endless", &models::endless())
        .start();
    let mut first = daemon.client().stream(CHAT, &count(4000));
    first.first_text();
    let (served, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..300 {
            scope.spawn(|| {
                let asked = Instant::now();
                let body = count(20).to_string();
                let answer = daemon.client().send("POST", CHAT, JSON, body.as_bytes());
                match answer.status {
                    200 => served.fetch_add(1, Ordering::Relaxed),
                    429 => {
                        assert!(asked.elapsed() < Duration::from_secs(10), "refused at once");
                        let after = answer.header("retry-after").expect("Retry-After");
                        assert!(after.parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{after}");
                        let error = answer.json()["error"].clone();
                        assert_eq!(error["type"], "rate_limit_error", "{error}");
                        refused.fetch_add(1, Ordering::Relaxed)
                    }
                    other => panic!("{other}: {}", answer.text()),
                };
            });
        }
    });
    let (served, refused) = (served.into_inner(), refused.into_inner());
    assert_eq!(served + refused, 300);
    assert!(refused > 0, "300 requests, two places, none refused");
    assert!(served > 0, "some got through");
    drop(first);
    wait_until(Duration::from_secs(5), "the queue is empty", || !daemon.is_busy());
    let answer = daemon.client().send("POST", CHAT, JSON, count(3).to_string().as_bytes());
    assert_eq!(answer.status, 200, "and then there is room again");
}

#[test]
fn a_deadline_that_cannot_be_met_is_an_error_of_its_own() {
    let daemon = Daemon::with("ai/endless", &models::endless());
    let headers = [("Content-Type", "application/json"), ("X-Request-Timeout", "0.2")];
    let mut body = count(0);
    body.as_object_mut().unwrap().remove("max_tokens");
    body["stream"] = json!(false);
    let asked = Instant::now();
    let answer = daemon.client().send("POST", CHAT, &headers, body.to_string().as_bytes());
    assert_eq!(answer.status, 408, "{}", answer.text());
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    wait_until(Duration::from_secs(1), "nothing runs on", || !daemon.is_busy());
}
