//! The doctor, with and without a daemon, and where everything is broken.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::daemon::{modeld, send};
use crate::support::{Daemon, models, skip};

/// A home without a daemon.
fn examine(dir: &Path, variables: &[(&str, &str)]) -> (Output, Value) {
    let mut command = modeld(dir, &dir.join("d.sock"));
    command.args(["doctor", "--json", "--offline"]);
    let output = command.envs(variables.iter().copied()).output().expect("modeld runs");
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    (output, report)
}

/// The messages of a check, with their verdicts.
fn of(report: &Value, check: &str) -> Vec<String> {
    let findings = report["findings"].as_array().expect("a list");
    let own = findings.iter().filter(|finding| finding["check"] == check);
    own.map(|finding| {
        format!("{} {}", finding["verdict"].as_str().unwrap(), finding["message"].as_str().unwrap())
    })
    .collect()
}

#[test]
fn a_running_daemon_is_well() {
    let daemon = Daemon::builder().start();
    let (output, report) =
        examine(daemon.dir(), &[("MODELS_PATH", daemon.store().to_str().unwrap())]);
    let said = of(&report, "daemon");
    assert!(said.iter().any(|line| line.starts_with("ok answers; version")), "{said:?}");
    assert!(said.iter().any(|line| line.contains("its owner's alone (0600)")), "{said:?}");
    let worst = report["verdict"].as_str().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(worst == "fail")), "{report:#}");
}

#[test]
fn a_daemon_that_wants_a_token_gets_it() {
    let daemon = Daemon::builder().tcp().args(&["--require-token"]).start();
    let url = format!("http://{}", daemon.port());
    let (_, report) = examine(daemon.dir(), &[("MODELD_HOST", &url)]);
    let said = of(&report, "daemon").join("\n");
    assert!(said.starts_with("fail ") && report.to_string().contains("MODELD_TOKEN"), "{said}");
    let token = daemon.cli_ok(&["token", "create"]);
    let token = [("MODELD_HOST", url.as_str()), ("MODELD_TOKEN", token.trim_end())];
    let said = of(&examine(daemon.dir(), &token).1, "daemon").join("\n");
    assert!(said.starts_with("ok answers; version"), "{said}");
}

#[test]
fn without_a_daemon_it_says_so_and_nothing_fails_for_it() {
    let dir = tempfile::TempDir::new().unwrap();
    let (_, report) = examine(dir.path(), &[]);
    let said = of(&report, "daemon");
    assert!(said[0].starts_with("warn not running"), "{said:?}");
    // Looking leaves nothing behind.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_is_broken_is_named_with_what_to_do_and_the_exit_code_tells() {
    let dir = tempfile::TempDir::new().unwrap();
    let config = dir.path().join(".config/modeld");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("config.toml"), "keep-alife = \"5m\"\n").unwrap();
    fs::write(config.join("token"), "s3cret").unwrap();
    fs::set_permissions(config.join("token"), fs::Permissions::from_mode(0o644)).unwrap();
    // A file where the store belongs, and one where the socket does.
    let store = dir.path().join("store");
    fs::write(&store, "").unwrap();
    fs::write(dir.path().join("d.sock"), "").unwrap();
    let (output, report) = examine(dir.path(), &[("MODELS_PATH", store.to_str().unwrap())]);
    assert_eq!(output.status.code(), Some(1));
    for (check, says) in [
        ("settings", "fail"),
        ("secrets", "(0644)"),
        ("paths", "no directory"),
        ("daemon", "no socket"),
    ] {
        let said = of(&report, check).join("\n");
        assert!(said.contains(says), "{check}: {said}");
    }
    assert!(!report.to_string().contains("s3cret"));
    for finding in report["findings"].as_array().unwrap() {
        assert_eq!(finding["verdict"] == "ok", finding["fix"].is_null(), "{finding}");
    }
}

#[test]
fn settings_that_cannot_be_used_are_found_and_do_not_stop_it() {
    let dir = tempfile::TempDir::new().unwrap();
    for variable in [("MODELD_GRACE", "soon"), ("MODELD_HOST", "ftp://x")] {
        let (output, report) = examine(dir.path(), &[variable]);
        assert_eq!(output.status.code(), Some(1), "{variable:?}");
        let all = format!("{:?}{:?}", of(&report, "settings"), of(&report, "daemon"));
        assert!(all.contains(variable.1), "{all}");
        assert!(!of(&report, "sandbox").is_empty());
    }
}

#[test]
fn people_read_lines() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut command = modeld(dir.path(), &dir.path().join("d.sock"));
    let output = command.args(["doctor", "--offline"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().any(|line| line.starts_with("WARN  daemon")), "{text}");
    assert!(text.lines().any(|line| line.trim_start().starts_with("→ start it with")), "{text}");
}

/// Every fault, made in a store that a daemon has left.
#[test]
fn what_is_wrong_with_a_store_is_found_beside_what_helps() {
    let mut daemon = Daemon::with("ai/hello", &models::hello());
    daemon.stop();
    let store = daemon.store();
    let look = || examine(daemon.dir(), &[("MODELS_PATH", store.to_str().unwrap())]).1;
    let sound = of(&look(), "store");
    assert!(sound[0].starts_with("ok ") && sound[0].ends_with("models: 1"), "{sound:?}");
    let (layout, index) = (store.join("layout.json"), store.join("models.json"));
    let blobs = store.join("blobs/sha256");
    let weights = fs::read_dir(&blobs).unwrap().flatten().map(|entry| entry.path());
    let weights = weights.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let manifest = fs::read_dir(store.join("manifests/sha256")).unwrap().flatten().next().unwrap();
    let aside = daemon.dir().join("aside");
    // What is set aside comes back after each look.
    let faults: [(&Path, Option<&str>, &str, &str); 7] = [
        (&layout, None, "warn layout.json: is missing", "writes it anew"),
        (&layout, Some("{"), "warn layout.json: is missing or says nothing", "writes it anew"),
        (
            &layout,
            Some("{\"version\": \"2.1\"}"),
            "fail layout.json: says layout \"2.1\"",
            "MODELS_PATH",
        ),
        (&index, Some("{\"models\": [{"), "warn models.json", "modeld list"),
        (&index, None, "warn models.json", "modeld list"),
        (
            &weights,
            Some("short"),
            "it has 5 bytes, its manifest says",
            "modeld pull docker.io/ai/hello",
        ),
        (&manifest.path(), None, "fail manifests/sha256/", "modeld fsck --repair"),
    ];
    for (path, instead, says, fix) in faults {
        fs::rename(path, &aside).unwrap();
        if let Some(text) = instead {
            fs::write(path, text).unwrap();
        }
        let report = look();
        let said = of(&report, "store");
        assert!(said.iter().any(|line| line.contains(says)), "{says}: {said:?}");
        let findings = report["findings"].as_array().unwrap();
        let helps = |finding: &&Value| {
            finding["check"] == "store" && finding["fix"].to_string().contains(fix)
        };
        assert!(findings.iter().any(|finding| helps(&finding)), "{fix}: {report:#}");
        fs::rename(&aside, path).unwrap();
    }
    assert!(of(&look(), "store")[0].starts_with("ok "), "it is whole again");
    // Root reads and owns everything.
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(&blobs, fs::Permissions::from_mode(0o000)).unwrap();
        let said = of(&look(), "store").join("\n");
        fs::set_permissions(&blobs, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(said.contains("fail ") && said.contains("blobs/sha256"), "{said}");
    } else {
        std::os::unix::fs::chown(&weights, Some(12345), None).unwrap();
        let said = of(&look(), "store").join("\n");
        assert!(
            said.contains("fail blobs/sha256/") && said.contains("belongs to uid 12345"),
            "{said}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn who_holds_a_store_that_nobody_serves_is_named() {
    let mut daemon = Daemon::builder().start();
    daemon.stop();
    let store = daemon.store();
    for name in ["", "modeld.lock"] {
        let place = fs::File::open(store.join(name)).unwrap();
        rustix::fs::flock(&place, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let (_, report) = examine(daemon.dir(), &[("MODELS_PATH", store.to_str().unwrap())]);
        let said = of(&report, "leftovers").join("\n");
        let own = format!("(pid {}) uses the models", std::process::id());
        assert!(said.starts_with("warn ") && said.contains(&own), "{name:?}: {said}");
    }
    let (_, report) = examine(daemon.dir(), &[("MODELS_PATH", store.to_str().unwrap())]);
    assert_eq!(of(&report, "leftovers"), ["ok nothing was left behind"]);
}

#[test]
fn who_holds_a_port_is_named() {
    let dir = tempfile::TempDir::new().unwrap();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    let (output, report) = examine(dir.path(), &[("MODEL_RUNNER_PORT", &address)]);
    let said = of(&report, "ports").join("\n");
    let own = format!("fail {address} is held by ");
    assert!(said.contains(&own), "{said}");
    if cfg!(target_os = "linux") {
        assert!(said.contains(&format!("(pid {})", std::process::id())), "{said}");
    }
    assert_eq!(output.status.code(), Some(1));
    drop(held);
    let said = of(&examine(dir.path(), &[("MODEL_RUNNER_PORT", &address)]).1, "ports").join("\n");
    assert!(said.contains(&format!("ok {address} is free")), "{said}");
}

#[test]
fn a_daemon_that_hangs_and_a_socket_without_one_are_told_apart() {
    let mut daemon = Daemon::builder().start();
    let look = |daemon: &Daemon| of(&examine(daemon.dir(), &[]).1, "daemon").join("\n");
    send(daemon.pid().cast_signed(), Signal::STOP);
    let asked = Instant::now();
    let said = look(&daemon);
    send(daemon.pid().cast_signed(), Signal::CONT);
    assert!(said.contains("fail takes connections and does not answer within"), "{said}");
    assert!(asked.elapsed() < Duration::from_secs(60), "{:?}", asked.elapsed());
    daemon.kill();
    let said = look(&daemon);
    assert!(said.contains("warn not running") && said.contains("was left by one"), "{said}");
}

/// A service manager that plays `script` for `systemctl`.
fn with_manager(script: &str) -> (Value, Duration) {
    let dir = tempfile::TempDir::new().unwrap();
    let program = dir.path().join("systemctl");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap_or_default());
    let asked = Instant::now();
    let (_, report) = examine(dir.path(), &[("PATH", &path)]);
    (report, asked.elapsed())
}

#[cfg(target_os = "linux")]
#[test]
fn a_unit_that_failed_and_a_manager_that_hangs_are_findings() {
    let failed = "printf 'LoadState=loaded\\nActiveState=failed\\nUnitFileState=enabled\\n'";
    let (report, _) = with_manager(failed);
    let said = of(&report, "service").join("\n");
    assert!(said.contains("fail modeld.socket is loaded, failed, enabled"), "{said}");
    let fixes = report.to_string();
    assert!(fixes.contains("systemctl --user reset-failed modeld.socket"), "{fixes}");
    let (report, took) = with_manager("exec sleep 30");
    let said = of(&report, "service").join("\n");
    assert!(said.contains("warn ") && said.contains("took longer than"), "{said}");
    assert!(took < Duration::from_secs(25), "{took:?}");
}

#[test]
fn proxies_that_are_away_are_named() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut command = modeld(dir.path(), &dir.path().join("d.sock"));
    // The environment of these tests names a proxy where nobody listens.
    let output = command.args(["doctor", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let said = of(&report, "registry");
    assert_eq!(said.len(), 2, "{said:?}");
    for line in said {
        assert!(line.starts_with("warn ") && line.contains("127.0.0.1:1"), "{line}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_and_a_read_only_one_fail() {
    let made = Command::new("unshare").args(["-Urm", "true"]).output();
    if !made.is_ok_and(|output| output.status.success()) {
        return skip("a_full_disk_and_a_read_only_one_fail", "no namespaces can be made here");
    }
    let script = "mount -t tmpfs -o size=1m,$OPTIONS tmpfs \"$MODELS_PATH\" && exec \"$@\"";
    let dir = tempfile::TempDir::new().unwrap();
    let store = dir.path().join("store");
    fs::create_dir(&store).unwrap();
    for (options, says) in [("rw", "GiB free of"), ("ro", "read-only file system")] {
        let inner = modeld(dir.path(), &dir.path().join("d.sock"));
        let mut command = Command::new("unshare");
        command.args(["-Urm", "sh", "-c", script, "sh"]).arg(inner.get_program()).env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("MODELS_PATH", &store).env("OPTIONS", options);
        let output = command.args(["doctor", "--json", "--offline"]).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
        let said = of(&report, "disk");
        let fails = |line: &String| line.starts_with("fail ") && line.contains(says);
        assert!(said.iter().any(fails), "{options}: {said:?}");
        assert_eq!(output.status.code(), Some(1));
    }
}
