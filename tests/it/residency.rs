//! Several models at once, and how long each stays.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::gguf::Value as Key;
use crate::support::{Daemon, models, wait_until};

const SOON: Duration = Duration::from_secs(30);

fn answer(daemon: &Daemon, model: &str) -> String {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]});
    let answer = daemon.client().post("/v1/chat/completions", &body).expect(200).json();
    answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

fn configure(daemon: &Daemon, body: &Value) {
    daemon.client().post("/engines/_configure", body).expect(202);
}

fn names(daemon: &Daemon) -> Vec<String> {
    let name = |model: &Value| model["model_name"].as_str().unwrap().to_owned();
    daemon.loaded().iter().map(name).collect()
}

#[test]
fn two_models_of_the_same_weights_serve_side_by_side() {
    let daemon = Daemon::with("ai/hello", &models::hello());
    daemon.cli_ok(&["package", "--from", "ai/hello", "--context-size", "1024", "ai/small"]);
    for _ in 0..2 {
        for model in ["ai/hello", "ai/small"] {
            assert_eq!(answer(&daemon, model), "Hello world! STOP here.");
        }
    }
    let loaded = daemon.loaded();
    let [hello, small] = loaded.as_slice() else { panic!("two models, not {loaded:?}") };
    assert_eq!((&hello["context_size"], &small["context_size"]), (&json!(8192), &json!(1024)));
    assert_ne!(hello["pid"], small["pid"], "a process each");
    let status = daemon.client().get("/engines/status").expect(200).json();
    assert!(status["llama.cpp"].as_str().unwrap().ends_with("2 models loaded"), "{status}");
}

#[test]
fn each_model_stays_as_long_as_is_said_of_it() {
    let daemon = Daemon::builder()
        .model("ai/hello", &models::hello())
        .model("ai/crab", &models::crab())
        .start();
    configure(&daemon, &json!({"model": "ai/hello", "keep_alive": "0"}));
    configure(&daemon, &json!({"model": "ai/crab", "keep_alive": "-1"}));
    assert_eq!(answer(&daemon, "ai/hello"), "Hello world! STOP here.");
    assert_eq!(answer(&daemon, "ai/crab"), "crab 🦀!!");
    wait_until(SOON, "only one stays", || names(&daemon) == ["docker.io/ai/crab:latest"]);
    assert_eq!(daemon.loaded()[0]["keep_alive"], "-1");
    // What stays for ever goes at once where it is told to.
    configure(&daemon, &json!({"model": "ai/crab", "keep_alive": "0"}));
    wait_until(SOON, "none stays", || names(&daemon).is_empty());
    // Counting tokens needs the model for just as long.
    let body = json!({"model": "ai/crab", "prompt": "Hi"});
    daemon.client().post("/v1/tokenize", &body).expect(200);
    wait_until(SOON, "none stays", || names(&daemon).is_empty());
}

#[test]
fn an_embedding_model_says_what_it_is_for() {
    let mut file = models::tiny();
    file.set("llama.pooling_type", Key::U32(1));
    let daemon = Daemon::with("ai/embedder", &file);
    configure(&daemon, &json!({"model": "ai/embedder", "raw-runtime-flags": "--embeddings"}));
    wait_until(SOON, "it is loaded", || {
        daemon.loaded().iter().any(|model| model["mode"] == "embedding" && model["pid"].is_u64())
    });
}
