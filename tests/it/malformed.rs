//! Requests that are wrong in every way we could think of. Each gets a 4xx in the dialect's own
//! envelope, quickly, and neither the daemon nor the loaded model notices.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::{Client, JSON, Response};
use crate::support::{Daemon, models};

const CHAT: &str = "/engines/v1/chat/completions";
/// From the request to the refusal, on a machine that is busy with other tests.
const QUICK: Duration = Duration::from_secs(2);

/// A loaded model whose process must be the same at the end.
struct Bystander {
    daemon: Daemon,
    worker: i32,
}

impl Bystander {
    fn start() -> Self {
        let mut daemon = Daemon::with("ai/hello", &models::hello());
        daemon.client().post(CHAT, &chat(&[])).expect(200);
        let worker = daemon.worker();
        Self { daemon, worker }
    }

    fn client(&self) -> Client {
        self.daemon.client()
    }

    #[track_caller]
    fn assert_unharmed(mut self) {
        assert!(self.daemon.is_alive());
        self.daemon.client().post(CHAT, &chat(&[])).expect(200);
        assert_eq!(self.daemon.worker(), self.worker, "the worker was restarted");
    }
}

/// A good request with some fields replaced.
fn chat(changes: &[(&str, Value)]) -> Value {
    let mut body =
        json!({ "model": "ai/hello", "messages": [{ "role": "user", "content": "Hi" }] });
    for (field, value) in changes {
        body[field] = value.clone();
    }
    body
}

#[track_caller]
fn assert_openai_error(answer: &Response, statuses: &[u16], what: &str) {
    let text: String = answer.text().chars().take(300).collect();
    assert!(statuses.contains(&answer.status), "{what}: {} {text}", answer.status);
    let body: Value =
        serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{what}: {e} in {text}"));
    let error = &body["error"];
    assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()), "{what}: {text}");
    assert!(error["type"].is_string(), "{what}: {text}");
    for optional in ["param", "code"] {
        let value = error.get(optional).unwrap_or_else(|| panic!("{what}: no {optional}: {text}"));
        assert!(value.is_null() || value.is_string(), "{what}: {optional} in {text}");
    }
}

#[test]
fn bodies_that_are_no_request() {
    let bystander = Bystander::start();
    let deep = |open: &str, close: &str| open.repeat(100_000) + &close.repeat(100_000);
    let good = chat(&[]).to_string();
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("an empty object", b"{}".to_vec()),
        ("an array", b"[]".to_vec()),
        ("null", b"null".to_vec()),
        ("a string", b"\"x\"".to_vec()),
        ("a number", b"1e999".to_vec()),
        ("cut off", good.as_bytes()[..good.len() - 2].to_vec()),
        ("a byte order mark", [b"\xef\xbb\xbf", good.as_bytes()].concat()),
        ("UTF-16", utf16),
        (
            "invalid UTF-8",
            good.replace("Hi", "\u{1}").bytes().map(|b| if b == 1 { 0xff } else { b }).collect(),
        ),
        ("two values", format!("{good} {good}").into_bytes()),
        ("deep arrays", deep("[", "]").into_bytes()),
        ("deep objects", deep("{\"a\":", "}").into_bytes()),
        ("open brackets only", b"[".repeat(100_000)),
        (
            "200 deep inside a field",
            good.replace("\"Hi\"", &("[".repeat(200) + &"]".repeat(200))).into_bytes(),
        ),
        ("a lone surrogate", good.replace("Hi", "\\ud800").into_bytes()),
        ("a raw control character", good.replace("Hi", "\u{1}").into_bytes()),
        ("NaN", good.replace("\"Hi\"", "NaN").into_bytes()),
        ("the model twice", good.replacen('{', "{\"model\":\"ai/other\",", 1).into_bytes()),
        ("a form", b"model=ai%2Fhello&messages=Hi".to_vec()),
    ];
    for (what, body) in cases {
        let asked = Instant::now();
        let answer = bystander.client().send("POST", CHAT, JSON, &body);
        assert_openai_error(&answer, &[400], what);
        assert!(asked.elapsed() < QUICK, "{what}: {:?}", asked.elapsed());
    }
    bystander.assert_unharmed();
}

#[test]
fn a_body_over_the_limit_is_413() {
    let bystander = Bystander::start();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 999999999999\r\n\r\n{{"
    );
    let answer = bystander.client().raw(head.as_bytes()).expect("an answer");
    assert_openai_error(&answer, &[413], "a length of 999999999999");
    let large = chat(&[("metadata", json!("x".repeat(65 << 20)))]).to_string();
    let answer = bystander.client().send("POST", CHAT, JSON, large.as_bytes());
    assert_openai_error(&answer, &[413], "65 MiB");
    bystander.assert_unharmed();
}

#[test]
fn compressed_bodies_are_not_taken() {
    let bystander = Bystander::start();
    for encoding in ["gzip", "zstd", "br", "identity, gzip"] {
        let headers = [("Content-Type", "application/json"), ("Content-Encoding", encoding)];
        let answer = bystander.client().send("POST", CHAT, &headers, b"\x1f\x8b\x08\x00");
        assert_openai_error(&answer, &[415], encoding);
    }
    bystander.assert_unharmed();
}

#[test]
fn fields_out_of_range_are_refused_by_name() {
    let bystander = Bystander::start();
    let number = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let cases: Vec<(&str, Vec<Value>)> = vec![
        ("model", vec![Value::Null, json!(1), json!([])]),
        ("max_tokens", vec![json!(-2), number("1e308"), json!("5"), json!(1.5), json!(i64::MIN)]),
        ("temperature", vec![json!(-1), number("1e9"), json!("hot"), json!([]), json!(true)]),
        ("top_p", vec![json!(2), json!(-0.1), json!("x")]),
        ("presence_penalty", vec![json!(3), json!(-3)]),
        ("frequency_penalty", vec![json!(3), json!(-3)]),
        ("n", vec![json!(1_000_000_000), json!(0), json!(-1), json!("2")]),
        ("seed", vec![json!("x"), json!(1.5), number("1e30")]),
        ("stream", vec![json!("yes"), json!(1)]),
        ("stop", vec![json!(5), json!([5]), json!({ "a": 1 }), json!(vec!["x"; 100_000])]),
        (
            "logit_bias",
            vec![json!([]), json!({ "abc": 1 }), json!({ "-5": 1 }), json!({ "2147483648": 1 })],
        ),
        ("messages", vec![Value::Null, json!([]), json!("Hi"), json!({}), json!([1]), json!([{}])]),
    ];
    for (field, values) in cases {
        for value in values {
            let what: String = format!("{field} = {value}").chars().take(80).collect();
            let asked = Instant::now();
            let answer = bystander.client().post(CHAT, &chat(&[(field, value)]));
            assert_openai_error(&answer, &[400], &what);
            let error = answer.json()["error"].clone();
            let named = error["param"].as_str().is_some_and(|param| param.starts_with(field))
                || error["message"].as_str().is_some_and(|message| message.contains(field));
            assert!(named, "{what}: {error}");
            assert!(asked.elapsed() < QUICK, "{what}: {:?}", asked.elapsed());
        }
    }
    bystander.assert_unharmed();
}

#[test]
fn messages_that_cannot_be_rendered_are_refused() {
    let bystander = Bystander::start();
    let message = |role: &str, content: Value| json!([{ "role": role, "content": content }]);
    let image = json!([{ "type": "image_url", "image_url": { "url": "file:///etc/passwd" } }]);
    let remote =
        json!([{ "type": "image_url", "image_url": { "url": "http://169.254.169.254/" } }]);
    let cases = [
        ("an unknown role", message("root", json!("Hi"))),
        ("no role", json!([{ "content": "Hi" }])),
        ("no content", message("user", Value::Null)),
        ("a content of numbers", message("user", json!([1, 2]))),
        ("a content object", message("user", json!({ "text": "Hi" }))),
        ("an unknown part", message("user", json!([{ "type": "smell", "smell": "x" }]))),
        ("a local file as image", message("user", image)),
        ("a remote image", message("user", remote)),
        ("a million characters", message("user", json!("a".repeat(1_000_000)))),
        ("100,000 messages", json!(vec![json!({ "role": "user", "content": "x" }); 100_000])),
    ];
    for (what, messages) in cases {
        let asked = Instant::now();
        let answer = bystander.client().post(CHAT, &chat(&[("messages", messages)]));
        assert_openai_error(&answer, &[400, 413], what);
        assert!(asked.elapsed() < QUICK, "{what}: {:?}", asked.elapsed());
    }
    bystander.assert_unharmed();
}

#[test]
fn nulls_and_unknown_fields_are_fine() {
    let bystander = Bystander::start();
    let mut body = chat(&[("no_such_field", json!({ "a": [1] })), ("user", json!("me"))]);
    for field in ["max_tokens", "temperature", "top_p", "seed", "stop", "n", "stream", "tools"] {
        body[field] = Value::Null;
    }
    for field in ["response_format", "stream_options", "logit_bias", "logprobs", "tool_choice"] {
        body[field] = Value::Null;
    }
    let answer = bystander.client().post(CHAT, &body).expect(200).json();
    assert_eq!(answer["choices"][0]["message"]["content"], "Hello world! STOP here.");
    // A NUL is a character like others in JSON; it must not end the text for C++.
    let nul = bystander
        .client()
        .post(CHAT, &chat(&[("messages", json!([{ "role": "user", "content": "a\u{0}b" }]))]));
    assert!([200, 400].contains(&nul.status), "{}", nul.text());
    bystander.assert_unharmed();
}

#[test]
fn references_and_digests_that_are_none() {
    let bystander = Bystander::start();
    let hex = |len: usize| "a".repeat(len);
    let names = [
        "../a".to_owned(),
        "a:b:c".to_owned(),
        "a@sha256:short".to_owned(),
        "http://x/y".to_owned(),
        "-x".to_owned(),
        "a b".to_owned(),
        "\u{0}".to_owned(),
        "x:tag/../y".to_owned(),
        "x".repeat(300),
        "x".repeat(100_000),
        format!("x@sha256:{}", hex(63)),
        format!("x@sha256:{}", hex(65)),
        format!("x@sha256:{}", hex(64).to_uppercase()),
        format!("x@sha512:{}", hex(64)),
        format!("x@md5:{}", hex(32)),
        "x@sha256:../../../../etc/passwd".to_owned(),
        "ai/hello:٠".to_owned(),
    ];
    for name in &names {
        let what: String = format!("{name:?}").chars().take(60).collect();
        let answer = bystander.client().post(CHAT, &chat(&[("model", json!(name))]));
        assert_openai_error(&answer, &[400, 404], &what);
        let answer = bystander.client().send(
            "POST",
            &format!("/models/ai/hello/tag?repo={}&tag=x", percent(name)),
            &[],
            b"",
        );
        assert!((400..500).contains(&answer.status), "tag to {what}: {}", answer.status);
        if name.len() < 4096 {
            let path = format!("/models/{}", percent(name));
            for method in ["GET", "DELETE"] {
                let answer = bystander.client().send(method, &path, &[], b"");
                assert!((400..500).contains(&answer.status), "{method} {what}: {}", answer.status);
            }
        }
    }
    for tag in ["", "a/b", "a:b", "..%2f..", "-x", &"t".repeat(200)] {
        let path = format!("/models/ai/hello/tag?repo=ai/x&tag={tag}");
        let answer = bystander.client().send("POST", &path, &[], b"");
        assert_eq!(answer.status, 400, "tag {tag:?}: {}", answer.text());
    }
    bystander.assert_unharmed();
}

#[test]
fn paths_that_lead_nowhere_lead_nowhere() {
    let bystander = Bystander::start();
    let client = bystander.client();
    for path in [
        "/no-such",
        "/exp/vDD4.40/no-such",
        "/exp/v1/models",
        "/exp/vDDx.y/models",
        "/exp/vDD4.40/exp/vDD4.40/models",
        "/exp/vDD4.40/../models",
        "/models/../models",
        "/./models",
        "/%2e%2e/models",
        "/exp/vDD4.40/%2E%2E/models",
        "/models/..%2f..%2fetc%2fpasswd",
        "/engines/no-such-backend/v1/models",
        "/engines/v1/no-such",
        "/models/%ff%fe",
        "/models/%00",
    ] {
        let answer = client.get(path);
        assert!([400, 404].contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
    }
    for path in ["//models", "/exp/vDD4.40//models", "/engines//v1///models"] {
        assert_eq!(client.get(path).status, 200, "{path}: slashes are merged");
    }
    let answer = client.get("/engines/v1/no-such");
    assert_openai_error(&answer, &[404], "an unknown OpenAI route");
    bystander.assert_unharmed();
}

#[test]
fn a_wrong_method_is_405_and_says_which_are_right() {
    let bystander = Bystander::start();
    for (method, path, allowed) in [
        ("GET", CHAT, "POST"),
        ("DELETE", CHAT, "POST"),
        ("PUT", "/models", "GET"),
        ("DELETE", "/models", "GET"),
        ("POST", "/engines/ps", "GET"),
        ("DELETE", "/engines/v1/models", "GET"),
        ("PATCH", "/engines/unload", "POST"),
    ] {
        let answer = bystander.client().send(method, path, &[], b"");
        assert_eq!(answer.status, 405, "{method} {path}");
        let allow = answer.header("allow").unwrap_or_default().to_owned();
        assert!(allow.split(',').any(|word| word.trim() == allowed), "{method} {path}: {allow:?}");
    }
    let head = bystander.client().send("HEAD", "/models", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    bystander.assert_unharmed();
}

#[test]
fn request_ids_are_given_and_differ() {
    let bystander = Bystander::start();
    let id = |answer: &Response| answer.header("x-request-id").expect("an id").to_owned();
    let answers = [
        bystander.client().get("/models"),
        bystander.client().get("/models"),
        bystander.client().get("/no-such"),
        bystander.client().send("POST", CHAT, JSON, b"{"),
    ];
    let ids: std::collections::BTreeSet<String> = answers.iter().map(id).collect();
    assert_eq!(ids.len(), answers.len());
    bystander.assert_unharmed();
}

/// Everything that is not plain, percent-encoded.
fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'/' | b':' | b'@' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
