//! Containers on several bridges, as Docker and Compose make them.

use std::process::{Command, Stdio};

use crate::support::skip;

fn runs(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[test]
fn containers_of_every_bridge_may_ask_and_nobody_else() {
    let name = "containers_of_every_bridge_may_ask_and_nobody_else";
    if !runs("unshare", &["-Urnm", "mount", "-t", "sysfs", "sysfs", "/sys"]) {
        return skip(name, "no namespaces can be made here");
    }
    if !runs("ip", &["-V"]) {
        return skip(name, "there is no ip (iproute2)");
    }
    let dir = tempfile::TempDir::new().expect("a directory");
    let output = Command::new("unshare")
        .args(["-Urnm", "sh", "-c", include_str!("containers.sh")])
        .env("MODELD", env!("CARGO_BIN_EXE_modeld"))
        .env("DIR", dir.path())
        .env("HOME", dir.path())
        .stdin(Stdio::null())
        .output()
        .expect("unshare runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}{}", String::from_utf8_lossy(&output.stdout));
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stdout));
    let log = std::fs::read_to_string(dir.path().join("log")).expect("a log");
    assert!(log.contains("172.19.0.5"), "the neighbour is not in the log:\n{log}");
}
