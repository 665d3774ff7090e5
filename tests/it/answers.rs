//! The first thing anybody does: ask a question over the socket.

use serde_json::{Value, json};

use crate::support::http::Client;
use crate::support::{Daemon, from_env, models};

const CHAT: &str = "/engines/v1/chat/completions";

fn question(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "Hi" }] })
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

#[test]
fn every_prefix_leads_to_the_same_answer() {
    let daemon = Daemon::with("ai/hello", &models::hello());
    for prefix in ["", "/exp/vDD4.40", "/exp/vDD4.41"] {
        for route in ["/engines/v1", "/engines/llama.cpp/v1", "/v1"] {
            let path = format!("{prefix}{route}/chat/completions");
            let answer = daemon.client().post(&path, &question("ai/hello")).expect(200).json();
            let message = &answer["choices"][0]["message"];
            assert_eq!(message["content"], "Hello world! STOP here.", "{path}");
        }
    }
}

#[test]
fn an_answer_has_the_shape_that_openai_documents() {
    let daemon = Daemon::with("ai/hello", &models::hello());
    let answer = daemon.client().post(CHAT, &question("ai/hello")).expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()));
    let answer = answer.json();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "ai/hello", "the name that was asked for");
    assert!(answer["id"].as_str().is_some_and(|id| id.starts_with("chatcmpl-")), "{answer}");
    let choice = &answer["choices"][0];
    assert_eq!(choice["index"], 0);
    assert_eq!(choice["message"]["role"], "assistant");
    assert_eq!(choice["finish_reason"], "stop");
    let usage = &answer["usage"];
    // Five pieces and the end-of-generation token.
    assert_eq!(usage["completion_tokens"], 6);
    let sum = usage["prompt_tokens"].as_u64().unwrap() + 6;
    assert_eq!(usage["total_tokens"], sum);
}

#[test]
fn a_stream_says_what_the_whole_answer_says() {
    let daemon = Daemon::with("ai/hello", &models::hello());
    assert_stream(&daemon.client(), "ai/hello", "Hello world! STOP here.");
}

#[test]
fn a_character_of_four_tokens_is_never_torn() {
    let daemon = Daemon::with("ai/crab", &models::crab());
    let texts = assert_stream(&daemon.client(), "ai/crab", "crab 🦀!!");
    assert!(texts.iter().any(|text| text.contains('🦀')), "one piece holds it whole: {texts:?}");
}

#[test]
fn tcp_answers_like_the_socket() {
    let daemon = Daemon::builder().tcp().model("ai/hello", &models::hello()).start();
    assert_stream(&daemon.tcp_client(), "ai/hello", "Hello world! STOP here.");
    let path = format!("/exp/vDD4.40{CHAT}");
    let answer = daemon.tcp_client().post(&path, &question("ai/hello")).expect(200).json();
    assert_eq!(answer["choices"][0]["message"]["content"], "Hello world! STOP here.");
}

#[test]
fn usage_comes_only_when_asked_for_and_then_last() {
    let daemon = Daemon::with("ai/hello", &models::hello());
    let body = with(question("ai/hello"), "stream", json!(true));
    let chunks: Vec<Value> = chunks(&daemon.client(), &body);
    assert!(chunks.iter().all(|chunk| chunk["usage"].is_null()), "{chunks:?}");
    assert!(chunks.iter().all(|chunk| chunk["choices"][0].is_object()), "{chunks:?}");

    let body = with(body, "stream_options", json!({ "include_usage": true }));
    let chunks = self::chunks(&daemon.client(), &body);
    let (last, rest) = chunks.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 6);
    assert!(rest.iter().all(|chunk| chunk["usage"].is_null()), "{rest:?}");
}

#[test]
fn a_real_model_answers() {
    let Some(path) = from_env("a_real_model_answers", "MODELD_TEST_MODEL") else { return };
    let daemon = Daemon::builder().start();
    daemon.cli_ok(&["package", "--gguf", &path, "ai/smollm2:135M-Q4_1"]);
    let body = json!({
        "model": "ai/smollm2:135M-Q4_1", "max_tokens": 12, "temperature": 0,
        "messages": [{ "role": "user", "content": "Say hello." }],
    });
    let answer = daemon.client().post(CHAT, &body).expect(200).json();
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.to_lowercase().contains("hello"), "{text:?}");
    let again = daemon.client().post(CHAT, &body).expect(200).json();
    assert_eq!(again["choices"][0]["message"]["content"], text, "greedy answers repeat");
    let entry = daemon.client().get("/models/ai/smollm2:135M-Q4_1").expect(200).json();
    assert_eq!(entry["config"]["quantization"], "Q4_1");
    assert_eq!(entry["config"]["architecture"], "llama");
}

/// Reads a chat stream, holds it to OpenAI's order and to `expected`, and returns its texts.
#[track_caller]
fn assert_stream(client: &Client, model: &str, expected: &str) -> Vec<String> {
    let chunks = chunks(client, &with(question(model), "stream", json!(true)));
    let (first, last) = (&chunks[0], chunks.last().unwrap());
    assert_eq!(first["object"], "chat.completion.chunk");
    assert_eq!(first["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    for chunk in &chunks[..chunks.len() - 1] {
        assert_eq!(chunk["choices"][0]["finish_reason"], Value::Null, "{chunk}");
    }
    for field in ["id", "created", "model", "object"] {
        assert!(chunks.iter().all(|chunk| chunk[field] == first[field]), "{field} changes");
    }
    let text = |chunk: &Value| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
    let texts: Vec<String> = chunks.iter().filter_map(text).collect();
    assert_eq!(texts.concat(), expected);
    texts
}

/// Every chunk of a stream that ends with `[DONE]`.
#[track_caller]
fn chunks(client: &Client, body: &Value) -> Vec<Value> {
    let events: Vec<_> = client.stream(CHAT, body).collect();
    let (done, chunks) = events.split_last().expect("events");
    assert_eq!(done.data, "[DONE]");
    assert!(events.iter().all(|event| event.name.is_none()), "OpenAI's events have no names");
    chunks.iter().map(crate::support::http::Event::json).collect()
}
