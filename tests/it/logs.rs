//! The log that the daemon keeps and shows.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::support::{Daemon, models, wait_until};

const CHAT: &str = "/engines/v1/chat/completions";

fn file(daemon: &Daemon) -> PathBuf {
    daemon.dir().join(".local/state/modeld/modeld.log")
}

fn ask(daemon: &Daemon, content: &str, stream: bool) {
    let body = json!({
        "model": "ai/hello", "stream": stream, "stop": [content], "user": content,
        "messages": [{ "role": "user", "content": content }],
    });
    if stream {
        daemon.client().stream(CHAT, &body).count();
    } else {
        daemon.client().post(CHAT, &body).expect(200);
    }
}

#[test]
fn the_log_has_what_happened_and_not_what_was_said() {
    let daemon = Daemon::builder().model("ai/hello", &models::hello()).args(&["--log", "debug"]);
    let daemon = daemon.start();
    let secret = "marker-55e0c";
    ask(&daemon, secret, false);
    ask(&daemon, secret, true);
    daemon.client().get(&format!("/models/x?token={secret}")).expect(404);
    let log = daemon.client().get("/logs?follow=false&no-engines=false").expect(200);
    assert_eq!(log.header("content-type"), Some("text/plain; charset=utf-8"));
    let log = log.text();
    assert!(log.contains("modeld starts") && log.contains("model is loaded"), "{log}");
    assert!(log.contains("modeld::access") && log.contains("modeld::worker"), "{log}");
    assert!(!log.contains(secret) && !daemon.log().contains(secret), "{log}");
    let without = daemon.client().get("/logs?no-engines=1").expect(200).text();
    assert!(!without.contains("modeld::worker:") && without.contains("modeld starts"), "{without}");
    assert!(daemon.cli_ok(&["logs", "--no-engines"]).contains("model is loaded"));
    let mode = std::fs::metadata(file(&daemon)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_follower_sees_what_is_added_and_does_not_hold_the_end_up() {
    let mut daemon = Daemon::with("ai/hello", &models::hello());
    let answer = daemon.client().open("GET", "/logs?follow=true", &[], b"");
    assert_eq!(answer.status, 200);
    let mut lines = BufReader::new(answer.body).lines().map(|line| line.expect("a line"));
    assert!(lines.any(|line| line.contains("modeld starts")));
    ask(&daemon, "x", false);
    assert!(lines.any(|line| line.contains("modeld::access") && line.contains("chat/completions")));
    let asked = std::time::Instant::now();
    assert!(daemon.stop().success());
    assert!(asked.elapsed() < std::time::Duration::from_secs(5), "{:?}", asked.elapsed());
    lines.for_each(drop);
}

#[test]
fn wrong_parameters_are_named() {
    let daemon = Daemon::builder().tcp().start();
    let client = daemon.client();
    for (query, text) in [
        ("follow=x", "invalid follow parameter: \"x\" is not a valid boolean"),
        ("no-engines=2", "invalid no-engines parameter: \"2\" is not a valid boolean"),
    ] {
        let refused = client.get(&format!("/logs?{query}")).expect(400).text();
        assert!(refused.contains(text), "{refused}");
    }
    for fine in ["follow=F", "no-engines=TRUE&follow=0", "follow="] {
        client.get(&format!("/logs?{fine}")).expect(200);
    }
    client.send("POST", "/logs", &[], b"").expect(405);
    let page = [("Origin", "http://localhost:3000")];
    daemon.tcp_client().send("GET", "/logs", &page, b"").expect(403);
}

#[test]
fn without_a_file_the_answer_says_so() {
    let daemon = Daemon::builder().args(&["--no-log-file"]).start();
    assert!(!file(&daemon).exists());
    let refused = daemon.client().get("/logs").expect(404).text();
    assert!(refused.contains("service log not found") && refused.contains("--no-log-file"));
}

#[test]
fn a_file_that_cannot_be_made_does_not_stop_the_daemon() {
    let daemon = Daemon::builder().args(&["--log-file", "/proc/nowhere/modeld.log"]).start();
    daemon.client().get("/logs").expect(404);
    assert!(daemon.log().contains("/proc/nowhere/modeld.log"), "{}", daemon.log());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_once_and_stops_nothing() {
    let mut daemon = Daemon::builder().args(&["--log-file", "/dev/full"]).start();
    for _ in 0..50 {
        daemon.client().get("/version").expect(200);
    }
    let said = || daemon.log().matches("the log's file cannot be written to").count();
    let lines = || daemon.log().matches("modeld::access").count();
    wait_until(Duration::from_secs(20), "the lines are written", || lines() >= 50);
    assert_eq!(said(), 1, "{}", daemon.log());
    let metrics = daemon.client().get("/metrics").expect(200).text();
    let dropped = metrics.lines().find(|line| line.starts_with("modeld_log_lines_dropped_total "));
    assert!(dropped.is_some_and(|line| !line.ends_with(" 0")), "{dropped:?}");
    assert!(daemon.is_alive());
}

#[test]
fn a_file_that_is_removed_comes_back() {
    let daemon = Daemon::builder().start();
    std::fs::remove_file(file(&daemon)).unwrap();
    let client = daemon.client();
    wait_until(Duration::from_secs(20), "it is there again", || {
        client.get("/version").expect(200);
        file(&daemon).exists()
    });
    client.send("GET", "/version", &[("X-Request-Id", "after-it-was-gone")], b"").expect(200);
    assert!(client.get("/logs").expect(200).text().contains("after-it-was-gone"));
}
