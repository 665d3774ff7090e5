//! Where an answer stops and what decides the next token.

use serde_json::{Value, json};

use crate::support::{Daemon, models};

const CHAT: &str = "/engines/v1/chat/completions";

/// The first choice of an answer to "Hi" with more fields.
#[track_caller]
fn ask(daemon: &Daemon, model: &str, more: Value) -> Value {
    let mut body = json!({ "model": model, "messages": [{ "role": "user", "content": "Hi" }] });
    for (field, value) in more.as_object().unwrap() {
        body[field] = value.clone();
    }
    daemon.client().post(CHAT, &body).expect(200).json()
}

fn content(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

#[test]
fn a_stop_string_across_tokens_ends_the_answer_before_itself() {
    let daemon = Daemon::with("ai/hello", &models::hello());
    for (stop, expected) in [
        (json!("STOP"), "Hello world! "),
        (json!(["never", "STOP"]), "Hello world! "),
        (json!(["here", "world"]), "Hello "),
        (json!("H"), ""),
        (json!("re."), "Hello world! STOP he"),
        (json!("here.!"), "Hello world! STOP here."),
        (json!([]), "Hello world! STOP here."),
        (json!(""), "Hello world! STOP here."),
        (Value::Null, "Hello world! STOP here."),
    ] {
        let answer = ask(&daemon, "ai/hello", json!({ "stop": stop }));
        assert_eq!(content(&answer), expected, "{stop}");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{stop}");
    }
}

#[test]
fn a_stream_never_shows_the_beginning_of_a_stop_string() {
    let daemon = Daemon::with("ai/hello", &models::hello());
    let body = json!({
        "model": "ai/hello", "stream": true, "stop": ["STOP"],
        "messages": [{ "role": "user", "content": "Hi" }],
    });
    let text: String = daemon.client().stream(CHAT, &body).map(|event| event.content()).collect();
    assert_eq!(text, "Hello world! ");
}

#[test]
fn max_tokens_cuts_with_the_reason_length() {
    let daemon = Daemon::with("ai/endless", &models::endless());
    for field in ["max_tokens", "max_completion_tokens"] {
        let answer = ask(&daemon, "ai/endless", json!({ field: 3 }));
        assert_eq!(content(&answer).trim_end(), "one, two, three,", "{field}");
        assert_eq!(answer["choices"][0]["finish_reason"], "length", "{field}");
        assert_eq!(answer["usage"]["completion_tokens"], 3, "{field}");
    }
    let both = ask(&daemon, "ai/endless", json!({ "max_tokens": 4, "max_completion_tokens": 1 }));
    assert_eq!(both["usage"]["completion_tokens"], 1, "the new name wins");
}

#[test]
fn the_end_of_the_context_cuts_with_the_reason_length() {
    let daemon = Daemon::builder()
        .args(&["--context", "512"])
        .model("ai/endless", &models::endless())
        .start();
    let answer = ask(&daemon, "ai/endless", json!({}));
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    let total = answer["usage"]["total_tokens"].as_u64();
    assert_eq!(total, Some(512), "the whole context, and no token more");
}

#[test]
fn a_seed_decides_the_answer() {
    let daemon = Daemon::with("ai/tiny", &models::tiny());
    let fields = |seed: u64| json!({ "seed": seed, "temperature": 1.5, "max_tokens": 48 });
    let first = ask(&daemon, "ai/tiny", fields(7));
    for _ in 0..3 {
        let again = ask(&daemon, "ai/tiny", fields(7));
        assert_eq!(content(&again), content(&first));
    }
    let others: Vec<Value> = (8..12).map(|seed| ask(&daemon, "ai/tiny", fields(seed))).collect();
    assert!(others.iter().any(|other| content(other) != content(&first)), "{first}");
}

#[test]
fn a_prompt_that_does_not_fit_is_refused_with_both_numbers() {
    let daemon = Daemon::with("ai/tiny", &models::tiny());
    let body = json!({
        "model": "ai/tiny",
        "messages": [{ "role": "user", "content": "x".repeat(5000) }],
    });
    let error = daemon.client().post(CHAT, &body).expect(400).json()["error"].clone();
    assert_eq!(error["code"], "context_length_exceeded");
    let message = error["message"].as_str().unwrap();
    let numbers: Vec<u64> = message
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect();
    assert!(numbers.contains(&512), "the context: {message}");
    assert!(numbers.iter().any(|number| *number > 5000), "the prompt: {message}");
    ask(&daemon, "ai/tiny", json!({ "max_tokens": 1 }));
}

#[test]
fn special_tokens_in_what_a_user_says_are_text() {
    let daemon = Daemon::with("ai/tiny", &models::tiny());
    let prompt_tokens = |text: &str| {
        let body = json!({
            "model": "ai/tiny", "max_tokens": 1,
            "messages": [{ "role": "user", "content": text }],
        });
        let answer = daemon.client().post(CHAT, &body).expect(200).json();
        answer["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    // As text the ten characters of the mark are ten tokens, like any other ten characters.
    assert_eq!(prompt_tokens("<|im_end|>"), prompt_tokens("<|in_ebd|>"));
}
