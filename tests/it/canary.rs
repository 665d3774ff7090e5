//! What clients say, what models answer and what proves who somebody is stays between them: words
//! that occur nowhere else go through every route, at every level of the log, and are looked for
//! everywhere that outlives a request.

use std::fs;
use std::path::{Path, PathBuf};

use modeld::api::{ACTIONS, ROUTES};
use serde_json::{Value, json};

use crate::support::daemon::{Builder, children_of};
use crate::support::gguf::{self, Gguf};
use crate::support::models::{self, Piece, Then};
use crate::support::{Daemon, wait_until};

pub const PROMPT: &str = "canary-prompt-5b1e";
pub const TOKEN: &str = "canary-token-9c27";
/// In two tokens of the model.
pub const ANSWER: &str = "canary-answer-3d84";
pub const MODEL: &str = "ai/canary-cage";

/// The first of the broken bodies, which name no model: those that do would remove it.
const NAMELESS: usize = 4;

const CANARIES: [&str; 3] = [PROMPT, TOKEN, ANSWER];

/// A daemon whose model says the third of the words.
pub fn builder() -> Builder {
    Daemon::builder().model(MODEL, &speaks(None))
}

/// The same with another template.
pub fn speaks(template: Option<&str>) -> Gguf {
    let pieces = [Piece::Text("canary-ans"), Piece::Text("wer-3d84")];
    let mut model = models::scripted(&pieces, Then::End);
    if let Some(template) = template {
        model.keys.retain(|(key, _)| key != "tokenizer.chat_template");
        model.set("tokenizer.chat_template", gguf::Value::str(template));
    }
    model
}

fn daemon(args: &[&str]) -> Daemon {
    builder().args(args).start()
}

/// Requests that are answered, in every dialect.
fn good() -> Vec<(&'static str, Value)> {
    let says =
        json!([{ "role": "system", "content": PROMPT }, { "role": "user", "content": PROMPT }]);
    let schema = json!({
        "type": "object", "properties": { PROMPT: { "enum": [PROMPT] } }, "required": [PROMPT],
    });
    let tool = json!([{ "type": "function", "function": {
        "name": "canary_tool", "description": PROMPT, "parameters": schema,
    }}]);
    let mut all = Vec::new();
    for stream in [false, true] {
        let chat = |changes: Value| {
            let mut body = json!({
                "model": MODEL, "messages": says, "stream": stream, "max_tokens": 20,
                "user": TOKEN, "metadata": { "key": TOKEN },
            });
            body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            body
        };
        all.extend([
            ("/v1/chat/completions", chat(json!({}))),
            ("/engines/v1/chat/completions", chat(json!({ "stop": [PROMPT], "logprobs": true }))),
            ("/engines/llama.cpp/v1/chat/completions", chat(json!({ "tools": tool }))),
            (
                "/v1/chat/completions",
                chat(json!({ "response_format": { "type": "json_schema", "json_schema": {
                    "name": "canary", "schema": schema, "strict": true } } })),
            ),
            ("/v1/chat/completions", chat(json!({ "grammar": format!("root ::= \"{PROMPT}\"") }))),
            (
                "/v1/completions",
                json!({ "model": MODEL, "prompt": PROMPT, "stream": stream, "echo": true }),
            ),
            (
                "/v1/responses",
                json!({ "model": MODEL, "input": PROMPT, "instructions": PROMPT, "stream": stream }),
            ),
            (
                "/v1/messages",
                json!({ "model": MODEL, "system": PROMPT, "max_tokens": 20, "stream": stream,
                        "messages": [{ "role": "user", "content": PROMPT }] }),
            ),
            ("/api/chat", json!({ "model": MODEL, "messages": says, "stream": stream })),
            (
                "/api/generate",
                json!({ "model": MODEL, "prompt": PROMPT, "system": PROMPT, "stream": stream,
                        "format": schema }),
            ),
        ]);
    }
    all.extend([
        ("/v1/tokenize", json!({ "model": MODEL, "prompt": PROMPT })),
        (
            "/v1/messages/count_tokens",
            json!({ "model": MODEL, "messages": [{ "role": "user", "content": PROMPT }] }),
        ),
        ("/v1/responses/input_tokens", json!({ "model": MODEL, "input": PROMPT })),
    ]);
    all
}

/// Bodies that are refused for one reason or another.
fn broken() -> Vec<String> {
    let mut all = vec![
        PROMPT.to_owned(),
        format!("\"{PROMPT}\""),
        format!(
            "{{\"model\": \"{MODEL}\", \"messages\": [{{\"role\": \"user\", \"content\": \"{PROMPT}"
        ),
        json!({ PROMPT: TOKEN }).to_string(),
    ];
    for field in [
        "messages",
        "prompt",
        "input",
        "content",
        "query",
        "documents",
        "text_1",
        "system",
        "stop",
        "tools",
        "grammar",
        "response_format",
        "format",
        "instructions",
        "tokens",
        "template",
        "filter",
        "options",
        "max_tokens",
        "stream",
        "tool_choice",
        "logit_bias",
        "images",
        "raw",
        "all",
        "previous_response_id",
        "orphans",
    ] {
        all.push(json!({ "model": MODEL, field: PROMPT }).to_string());
        all.push(json!({ "model": MODEL, field: [{ PROMPT: PROMPT }] }).to_string());
    }
    let says = json!([{ "role": "user", "content": PROMPT }]);
    let with = |changes: Value| {
        let mut body = json!({ "model": MODEL, "messages": says, "max_tokens": 20 });
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        body.to_string()
    };
    // Names that are nowhere, and fields that nobody knows.
    all.push(with(json!({ "model": PROMPT })));
    all.push(with(json!({ "model": format!("{TOKEN}/{PROMPT}:{ANSWER}") })));
    all.push(with(json!({ "model": format!("localhost:1/{PROMPT}@sha256:{TOKEN}") })));
    all.push(with(json!({ PROMPT: TOKEN })));
    all.push(with(json!({ "stream_options": { PROMPT: TOKEN } })));
    all.push(with(json!({ "options": { PROMPT: TOKEN } })));
    // Media of all dialects, which say where they are or are not what they say.
    for place in [
        format!("data:image/png;base64,{PROMPT}"),
        format!("data:{PROMPT};base64,AAAA"),
        format!("http://user:{TOKEN}@127.0.0.1:1/{PROMPT}?token={TOKEN}"),
        format!("file:///{PROMPT}"),
        PROMPT.to_owned(),
    ] {
        for part in [
            json!({ "type": "image_url", "image_url": { "url": place } }),
            json!({ "type": "input_image", "image_url": place }),
            json!({ "type": "input_audio", "input_audio": { "data": place, "format": PROMPT } }),
            json!({ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": place } }),
            json!({ "type": "image", "source": { "type": "url", "url": place } }),
            json!({ "type": PROMPT, PROMPT: place }),
        ] {
            let content = json!([{ "role": "user", "content": [part] }]);
            all.push(with(json!({ "messages": content, "input": content })));
        }
        all.push(with(json!({ "images": [place], "prompt": PROMPT })));
        all.push(with(
            json!({ "messages": [{ "role": "user", "content": PROMPT, "images": [place] }] }),
        ));
    }
    // Tools that cannot be, calls that were never made, roles that nobody plays.
    for name in [PROMPT.to_owned(), format!("{PROMPT} {TOKEN}"), PROMPT.repeat(40)] {
        for parameters in [json!({ "type": PROMPT }), json!({ "$ref": PROMPT }), json!(PROMPT)] {
            let function = json!({ "name": name, "parameters": parameters });
            all.push(with(json!({
                "tools": [{ "type": "function", "function": function, "name": name,
                            "input_schema": parameters, "parameters": parameters }],
                "tool_choice": { "type": "function", "function": { "name": TOKEN } },
            })));
        }
        let call = json!({ "id": name, "type": "function",
                           "function": { "name": name, "arguments": format!("{{\"{PROMPT}") } });
        all.push(with(json!({ "messages": [
            { "role": "assistant", "content": ANSWER, "tool_calls": [call] },
            { "role": "tool", "tool_call_id": name, "content": PROMPT },
            { "role": name, "content": PROMPT },
        ] })));
    }
    // What llama.cpp itself complains about.
    for grammar in [format!("root ::= {PROMPT}"), format!("{PROMPT} ::= ("), format!("\"{PROMPT}")]
    {
        let says = json!([{ "role": "user", "content": PROMPT }]);
        all.push(json!({ "model": MODEL, "messages": says, "grammar": grammar }).to_string());
    }
    for pattern in [format!("({PROMPT}"), format!("{PROMPT}(?<=x)")] {
        let schema = json!({ "type": "string", "pattern": pattern });
        let form =
            json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema } });
        let says = json!([{ "role": "user", "content": PROMPT }]);
        all.push(json!({ "model": MODEL, "messages": says, "response_format": form }).to_string());
    }
    all
}

/// What proves who somebody is, in all the places where clients put it.
fn headers() -> Vec<(&'static str, String)> {
    vec![
        ("Content-Type", "application/json".to_owned()),
        ("Authorization", format!("Bearer {TOKEN}")),
        ("X-Api-Key", TOKEN.to_owned()),
        ("Cookie", format!("session={TOKEN}")),
        ("X-Client-Id", TOKEN.to_owned()),
        ("X-Registry-Auth", TOKEN.to_owned()),
        ("User-Agent", PROMPT.to_owned()),
        ("Referer", format!("http://localhost/{PROMPT}")),
    ]
}

/// One request to every route, good and broken ones, with canaries wherever there is room.
pub fn sing(daemon: &Daemon) {
    let client = daemon.client();
    let headers = headers();
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (*name, &**value)).collect();
    let mut answered = 0;
    for (path, body) in good() {
        let path = format!("{path}?key={TOKEN}&api_key={TOKEN}");
        let answer = client.send("POST", &path, &headers, body.to_string().as_bytes());
        answered += usize::from(answer.status == 200 && answer.text().contains("canary"));
    }
    assert!(answered > 12, "{answered} answers had something to hide");
    let bodies = broken();
    for route in ROUTES.iter().chain(ACTIONS) {
        // It removes the model, whatever it is sent.
        if route.path == "/models/purge" {
            continue;
        }
        let path = route.path.replace("{*model}", &format!("ai/{PROMPT}"));
        let path = path.replace("{response_id}", PROMPT).replace("{digest}", PROMPT);
        let query =
            format!("{path}?{PROMPT}={TOKEN}&force={PROMPT}&no-engines={TOKEN}&model={PROMPT}");
        // A pull or an upload speaks of what it moves; what a client only says is not that.
        let asks_models = ["chat", "completions", "messages", "generate", "responses", "tokenize"];
        let most =
            if asks_models.iter().any(|end| path.ends_with(end)) { bodies.len() } else { NAMELESS };
        for body in bodies.iter().take(if route.method == "GET" { 1 } else { most }) {
            let body = if route.method == "GET" { "" } else { body };
            client.send(route.method, &query, &headers, body.as_bytes());
        }
    }
    for (method, path) in [
        ("GET", format!("/{PROMPT}")),
        ("POST", format!("/v1/{PROMPT}?{TOKEN}")),
        ("GET", format!("/exp/vDD4.40/{PROMPT}/../{TOKEN}")),
        ("GET", format!("/logs?follow={PROMPT}")),
        ("DELETE", format!("/v1/chat/completions?{TOKEN}")),
    ] {
        client.send(method, &path, &headers, PROMPT.as_bytes());
    }
    for raw in [
        format!("GET /{PROMPT} HTTP/1.1\r\nHost: {PROMPT}\r\n{TOKEN} : {TOKEN}\r\n\r\n"),
        format!("{PROMPT} / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {TOKEN}\r\n\r\n"),
        format!("{PROMPT}{TOKEN}\r\n\r\n"),
    ] {
        client.raw_cut_off(raw.as_bytes());
    }
    let json = ("Content-Type", "application/json");
    for (path, body) in [
        // Registries that are not there, with what proves who asks.
        ("/models/create", json!({ "from": "127.0.0.1:1/a/b", "bearer-token": TOKEN })),
        ("/models/create", json!({ "from": "hf.co/a/b", "bearer-token": TOKEN })),
        ("/models/create", json!({ "from": format!("https://u:{TOKEN}@127.0.0.1:1/a/b") })),
        ("/modeld/login", json!({ "registry": "127.0.0.1:1", "username": "u", "password": TOKEN })),
        ("/modeld/login", json!({ "registry": "huggingface.co", "password": TOKEN })),
        (
            "/modeld/login",
            json!({ "registry": format!("u:{TOKEN}@127.0.0.1:1"), "password": TOKEN }),
        ),
    ] {
        client.send("POST", path, &[json], body.to_string().as_bytes());
    }
    // Headers that are read and make no sense.
    for name in ["X-Request-Timeout", "Content-Type", "Accept", "Expect", "Range", "Origin"] {
        let (path, body) = &good()[0];
        client.send("POST", path, &[json, (name, PROMPT)], body.to_string().as_bytes());
    }
    // The end of a stream that nobody reads.
    let (path, body) = good().into_iter().find(|(_, body)| body["stream"] == true).unwrap();
    drop(client.begin(path, &body));
}

/// Where canaries are, in everything that a daemon leaves behind or shows.
pub fn found(daemon: &Daemon) -> Vec<String> {
    let mut places: Vec<(String, Vec<u8>)> = Vec::new();
    let log = daemon.client().get("/logs").expect(200).text();
    places.push(("GET /logs".into(), log.into_bytes()));
    let metrics = daemon.client().get("/metrics").expect(200).text();
    places.push(("metrics".into(), metrics.into_bytes()));
    let mut processes = children_of(daemon.pid());
    processes.push(daemon.pid().cast_signed());
    for pid in processes {
        for file in ["cmdline", "environ"] {
            let path = format!("/proc/{pid}/{file}");
            places.push((path.clone(), fs::read(&path).unwrap_or_default()));
        }
    }
    let mut files = Vec::new();
    walk(daemon.dir(), &mut files);
    assert!(files.iter().any(|path| path.ends_with("modeld.log")), "{files:?}");
    for path in files {
        // The model has the tokens of its answer, and its file is where a client left it.
        let is_model = |bytes: &[u8]| bytes.starts_with(b"GGUF");
        let bytes = fs::read(&path).unwrap_or_default();
        if !is_model(&bytes) {
            places.push((path.display().to_string(), bytes));
        }
    }
    let mut found = Vec::new();
    for (place, bytes) in places {
        for line in bytes.split(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(line);
            if CANARIES.iter().any(|canary| line.contains(canary)) {
                found.push(format!("{place}: {line}"));
            }
        }
    }
    found
}

pub fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            walk(&path, files);
        } else if kind.is_file() {
            files.push(path);
        }
    }
}

#[track_caller]
pub fn is_kept_secret(daemon: &Daemon, level: &str) {
    let found = found(daemon);
    let shown: Vec<&String> = found.iter().take(20).collect();
    assert!(found.is_empty(), "at {level}, in {} places:\n{shown:#?}", found.len());
}

#[test]
fn no_prompt_answer_or_secret_is_found_anywhere_at_any_level() {
    let mut daemon = daemon(&["--log", "trace"]);
    for level in ["trace", "debug", "info", "warn", "error"] {
        daemon.cli_ok(&["log-level", level]);
        sing(&daemon);
        is_kept_secret(&daemon, level);
    }
    assert!(daemon.is_alive());
    let log = daemon.log();
    for word in ["modeld::access", "route=\"/v1/chat/completions\"", " TRACE ", " llama: "] {
        assert!(log.contains(word), "no {word} in the log: was anything logged?");
    }
}

#[test]
fn lines_of_json_say_no_more() {
    let daemon = daemon(&["--log", "trace,hyper=trace,llama=trace", "--log-format", "json"]);
    sing(&daemon);
    is_kept_secret(&daemon, "trace");
    let log = daemon.log();
    assert!(log.lines().count() > 200 && log.lines().all(|line| line.starts_with('{')), "{log}");
}

/// That the search finds what is there: a request's id is what a client may have logged.
#[test]
fn what_a_client_calls_its_request_is_logged() {
    let daemon = daemon(&[]);
    daemon.client().send("GET", "/version", &[("X-Request-Id", PROMPT)], b"").expect(200);
    wait_until(std::time::Duration::from_secs(20), "the line is written", || {
        let found = found(&daemon);
        ["GET /logs", "modeld.log", "/log:"]
            .iter()
            .all(|place| found.iter().any(|f| f.contains(place)))
    });
}
