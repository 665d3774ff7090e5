//! Transfers as far as they need no registry.

use std::process::Stdio;

use serde_json::json;
use tempfile::TempDir;

use crate::support::Daemon;
use crate::support::daemon::modeld;

#[test]
fn what_cannot_be_pulled_is_said_in_one_line() {
    let daemon = Daemon::builder().start();
    for args in [
        ["pull", "../x"],
        ["pull", "a@sha256:short"],
        ["push", "ai/none"],
        ["transfers", "--cancel=ai/none"],
    ] {
        let output = daemon.cli(&args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {errors}");
        assert_eq!(errors.trim_end().lines().count(), 1, "{args:?}: {errors}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    let list = daemon.client().get("/modeld/transfers").expect(200).json();
    assert_eq!(list, json!([]));
    assert!(daemon.cli_ok(&["transfers"]).starts_with("MODEL NAME"));
}

#[test]
fn without_a_daemon_there_is_nobody_to_pull() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("d.sock");
    for args in [["pull", "x"].as_slice(), &["push", "x"], &["transfers"]] {
        let output = modeld(dir.path(), &socket).args(args).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(69), "{args:?}");
    }
}
