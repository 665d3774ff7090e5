//! Upkeep of the store by the commands, with the real daemon.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Daemon, models};

const CHAT: &str = "/engines/v1/chat/completions";

fn weights(daemon: &Daemon, gguf: &[u8]) -> PathBuf {
    let digest = modeld::domain::Digest::of(gguf);
    daemon.dir().join("models/blobs/sha256").join(digest.hex())
}

#[test]
fn damage_is_named_with_its_model_repaired_and_put_right_by_another_package() {
    let file = models::tiny();
    let daemon = Daemon::with("ai/tiny", &file);
    daemon.cli_ok(&["fsck"]);
    let blob = weights(&daemon, &file.bytes());
    let mut bytes = file.bytes();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, bytes).unwrap();

    let seen = daemon.cli(&["fsck"]);
    let text = String::from_utf8_lossy(&seen.stdout);
    assert_eq!(seen.status.code(), Some(1), "{text}");
    assert!(text.contains("damaged") && text.contains("modeld pull ai/tiny:latest"), "{text}");
    assert!(blob.exists(), "nothing was changed");

    let repaired = daemon.cli(&["fsck", "--repair", "--json"]);
    assert_eq!(repaired.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&repaired.stdout).unwrap();
    assert_eq!(report["problems"][0]["repaired"], true, "{report}");
    assert!(!blob.exists());
    daemon.package("ai/tiny", &file.bytes());
    daemon.cli_ok(&["fsck"]);
}

#[test]
fn interrupted_downloads_are_shown_and_removed() {
    let daemon = Daemon::with("ai/tiny", &models::tiny());
    let partial =
        daemon.dir().join("models/ingest").join(format!("sha256-{}.part", "0".repeat(64)));
    std::fs::write(&partial, [1; 9000]).unwrap();
    let seen = daemon.cli(&["df", "-v"]);
    let notes = String::from_utf8_lossy(&seen.stderr);
    assert!(notes.starts_with("1 partial download, "), "{notes}");
    assert!(String::from_utf8_lossy(&seen.stdout).contains("tiny"));

    let refused = daemon.cli(&["prune", "--partials"]);
    assert_eq!(refused.status.code(), Some(2), "nobody can be asked");
    assert!(daemon.cli_ok(&["prune", "--partials", "--dry-run"]).contains("interrupted download"));
    assert!(partial.exists());
    daemon.cli_ok(&["prune", "--partials", "--force"]);
    assert!(!partial.exists());
    daemon.client().get("/models/ai/tiny").expect(200);
}

#[test]
fn purge_refuses_while_a_stream_runs_and_empties_the_store_afterwards() {
    let daemon = Daemon::with("ai/endless", &models::endless());
    let body = json!({
        "model": "ai/endless", "stream": true, "max_tokens": 1_000_000,
        "messages": [{ "role": "user", "content": "Count" }],
    });
    let mut events = daemon.client().stream(CHAT, &body);
    events.first_text();
    let refused = daemon.client().delete("/models/purge").expect(409).text();
    assert!(refused.contains("ai/endless") && refused.contains("1 running"), "{refused}");
    daemon.client().get("/models/ai/endless").expect(200);
    daemon.cli_ok(&["purge", "--force"]);
    assert_eq!(daemon.client().get("/models").expect(200).json(), json!([]));
    let blobs = std::fs::read_dir(daemon.dir().join("models/blobs/sha256")).unwrap().count();
    assert_eq!(blobs, 0);
}
