//! Models managed through Ollama's API: by requests, by a real registry, and by Ollama's own client
//! libraries.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::fake_registry::{FakeRegistry, digest};
use crate::support::http::{Client, Response};
use crate::support::pulling::sound;
use crate::support::registry::Registry;
use crate::support::{Daemon, from_env, models, skip};

const OLLAMA: &str = "application/vnd.ollama.image.";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// The lines of an answer, the last of which says that it went well.
#[track_caller]
fn lines(answer: &Response) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"));
    let lines: Vec<Value> = answer.text().lines().map(parse).collect();
    assert_eq!(lines.last().unwrap()["status"], "success", "{lines:#?}");
    lines
}

/// Every layer that was told of, at its end.
fn whole(lines: &[Value]) -> usize {
    let done = |line: &&Value| line["total"].is_u64() && line["total"] == line["completed"];
    lines.iter().filter(done).count()
}

fn chat(client: &Client, model: &str, more: Value) -> Value {
    let mut body = json!({"model": model, "stream": false,
        "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.post("/api/chat", &body).expect(200).json()
}

fn delete(client: &Client, model: &str) -> Response {
    client.send("DELETE", "/api/delete", &[], json!({"model": model}).to_string().as_bytes())
}

#[test]
fn a_created_model_behaves_as_it_was_told() {
    let daemon = Daemon::with("ai/endless", &models::endless());
    let client = daemon.client();
    let plain = chat(&client, "endless", json!({"options": {"num_predict": 9}}));
    assert_eq!(plain["eval_count"], 9);
    let create = json!({"model": "mine", "from": "endless", "system": "Be brief.",
        "parameters": {"num_predict": 3, "seed": 7},
        "messages": [{"role": "user", "content": "One"}, {"role": "assistant", "content": "Two"}]});
    lines(&client.post("/api/create", &create));
    let told = chat(&client, "mine", json!({}));
    assert_eq!((&told["eval_count"], &told["done_reason"]), (&json!(3), &json!("length")));
    // The request goes before what is stored.
    let asked = chat(&client, "mine", json!({"options": {"num_predict": 5}}));
    assert_eq!(asked["eval_count"], 5);
    // System prompt and messages are in the prompt, as if they had been sent.
    let sent = json!({"options": {"num_predict": 3}, "messages": [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Two"}, {"role": "user", "content": "Hi"}]});
    let sent = chat(&client, "endless", sent);
    assert_eq!(told["prompt_eval_count"], sent["prompt_eval_count"]);
    assert!(told["prompt_eval_count"].as_u64() > plain["prompt_eval_count"].as_u64());
    sound(&daemon.store(), "a creation");
    // The weights are one blob however many models have them.
    delete(&client, "endless").expect(200);
    chat(&client, "mine", json!({}));
    delete(&client, "mine").expect(200);
    assert_eq!(client.get("/models").expect(200).json(), json!([]));
}

#[test]
fn uploaded_files_become_a_model_that_answers() {
    let mut daemon = Daemon::builder().start();
    let bytes = models::hello().bytes();
    let name = digest(&bytes);
    let path = format!("/api/blobs/{name}");
    let client = daemon.client();
    client.send("HEAD", &path, &[], b"").expect(404);
    let wrong = digest(b"something else");
    let refused = client.send("POST", &format!("/api/blobs/{wrong}"), &[], &bytes).expect(400);
    let words = format!("digest mismatch, expected \"{wrong}\", got \"{name}\"");
    assert_eq!(refused.json(), json!({"error": words}));
    client.send("POST", &path, &[], &bytes).expect(201);
    client.send("POST", &path, &[], &bytes).expect(200);
    // What was uploaded outlives the daemon.
    daemon.kill();
    daemon.start();
    let client = daemon.client();
    client.send("HEAD", &path.replace("sha256:", "sha256-"), &[], b"").expect(200);
    let create = json!({"model": "mine", "files": {"model.gguf": name}, "stream": false});
    assert_eq!(
        client.post("/api/create", &create).expect(200).json(),
        json!({"status": "success"})
    );
    assert_eq!(chat(&client, "mine", json!({}))["message"]["content"], "Hello world! STOP here.");
    sound(&daemon.store(), "an upload");
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing() {
    let daemon = Daemon::builder().start();
    let bytes = models::hello().bytes();
    let head = format!(
        "POST /api/blobs/{} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        digest(&bytes),
        bytes.len()
    );
    let half = [head.as_bytes(), &bytes[..bytes.len() / 2]].concat();
    drop(daemon.client().raw_cut_off(&half));
    daemon.client().send("HEAD", &format!("/api/blobs/{}", digest(&bytes)), &[], b"").expect(404);
    crate::support::wait_until(std::time::Duration::from_secs(20), "nothing is left", || {
        std::fs::read_dir(daemon.store().join("ingest")).is_ok_and(|all| all.count() == 0)
    });
}

#[test]
fn a_model_goes_to_a_registry_and_comes_back_by_ollama_s_requests() {
    let test = "a_model_goes_to_a_registry_and_comes_back_by_ollama_s_requests";
    let Some(registry) = Registry::plain(test) else { return };
    let daemon = Daemon::with("ai/endless", &models::endless());
    let client = daemon.client();
    let name = format!("{}/ai/mine:v1", registry.host.replace("127.0.0.1", "localhost"));
    let create = json!({"model": name, "from": "endless", "parameters": {"num_predict": 3}});
    lines(&client.post("/api/create", &create));
    let pushed = lines(&client.post("/api/push", &json!({"model": name})));
    assert_eq!(pushed[0]["status"], "retrieving manifest");
    assert_eq!(whole(&pushed), 3, "{pushed:#?}");
    for model in [&name, "endless"] {
        delete(&client, model).expect(200);
    }
    assert_eq!(client.get("/models").expect(200).json(), json!([]));
    let pulled = lines(&client.post("/api/pull", &json!({"model": name})));
    assert_eq!(pulled[0]["status"], "pulling manifest");
    assert_eq!(whole(&pulled), 3, "{pulled:#?}");
    assert_eq!(chat(&client, &name, json!({}))["eval_count"], 3);
    let again = lines(&client.post("/api/pull", &json!({"model": name})));
    assert_eq!(whole(&again), 3, "{again:#?}");
    let none = format!("{name}-none");
    let absent = client.post("/api/pull", &json!({"model": none})).expect(404).json();
    let words = absent["error"].as_str().unwrap();
    assert!(words.starts_with("pull model manifest: file does not exist"), "{words}");
    sound(&daemon.store(), "a pull");
}

#[test]
fn a_model_of_ollama_s_own_form_is_pulled_and_answers() {
    let registry = FakeRegistry::start();
    let weights = models::endless().bytes();
    let layers: [(&str, &[u8]); 5] = [
        ("model", &weights),
        ("template", b"{{ .Prompt }}"),
        ("license", b"as you like"),
        ("params", br#"{"num_predict":3}"#),
        ("system", b"Be brief."),
    ];
    let config = br#"{"model_format":"gguf","model_family":"llama"}"#;
    let entry = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
    let described: Vec<Value> =
        layers.iter().map(|(kind, bytes)| entry(&format!("{OLLAMA}{kind}"), bytes)).collect();
    let manifest = json!({"schemaVersion": 2, "mediaType": DOCKER, "layers": described,
        "config": entry("application/vnd.docker.container.image.v1+json", config)});
    for (_, bytes) in layers {
        registry.blob("library/m", bytes, true);
    }
    registry.manifest_as(DOCKER, "library/m", manifest.to_string().as_bytes());
    let daemon = Daemon::builder().start();
    let client = daemon.client();
    let name = registry.reference("library/m");
    let pulled = lines(&client.post("/api/pull", &json!({"model": name})));
    // The layers, and the config in Docker's form.
    assert_eq!(whole(&pulled), 6, "{pulled:#?}");
    let told = chat(&client, &name, json!({}));
    assert_eq!(told["eval_count"], 3);
    let shown = client.post("/api/show", &json!({"model": name})).expect(200).json();
    assert_eq!((&shown["system"], &shown["license"]), (&json!("Be brief."), &json!("as you like")));
    sound(&daemon.store(), "a pull");
    let again = lines(&client.post("/api/pull", &json!({"model": name})));
    assert_eq!(whole(&again), 6, "{again:#?}");
    let checked = daemon.cli(&["fsck"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[test]
fn ollama_s_python_library_manages_models() {
    let test = "ollama_s_python_library_manages_models";
    if !cfg!(target_os = "linux") {
        return skip(test, "only Linux tells whose a TCP connection is");
    }
    let Some(python) = from_env(test, "MODELD_TEST_PYTHON") else { return };
    let has = Command::new(&python).args(["-c", "import ollama"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        return skip(test, "Python has no library `ollama`; contrib/test installs it");
    }
    run(|| {
        let mut command = Command::new(&python);
        command.arg(script("ollama_store.py"));
        command
    });
}

#[test]
fn ollama_s_node_library_manages_models() {
    let test = "ollama_s_node_library_manages_models";
    if !cfg!(target_os = "linux") {
        return skip(test, "only Linux tells whose a TCP connection is");
    }
    let Some(modules) = from_env(test, "MODELD_TEST_NODE_MODULES") else { return };
    if !Path::new(&modules).join("ollama").is_dir() {
        return skip(test, "Node has no library `ollama`; contrib/test installs it");
    }
    // An ES module looks for packages from its own place upwards: from a directory of this test.
    let dir = tempfile::TempDir::new().unwrap();
    let beside = dir.path().join("ollama_store.mjs");
    std::fs::copy(script("ollama_store.mjs"), &beside).unwrap();
    std::os::unix::fs::symlink(&modules, dir.path().join("node_modules")).unwrap();
    run(|| {
        let mut command = Command::new("node");
        command.arg(&beside);
        command
    });
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Runs a script of this user against Ollama's port of a daemon with a model, and a registry to pull
/// from.
#[track_caller]
fn run(command: impl FnOnce() -> Command) {
    let registry = FakeRegistry::start();
    let weights = models::hello().bytes();
    registry.model("ai/hello", &[("application/vnd.docker.ai.gguf.v3", &weights)]);
    let daemon = Daemon::builder().ollama().model("ai/hello", &models::hello()).start();
    let file = daemon.file("uploaded.gguf", &models::endless().bytes());
    let output = command()
        .env("OLLAMA_HOST", format!("http://{}", daemon.port()))
        .env("REMOTE", registry.reference("ai/hello"))
        .env("FILE", file)
        .output()
        .expect("the interpreter runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.trim_end().ends_with("all checks passed"), "{text}");
}
