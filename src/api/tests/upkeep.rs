use axum::body::Body;
use serde_json::{Value, json};

use super::support::{Bench, CHAT, chat, request};
use crate::engine::scripted::{Script, ScriptedFactory};
use crate::gguf::testing::Writer;
use crate::service::transfers::testing::Shelf;

async fn bench() -> Bench {
    Bench::new(ScriptedFactory::answering(["Hi"])).await
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The largest blob of the only model, with other bytes of the same length.
fn damage(bench: &Bench) -> String {
    let blobs = bench.models.store().root().join("blobs/sha256");
    let files = std::fs::read_dir(blobs).expect("blobs").flatten().map(|entry| entry.path());
    let largest = files.max_by_key(|path| path.metadata().map_or(0, |found| found.len()));
    let path = largest.expect("a blob");
    let mut bytes = std::fs::read(&path).expect("its bytes");
    *bytes.last_mut().expect("a byte") ^= 1;
    std::fs::remove_file(&path).expect("gone");
    std::fs::write(&path, bytes).expect("written");
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

#[tokio::test]
async fn the_disk_space_of_all_and_of_each() {
    let bench = bench().await;
    let usage = bench.get("/engines/df").await.expect(200).json();
    assert_eq!(usage["default_backend_disk_usage"], 0);
    assert_eq!(usage["models_disk_usage"], usage["model_bytes"]);
    assert!(usage["model_bytes"].as_u64() > Some(0) && usage["free_bytes"].as_u64() > Some(0));
    let [model] = usage["models"].as_array().expect("models").as_slice() else { panic!("{usage}") };
    assert_eq!(model["tags"], json!(["docker.io/ai/tiny:latest"]));
    assert_eq!(model["own_bytes"], usage["model_bytes"]);
}

#[tokio::test]
async fn a_check_names_what_is_damaged_and_a_repair_removes_it() {
    let bench = bench().await;
    let sound = bench.post("/modeld/fsck", &json!({})).await.expect(200);
    assert_eq!(sound.header("content-type"), Some("application/x-ndjson"));
    let sound = lines(&sound.text);
    let [.., step, report] = sound.as_slice() else { panic!("{sound:?}") };
    assert_eq!((&step["type"], &step["done"]), (&json!("progress"), &step["total"]));
    assert_eq!((&report["type"], &report["clean"]), (&json!("report"), &json!(true)));

    let hex = damage(&bench);
    for (repair, repaired) in [(false, false), (true, true)] {
        let answer = bench.post("/modeld/fsck", &json!({ "repair": repair })).await.expect(200);
        let report = lines(&answer.text).pop().expect("a report");
        let problem = &report["problems"][0];
        assert_eq!(problem["path"], format!("blobs/sha256/{hex}"));
        assert_eq!(problem["repaired"], repaired);
        assert_eq!(problem["models"][0]["command"], "modeld pull ai/tiny:latest");
    }
    let again = bench.post("/modeld/fsck", &json!({})).await.expect(200);
    assert!(again.text.contains("it is missing"), "{}", again.text);
}

#[tokio::test]
async fn a_check_ends_with_its_client() {
    let bench = bench().await;
    let body = Body::from("{}");
    drop(bench.begin(request("POST", "/modeld/fsck", body)).await);
    // The place of the one that was left is free again, however far it came.
    let next = async {
        while bench.post("/modeld/fsck", &json!({})).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(10), next).await;
    assert!(waited.is_ok(), "it holds its place");
}

#[tokio::test]
async fn prune_says_what_would_go_and_then_removes_it() {
    let bench = bench().await;
    let ingest = bench.models.store().root().join("ingest");
    let partial = ingest.join(format!("sha256-{}.part", "0".repeat(64)));
    std::fs::write(&partial, b"half").expect("a partial");
    let usage = bench.get("/engines/df").await.json();
    assert_eq!(usage["interrupted"], 1);
    let path = "/modeld/prune";
    let none = bench.post(path, &json!({})).await.expect(200).json();
    assert_eq!(none, json!({"type": "report", "removed": 0, "bytes": 0, "dry_run": false}));
    let week = bench.post(path, &json!({ "partials_older_than": "7d" })).await.expect(200);
    assert_eq!(week.json()["removed"], 0, "it is young");
    for dry_run in [true, false] {
        let body = json!({ "partials_older_than": "0s", "dry_run": dry_run });
        let answer = lines(&bench.post(path, &body).await.expect(200).text);
        assert_eq!(answer.len(), 2, "{answer:?}");
        assert_eq!((&answer[0]["type"], &answer[1]["removed"]), (&json!("removed"), &json!(1)));
        assert_eq!(partial.exists(), dry_run);
    }
    for body in [json!({ "partials_older_than": "soon" }), json!({ "orphan": true })] {
        bench.post(path, &body).await.expect(400);
    }
}

#[tokio::test]
async fn purge_unloads_what_is_idle_and_leaves_an_empty_store() {
    let bench = bench().await;
    bench.post(CHAT, &chat(&json!({}))).await.expect(200);
    bench.call("DELETE", "/models/purge?force=maybe").await.expect(400);
    let purged = bench.call("DELETE", "/models/purge").await.expect(200);
    assert_eq!(purged.text, "");
    assert_eq!(bench.get("/models").await.json(), json!([]));
    assert_eq!(bench.get("/engines/ps").await.json(), json!([]));
    assert_eq!(bench.get("/engines/df").await.json()["models_disk_usage"], 0);
}

#[tokio::test]
async fn purge_refuses_while_requests_run_and_ends_them_by_force() {
    let script = Script { hang: true, ..Script::default() };
    let bench = Bench::new(ScriptedFactory::new(script)).await;
    let body = chat(&json!({ "stream": true })).to_string();
    let running = bench.begin(request("POST", CHAT, body.into())).await;
    let refused = bench.call("DELETE", "/models/purge").await.expect(409).text;
    assert!(refused.contains("1 running"), "{refused}");
    bench.get("/models/ai/tiny").await.expect(200);
    bench.call("DELETE", "/models/purge?force=true").await.expect(200);
    let rest = http_body_util::BodyExt::collect(running.into_body()).await.expect("a body");
    let rest = String::from_utf8(rest.to_bytes().to_vec()).expect("text");
    assert!(rest.contains("data: {\"error\":"), "{rest}");
    assert_eq!(bench.get("/models").await.json(), json!([]));
}

#[tokio::test]
async fn purge_stops_transfers() {
    let shelf = Shelf::of(&Writer::tiny(), &["docker.io/ai/new:latest"]).await;
    let bench = Bench::beside(shelf.clone()).await;
    let body = json!({ "from": "ai/new", "detach": true });
    bench.post("/models/create", &body).await.expect(202);
    bench.call("DELETE", "/models/purge").await.expect(200);
    assert_eq!(bench.get("/modeld/transfers").await.json(), json!([]));
    // The writer of the store waits on a thread of its own until the gate goes.
    shelf.let_all_pass();
    assert_eq!(bench.get("/models").await.json(), json!([]));
}
