//! Models as archives, and models that are made of others.

use axum::body::Body;
use http_body_util::BodyExt as _;
use serde_json::json;

use super::support::{Bench, request};
use crate::engine::scripted::ScriptedFactory;
use crate::gguf::testing::Writer;

async fn bench() -> Bench {
    Bench::new(ScriptedFactory::answering(["Hi"])).await
}

#[tokio::test]
async fn a_model_is_exported_whole_under_its_own_length() {
    let bench = bench().await;
    let response =
        bench.begin(request("GET", "/models/ai/tiny:latest/export", Body::empty())).await;
    let headers = response.headers().clone();
    assert_eq!(response.status(), 200);
    assert_eq!(headers["content-type"], "application/x-tar");
    assert_eq!(headers["content-disposition"], "attachment; filename=\"ai-tiny-latest.tar\"");
    let tar = response.into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(headers["content-length"], tar.len().to_string());
    assert!(tar == bench.package(&Writer::tiny()), "what was packaged");

    let head = bench.call("HEAD", "/models/tiny/export").await.expect(200);
    assert_eq!(head.header("content-length"), Some(tar.len().to_string().as_str()));
    assert_eq!(head.text, "");

    let id = bench.get("/models/tiny").await.json()["id"].clone();
    bench.call("DELETE", "/models/tiny").await.expect(200);
    bench.get("/models/tiny/export").await.expect(404);
    let body = Body::from(tar);
    let loaded = bench.send(request("POST", "/models/load", body)).await.expect(200);
    assert_eq!(loaded.json()["model"], id);
}

#[tokio::test]
async fn a_blob_that_is_not_what_it_was_breaks_the_answer() {
    let bench = bench().await;
    let path = bench.models.resolve("tiny").await.expect("a model").weights;
    let mut bytes = std::fs::read(&path).expect("weights");
    bytes[0] ^= 1;
    std::fs::remove_file(&path).expect("removed");
    std::fs::write(&path, bytes).expect("written");
    let response = bench.begin(request("GET", "/models/tiny/export", Body::empty())).await;
    assert_eq!(response.status(), 200);
    let error = response.into_body().collect().await.expect_err("half an archive");
    assert!(error.to_string().contains("changed"), "{error}");
}

#[tokio::test]
async fn exports_are_limited_and_a_client_that_leaves_gives_its_place_back() {
    let bench = bench().await;
    let begin = async || bench.begin(request("GET", "/models/tiny/export", Body::empty())).await;
    // Weights that fill more than the pieces that wait.
    let writer = Writer::tiny().tensor("more", &[1 << 20], 0);
    bench.add("ai/tiny", &writer).await;
    let open = [begin().await, begin().await, begin().await, begin().await];
    assert!(open.iter().all(|answer| answer.status() == 200));
    let refused = begin().await;
    assert_eq!(refused.status(), 429);
    drop(open);
    let freed = async {
        while begin().await.status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(10), freed).await;
    assert!(waited.is_ok(), "the places are free again");
}

#[tokio::test]
async fn another_model_is_made_of_one() {
    let bench = bench().await;
    let body = json!({"target": "small:v1", "context_size": 256});
    let answer = bench.post("/models/ai/tiny/repackage", &body).await.expect(201).json();
    let made = bench.get("/models/small:v1").await.expect(200).json();
    assert_eq!(
        answer,
        json!({
            "message": "Model repackaged successfully as \"small:v1\"",
            "source": "ai/tiny", "target": "small:v1", "model": made["id"],
        })
    );
    assert_eq!(made["config"]["context_size"], 256);
    for (body, status) in [
        (json!({}), 400),
        (json!({"target": ""}), 400),
        (json!({"target": "a b"}), 400),
        (json!({"target": "x", "context_size": 0}), 400),
        (json!({"target": "x", "context_size": 2_147_483_648u64}), 400),
        (json!({"target": "x", "context_size": u64::MAX}), 400),
        (json!({"target": "x", "context-size": 1}), 400),
        (json!({"target": "x", "mmproj": "relative.gguf"}), 400),
        (json!({"target": "x", "lora": ["/no/such.gguf"]}), 400),
    ] {
        let refused = bench.post("/models/ai/tiny/repackage", &body).await;
        assert_eq!(refused.status, status, "{body}: {}", refused.text);
    }
    bench.post("/models/ai/none/repackage", &json!({"target": "x"})).await.expect(404);
    bench.get("/models/x").await.expect(404);
}
