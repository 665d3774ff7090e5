use axum::body::Body;
use serde_json::{Value, json};

use super::support::{Bench, CHAT, TINY, chat, request};
use crate::engine::scripted::ScriptedFactory;
use crate::gguf::testing::Writer;

const CONFIGURE: &str = "/engines/_configure";

async fn bench() -> Bench {
    Bench::new(ScriptedFactory::answering(["Hi"])).await
}

async fn configure(bench: &Bench, mut body: Value) {
    body["model"] = TINY.into();
    bench.post(CONFIGURE, &body).await.expect(202);
}

async fn configured(bench: &Bench) -> Value {
    bench.get(&format!("{CONFIGURE}?model={TINY}")).await.expect(200).json()
}

async fn ask(bench: &Bench, changes: Value) {
    bench.post(CHAT, &chat(&changes)).await.expect(200);
}

/// Waits for the load in the background, so that nothing of it comes later.
async fn loaded(bench: &Bench) {
    bench.until("it is loaded", |model| model.loading.is_none()).await;
}

#[tokio::test]
async fn requests_of_every_dialect_get_what_they_do_not_say() {
    let bench = bench().await;
    configure(&bench, json!({"raw-runtime-flags": "--temp 0.25 --top-k 7 -n 9"})).await;
    ask(&bench, json!({"top_k": 3})).await;
    let messages = json!({"model": TINY, "max_tokens": 5,
                          "messages": [{"role": "user", "content": "Hi"}]});
    bench.post("/v1/messages", &messages).await.expect(200);
    let starts = bench.control.starts();
    let shown: Vec<_> = starts
        .iter()
        .map(|start| (start.sampling.temperature, start.sampling.top_k, start.limits.max_tokens))
        .collect();
    assert_eq!(shown, [(Some(0.25), Some(3), Some(9)), (Some(0.25), Some(7), Some(5))]);
}

#[tokio::test]
async fn what_is_said_adds_up_and_null_takes_it_back() {
    let bench = bench().await;
    configure(&bench, json!({"context-size": 256})).await;
    configure(&bench, json!({"keep_alive": "90s", "llamacpp": {"reasoning-budget": 0}})).await;
    let all = configured(&bench).await;
    assert_eq!(
        all[0]["Config"],
        json!({"context-size": 256, "keep_alive": "1m30s", "llamacpp": {"reasoning-budget": 0}})
    );
    assert_eq!((&all[0]["Backend"], &all[0]["Mode"]), (&json!("llama.cpp"), &json!("completion")));
    assert_eq!(all[0]["Model"], "docker.io/ai/tiny:latest");
    assert!(all[0]["ModelID"].as_str().expect("an id").starts_with("sha256:"));
    configure(&bench, json!({"context-size": null, "llamacpp": null, "keep_alive": null})).await;
    assert_eq!(configured(&bench).await, json!([]));
}

#[tokio::test]
async fn an_idle_model_is_loaded_anew_where_that_is_needed() {
    let bench = bench().await;
    ask(&bench, json!({})).await;
    configure(&bench, json!({"keep_alive": "-1", "runtime-flags": ["--temp", "0"]})).await;
    ask(&bench, json!({})).await;
    assert_eq!((bench.control.loads(), bench.control.unloads()), (1, 0));
    let ps = bench.get("/engines/ps").await.json();
    assert_eq!((&ps[0]["keep_alive"], &ps[0]["mode"]), (&json!("-1"), &json!("completion")));
    configure(&bench, json!({"context-size": 300})).await;
    ask(&bench, json!({})).await;
    let contexts: Vec<u32> =
        bench.control.load_specs().iter().map(|spec| spec.context_size).collect();
    assert_eq!(contexts, [512, 300]);
}

#[tokio::test]
async fn a_model_in_use_is_not_loaded_anew_but_told_how_long_to_stay() {
    let bench = Bench::new(ScriptedFactory::answering(["Hi"]).by_hand()).await;
    let body = json!({"model": TINY, "stream": true,
                      "messages": [{"role": "user", "content": "Hi"}]});
    let running = bench.begin(request("POST", CHAT, Body::from(body.to_string()))).await;
    bench.until("it runs", |model| model.running == 1).await;
    let refused = bench.post(CONFIGURE, &json!({"model": TINY, "context-size": 300})).await;
    let text = refused.expect(409).text;
    assert!(text.starts_with("runner already active"), "{text}");
    assert_eq!(configured(&bench).await, json!([]));
    configure(&bench, json!({"keep_alive": "7m", "raw-runtime-flags": "--top-k 1"})).await;
    let ps = bench.get("/engines/ps").await.json();
    assert_eq!((&ps[0]["keep_alive"], &ps[0]["in_use"]), (&json!("7m0s"), &json!(true)));
    drop(running);
}

#[tokio::test]
async fn unloading_forgets_nothing_and_deleting_does() {
    let bench = bench().await;
    configure(&bench, json!({"keep_alive": "1h"})).await;
    loaded(&bench).await;
    bench.post("/engines/unload", &json!({"all": true})).await.expect(200);
    assert_eq!(configured(&bench).await[0]["Config"], json!({"keep_alive": "1h0m0s"}));
    bench.call("DELETE", &format!("/models/{TINY}")).await.expect(200);
    let id = bench.add(TINY, &Writer::tiny()).await;
    assert_eq!(bench.get("/models").await.json()[0]["id"], id);
    assert_eq!(configured(&bench).await, json!([]));
}

#[tokio::test]
async fn what_is_wrong_with_a_configuration_is_said() {
    let bench = bench().await;
    for (path, body, status) in [
        (CONFIGURE, json!({"model": "ai/none"}), 404),
        (CONFIGURE, json!({}), 400),
        (CONFIGURE, json!({"model": TINY, "mode": "embedding"}), 400),
        (CONFIGURE, json!({"model": TINY, "raw-runtime-flags": "--embeddings"}), 400),
        (CONFIGURE, json!({"model": TINY, "raw-runtime-flags": "--mlock"}), 400),
        (CONFIGURE, json!({"model": TINY, "context-size": 8, "runtime-flags": ["-c", "9"]}), 400),
        ("/engines/vllm/_configure", json!({"model": TINY}), 404),
        ("/engines/llama.cpp/_configure", json!({"model": TINY, "mode": "completion"}), 202),
    ] {
        bench.post(path, &body).await.expect(status);
    }
    assert_eq!(configured(&bench).await, json!([]));
    assert_eq!(bench.get("/engines/_configure?model=ai/none").await.expect(200).json(), json!([]));
}

#[tokio::test]
async fn backends_are_neither_installed_nor_removed() {
    let bench = bench().await;
    for (verb, backend, status) in [
        ("install", json!("llama.cpp"), 200),
        ("install", json!("vllm"), 404),
        ("install", Value::Null, 400),
        ("uninstall", json!("llama.cpp"), 400),
        ("uninstall", json!("vllm"), 404),
    ] {
        let path = format!("/engines/{verb}-backend");
        let text = bench.post(&path, &json!({"backend": backend})).await.expect(status).text;
        assert!(text.contains("llama.cpp"), "{text}");
    }
}
