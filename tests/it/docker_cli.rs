//! What Docker's `docker model` command asks for, in its order, with the codes and fields that it
//! depends on. Each test is one of its verbs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::Response;
use crate::support::pulling::{ANSWER, create, lines};
use crate::support::registry::Registry;
use crate::support::{Daemon, from_env, models};

const CHAT: &str = "/engines/v1/chat/completions";
/// What the command says of itself.
const AGENT: (&str, &str) = ("User-Agent", "docker-model-cli/v1.0.0");

fn daemon() -> Daemon {
    Daemon::builder().model("ai/hello", &models::hello()).args(&["--record-requests"]).start()
}

fn message(text: &str) -> Value {
    json!([{ "role": "user", "content": text }])
}

fn post_empty(daemon: &Daemon, path: &str) -> Response {
    daemon.client().send("POST", path, &[AGENT], b"")
}

/// What its tables dereference without looking.
#[track_caller]
fn is_a_model(model: &Value) {
    let id = model["id"].as_str().unwrap_or_default();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{model}");
    assert!(model["config"].is_object() && model["created"].is_i64(), "{model}");
    for field in ["parameters", "quantization", "architecture", "size"] {
        let value = &model["config"][field];
        assert!(value.is_string() || value.is_null(), "{field} in {model}");
    }
}

/// A chat as it is streamed to the terminal; the text that it prints.
#[track_caller]
fn streamed(daemon: &Daemon, model: &str) -> String {
    let body = json!({ "model": model, "messages": message("Hi"), "stream": true });
    let body = body.to_string();
    let answer = daemon.client().send(
        "POST",
        CHAT,
        &[AGENT, ("Content-Type", "application/json")],
        body.as_bytes(),
    );
    let text = answer.expect(200).text();
    let data: Vec<&str> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(':'))
        .map(|line| line.strip_prefix("data: ").unwrap_or_else(|| panic!("{line}")))
        .collect();
    assert!(text.lines().all(|line| line.len() < 64 << 10));
    let (done, chunks) = data.split_last().expect("data");
    assert_eq!(*done, "[DONE]");
    let chunks: Vec<Value> = chunks.iter().map(|c| serde_json::from_str(c).unwrap()).collect();
    let finish = |chunk: &Value| chunk["choices"][0]["finish_reason"].is_string();
    assert!(chunks.iter().any(finish), "{text}");
    let piece = |chunk: &Value| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
    chunks.iter().filter_map(piece).collect()
}

#[test]
fn list() {
    let daemon = daemon();
    let models = daemon.client().get("/models").expect(200).json();
    let [model] = models.as_array().unwrap().as_slice() else { panic!("one model: {models}") };
    is_a_model(model);
    assert_eq!(model["tags"], json!(["docker.io/ai/hello:latest"]));
    let openai = daemon.client().get("/engines/v1/models").expect(200).json();
    assert_eq!(openai["object"], "list");
    assert_eq!(openai["data"][0]["object"], "model");
    assert!(openai["data"][0]["created"].is_i64() && openai["data"][0]["owned_by"].is_string());
}

#[test]
fn pull_push_and_pull_again() {
    let Some(registry) = Registry::plain("docker_cli::pull_push_and_pull_again") else { return };
    let daemon = daemon();
    let name = format!("{}/ai/hello:v1", registry.host.replace("127.0.0.1", "localhost"));
    let repo = name.strip_suffix(":v1").unwrap();
    let path = format!("/models/ai/hello/tag?repo={repo}&tag=v1");
    let tagged = post_empty(&daemon, &path).expect(201).json();
    assert_eq!(tagged["target"], json!(name));
    let told = |answer: &Response| {
        let lines = lines(answer);
        let last = lines.last().expect("a last line").clone();
        assert_eq!(last["type"], "success", "{lines:#?}");
        for line in lines.iter().filter(|line| line["type"] == "progress") {
            let layer = &line["layer"];
            assert!(layer["size"].is_u64() && layer["current"].is_u64(), "{line}");
            assert!(layer["id"].as_str().is_some_and(|id| id.starts_with("sha256:")), "{line}");
        }
        last["message"].as_str().unwrap().to_owned()
    };
    let pushed = post_empty(&daemon, &format!("/models/{name}/push"));
    assert_eq!(told(&pushed), "Model pushed successfully");
    post_empty(&daemon, "/models/ai/none/push").expect(404);
    daemon.client().delete(&format!("/models/{name}?force=true")).expect(200);
    daemon.client().delete("/models/ai/hello?force=true").expect(200);
    daemon.client().get(&format!("/models/{name}")).expect(404);
    let before = counter(&daemon, "modeld_transfer_bytes_total{direction=\"pull\"}");
    // Two at once get the same model, and it is fetched once.
    let mut both = std::thread::scope(|scope| {
        let pulls: Vec<_> =
            (0..2).map(|_| scope.spawn(|| create(&daemon.client(), &name))).collect();
        pulls.into_iter().map(|pull| told(&pull.join().unwrap())).collect::<Vec<_>>()
    });
    both.sort();
    assert!(both.iter().any(|said| said == "Model pulled successfully"), "{both:?}");
    let layers = stored(&daemon, "weights");
    let moved = counter(&daemon, "modeld_transfer_bytes_total{direction=\"pull\"}") - before;
    assert!(moved >= layers as f64 && moved < 2.0 * layers as f64, "{moved} of {layers}");
    assert!(told(&create(&daemon.client(), &name)).starts_with("Using cached model"));
    create(&daemon.client(), &format!("{repo}:none")).expect(404);
    assert_eq!(streamed(&daemon, &name), ANSWER);
}

/// The largest blob of the store, in bytes.
fn stored(daemon: &Daemon, what: &str) -> u64 {
    let blobs = std::fs::read_dir(daemon.store().join("blobs/sha256")).unwrap();
    let sizes = blobs.map(|blob| blob.unwrap().metadata().unwrap().len());
    sizes.max().unwrap_or_else(|| panic!("no {what}"))
}

fn counter(daemon: &Daemon, series: &str) -> f64 {
    let text = daemon.client().get("/metrics").expect(200).text();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[test]
fn run() {
    let daemon = daemon();
    // Not there: the command pulls on exactly this.
    daemon.client().get("/models/ai/absent").expect(404);
    is_a_model(&daemon.client().get("/models/ai/hello").expect(200).json());
    assert_eq!(streamed(&daemon, "ai/hello"), ANSWER);
}

#[test]
fn run_detached_ps_unload() {
    let daemon = daemon();
    let preload = json!({ "model": "ai/hello", "messages": [] }).to_string();
    let headers = [AGENT, ("Content-Type", "application/json"), ("X-Preload-Only", "true")];
    let answer = daemon.client().send("POST", CHAT, &headers, preload.as_bytes()).expect(200);
    assert_eq!(answer.text(), "");
    let loaded = daemon.client().get("/engines/ps").expect(200).json();
    let model = &loaded[0];
    assert_eq!(model["backend_name"], "llama.cpp");
    assert_eq!(model["mode"], "completion");
    assert!(model["model_name"].as_str().unwrap().contains("hello"), "{model}");
    let time = model["last_used"].as_str().unwrap();
    assert!(time.len() >= 20 && time.ends_with('Z') && time.contains('T'), "{time}");
    assert!(model["keep_alive"].is_string(), "{model}");
    let unload = json!({ "all": false, "backend": "", "models": ["ai/hello"] });
    let gone = daemon.client().post("/engines/unload", &unload).expect(200).json();
    assert_eq!(gone["unloaded_runners"], 1);
    assert_eq!(daemon.client().get("/engines/ps").expect(200).json(), json!([]));
    let none = daemon.client().post("/engines/unload", &json!({ "all": true })).expect(200).json();
    assert_eq!(none["unloaded_runners"], 0);
    let unknown = json!({ "models": ["ai/none"] });
    let none = daemon.client().post("/engines/unload", &unknown).expect(200).json();
    assert_eq!(none["unloaded_runners"], 0);
}

#[test]
fn df_status_version_and_inspect() {
    let daemon = daemon();
    let client = daemon.client();
    let usage = client.get("/engines/df").expect(200).json();
    assert!(usage["models_disk_usage"].as_u64().unwrap() >= stored(&daemon, "weights"), "{usage}");
    assert!(usage["default_backend_disk_usage"].is_u64(), "{usage}");
    client.get("/models").expect(200);
    let status = client.get("/engines/status").expect(200).json();
    for (name, state) in status.as_object().unwrap() {
        let state = state.as_str().unwrap_or_else(|| panic!("{name} is no text: {status}"));
        let word = state.split(':').next().unwrap();
        assert!(["Running", "Error", "Not Installed", "Installing"].contains(&word), "{state}");
    }
    assert!(client.get("/version").expect(200).json()["version"].is_string());
    is_a_model(&client.get("/models/hello").expect(200).json());
    assert_eq!(client.get("/engines/v1/models/ai/hello").expect(200).json()["object"], "model");
    client.get("/models/ai/none").expect(404);
    client.get("/engines/v1/models/ai/none").expect(404);
}

#[test]
fn logs() {
    let daemon = daemon();
    let log = daemon.client().get("/logs?follow=false&no-engines=false").expect(200);
    assert!(log.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    assert!(log.text().contains("modeld starts"));
}

#[test]
fn tag_rm_and_purge() {
    let daemon = daemon();
    let client = daemon.client();
    let path = "/models/ai/hello/tag?repo=docker.io/ai/t&tag=v1";
    let tagged = post_empty(&daemon, path).expect(201).json();
    assert_eq!(tagged["message"], "Model tagged successfully with \"docker.io/ai/t:v1\"");
    let removed = client.delete("/models/ai/t:v1?force=false").expect(200).json();
    assert_eq!(removed, json!([{ "Untagged": "docker.io/ai/t:v1" }]));
    let removed = client.delete("/models/ai/hello?force=false").expect(200).json();
    assert!(removed[1]["Deleted"].as_str().is_some_and(|id| id.starts_with("sha256:")));
    client.delete("/models/ai/hello?force=false").expect(404);
    daemon.package("ai/again", &models::hello().bytes());
    client.post("/engines/unload", &json!({ "all": true })).expect(200);
    assert_eq!(client.delete("/models/purge").expect(200).text(), "");
    assert_eq!(client.get("/models").expect(200).json(), json!([]));
}

#[test]
fn package_by_load_and_tag_and_by_repackage() {
    let first = daemon();
    let client = first.client();
    let id = client.get("/models/ai/hello").expect(200).json()["id"].as_str().unwrap().to_owned();
    let tar = client.get("/models/ai/hello/export").expect(200);
    assert_eq!(tar.header("content-type"), Some("application/x-tar"));
    let second = Daemon::builder().start();
    let headers = [AGENT, ("Content-Type", "application/x-tar")];
    let loaded = second.client().send("POST", "/models/load", &headers, &tar.body);
    assert!([200, 201].contains(&loaded.status), "{}", loaded.text());
    let path = format!("/models/{id}/tag?repo=docker.io/me/packed&tag=latest");
    post_empty(&second, &path).expect(201);
    assert_eq!(second.client().get("/models/me/packed").expect(200).json()["id"], json!(id));
    let body = json!({ "target": "ai/small", "context_size": 256 });
    let made = client.post("/models/ai/hello/repackage", &body);
    assert!([200, 201].contains(&made.status), "{}", made.text());
    let made = client.get("/models/ai/small").expect(200).json();
    assert_eq!(made["config"]["context_size"], 256);
}

#[test]
fn requests() {
    let daemon = daemon();
    assert_eq!(daemon.client().get("/engines/requests").expect(200).json(), json!([]));
    assert_eq!(streamed(&daemon, "ai/hello"), ANSWER);
    let groups = daemon.client().get("/engines/requests?model=ai/hello").expect(200).json();
    let record = &groups[0]["records"][0];
    assert_eq!((&groups[0]["count"], &record["user_agent"]), (&json!(1), &json!(AGENT.1)));
    let path = "/engines/requests?include_existing=true";
    let answer = daemon.client().open("GET", path, &[("Accept", "text/event-stream")], b"");
    assert_eq!(answer.status, 200);
    let names: Vec<_> = answer.events().take(2).map(|event| event.name.unwrap()).collect();
    assert_eq!(names, ["connected", "existing_request"]);
}

#[test]
fn bench() {
    let test = "docker_cli::bench";
    let Some(path) = from_env(test, "MODELD_TEST_MODEL") else { return };
    let daemon = Daemon::builder().start();
    daemon.cli_ok(&["package", "--gguf", &path, "ai/real"]);
    is_a_model(&daemon.client().get("/models/ai/real").expect(200).json());
    for at_once in [1, 2, 4, 8] {
        std::thread::scope(|scope| {
            let ask = || {
                let body = json!({ "model": "ai/real", "messages": message("Say hello"),
                                   "max_tokens": 8 });
                let answer = daemon.client().post(CHAT, &body).expect(200).json();
                let tokens = answer["usage"]["completion_tokens"].as_u64();
                assert!(tokens.is_some_and(|tokens| (1..=8).contains(&tokens)), "{answer}");
            };
            for _ in 0..at_once {
                scope.spawn(ask);
            }
        });
    }
}

#[test]
fn compose_up() {
    let Some(registry) = Registry::plain("docker_cli::compose_up") else { return };
    let daemon = daemon();
    let name = format!("{}/ai/hello:v1", registry.host.replace("127.0.0.1", "localhost"));
    daemon.cli_ok(&["tag", "ai/hello", &name]);
    daemon.cli_ok(&["push", &name]);
    daemon.client().get("/models").expect(200);
    // It compares names letter by letter, and so asks again for what is there.
    let told = lines(&create(&daemon.client(), &name));
    assert_eq!(told.last().unwrap()["type"], "success", "{told:#?}");
    assert_eq!(streamed(&daemon, &name), ANSWER);
}

#[test]
fn compose_up_configures() {
    let daemon = daemon();
    let body = json!({ "model": "ai/hello", "context-size": 256, "speculative": null,
                       "raw-runtime-flags": "--temp 0.5" });
    let done = daemon.client().post("/engines/_configure", &body).expect(202);
    assert_eq!(done.text(), "");
}

#[test]
fn configure_and_configure_show() {
    let daemon = daemon();
    let client = daemon.client();
    let body = json!({ "model": "ai/hello", "context-size": 256, "keep_alive": "10m" });
    assert_eq!(client.post("/engines/_configure", &body).expect(202).text(), "");
    let shown = client.get("/engines/_configure?model=ai/hello").expect(200).json();
    let [one] = shown.as_array().unwrap().as_slice() else { panic!("one: {shown}") };
    assert_eq!(one["Backend"], "llama.cpp");
    assert!(one["Model"].as_str().unwrap().contains("hello"), "{one}");
    assert!(one["ModelID"].as_str().unwrap().starts_with("sha256:"), "{one}");
    assert_eq!(one["Mode"], "completion");
    assert_eq!(one["Config"]["context-size"], 256);
    let none = client.get("/engines/_configure?model=ai/none").expect(200).json();
    assert_eq!(none, json!([]));
}

#[test]
fn install_and_uninstall_runner() {
    let daemon = daemon();
    let client = daemon.client();
    client.post("/engines/install-backend", &json!({ "backend": "llama.cpp" })).expect(200);
    client.post("/engines/install-backend", &json!({})).expect(400);
    client.post("/engines/install-backend", &json!({ "backend": "none" })).expect(404);
    client.post("/engines/uninstall-backend", &json!({})).expect(400);
}

#[test]
fn what_is_wrong_has_its_code_and_a_line_that_can_be_printed() {
    let daemon = daemon();
    let client = daemon.client();
    let json_type: &[(&str, &str)] = &[("Content-Type", "application/json")];
    for (method, path, body, status, says) in [
        ("POST", "/models/create", "{", 400, ""),
        ("POST", "/models/create", "{}", 400, "from"),
        ("POST", "/models/create", "{\"from\":\"UPPER/..//x\"}", 400, ""),
        ("GET", "/models/ai/none", "", 404, "ai/none"),
        ("GET", "/models/", "", 404, ""),
        ("GET", "/models/ai/none/export", "", 404, "ai/none"),
        ("DELETE", "/models/ai/none", "", 404, "ai/none"),
        ("DELETE", "/models/ai/hello?force=maybe", "", 400, "force"),
        ("POST", "/models/ai/hello/tag?tag=x", "", 400, "missing repo or tag query parameter"),
        ("POST", "/models/ai/none/tag?repo=ai/x&tag=y", "", 404, "ai/none"),
        ("POST", "/models/ai/hello/tag?repo=%20&tag=%2F", "", 400, ""),
        ("POST", "/models/ai/hello/push", "{", 400, ""),
        ("POST", "/models/ai/none/push", "", 404, ""),
        ("POST", "/models/ai/hello/repackage", "{}", 400, "target"),
        ("POST", "/models/ai/none/repackage", "{\"target\":\"ai/x\"}", 404, "ai/none"),
        ("POST", "/models/ai/hello/other", "", 404, "unknown action \"other\""),
        ("POST", "/models/load", "no tar", 422, "archive"),
        ("POST", "/engines/unload", "[", 400, ""),
        ("POST", "/engines/none/v1/chat/completions", "{}", 404, "backend not found"),
        ("POST", "/engines/v1/chat/completions", "{}", 400, "model"),
        ("GET", "/logs?follow=x", "", 400, "invalid follow parameter"),
        ("GET", "/nowhere", "", 404, ""),
    ] {
        let answer = client.send(method, path, json_type, body.as_bytes());
        let text = answer.text();
        assert_eq!(answer.status, status, "{method} {path} {body}: {text}");
        assert!(text.contains(says), "{method} {path} {body}: {text}");
        if !path.contains("/v1/") {
            let kind = answer.header("content-type").unwrap_or_default();
            assert_eq!(kind, "text/plain; charset=utf-8", "{method} {path}");
            assert_eq!(text.trim_end().lines().count(), 1, "{method} {path}: {text}");
        }
    }
    // A model of another kind than the request needs.
    let body = json!({ "model": "ai/hello", "input": "x" });
    let wrong = client.post("/engines/v1/embeddings", &body).expect(400).text();
    assert!(wrong.contains("language model"), "{wrong}");
}

#[test]
fn a_model_that_is_loading_or_busy_is_not_unloaded_under_its_users() {
    let daemon = Daemon::with("ai/endless", &models::endless());
    let client = daemon.client();
    let body = json!({ "model": "ai/endless", "messages": message("Count"), "stream": true });
    // Whether it loads or answers by now: somebody waits for it.
    let wire = client.begin(CHAT, &body);
    crate::support::wait_until(Duration::from_secs(30), "the request arrives", || daemon.is_busy());
    let kept = client.post("/engines/unload", &json!({ "all": true })).expect(200).json();
    assert_eq!(kept["unloaded_runners"], 0);
    let refused = client.delete("/models/ai/endless").expect(409).text();
    assert!(refused.contains("ai/endless"), "{refused}");
    drop(wire);
    crate::support::wait_until(Duration::from_secs(30), "it is idle", || !daemon.is_busy());
    let gone = client.post("/engines/unload", &json!({ "models": ["ai/endless"] })).expect(200);
    assert!(gone.json()["unloaded_runners"].as_u64().is_some_and(|count| count <= 1));
    client.delete("/models/ai/endless").expect(200);
}
