//! Model files that lie. Each is refused as the model's fault, and nothing else notices.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Daemon, hostile, models};

const CHAT: &str = "/engines/v1/chat/completions";

#[test]
fn a_file_of_broken_structure_is_refused_when_it_is_packaged() {
    let mut daemon = Daemon::builder().start();
    for (what, bytes) in hostile::broken_structure() {
        let path = daemon.file("hostile.gguf", &bytes);
        let started = Instant::now();
        let output = daemon.cli(&["package", "--gguf", &path, "ai/hostile"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{what}: accepted");
        assert!(output.status.code().is_some(), "{what}: killed by a signal");
        assert!(!errors.contains("panicked"), "{what}: {errors}");
        assert!(!errors.trim().is_empty(), "{what}: refused without a word");
        assert!(started.elapsed() < Duration::from_secs(2), "{what}: {:?}", started.elapsed());
        assert!(daemon.is_alive(), "{what}");
    }
    assert_eq!(daemon.client().get("/models").expect(200).json(), json!([]));
}

#[test]
fn a_file_of_broken_meaning_costs_nobody_else_anything() {
    let mut daemon = Daemon::with("ai/hello", &models::hello());
    let ask = |daemon: &Daemon, model: &str| {
        let body = json!({
            "model": model, "max_tokens": 2,
            "messages": [{ "role": "user", "content": "Hi" }],
        });
        daemon.client().post(CHAT, &body)
    };
    ask(&daemon, "ai/hello").expect(200);
    let bystander = daemon.worker();
    for (what, bytes) in hostile::broken_meaning() {
        let path = daemon.file("hostile.gguf", &bytes);
        let packaged = daemon.cli(&["package", "--gguf", &path, "ai/hostile"]);
        assert!(packaged.status.code().is_some(), "{what}: killed by a signal");
        if packaged.status.success() {
            let started = Instant::now();
            let answer = ask(&daemon, "ai/hostile");
            // llama.cpp accepts some nonsense; then the answer is nonsense, too.
            // A template may refuse the conversation, which is then the client's to change.
            let expected: &[u16] =
                if what == "a template that refuses" { &[400] } else { &[200, 422] };
            assert!(
                expected.contains(&answer.status),
                "{what}: {} {}",
                answer.status,
                answer.text()
            );
            // A template has five seconds of a processor, of which others take their share.
            assert!(started.elapsed() < Duration::from_secs(60), "{what}: {:?}", started.elapsed());
            daemon.cli_ok(&["rm", "--force", "ai/hostile"]);
        }
        assert!(daemon.is_alive(), "{what}");
        ask(&daemon, "ai/hello").expect(200);
        let pids: Vec<i64> = daemon.loaded().iter().filter_map(|m| m["pid"].as_i64()).collect();
        assert!(pids.contains(&i64::from(bystander)), "{what}: another model was restarted");
    }
}

#[test]
fn an_archive_that_lies_leaves_the_store_as_it_was() {
    let daemon = Daemon::with("ai/tiny", &models::tiny());
    let before = daemon.client().get("/models").expect(200).json();
    let tar = [("Content-Type", "application/x-tar")];
    let cases: [(&str, Vec<u8>); 4] = [
        ("nothing", Vec::new()),
        ("no tar", b"<!DOCTYPE html>".repeat(100)),
        ("an empty tar", vec![0; 1024]),
        ("a header of 8 EiB", huge_member()),
    ];
    for (what, body) in cases {
        let answer = daemon.client().send("POST", "/models/load", &tar, &body);
        let refused =
            (400..500).contains(&answer.status) || answer.text().contains(r#""type":"error""#);
        assert!(refused, "{what}: {} {}", answer.status, answer.text());
        assert_eq!(daemon.client().get("/models").expect(200).json(), before, "{what}");
    }
}

/// A tar header that promises 2^63 bytes (GNU's base-256 size).
fn huge_member() -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..9].copy_from_slice(b"blobs/abc");
    header[100..107].copy_from_slice(b"0000644");
    header[124] = 0x80;
    header[128] = 0x7f;
    header[156] = b'0';
    header[257..263].copy_from_slice(b"ustar ");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header.extend([0; 512]);
    header
}
