//! The service, under a real manager of one user.

use std::process::{Command, Stdio};

use crate::support::skip;

/// Where distributions keep the manager.
const MANAGERS: [&str; 2] = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];

fn runs(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[test]
fn systemd_starts_what_is_installed_and_keeps_nothing_of_it() {
    let name = "systemd_starts_what_is_installed_and_keeps_nothing_of_it";
    let Some(systemd) = MANAGERS.iter().find(|path| std::path::Path::new(path).exists()) else {
        return skip(name, "there is no systemd");
    };
    if !runs("unshare", &["-Urm", "mount", "-t", "tmpfs", "tmpfs", "/run"]) {
        return skip(name, "no namespaces can be made here");
    }
    for program in ["systemctl", "curl"] {
        if !runs(program, &["--version"]) {
            return skip(name, &format!("there is no {program}"));
        }
    }
    let dir = tempfile::TempDir::new().expect("a directory");
    let home = dir.path().join("home");
    std::fs::create_dir(&home).expect("a home");
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let free = port.local_addr().expect("an address").port().to_string();
    drop(port);
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-c", include_str!("service.sh")]).env_clear();
    for variable in ["PATH", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(variable) {
            command.env(variable, value);
        }
    }
    let output = command
        .env("MODELD", env!("CARGO_BIN_EXE_modeld"))
        .env("SYSTEMD", systemd)
        .env("DIR", dir.path())
        .env("PORT", free)
        .env("HOME", home)
        .stdin(Stdio::null())
        .output()
        .expect("unshare runs");
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let log = std::fs::read_to_string(dir.path().join("manager.log")).unwrap_or_default();
    if log.contains("Failed to create") && !said.contains("== install") {
        return skip(name, "systemd does not start in a namespace here");
    }
    assert!(output.status.success(), "{errors}\n{said}\n{log}");
    insta::assert_snapshot!(said);
}
