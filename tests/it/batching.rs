//! Several clients of one model compute together, and what was computed before is not computed
//! again.

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{Daemon, models};

const CHAT: &str = "/engines/v1/chat/completions";

#[test]
fn clients_at_the_same_time_share_the_batch() {
    let daemon = Daemon::with("ai/endless", &models::endless());
    let clients = 4;
    let barrier = Barrier::new(clients);
    let spans: Vec<(Instant, Instant)> = thread::scope(|scope| {
        let run = |number: usize| {
            let (client, barrier) = (daemon.client(), &barrier);
            scope.spawn(move || {
                let body = json!({
                    "model": "ai/endless", "stream": true, "max_tokens": 1500,
                    "messages": [{ "role": "user", "content": format!("client {number}") }],
                });
                barrier.wait();
                let mut events = client.stream(CHAT, &body);
                let first = events.first_text().at;
                let last = events.filter(|event| event.data != "[DONE]").last().unwrap();
                assert_eq!(last.json()["choices"][0]["finish_reason"], "length");
                (first, last.at)
            })
        };
        let threads: Vec<_> = (0..clients).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let last_start = spans.iter().map(|span| span.0).max().unwrap();
    let first_end = spans.iter().map(|span| span.1).min().unwrap();
    assert!(last_start < first_end, "each began before any was done: {spans:?}");
    assert_eq!(daemon.loaded().len(), 1, "one worker served them all");
}

#[test]
fn answers_in_one_batch_do_not_mix() {
    let daemon = Daemon::with("ai/tiny", &models::tiny());
    let ask = |number: usize| {
        let body = json!({
            "model": "ai/tiny", "max_tokens": 64, "temperature": 0,
            "messages": [{ "role": "user", "content": format!("{number} ").repeat(number + 1) }],
        });
        let answer = daemon.client().post(CHAT, &body).expect(200).json();
        answer["choices"][0]["message"]["content"].clone()
    };
    let alone: Vec<Value> = (0..8).map(ask).collect();
    let together: Vec<Value> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || ask(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    // A batch of another size may round differently, so a greedy answer can fork; the beginning
    // of each is its own all the same.
    for (number, (alone, together)) in alone.iter().zip(&together).enumerate() {
        let beginning = |text: &Value| text.as_str().unwrap().chars().take(4).collect::<String>();
        assert_eq!(beginning(alone), beginning(together), "client {number}");
    }
}

#[test]
fn the_second_request_takes_its_prompt_from_the_cache() {
    let daemon = Daemon::with("ai/hello", &models::hello());
    let body = json!({
        "model": "ai/hello",
        "messages": [{ "role": "user", "content": "The same long question. ".repeat(20) }],
    });
    let usage = || daemon.client().post(CHAT, &body).expect(200).json()["usage"].clone();
    let cached = |usage: &Value| usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    let (first, second) = (usage(), usage());
    assert_eq!(cached(&first), 0);
    let prompt = first["prompt_tokens"].as_u64().unwrap();
    assert_eq!(second["prompt_tokens"], prompt, "cached tokens count as prompt tokens");
    // At least one token has to be computed to have something to sample from.
    assert!((prompt / 2..prompt).contains(&cached(&second)), "{second} of {prompt}");
}
