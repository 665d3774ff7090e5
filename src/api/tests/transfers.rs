use std::sync::Arc;

use axum::body::Body;
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::support::{Answer, Bench, TINY, chat, request};
use crate::api::ListenerClass;
use crate::domain::{Error, ErrorKind};
use crate::gguf::testing::Writer;
use crate::service::transfers::testing::Shelf;

const CREATE: &str = "/models/create";

async fn shelf() -> (Bench, Arc<Shelf>) {
    let names = ["docker.io/ai/new:latest", "docker.io/ai/tiny:latest"];
    let shelf = Shelf::of(&Writer::tiny().text("general.license", "mit"), &names).await;
    (Bench::beside(shelf.clone()).await, shelf)
}

/// The lines of a stream, the moving parts of layers left to the first and the last.
fn lines(answer: &Answer) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    answer.text.lines().map(parse).collect()
}

#[tokio::test]
async fn a_pull_as_docker_s_client_reads_it() {
    let (bench, shelf) = shelf().await;
    shelf.let_all_pass();
    let answer = bench.post(CREATE, &json!({ "from": "ai/new" })).await.expect(200);
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    assert!(answer.text.ends_with("}\n"), "{}", answer.text);
    let all = lines(&answer);
    let done = all.iter().filter(|line| line["layer"]["current"] == line["layer"]["size"]);
    insta::assert_json_snapshot!("pulled", done.collect::<Vec<_>>());
    let model = bench.get("/models/ai/new").await.expect(200).json();
    assert_eq!(all.last().expect("an end")["model"], model["id"]);
    let mut again = request("POST", CREATE, json!({ "from": "new" }).to_string().into());
    again.headers_mut().insert("accept", "application/json".parse().expect("a value"));
    let again = bench.send(again).await.expect(200);
    assert_eq!(again.header("content-type"), Some("application/json"));
    insta::assert_json_snapshot!("cached", lines(&again));
}

#[tokio::test]
async fn what_the_registry_refuses_keeps_its_status() {
    let (bench, shelf) = shelf().await;
    for (name, kind) in [
        ("unauthorized", ErrorKind::RegistryUnauthorized),
        ("forbidden", ErrorKind::RegistryForbidden),
        ("unsupported", ErrorKind::UnsupportedModel),
        ("invalid", ErrorKind::InvalidModel),
        ("lying", ErrorKind::RegistryInvalid),
        ("stalls", ErrorKind::RegistryUnavailable),
        ("unsigned", ErrorKind::SignatureRefused),
    ] {
        let error = Error::new(kind, format!("what the registry makes of {name}"));
        shelf.refuse(&format!("docker.io/ai/{name}:latest"), error);
    }
    let mut all = String::new();
    for from in [
        "none",
        "unauthorized",
        "forbidden",
        "unsupported",
        "invalid",
        "lying",
        "stalls",
        "unsigned",
        "../x",
        "",
    ] {
        let refused = bench.post(CREATE, &json!({ "from": from })).await;
        assert_eq!(refused.header("content-type"), Some("text/plain; charset=utf-8"));
        all += &format!("{from:?}\n  {} {}", refused.status.as_u16(), refused.text);
    }
    for body in ["", "{}", "[]", "{\"from\":1}", "{\"from\":\"x\",\"bearer-token\":{}}"] {
        let refused = bench.send(request("POST", CREATE, Body::from(body))).await;
        all += &format!("{body}\n  {} {}", refused.status.as_u16(), refused.text);
    }
    insta::assert_snapshot!(all);
}

#[tokio::test]
async fn unknown_fields_are_ignored_and_the_token_is_passed_on() {
    let (bench, shelf) = shelf().await;
    shelf.let_all_pass();
    shelf.want_token("right");
    let body = json!({ "from": "ai/new", "ignore-runtime-memory-check": true });
    bench.post(CREATE, &body).await.expect(401);
    let body = json!({ "from": "ai/new", "bearer-token": "right" });
    bench.post(CREATE, &body).await.expect(200);
}

#[tokio::test]
async fn a_pull_that_fails_before_it_moves_keeps_its_status_and_later_has_its_line() {
    let (bench, shelf) = shelf().await;
    shelf.break_off(Error::new(ErrorKind::DiskFull, "the disk is full"));
    bench.post(CREATE, &json!({ "from": "ai/new" })).await.expect(507);

    let (bench, shelf) = self::shelf().await;
    shelf.let_pass(1);
    let body = json!({ "from": "ai/new" }).to_string();
    let begun = bench.begin(request("POST", CREATE, body.into())).await;
    assert_eq!(begun.status(), 200);
    bench.call("DELETE", "/modeld/transfers?reference=ai/new").await.expect(200);
    let rest = begun.into_body().collect().await.expect("a body").to_bytes();
    let rest = String::from_utf8(rest.to_vec()).expect("text");
    let last: Value = serde_json::from_str(rest.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["type"], "error");
    assert!(last["message"].as_str().expect("text").starts_with("Error: the pull of "), "{last}");
}

#[tokio::test]
async fn a_silent_pull_shows_that_it_is_alive() {
    let (bench, shelf) = shelf().await;
    let body = json!({ "from": "ai/new" }).to_string();
    let begun = bench.begin(request("POST", CREATE, body.into())).await;
    assert_eq!(begun.status(), 200);
    let mut body = begun.into_body();
    tokio::time::pause();
    for _ in 0..2 {
        let mut frame = Box::pin(body.frame());
        assert!(frame.as_mut().now_or_never().is_none());
        tokio::time::advance(std::time::Duration::from_secs(14)).await;
        assert!(frame.as_mut().now_or_never().is_none());
        tokio::time::advance(std::time::Duration::from_secs(2)).await;
        let frame = frame.await.expect("a line").expect("a line");
        assert!(frame.data_ref().expect("data").ends_with(b"}\n"));
    }
    // The writer of the store waits on a thread of its own until the gate goes.
    shelf.let_all_pass();
}

#[tokio::test]
async fn a_detached_pull_goes_on_without_its_client_and_is_listed() {
    let (bench, shelf) = shelf().await;
    let body = json!({ "from": "ai/new", "detach": true });
    let accepted = bench.post(CREATE, &body).await.expect(202).json();
    let mut list = bench.get("/modeld/transfers").await.expect(200).json();
    assert_eq!(list[0]["reference"], accepted["reference"]);
    assert!(list[0]["started"].take().as_str().expect("a time").ends_with('Z'));
    insta::assert_json_snapshot!("transfers", list);
    shelf.let_all_pass();
    bench.post(CREATE, &json!({ "from": "ai/new" })).await.expect(200);
    bench.get("/models/ai/new").await.expect(200);
    bench.call("DELETE", "/modeld/transfers?reference=ai/new").await.expect(404);
    bench.call("DELETE", "/modeld/transfers").await.expect(400);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_pull() {
    let (bench, shelf) = shelf().await;
    shelf.let_pass(1);
    let body = json!({ "from": "ai/new" }).to_string();
    drop(bench.begin(request("POST", CREATE, body.into())).await);
    while bench.get("/modeld/transfers").await.json() != json!([]) {
        tokio::task::yield_now().await;
    }
    bench.get("/models/ai/new").await.expect(404);
}

#[tokio::test]
async fn a_push_as_docker_s_client_reads_it() {
    let (bench, shelf) = shelf().await;
    shelf.let_all_pass();
    let path = format!("/models/{TINY}/push");
    let answer = bench.call("POST", &path).await.expect(200);
    let all = lines(&answer);
    let done = all.iter().filter(|line| line["layer"]["current"] == line["layer"]["size"]);
    insta::assert_json_snapshot!("pushed", done.collect::<Vec<_>>());
    assert_eq!(*shelf.pushed.lock().expect("unpoisoned"), ["docker.io/ai/tiny:latest"]);
    // What the registry says at once is the status of the answer.
    shelf.want_token("right");
    let refused = bench.call("POST", &path).await.expect(401);
    assert!(refused.text.starts_with("Unauthorized"), "{}", refused.text);
    let good = json!({ "bearer-token": "right" });
    bench.post(&path, &good).await.expect(200);
    let missing = bench.call("POST", "/models/ai/none/push").await.expect(404);
    assert!(missing.text.starts_with("Model not found"), "{}", missing.text);
    bench.send(request("POST", &path, "[]".into())).await.expect(400);
}

#[tokio::test]
async fn the_registry_is_asked_for_whoever_manages() {
    let (bench, shelf) = shelf().await;
    let remote = bench.get("/models/ai/new?remote=true").await.expect(200).json();
    assert!(remote.get("tags").is_none() && remote["config"]["architecture"].is_string());
    let missing = bench.get("/models/ai/none?remote").await.expect(404);
    assert!(missing.text.starts_with("Model not found"), "{}", missing.text);
    let asked = shelf.resolved.load(std::sync::atomic::Ordering::SeqCst);
    let mut tcp = request("GET", "/models/ai/new?remote=true", Body::empty());
    let local = ([127, 0, 0, 1], 1).into();
    tcp.extensions_mut().insert(ListenerClass::Tcp { local });
    tcp.headers_mut().insert("host", "localhost".parse().expect("a value"));
    bench.send(tcp).await.expect(403);
    assert_eq!(shelf.resolved.load(std::sync::atomic::Ordering::SeqCst), asked);
}

#[tokio::test]
async fn a_request_for_a_missing_model_says_how_to_get_it() {
    let (bench, _shelf) = shelf().await;
    let body = chat(&json!({ "model": "ai/new" }));
    let missing = bench.post("/v1/chat/completions", &body).await.expect(404).json();
    let message = missing["error"]["message"].as_str().expect("a message");
    assert!(message.ends_with("`modeld pull ai/new` gets it"), "{message}");
}
