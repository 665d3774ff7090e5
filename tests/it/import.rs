//! Models of other programs, taken in by the daemon.

use serde_json::json;

use crate::support::{Daemon, models};

#[test]
fn a_model_of_ollama_is_imported_and_answers() {
    let daemon = Daemon::builder().start();
    let gguf = models::tiny().bytes();
    let digest = modeld::domain::Digest::of(&gguf);
    let root = daemon.dir().join("ollama");
    let manifests = root.join("manifests/registry.ollama.ai/library/tiny");
    std::fs::create_dir_all(&manifests).expect("a directory");
    std::fs::create_dir_all(root.join("blobs")).expect("a directory");
    std::fs::write(root.join(format!("blobs/sha256-{}", digest.hex())), &gguf).expect("a blob");
    let layer = json!({"mediaType": "application/vnd.ollama.image.model",
                       "digest": digest.to_string(), "size": gguf.len()});
    let manifest = json!({"schemaVersion": 2, "layers": [layer]});
    std::fs::write(manifests.join("latest"), manifest.to_string()).expect("a manifest");
    let answer = daemon.client().post("/modeld/import", &json!({ "ollama": [root] })).expect(200);
    let lines: Vec<serde_json::Value> =
        answer.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let kinds: Vec<_> = lines.iter().map(|line| line["type"].as_str().expect("a type")).collect();
    assert_eq!(kinds, ["reading", "imported", "success"], "{lines:?}");
    assert_eq!(lines[1]["tags"], json!(["registry.ollama.ai/library/tiny:latest"]));
    let chat = json!({"model": "registry.ollama.ai/library/tiny", "max_tokens": 2,
                      "messages": [{"role": "user", "content": "hi"}]});
    daemon.client().post("/v1/chat/completions", &chat).expect(200);
    let relative = json!({ "paths": ["tiny.gguf"] });
    daemon.client().post("/modeld/import", &relative).expect(400);
}
