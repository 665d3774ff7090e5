//! Anthropic's dialect over the real router.

use axum::body::Body;
use serde_json::{Value, json};

use super::support::{Answer, Bench, TINY, request};
use crate::domain::{Delta, Error, ErrorKind, FinishReason, Prompt, ToolCallDelta};
use crate::engine::scripted::{Script, ScriptedFactory};
use crate::gguf::testing::Writer;

const MESSAGES: &str = "/anthropic/v1/messages";
const COUNT: &str = "/anthropic/v1/messages/count_tokens";

/// A good request with some fields replaced.
fn ask(changes: &Value) -> Value {
    let mut body = json!({
        "model": TINY, "max_tokens": 9, "messages": [{ "role": "user", "content": "Hi" }],
    });
    if let (Some(body), Some(changes)) = (body.as_object_mut(), changes.as_object()) {
        body.extend(changes.clone());
    }
    body
}

fn hello() -> ScriptedFactory {
    // One piece: several would be joined or not, as they come.
    ScriptedFactory::answering(["Hello"])
}

async fn versioned(bench: &Bench, method: &str, path: &str) -> Answer {
    let mut request = request(method, path, Body::empty());
    request.headers_mut().insert("anthropic-version", "2023-06-01".parse().expect("a value"));
    bench.send(request).await
}

/// Every answer has an id of its own.
fn redact(text: &str) -> String {
    match text.split_once("\"id\":\"msg_") {
        Some((before, rest)) => {
            let after = rest.split_once('"').map_or("", |(_, after)| after);
            format!("{before}\"id\":\"msg_ID\"{after}")
        }
        None => text.to_owned(),
    }
}

/// The data of the events of this name.
fn events(stream: &str, name: &str) -> Vec<Value> {
    let head = format!("event: {name}\ndata: ");
    let found = stream.split("\n\n").filter_map(|event| event.strip_prefix(&head));
    found.map(|data| serde_json::from_str(data).expect("JSON")).collect()
}

#[tokio::test]
async fn a_message_whole_and_streamed() {
    let script = Script { cached_tokens: 2, ..Script::answering(["Hello"]) };
    let bench = Bench::new(ScriptedFactory::new(script)).await;
    let whole = bench.post(MESSAGES, &ask(&json!({}))).await.expect(200);
    assert_eq!(whole.header("content-type"), Some("application/json"));
    let stream = bench.post("/v1/messages?beta=true", &ask(&json!({ "stream": true }))).await;
    let stream = stream.expect(200);
    assert_eq!(stream.header("content-type"), Some("text/event-stream; charset=utf-8"));
    for answer in [&whole, &stream] {
        assert_eq!(answer.header("request-id"), answer.header("x-request-id"));
        assert!(answer.header("request-id").is_some());
        assert!(answer.header("openai-processing-ms").is_none());
        for name in ["x-queue-position", "x-queue-wait-ms"] {
            let number = answer.header(name).map(str::parse::<u64>);
            assert!(matches!(number, Some(Ok(_))), "{name}: {number:?}");
        }
    }
    insta::assert_snapshot!("message_whole", redact(&whole.text));
    insta::assert_snapshot!("message_stream", redact(&stream.text));
}

#[tokio::test]
async fn every_tree_serves_messages_under_any_beta() {
    let bench = Bench::new(hello()).await;
    for prefix in ["/v1", "/engines/v1", "/engines/llama.cpp/v1", "/exp/vDD4.40/anthropic/v1"] {
        let body = ask(&json!({})).to_string();
        let mut request = request("POST", &format!("{prefix}/messages?beta=true"), body.into());
        let headers = request.headers_mut();
        headers.insert("anthropic-beta", "no-such-2031-01-01,other".parse().expect("a value"));
        headers.insert("anthropic-version", "2031-01-01".parse().expect("a value"));
        headers.insert("x-api-key", "unused".parse().expect("a value"));
        let answer = bench.send(request).await.expect(200).json();
        assert_eq!(answer["content"][0]["text"], "Hello", "{prefix}");
    }
}

#[tokio::test]
async fn ends_are_told_apart() {
    let stop = FinishReason::StopString("END".into());
    for (script, changes, reason, sequence) in [
        (Script::answering(["a", "b"]), json!({}), "end_turn", json!(null)),
        (Script::answering(["a", "b"]), json!({ "max_tokens": 1 }), "max_tokens", json!(null)),
        (
            Script { finish: stop, ..Script::answering(["a"]) },
            json!({ "stop_sequences": ["END"] }),
            "stop_sequence",
            json!("END"),
        ),
    ] {
        let bench = Bench::new(ScriptedFactory::new(script)).await;
        let whole = bench.post(MESSAGES, &ask(&changes)).await.expect(200).json();
        let mut streamed = ask(&changes);
        streamed["stream"] = json!(true);
        let stream = bench.post(MESSAGES, &streamed).await.expect(200);
        let end = events(&stream.text, "message_delta").remove(0);
        for said in [&whole, &end["delta"]] {
            assert_eq!((&said["stop_reason"], &said["stop_sequence"]), (&json!(reason), &sequence));
        }
        assert_eq!(whole["usage"], end["usage"]);
    }
}

#[tokio::test]
async fn what_fails_before_the_first_token_keeps_its_status() {
    let too_long = Error::new(ErrorKind::ContextLengthExceeded, "9 tokens, but 4 fit.");
    let script = Script { prepare_error: Some(too_long), ..Script::default() };
    let bench = Bench::new(ScriptedFactory::new(script)).await;
    for stream in [false, true] {
        let answer = bench.post(MESSAGES, &ask(&json!({ "stream": stream }))).await.expect(400);
        let message = &answer.json()["error"]["message"];
        assert_eq!(message, "prompt is too long: 9 tokens, but 4 fit.");
    }
}

#[tokio::test]
async fn what_fails_later_is_an_error_event_or_status() {
    let failure = Error::new(ErrorKind::Internal, "It broke.").with_cause("a secret");
    let script = Script { fail_after: Some((1, failure)), ..Script::answering(["Hel", "lo"]) };
    let bench = Bench::new(ScriptedFactory::new(script)).await;
    let stream = bench.post(MESSAGES, &ask(&json!({ "stream": true }))).await.expect(200);
    insta::assert_snapshot!("message_stream_that_fails", redact(&stream.text));
    let whole = bench.post(MESSAGES, &ask(&json!({}))).await.expect(500);
    assert_eq!(whole.json()["error"]["type"], "api_error");
    assert!(!whole.text.contains("secret") && !stream.text.contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_waits_long_tells_it_in_comments_before_its_first_event() {
    let bench = Bench::new(hello().load_time(std::time::Duration::from_secs(40))).await;
    let stream = bench.post(MESSAGES, &ask(&json!({ "stream": true }))).await.expect(200);
    let begin = stream.text.find("event: ").expect("an event");
    let (before, events) = stream.text.split_at(begin);
    assert!(before.contains(": loading the model"), "{before}");
    assert!(before.lines().all(|line| line.is_empty() || line.starts_with(':')), "{before}");
    assert!(events.starts_with("event: message_start\n"), "{events}");
}

#[tokio::test]
async fn two_requests_run_side_by_side() {
    let factory = ScriptedFactory::new(Script { hang: true, ..Script::default() });
    let bench = Bench::new(factory).await;
    let body = || request("POST", MESSAGES, ask(&json!({ "stream": true })).to_string().into());
    let both = (bench.begin(body()).await, bench.begin(body()).await);
    bench.until("both run", |model| model.running == 2).await;
    assert_eq!((both.0.status(), both.1.status()), (http::StatusCode::OK, http::StatusCode::OK));
}

#[tokio::test]
async fn a_count_is_what_the_answer_tells() {
    let script = Script { prompt_tokens: 11, cached_tokens: 4, ..Script::answering(["Hi"]) };
    let bench = Bench::new(ScriptedFactory::new(script)).await;
    let mut body = ask(&json!({ "system": "Be brief.", "tools": [{ "name": "clock" }] }));
    let usage = bench.post(MESSAGES, &body).await.expect(200).json()["usage"].take();
    body.as_object_mut().expect("an object").remove("max_tokens");
    let count = bench.post(COUNT, &body).await.expect(200).json();
    assert_eq!(count, json!({ "input_tokens": 11 }));
    assert_eq!((&usage["input_tokens"], &usage["cache_read_input_tokens"]), (&json!(7), &json!(4)));
    let refused = bench.post(COUNT, &json!({ "model": "ai/none", "messages": [] })).await;
    assert_eq!(refused.expect(400).json()["error"]["type"], "invalid_request_error");
    let unknown = ask(&json!({ "model": "ai/none" }));
    let refused = bench.post("/v1/messages/count_tokens", &unknown).await;
    assert_eq!(refused.expect(404).json()["error"]["type"], "not_found_error");
}

#[tokio::test]
async fn thinking_and_calls_come_as_blocks() {
    let call = |index, id: Option<&str>, arguments: &str| {
        Delta::ToolCall(ToolCallDelta {
            index,
            id: id.map(str::to_owned),
            name: id.map(|_| "clock".to_owned()),
            arguments: arguments.to_owned(),
        })
    };
    let script = Script::deltas([
        Delta::Reasoning("Two clocks.".into()),
        Delta::Content("I look.".into()),
        call(0, Some("abcdefgh1"), ""),
        call(0, None, "{\"zone\":\"CET\"}"),
        call(1, Some("abcdefgh2"), ""),
    ]);
    let bench = Bench::new(ScriptedFactory::new(script.ending(FinishReason::ToolCalls))).await;
    let tools = json!({ "tools": [{ "name": "clock" }], "max_tokens": 99 });
    let whole = bench.post(MESSAGES, &ask(&tools)).await.expect(200).json();
    assert_eq!(
        whole["content"],
        json!([
            { "type": "thinking", "thinking": "Two clocks.", "signature": "" },
            { "type": "text", "text": "I look." },
            { "type": "tool_use", "id": "toolu_abcdefgh1", "name": "clock",
              "input": { "zone": "CET" } },
            { "type": "tool_use", "id": "toolu_abcdefgh2", "name": "clock", "input": {} },
        ])
    );
    assert_eq!(whole["stop_reason"], "tool_use");
    let mut body = ask(&tools);
    body["stream"] = json!(true);
    let stream = bench.post(MESSAGES, &body).await.expect(200);
    let indexes = |name| -> Vec<Value> {
        events(&stream.text, name).iter().map(|event| event["index"].clone()).collect()
    };
    for name in ["content_block_start", "content_block_stop"] {
        assert_eq!(indexes(name), [0, 1, 2, 3], "{name}");
    }
}

#[tokio::test]
async fn many_tools_arrive() {
    let bench = Bench::new(hello()).await;
    let tools: Vec<Value> = (0..100).map(|i| json!({ "name": format!("mcp__x__{i}") })).collect();
    bench.post(MESSAGES, &ask(&json!({ "tools": tools }))).await.expect(200);
    let prompts = bench.control.prompts();
    let Some(Prompt::Chat(chat)) = prompts.first() else { panic!("{prompts:?}") };
    assert_eq!(chat.tools.len(), 100);
}

#[tokio::test]
async fn errors_of_the_anthropic_family() {
    let bench = Bench::new(hello()).await;
    bench.add("ai/embedder", &Writer::tiny().u32("llama.pooling_type", 1)).await;
    let mut all = String::new();
    for (method, path, body) in [
        ("POST", MESSAGES, String::new()),
        ("POST", MESSAGES, "{\"model\":".into()),
        ("POST", MESSAGES, "{}".into()),
        ("POST", MESSAGES, ask(&json!({ "model": "ai/none" })).to_string()),
        ("POST", MESSAGES, ask(&json!({ "model": "ai/embedder" })).to_string()),
        ("POST", MESSAGES, ask(&json!({ "model": "../x" })).to_string()),
        ("POST", MESSAGES, ask(&json!({ "max_tokens": null })).to_string()),
        ("POST", MESSAGES, ask(&json!({ "max_tokens": 0 })).to_string()),
        ("POST", MESSAGES, ask(&json!({ "messages": [] })).to_string()),
        ("POST", MESSAGES, ask(&json!({ "messages": [{ "role": "x" }] })).to_string()),
        ("GET", MESSAGES, String::new()),
        ("POST", "/anthropic/v1/messages/batches", "{}".into()),
        ("GET", "/v1/messages/batches", String::new()),
        ("GET", "/anthropic/v1/models/ai/none", String::new()),
        ("GET", "/anthropic/v1/models?limit=0", String::new()),
        ("GET", "/anthropic/v1/models?limit=1&limit=2", String::new()),
        ("GET", "/anthropic/no-such", String::new()),
        ("GET", "/anthropic/../models", String::new()),
        ("POST", "/engines/other/v1/messages", "{}".into()),
    ] {
        let mut request = request(method, path, body.clone().into());
        request.headers_mut().insert("x-request-id", "req-7".parse().expect("a value"));
        let answer = bench.send(request).await;
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path} {body}");
        assert_eq!(answer.header("request-id"), Some("req-7"), "{path} {body}");
        all += &format!("{method} {path} {body}\n  {} {}\n", answer.status.as_u16(), answer.text);
    }
    insta::assert_snapshot!(all);
}

#[tokio::test]
async fn guards_and_limits_speak_the_same_dialect() {
    let bench = Bench::new(hello()).await;
    let local: std::net::SocketAddr = "127.0.0.1:12434".parse().expect("an address");
    for (host, kind, encoding, length, status, wanted) in [
        ("evil.example", "application/json", None, None, 403, "permission_error"),
        ("localhost", "text/plain", None, None, 415, "invalid_request_error"),
        ("localhost", "application/json", Some("gzip"), None, 415, "invalid_request_error"),
        ("localhost", "application/json", None, Some("99999999999"), 413, "request_too_large"),
    ] {
        let mut request = request("POST", MESSAGES, ask(&json!({})).to_string().into());
        request.extensions_mut().insert(crate::api::ListenerClass::Tcp { local });
        let headers = [
            ("host", Some(host)),
            ("content-type", Some(kind)),
            ("content-encoding", encoding),
            ("content-length", length),
        ];
        for (name, value) in headers {
            if let Some(value) = value {
                request.headers_mut().insert(name, value.parse().expect("a value"));
            }
        }
        let answer = bench.send(request).await.expect(status);
        let body = answer.json();
        assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(wanted)));
        assert_eq!(body["request_id"].as_str(), answer.header("x-request-id"));
    }
}

#[tokio::test]
async fn models_in_anthropics_form_where_it_is_asked_for() {
    let bench = Bench::new(hello()).await;
    bench.add("ai/other", &Writer::tiny().u32("general.version_of_test", 2)).await;
    let list = bench.get("/anthropic/v1/models").await.expect(200).json();
    let ids: Vec<&str> = list["data"].as_array().into_iter().flatten().filter_map(id).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!((list["first_id"].as_str(), list["last_id"].as_str()), (Some(ids[0]), Some(ids[1])));
    assert_eq!(list["has_more"], false);
    let page = bench.get(&format!("/anthropic/v1/models?limit=1&after_id={}", ids[0])).await;
    assert_eq!(page.expect(200).json()["first_id"], ids[1]);
    for prefix in ["/v1", "/engines/v1", "/engines/llama.cpp/v1"] {
        let path = format!("{prefix}/models");
        assert_eq!(versioned(&bench, "GET", &path).await.expect(200).json(), list, "{path}");
        assert_eq!(bench.get(&path).await.expect(200).json()["object"], "list", "{path}");
        for name in ["ai/tiny", "docker.io%2Fai%2Ftiny%3Alatest", "tiny"] {
            let path = format!("{path}/{name}");
            let one = versioned(&bench, "GET", &path).await.expect(200).json();
            assert!(list["data"].as_array().into_iter().flatten().any(|model| *model == one));
            assert_eq!(bench.get(&path).await.expect(200).json()["object"], "model", "{path}");
        }
        let none = versioned(&bench, "GET", &format!("{path}/ai/none")).await.expect(404).json();
        assert_eq!(none["error"]["type"], "not_found_error");
    }
    let one = bench.get("/anthropic/v1/models/ai/tiny").await.expect(200);
    insta::assert_snapshot!(one.text);
}

fn id(model: &Value) -> Option<&str> {
    model["id"].as_str()
}

#[tokio::test]
async fn a_look_at_the_base_url_finds_somebody() {
    let bench = Bench::new(hello()).await;
    for path in ["/", "/anthropic", "/anthropic/"] {
        for method in ["HEAD", "GET"] {
            bench.call(method, path).await.expect(200);
        }
    }
}
