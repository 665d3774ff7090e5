//! The doctor, with and without a daemon, and where everything is broken.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::Daemon;
use crate::support::daemon::modeld;

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
