//! The commands, as a person or a script uses them.

use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::daemon::modeld;
use crate::support::fake_registry::FakeRegistry;
use crate::support::{Daemon, models};

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e} in {text}"))
}

#[test]
fn a_model_goes_through_every_command() {
    let daemon = Daemon::with("ai/hello", &models::hello());
    let list = daemon.cli_ok(&["list"]);
    assert!(list.lines().any(|line| line.starts_with("hello ")), "{list}");
    let models = parse(&daemon.cli_ok(&["list", "--json"]));
    assert_eq!(models[0]["tags"], json!(["docker.io/ai/hello:latest"]));

    let inspected = parse(&daemon.cli_ok(&["inspect", "ai/hello"]));
    assert_eq!(inspected["id"], models[0]["id"]);

    daemon.cli_ok(&["tag", "ai/hello", "ai/other:v1"]);
    let inspected = parse(&daemon.cli_ok(&["inspect", "ai/other:v1"]));
    assert_eq!(inspected["id"], models[0]["id"]);

    let answer = daemon.cli_ok(&["run", "ai/hello", "Hi"]);
    assert_eq!(answer.trim_end(), "Hello world! STOP here.");

    let loaded = parse(&daemon.cli_ok(&["ps", "--json"]));
    assert!(loaded[0]["pid"].as_i64().is_some_and(|pid| pid > 0), "{loaded}");
    assert!(daemon.cli_ok(&["ps"]).contains("hello"));

    daemon.cli_ok(&["unload", "ai/hello"]);
    assert_eq!(parse(&daemon.cli_ok(&["ps", "--json"])), json!([]));

    daemon.cli_ok(&["rm", "ai/other:v1"]);
    daemon.cli_ok(&["rm", "ai/hello"]);
    assert_eq!(parse(&daemon.cli_ok(&["list", "--json"])), json!([]));
}

#[test]
fn versions_agree() {
    let daemon = Daemon::builder().start();
    let text = daemon.cli_ok(&["version"]);
    let lines = text.lines().filter(|line| line.contains(env!("CARGO_PKG_VERSION")));
    assert_eq!(lines.count(), 2, "client and daemon: {text}");
    let served = daemon.client().get("/version").expect(200).json();
    assert!(served["version"].as_str().unwrap().starts_with(env!("CARGO_PKG_VERSION")), "{served}");
    assert!(daemon.cli_ok(&["--version"]).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn status_says_where_it_listens_and_what_runs() {
    let daemon = Daemon::with("ai/hello", &models::hello());
    daemon.cli_ok(&["run", "ai/hello", "Hi"]);
    let status = parse(&daemon.cli_ok(&["status", "--json"]));
    assert_eq!(status["running"], true);
    assert!(status["endpoint"].as_str().is_some_and(|at| at.ends_with("d.sock")), "{status}");
    assert!(daemon.cli_ok(&["status"]).contains("d.sock"));
}

#[test]
fn what_is_not_there_is_said_in_one_line() {
    let daemon = Daemon::builder().start();
    // What is to run is looked for where its name says.
    let registry = FakeRegistry::start();
    let name = registry.reference("ai/none");
    for args in [["inspect", "ai/none"].as_slice(), &["rm", "ai/none"], &["run", &name, "Hi"]] {
        let output = daemon.cli(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{args:?}");
        assert!(errors.contains("ai/none"), "{args:?}: {errors}");
        assert_eq!(errors.trim_end().lines().count(), 1, "{args:?}: {errors}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn without_a_daemon_every_command_says_so_and_exits_69() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("d.sock");
    for args in [
        ["list"].as_slice(),
        &["ps"],
        &["status"],
        &["inspect", "x"],
        &["rm", "x"],
        &["tag", "x", "y"],
        &["unload", "x"],
        &["run", "x", "Hi"],
    ] {
        let output = modeld(dir.path(), &socket).args(args).stdin(Stdio::null()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{args:?}: {errors}");
        assert_eq!(errors.trim_end().lines().count(), 1, "{args:?}: {errors}");
        assert!(errors.contains("not running"), "{args:?}: {errors}");
    }
}

#[test]
fn wrong_arguments_exit_2() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("d.sock");
    for args in [["no-such-command"].as_slice(), &["list", "--no-such"], &["tag", "x"], &["run"]] {
        let output = modeld(dir.path(), &socket).args(args).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
    let help = modeld(dir.path(), &socket).arg("--help").output().unwrap();
    assert!(help.status.success() && !help.stdout.is_empty());
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let daemon = Daemon::with("ai/endless", &models::endless());
    let mut command = modeld(daemon.dir(), &daemon.socket);
    command.args(["run", "ai/endless", "Count"]).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 4];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("panicked"), "{errors}");
    let quiet = std::time::Duration::from_secs(2);
    crate::support::wait_until(quiet, "nothing computes for nobody", || !daemon.is_busy());
}

/// It would be listening, were it well; to start another daemon beside it is no way out.
#[cfg(target_os = "linux")]
#[test]
fn a_service_that_is_installed_and_does_not_listen_is_named() {
    let dir = TempDir::new().unwrap();
    let list = || {
        let mut command = modeld(dir.path(), dir.path());
        command.env_remove("MODEL_RUNNER_SOCK").arg("list");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(69));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(list().contains("start it with: modeld serve"));
    let units = dir.path().join(".config/systemd/user/sockets.target.wants");
    std::fs::create_dir_all(&units).unwrap();
    let link = units.join("modeld.socket");
    std::os::unix::fs::symlink("/usr/lib/systemd/user/modeld.socket", link).unwrap();
    let said = list();
    assert!(said.contains("modeld service status"), "{said}");
    assert!(!said.contains("modeld serve;") && said.lines().count() == 1, "{said}");
}

/// A command and a daemon with different variables go by different files, and neither would notice.
#[cfg(target_os = "linux")]
#[test]
fn a_daemon_that_goes_by_other_files_is_named_after_a_change() {
    let daemon = Daemon::builder().start();
    let other = TempDir::new().unwrap();
    let run = |there: bool, args: &[&str]| {
        let mut command = modeld(daemon.dir(), &daemon.socket);
        command.args(args);
        if !there {
            command.env("XDG_CONFIG_HOME", other.path());
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout) + &text(output.stderr))
    };
    let theirs = daemon.dir().join(".config");
    let changes = [
        (&["token", "create", "--name", "a"][..], "tokens.json"),
        (&["config", "set", "keep-alive", "7m"], "config.toml"),
        (&["config", "reload"], "config.toml"),
        (&["config", "unset", "keep-alive"], "config.toml"),
        (&["token", "revoke", "a"], "tokens.json"),
        (&["doctor", "--offline"], "config.toml"),
    ];
    for (args, file) in changes {
        let (_, said) = run(false, args);
        let names = format!(
            "{}, not {}",
            theirs.join("modeld").join(file).display(),
            other.path().join("modeld").join(file).display()
        );
        assert!(said.contains(&names), "{args:?}: {said}");
        let sets = format!("XDG_CONFIG_HOME={}", theirs.display());
        assert!(said.contains(&sets), "{args:?}: {said}");
        let (_, said) = run(true, args);
        assert!(!said.contains("the daemon that runs"), "{args:?}: {said}");
    }
}
