//! The management of models through Ollama's API.

use std::sync::Arc;

use axum::body::Body;
use serde_json::{Value, json};

use super::support::{Answer, Bench, TINY, request};
use crate::api::ListenerClass;
use crate::domain::{Digest, Error, ErrorKind};
use crate::engine::scripted::ScriptedFactory;
use crate::gguf::testing::Writer;
use crate::service::transfers::testing::Shelf;

async fn shelf() -> (Bench, Arc<Shelf>) {
    let names = ["docker.io/ai/new:latest", "docker.io/ai/tiny:latest"];
    let shelf = Shelf::of(&Writer::tiny().text("general.license", "mit"), &names).await;
    (Bench::beside(shelf.clone()).await, shelf)
}

async fn bench() -> Bench {
    Bench::new(ScriptedFactory::answering(["Hi"])).await
}

fn statuses(answer: &Answer) -> Vec<String> {
    let parse =
        |line| -> Value { serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")) };
    let status = |line: Value| line["status"].as_str().unwrap_or("?").to_owned();
    answer.text.lines().map(parse).map(status).collect()
}

async fn tags(bench: &Bench, name: &str) -> Value {
    bench.get(&format!("/models/{name}")).await.expect(200).json()["tags"].clone()
}

#[tokio::test]
async fn a_pull_tells_its_progress_in_lines() {
    let (bench, shelf) = shelf().await;
    shelf.let_all_pass();
    let answer = bench.post("/api/pull", &json!({"model": "new"})).await.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let all = statuses(&answer);
    assert_eq!(all.first().map(String::as_str), Some("pulling manifest"));
    assert!(all.iter().filter(|text| text.starts_with("pulling ")).count() >= 3, "{all:?}");
    let end = &all[all.len() - 3..];
    assert_eq!(end, ["verifying sha256 digest", "writing manifest", "success"]);
    // What is there is told of as well.
    let again = bench.post("/api/pull", &json!({"name": "new"})).await.expect(200);
    let whole: Vec<Value> = again
        .text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|line: &Value| line["digest"].is_string())
        .collect();
    assert_eq!(whole.len(), 2);
    assert!(whole.iter().all(|line| line["total"] == line["completed"]), "{whole:?}");
    let one = bench.post("/api/pull", &json!({"model": "new", "stream": false})).await.expect(200);
    assert_eq!(
        (one.header("content-type"), one.json()),
        (Some("application/json"), json!({"status": "success"}))
    );
}

#[tokio::test]
async fn what_the_registry_refuses_keeps_its_status_in_ollama_s_words() {
    let (bench, shelf) = shelf().await;
    for (name, kind) in [
        ("unauthorized", ErrorKind::RegistryUnauthorized),
        ("unsupported", ErrorKind::UnsupportedModel),
    ] {
        shelf.refuse(&format!("docker.io/ai/{name}:latest"), Error::new(kind, "says the registry"));
    }
    let mut all = String::new();
    for model in ["none", "unauthorized", "unsupported", "a//b", ""] {
        for stream in [true, false] {
            let body = json!({"model": model, "stream": stream});
            let refused = bench.post("/api/pull", &body).await;
            assert_eq!(refused.header("content-type"), Some("application/json"));
            all += &format!("{model:?} {} {}\n", refused.status.as_u16(), refused.text);
        }
    }
    insta::assert_snapshot!(all);
    shelf.break_off(Error::new(ErrorKind::RegistryInvalid, "wrong bytes"));
    let broken = bench.post("/api/pull", &json!({"model": "new"})).await.expect(502);
    assert!(broken.json()["error"].is_string(), "{}", broken.text);
}

#[tokio::test]
async fn a_push_tells_its_progress_in_lines() {
    let (bench, shelf) = shelf().await;
    shelf.let_all_pass();
    let answer = bench.post("/api/push", &json!({"model": TINY})).await.expect(200);
    let all = statuses(&answer);
    assert_eq!(all.first().map(String::as_str), Some("retrieving manifest"));
    assert_eq!(&all[all.len() - 2..], ["pushing manifest", "success"]);
    assert_eq!(*shelf.pushed.lock().expect("unpoisoned"), ["docker.io/ai/tiny:latest"]);
    let absent = bench.post("/api/push", &json!({"model": "none"})).await.expect(404);
    assert_eq!(absent.json(), json!({"error": "model 'none' not found"}));
    let nameless = bench.post("/api/push", &json!({})).await.expect(400);
    assert_eq!(nameless.json(), json!({"error": "model is required"}));
}

#[tokio::test]
async fn a_model_is_made_of_another_one() {
    let bench = bench().await;
    let body = json!({"model": "mine", "from": TINY, "system": "Be brief.",
        "parameters": {"num_predict": 3}, "license": "as you like"});
    let made = bench.post("/api/create", &body).await.expect(200);
    let all = statuses(&made);
    let count = |word: &str| all.iter().filter(|text| text.starts_with(word)).count();
    assert_eq!((count("using existing layer"), count("creating new layer")), (1, 4), "{all:?}");
    assert_eq!(&all[all.len() - 2..], ["writing manifest", "success"]);
    let shown = bench.post("/api/show", &json!({"model": "mine"})).await.expect(200).json();
    assert_eq!(shown["system"], "Be brief.");
    assert!(shown["parameters"].as_str().is_some_and(|text| text.contains("num_predict")));
    assert_eq!(shown["license"], "as you like");
    for (body, words) in [
        (json!({"model": "x", "from": "nowhere", "stream": false}), "pull model manifest"),
        (json!({"model": "x"}), "neither 'from' or 'files' was specified"),
        (json!({"from": TINY}), "invalid model name"),
        (json!({"model": "x", "from": TINY, "template": "{{ .Prompt }}"}), "Jinja"),
        (json!({"model": "x", "from": TINY, "quantize": "q8_0"}), "Q4_1"),
    ] {
        let refused = bench.post("/api/create", &body).await;
        assert!(refused.status.is_client_error(), "{body}: {}", refused.status);
        let error = refused.json()["error"].as_str().map(str::to_owned).unwrap_or_default();
        assert!(error.contains(words), "{body}: {error}");
    }
}

#[tokio::test]
async fn a_base_that_is_not_there_is_pulled_first() {
    let (bench, shelf) = shelf().await;
    shelf.let_all_pass();
    let body = json!({"model": "mine", "from": "new", "system": "Be brief."});
    let all = statuses(&bench.post("/api/create", &body).await.expect(200));
    assert_eq!(all.first().map(String::as_str), Some("pulling manifest"));
    assert_eq!(all.last().map(String::as_str), Some("success"));
    assert_eq!(tags(&bench, "ai/mine").await, json!(["docker.io/ai/mine:latest"]));
}

#[tokio::test]
async fn files_are_uploaded_and_become_a_model() {
    let bench = bench().await;
    let bytes = Writer::tiny().text("general.license", "mit").build();
    let digest = Digest::of(&bytes);
    let path = format!("/api/blobs/{digest}");
    bench.call("HEAD", &path).await.expect(404);
    let upload = |path: &str| request("POST", path, Body::from(bytes.clone()));
    assert_eq!(bench.send(upload(&path)).await.expect(201).text, "");
    bench.call("HEAD", &path).await.expect(200);
    let dashed = format!("/api/blobs/sha256-{}", digest.hex());
    bench.send(upload(&dashed)).await.expect(200);
    let other = Digest::of(b"x");
    let wrong = bench.send(upload(&format!("/api/blobs/{other}"))).await.expect(400);
    let expected = format!("digest mismatch, expected \"{other}\", got \"{digest}\"");
    assert_eq!(wrong.json(), json!({"error": expected}));
    bench.send(upload("/api/blobs/sha256:short")).await.expect(400);
    bench.call("HEAD", "/api/blobs/nothing").await.expect(400);

    // It waits for its model, whatever is pruned.
    bench.post("/modeld/prune", &json!({})).await.expect(200);
    let body = json!({"model": "mine", "files": {"m.gguf": digest.to_string()}, "stream": false});
    let made = bench.post("/api/create", &body).await.expect(200);
    assert_eq!(made.json(), json!({"status": "success"}));
    assert_eq!(tags(&bench, "mine").await, json!(["docker.io/ai/mine:latest"]));
    bench
        .send(request("DELETE", "/api/delete", json!({"model": "mine"}).to_string().into()))
        .await
        .expect(200);
    bench.call("HEAD", &path).await.expect(404);
}

#[tokio::test]
async fn copies_and_deletions() {
    let bench = bench().await;
    let copy = |from: &str, to: &str| json!({"source": from, "destination": to});
    let done = bench.post("/api/copy", &copy(TINY, "other:v1")).await.expect(200);
    assert_eq!(done.text, "");
    let both = json!(["docker.io/ai/tiny:latest", "docker.io/ai/other:v1"]);
    assert_eq!(tags(&bench, TINY).await, both);
    // Who loses the only name goes.
    let made = json!({"model": "mine", "from": TINY, "system": "x", "stream": false});
    bench.post("/api/create", &made).await.expect(200);
    bench.post("/api/copy", &copy(TINY, "mine")).await.expect(200);
    let models = bench.get("/models").await.expect(200).json();
    assert_eq!(models.as_array().map(Vec::len), Some(1), "{models}");

    let mut all = String::new();
    for (from, to) in [("none", "x"), ("a//b", "x"), (TINY, "a//b"), ("", "x"), (TINY, "")] {
        let refused = bench.post("/api/copy", &copy(from, to)).await;
        all += &format!("copy {from:?} {to:?}: {} {}\n", refused.status.as_u16(), refused.text);
    }
    let delete = |body: Value| request("DELETE", "/api/delete", body.to_string().into());
    for body in [json!({"model": "none"}), json!({"name": "a//b"}), json!({})] {
        let refused = bench.send(delete(body.clone())).await;
        all += &format!("delete {body}: {} {}\n", refused.status.as_u16(), refused.text);
    }
    insta::assert_snapshot!(all);
    for name in ["other:v1", "mine", TINY] {
        let gone = bench.send(delete(json!({"name": name}))).await.expect(200);
        assert_eq!(gone.text, "", "{name}");
    }
    assert_eq!(bench.get("/models").await.expect(200).json(), json!([]));
}

#[tokio::test]
async fn on_tcp_nothing_is_managed() {
    let bench = bench().await;
    let digest = Digest::of(b"x");
    let local = "127.0.0.1:12434".parse().expect("an address");
    for (method, path) in [
        ("POST", "/api/pull".to_owned()),
        ("POST", "/api/push".to_owned()),
        ("POST", "/api/create".to_owned()),
        ("POST", "/api/copy".to_owned()),
        ("DELETE", "/api/delete".to_owned()),
        ("POST", format!("/api/blobs/{digest}")),
        ("POST", "/api/me".to_owned()),
    ] {
        let mut request = request(method, &path, Body::from("{}"));
        request.headers_mut().insert("host", "localhost:12434".parse().expect("a value"));
        request.extensions_mut().insert(ListenerClass::Tcp { local });
        let refused = bench.send(request).await.expect(403);
        assert!(refused.json()["error"].is_string(), "{path}: {}", refused.text);
    }
}

#[tokio::test]
async fn there_is_no_account_and_no_cloud() {
    let bench = bench().await;
    for path in ["/api/me", "/api/signout"] {
        let refused = bench.call("POST", path).await.expect(401).json();
        assert!(refused["error"].as_str().is_some_and(|text| text.starts_with("unauthorized")));
    }
    let status = bench.get("/api/status").await.expect(200).json();
    assert_eq!(status, json!({"cloud": {"disabled": true, "source": "env"}}));
    let none = bench.get("/api/experimental/model-recommendations").await.expect(200).json();
    assert_eq!(none, json!({"recommendations": []}));
}
