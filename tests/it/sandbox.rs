//! What confines the real processes, as the kernel and the daemon say it; and that a log which
//! nobody reads costs nothing but its lines.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::support::daemon::{modeld, send};
use crate::support::http::{Address, Client};
use crate::support::{Daemon, models, wait_until};

const CHAT: &str = "/engines/v1/chat/completions";

fn ask(daemon: &Daemon) {
    let body = json!({ "model": "ai/hello", "messages": [{ "role": "user", "content": "Hi" }] });
    daemon.client().post(CHAT, &body).expect(200);
}

/// The value of a field of `/proc/PID/status`, of every thread.
#[cfg(target_os = "linux")]
fn of_all_threads(pid: i32, field: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok())
        .filter_map(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix(field))?;
            Some(line.trim_start_matches(':').trim().to_owned())
        })
        .collect()
}

#[cfg(target_os = "linux")]
fn core_limit(pid: i32) -> String {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("its limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
    line.expect("a limit").split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(target_os = "linux")]
#[test]
fn every_thread_of_a_worker_is_confined_and_the_status_says_how() {
    let mut daemon = Daemon::with("ai/hello", &models::hello());
    ask(&daemon);
    let worker = daemon.worker();
    let status = daemon.client().get("/modeld/status").expect(200).json();
    let words = status["workers"][0]["sandbox"].as_str().expect("words").to_owned();
    assert_eq!(status["workers"][0]["pid"], worker);
    if !words.contains("seccomp: none") {
        let modes = of_all_threads(worker, "Seccomp");
        assert!(modes.len() > 3 && modes.iter().all(|mode| mode == "2"), "{words}: {modes:?}");
        assert!(words.contains("seccomp: no new processes, sockets"), "{words}");
        assert!(words.ends_with("; no new privileges"), "{words}");
    }
    for pid in [worker, daemon.pid().cast_signed()] {
        let no_new = of_all_threads(pid, "NoNewPrivs");
        assert!(!no_new.is_empty() && no_new.iter().all(|set| set == "1"), "{pid}: {no_new:?}");
        assert_eq!(core_limit(pid), "0 0");
    }
    let process = "no core dumps, memory closed to other processes, no new privileges";
    assert_eq!(status["process"], process);
    let shown = daemon.cli_ok(&["status"]);
    assert!(shown.contains(&format!("daemon: {process}")), "{shown}");
    assert!(shown.contains(&format!("ai/hello:latest ({worker}): {words}")), "{shown}");
}

#[cfg(target_os = "linux")]
#[test]
fn core_dumps_are_there_for_whoever_asks() {
    let daemon = Daemon::builder().model("ai/hello", &models::hello()).args(&["--core-dumps"]);
    let mut daemon = daemon.start();
    ask(&daemon);
    let status = daemon.client().get("/modeld/status").expect(200).json();
    let hard = core_limit(daemon.pid().cast_signed());
    if !hard.ends_with(" 0") {
        assert_eq!(status["process"], "core dumps allowed, no new privileges");
        assert_eq!(core_limit(daemon.worker()), hard);
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("d.sock");
    let mut command = modeld(dir.path(), &socket);
    command.arg("serve").arg("--socket").arg(&socket).args(["--log", "trace", "--no-log-file"]);
    command.arg("--models-path").arg(dir.path().join("models"));
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // Its reading end stays open, and nobody reads.
    let unread = child.stderr.take();
    wait_until(Duration::from_secs(30), "it listens", || socket.exists());
    let client = Client { address: Address::Unix(socket) };
    let long = "x".repeat(128);
    let dropped = || {
        let metrics = client.get("/metrics").expect(200).text();
        let line = metrics.lines().find(|line| line.starts_with("modeld_log_lines_dropped_total "));
        let count = line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        count.unwrap_or_else(|| panic!("{metrics}"))
    };
    assert_eq!(dropped(), 0);
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    while dropped() == 0 {
        for _ in 0..200 {
            let asked = Instant::now();
            client.send("GET", "/version", &[("X-Request-Id", &long)], b"").expect(200);
            slowest = slowest.max(asked.elapsed());
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing was dropped");
    }
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    let status = client.get("/modeld/status").expect(200).json();
    assert!(status["log"]["dropped"].as_u64() > Some(0), "{status}");
    send(child.id().cast_signed(), Signal::TERM);
    wait_until(Duration::from_secs(10), "it ends", || child.try_wait().unwrap().is_some());
    drop(unread);
}

#[test]
fn what_is_logged_can_be_changed_while_it_runs() {
    let daemon = Daemon::builder().args(&["--log", "warn"]).start();
    let client = daemon.client();
    let lines = || client.get("/logs").expect(200).text().matches("modeld::access").count();
    assert_eq!(daemon.cli_ok(&["log-level"]), "warn\n");
    client.get("/version").expect(200);
    assert_eq!(lines(), 0);
    assert_eq!(
        daemon.cli_ok(&["log-level", "warn,modeld::access=info"]),
        "warn,modeld::access=info\n"
    );
    client.get("/version").expect(200);
    wait_until(Duration::from_secs(20), "the line is written", || lines() > 0);
    let refused = daemon.cli(&["log-level", "warm"]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("\"warm\" is no level"), "{words}");
    assert_eq!(daemon.cli_ok(&["log-level"]), "warn,modeld::access=info\n");
    client
        .send("PUT", "/modeld/log-level", &[("Content-Type", "application/json")], b"{}")
        .expect(400);
}
