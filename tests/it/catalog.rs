//! Models as things: stored, listed, tagged, deleted, loaded and unloaded.

use std::time::Duration;

use serde_json::json;

use crate::support::{Daemon, models, wait_until};

const CHAT: &str = "/engines/v1/chat/completions";

#[test]
fn an_empty_store_is_an_empty_list() {
    let daemon = Daemon::builder().start();
    assert_eq!(daemon.client().get("/models").expect(200).json(), json!([]));
    let list = daemon.client().get("/engines/v1/models").expect(200).json();
    assert_eq!(list, json!({ "object": "list", "data": [] }));
    assert_eq!(daemon.client().get("/engines/ps").expect(200).json(), json!([]));
}

#[test]
fn a_packaged_model_is_listed_and_found_by_every_name() {
    let daemon = Daemon::with("ai/tiny", &models::tiny());
    let list = daemon.client().get("/models").expect(200).json();
    let [model] = list.as_array().unwrap().as_slice() else { panic!("one model: {list}") };
    assert_eq!(model["tags"], json!(["docker.io/ai/tiny:latest"]));
    assert_eq!(model["config"]["format"], "gguf");
    assert_eq!(model["config"]["architecture"], "llama");
    let id = model["id"].as_str().unwrap();
    let short = &id["sha256:".len()..][..12];
    let mut names = vec!["tiny", "ai/tiny", "ai/tiny:latest", "docker.io/ai/tiny:latest"];
    names.extend(["AI/Tiny", "index.docker.io/ai/tiny", id, short]);
    for name in names {
        let found = daemon.client().get(&format!("/models/{name}")).expect(200).json();
        assert_eq!(&found, model, "{name}");
        let found = daemon.client().get(&format!("/exp/vDD4.40/models/{name}")).expect(200).json();
        assert_eq!(&found, model, "{name} with the prefix");
    }
    let openai = daemon.client().get("/engines/v1/models/ai/tiny").expect(200).json();
    assert_eq!(openai["object"], "model");
    assert_eq!(daemon.client().get("/v1/models/ai%2Ftiny").expect(200).json()["id"], openai["id"]);
}

#[test]
fn the_same_file_twice_is_one_model() {
    let daemon = Daemon::with("ai/tiny:one", &models::tiny());
    daemon.package("ai/tiny:two", &models::tiny().bytes());
    let list = daemon.client().get("/models").expect(200).json();
    let digests: Vec<_> = blobs(&daemon);
    assert!(digests.len() <= 2 + list.as_array().unwrap().len(), "weights once: {digests:?}");
}

#[test]
fn tags_come_and_go_and_the_last_takes_the_model_along() {
    let daemon = Daemon::with("ai/tiny", &models::tiny());
    let client = daemon.client();
    let path = "/models/ai/tiny/tag?repo=docker.io/ai/other&tag=v1";
    let tagged = client.send("POST", path, &[], b"").expect(201).json();
    assert_eq!(tagged["target"], "docker.io/ai/other:v1");
    let missing = client.send("POST", "/models/ai/tiny/tag?repo=x", &[], b"").expect(400);
    assert!(missing.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));

    let model = client.get("/models/ai/other:v1").expect(200).json();
    let id = model["id"].as_str().unwrap();
    client.delete(&format!("/models/{id}")).expect(409);
    let removed = client.delete("/models/ai/tiny").expect(200).json();
    assert_eq!(removed, json!([{ "Untagged": "docker.io/ai/tiny:latest" }]));
    let removed = client.delete("/models/ai/other:v1").expect(200).json();
    assert_eq!(removed, json!([{ "Untagged": "docker.io/ai/other:v1" }, { "Deleted": id }]));
    client.get("/models/ai/other:v1").expect(404);
    client.delete("/models/ai/other:v1").expect(404);
    assert_eq!(blobs(&daemon), Vec::<String>::new(), "its blobs are gone");
}

#[test]
fn deleting_an_idle_model_unloads_it_first() {
    let mut daemon = Daemon::with("ai/hello", &models::hello());
    ask(&daemon, "ai/hello");
    let worker = daemon.worker();
    daemon.client().delete("/models/ai/hello").expect(200);
    assert_eq!(daemon.loaded(), Vec::<serde_json::Value>::new());
    wait_until(Duration::from_secs(5), "the worker ends", || {
        !crate::support::daemon::is_running(worker)
    });
}

#[test]
fn deleting_a_busy_model_needs_force_and_ends_its_streams() {
    let daemon = Daemon::with("ai/endless", &models::endless());
    let body = json!({
        "model": "ai/endless", "stream": true,
        "messages": [{ "role": "user", "content": "Count" }],
    });
    let mut events = daemon.client().stream(CHAT, &body);
    events.first_text();
    let refused = daemon.client().delete("/models/ai/endless").expect(409).text();
    assert!(refused.contains('1'), "it says how many requests: {refused}");
    daemon.client().delete("/models/ai/endless?force=true").expect(200);
    let last = events.last().unwrap();
    assert!(last.json()["error"]["message"].is_string(), "{}", last.data);
}

#[test]
fn an_unknown_model_is_404_in_every_family() {
    let daemon = Daemon::builder().start();
    let client = daemon.client();
    let body = json!({ "model": "ai/none", "messages": [{ "role": "user", "content": "Hi" }] });
    let error = client.post(CHAT, &body).expect(404).json()["error"].clone();
    assert_eq!(error["code"], "model_not_found");
    assert!(error["message"].as_str().unwrap().contains("ai/none"), "{error}");
    assert!(client.get("/v1/models/ai/none").expect(404).json()["error"]["code"].is_string());
    for text in [client.get("/models/ai/none"), client.delete("/models/ai/none")] {
        assert!(text.expect(404).text().lines().count() == 1, "one line for people");
    }
}

#[test]
fn preloading_loads_and_unloading_ends_the_worker() {
    let mut daemon = Daemon::with("ai/tiny", &models::tiny());
    let headers = [("Content-Type", "application/json"), ("X-Preload-Only", "true")];
    let body = json!({ "model": "ai/tiny", "messages": [] }).to_string();
    let answer = daemon.client().send("POST", CHAT, &headers, body.as_bytes()).expect(200);
    assert_eq!(answer.text(), "");
    let worker = daemon.worker();
    let loaded = daemon.loaded();
    assert_eq!(loaded[0]["backend_name"], "llama.cpp");
    assert_eq!(loaded[0]["mode"], "completion");

    let answer = daemon.client().post("/engines/unload", &json!({ "models": ["ai/none"] }));
    assert_eq!(answer.expect(200).json(), json!({ "unloaded_runners": 0 }));
    let answer = daemon.client().post("/engines/unload", &json!({ "models": ["ai/tiny"] }));
    assert_eq!(answer.expect(200).json(), json!({ "unloaded_runners": 1 }));
    assert_eq!(daemon.loaded(), Vec::<serde_json::Value>::new());
    assert!(!crate::support::daemon::is_running(worker), "its memory is free");
}

#[test]
fn unloading_leaves_busy_models_alone() {
    let mut daemon = Daemon::with("ai/endless", &models::endless());
    let body = json!({
        "model": "ai/endless", "stream": true, "max_tokens": 3000,
        "messages": [{ "role": "user", "content": "Count" }],
    });
    let mut events = daemon.client().stream(CHAT, &body);
    events.first_text();
    let worker = daemon.worker();
    let answer = daemon.client().post("/engines/unload", &json!({ "all": true })).expect(200);
    assert_eq!(answer.json(), json!({ "unloaded_runners": 0 }));
    assert!(events.any(|event| event.data == "[DONE]"), "the stream goes on to its end");
    assert_eq!(daemon.worker(), worker);
}

#[test]
fn models_survive_a_restart() {
    let mut daemon = Daemon::with("ai/hello", &models::hello());
    let before = daemon.client().get("/models").expect(200).json();
    assert!(daemon.stop().success());
    let mut command = crate::support::daemon::modeld(daemon.dir(), &daemon.socket);
    command.args(["serve", "--socket"]).arg(&daemon.socket);
    command.arg("--models-path").arg(daemon.dir().join("models"));
    let mut second = crate::support::daemon::spawn_ready(command, daemon.dir());
    let after = daemon.client().get("/models").expect(200).json();
    ask(&daemon, "ai/hello");
    let _ = second.kill();
    let _ = second.wait();
    assert_eq!(before, after);
}

#[track_caller]
fn ask(daemon: &Daemon, model: &str) {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": "Hi" }] });
    daemon.client().post(CHAT, &body).expect(200);
}

/// The names in the store's directory of blobs.
fn blobs(daemon: &Daemon) -> Vec<String> {
    let entries = std::fs::read_dir(daemon.dir().join("models/blobs/sha256")).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
