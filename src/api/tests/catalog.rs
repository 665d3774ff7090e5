use axum::body::Body;
use bytes::Bytes;
use serde_json::json;

use super::support::{Bench, CHAT, chat, request};
use crate::engine::scripted::{Script, ScriptedFactory};
use crate::gguf::testing::Writer;

async fn bench() -> Bench {
    Bench::new(ScriptedFactory::answering(["Hi"])).await
}

#[tokio::test]
async fn models_in_both_forms() {
    let bench = bench().await;
    let list = bench.get("/models").await.expect(200).json();
    insta::assert_json_snapshot!("native_list", list);
    insta::assert_json_snapshot!("openai_list", bench.get("/v1/models").await.expect(200).json());
    let id = list[0]["id"].as_str().expect("an id");
    for name in ["tiny", "ai/tiny", "ai%2Ftiny%3Alatest", "docker.io/ai/tiny:latest", id] {
        assert_eq!(bench.get(&format!("/models/{name}")).await.expect(200).json(), list[0]);
        let one = bench.get(&format!("/engines/llama.cpp/v1/models/{name}")).await.expect(200);
        assert_eq!(one.json()["id"], "docker.io/ai/tiny:latest", "{name}");
    }
    let head = bench.call("HEAD", "/models/ai/tiny").await.expect(200);
    assert_eq!(head.text, "");
}

#[tokio::test]
async fn tags_come_and_go() {
    let bench = bench().await;
    let path = "/models/ai/tiny/tag?repo=docker.io/ai/other&tag=v1";
    let tagged = bench.call("POST", path).await.expect(201).json();
    assert_eq!(
        tagged,
        json!({
            "message": "Model tagged successfully with \"docker.io/ai/other:v1\"",
            "target": "docker.io/ai/other:v1",
        })
    );
    let id = bench.get("/models/tiny").await.json()["id"].clone();
    let by_id = format!("/models/{}", id.as_str().expect("an id"));
    assert!(bench.call("DELETE", &by_id).await.expect(409).text.ends_with('\n'));
    let gone = bench.call("DELETE", "/models/ai/tiny").await.expect(200).json();
    assert_eq!(gone, json!([{ "Untagged": "docker.io/ai/tiny:latest" }]));
    let gone = bench.call("DELETE", "/models/ai/other:v1?force=false").await.expect(200).json();
    assert_eq!(gone, json!([{ "Untagged": "docker.io/ai/other:v1" }, { "Deleted": id }]));
    bench.get("/models/ai/other:v1").await.expect(404);
}

#[tokio::test]
async fn an_archive_is_taken_in_piece_by_piece() {
    let bench = bench().await;
    let tar = bench.package(&Writer::tiny().text("general.license", "mit"));
    let pieces: Vec<_> =
        tar.chunks(700).map(Bytes::copy_from_slice).map(std::io::Result::Ok).collect();
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    let answer = bench.send(request("POST", "/models/load", body)).await.expect(200);
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    let line = answer.json();
    assert_eq!(line["type"], "success");
    assert_eq!(line["message"], "Model loaded successfully");
    assert_eq!(line["mode"], "pull");
    let id = line["model"].as_str().expect("an id").to_owned();
    bench.get(&format!("/models/{id}")).await.expect(200);
    let model = bench.call("POST", &format!("/models/{id}/tag?repo=ai/new&tag=v2")).await;
    model.expect(201);
    bench.get("/models/ai/new:v2").await.expect(200);
}

#[tokio::test]
async fn an_archive_that_is_none_or_breaks_off_leaves_nothing() {
    let bench = bench().await;
    let before = bench.get("/models").await.json();
    let tar = bench.package(&Writer::tiny().text("general.license", "mit"));
    let half = tar.get(..tar.len() / 2).expect("half").to_vec();
    for body in [Vec::new(), b"no tar".to_vec(), half] {
        bench.send(request("POST", "/models/load", body.into())).await.expect(422);
    }
    let broken = [Ok(Bytes::from(tar)), Err(std::io::Error::other("reset"))];
    // All of the archive came before the body broke: that is enough.
    let body = Body::from_stream(futures_util::stream::iter(broken));
    bench.send(request("POST", "/models/load", body)).await.expect(200);
    let after = bench.get("/models").await.json();
    let count = |list: &serde_json::Value| list.as_array().map_or(0, Vec::len);
    assert_eq!(count(&after), count(&before) + 1);
}

#[tokio::test]
async fn loaded_models_are_shown_and_unloaded() {
    let bench = bench().await;
    assert_eq!(bench.get("/engines/ps").await.expect(200).json(), json!([]));
    bench.post(CHAT, &chat(&json!({}))).await.expect(200);
    let mut ps = bench.get("/engines/ps").await.expect(200).json();
    let last_used = ps[0]["last_used"].take();
    let last_used = last_used.as_str().expect("a time").parse::<jiff::Timestamp>();
    assert!(last_used.expect("RFC 3339").as_second() > 0);
    insta::assert_json_snapshot!("ps", ps);
    let status = bench.get("/engines/status").await.expect(200).json();
    let text = status["llama.cpp"].as_str().expect("a text");
    assert!(text.starts_with("Running: ") && text.ends_with("1 model loaded"), "{text}");

    for (body, count) in [
        (json!({}), 0),
        (json!({ "models": ["ai/none", "../x"] }), 0),
        (json!({ "all": true, "backend": "vllm" }), 0),
        (json!({ "models": ["tiny", "ai/tiny"], "backend": "" }), 1),
        (json!({ "all": true }), 0),
    ] {
        let answer = bench.post("/engines/unload", &body).await.expect(200).json();
        assert_eq!(answer, json!({ "unloaded_runners": count }), "{body}");
    }
    assert_eq!(bench.get("/engines/ps").await.json(), json!([]));
    bench.call("POST", "/engines/unload").await.expect(400);
}

#[tokio::test]
async fn a_busy_model_is_deleted_by_force_only() {
    let script = Script { hang: true, ..Script::default() };
    let bench = Bench::new(ScriptedFactory::new(script)).await;
    let body = chat(&json!({ "stream": true })).to_string();
    let running = bench.begin(request("POST", CHAT, body.into())).await;
    let ps = bench.get("/engines/ps").await.json();
    assert_eq!(
        (&ps[0]["in_use"], &ps[0]["last_used"]),
        (&json!(true), &json!("0001-01-01T00:00:00Z"))
    );
    let refused = bench.call("DELETE", "/models/ai/tiny").await.expect(409).text;
    assert!(refused.contains("1 running"), "{refused}");
    let unloaded = bench.post("/engines/unload", &json!({ "all": true })).await.json();
    assert_eq!(unloaded, json!({ "unloaded_runners": 0 }));
    bench.call("DELETE", "/models/ai/tiny?force=true").await.expect(200);
    let rest = http_body_util::BodyExt::collect(running.into_body()).await.expect("a body");
    let rest = String::from_utf8(rest.to_bytes().to_vec()).expect("text");
    assert!(rest.contains("data: {\"error\":") && !rest.contains("[DONE]"), "{rest}");
    bench.get("/models/ai/tiny").await.expect(404);
    assert_eq!(bench.get("/engines/ps").await.json(), json!([]));
}

#[tokio::test]
async fn errors_of_the_native_family_are_a_line_or_json() {
    let bench = bench().await;
    let mut all = String::new();
    for (method, path) in [
        ("GET", "/models/ai/none"),
        ("GET", "/models/"),
        ("GET", "/models/%ff"),
        ("GET", "/models/ai/tiny?remote=true"),
        ("DELETE", "/models/ai/none"),
        ("DELETE", "/models/ai/tiny?force=maybe"),
        ("POST", "/models/ai/tiny/tag?repo=x"),
        ("POST", "/models/ai/tiny/tag?repo=ai/x&tag=a/b"),
        ("POST", "/models/ai/none/tag?repo=ai/x&tag=y"),
        ("POST", "/models/ai/tiny/fly"),
        ("POST", "/models/create"),
        ("PUT", "/models"),
        ("POST", "/engines/unload"),
        ("GET", "/no-such"),
        ("GET", "/models/../x"),
    ] {
        let text = bench.call(method, path).await;
        assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"), "{path}");
        assert_eq!(text.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(text.text.lines().count(), 1, "{path}: {}", text.text);
        let mut request = request(method, path, Body::empty());
        request.headers_mut().insert("accept", "application/json".parse().expect("a value"));
        let json = bench.send(request).await;
        assert_eq!(json.header("content-type"), Some("application/json"), "{path}");
        assert_eq!(json.status, text.status);
        all +=
            &format!("{method} {path}\n  {} {}  {}\n", text.status.as_u16(), text.text, json.text);
    }
    insta::assert_snapshot!(all);
}
