//! Starting, being started, being in the way of another, and stopping.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::support::daemon::{modeld, send, spawn_ready};
use crate::support::http::{Address, Client};
use crate::support::{Daemon, models, wait_until};

const CHAT: &str = "/engines/v1/chat/completions";

#[test]
fn the_socket_is_the_owners_alone() {
    let daemon = Daemon::builder().start();
    let file = fs::metadata(&daemon.socket).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_directory_that_it_makes_for_the_socket_is_the_owners_alone() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("made/d.sock");
    let mut command = modeld(dir.path(), &socket);
    command.arg("serve").arg("--socket").arg(&socket);
    command.arg("--models-path").arg(dir.path().join("models"));
    let mut child = spawn_ready(command, dir.path());
    let mode = fs::metadata(dir.path().join("made")).unwrap().permissions().mode();
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn sigterm_ends_an_idle_daemon_at_once_and_removes_the_socket() {
    let mut daemon = Daemon::with("ai/hello", &models::hello());
    let body = json!({ "model": "ai/hello", "messages": [{ "role": "user", "content": "Hi" }] });
    daemon.client().post(CHAT, &body).expect(200);
    let asked = Instant::now();
    assert!(daemon.stop().success());
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert!(!daemon.socket.exists());
}

#[test]
fn sigterm_lets_a_stream_end() {
    // A busy machine takes longer than the default grace for this many tokens.
    let daemon = Daemon::builder().model("ai/endless", &models::endless());
    let mut daemon = daemon.args(&["--grace", "2m"]).start();
    let body = json!({
        "model": "ai/endless", "stream": true, "max_tokens": 1500,
        "messages": [{ "role": "user", "content": "Count" }],
    });
    let mut events = daemon.client().stream(CHAT, &body);
    events.first_text();
    send(daemon.pid().cast_signed(), Signal::TERM);
    let rest: Vec<_> = events.collect();
    let [.., finish, done] = rest.as_slice() else { panic!("{rest:?}") };
    assert_eq!(done.data, "[DONE]");
    assert_eq!(finish.json()["choices"][0]["finish_reason"], "length");
    assert!(daemon.wait(Duration::from_secs(5)).success());
}

#[test]
fn a_second_daemon_on_the_same_socket_gives_up_with_75() {
    let daemon = Daemon::builder().start();
    let other = TempDir::new().unwrap();
    let mut command = modeld(other.path(), &daemon.socket);
    command.arg("serve").arg("--socket").arg(&daemon.socket);
    command.arg("--models-path").arg(other.path().join("models"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("d.sock"), "it names the socket");
    daemon.client().get("/models").expect(200);
}

#[test]
fn a_second_daemon_on_the_same_store_gives_up_with_75() {
    let daemon = Daemon::builder().start();
    let other = TempDir::new().unwrap();
    let socket = other.path().join("d.sock");
    let mut command = modeld(other.path(), &socket);
    command.arg("serve").arg("--socket").arg(&socket);
    command.arg("--models-path").arg(daemon.dir().join("models"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{}", String::from_utf8_lossy(&output.stderr));
    daemon.client().get("/models").expect(200);
}

#[test]
fn a_socket_that_nobody_listens_on_is_replaced() {
    let mut first = Daemon::builder().start();
    send(first.pid().cast_signed(), Signal::KILL);
    first.wait(Duration::from_secs(5));
    assert!(first.socket.exists(), "a killed daemon leaves its socket");
    let mut command = modeld(first.dir(), &first.socket);
    command.arg("serve").arg("--socket").arg(&first.socket);
    command.arg("--models-path").arg(first.dir().join("models"));
    let mut second = spawn_ready(command, first.dir());
    let status = first.client().get("/models").status;
    let _ = second.kill();
    let _ = second.wait();
    assert_eq!(status, 200);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("d.sock");
    fs::write(&path, "precious").unwrap();
    let mut command = modeld(dir.path(), &path);
    command.arg("serve").arg("--socket").arg(&path);
    command.arg("--models-path").arg(dir.path().join("models"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success());
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

/// As systemd does it: the listener is there before the daemon, and what connects early waits.
#[test]
fn an_inherited_listener_serves_clients_that_were_there_first() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("activated.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let client = Client { address: Address::Unix(socket.clone()) };
    let early = std::thread::spawn(move || client.get("/models").status);

    // The shell moves the listener from 0 to 3 and becomes the daemon, so that LISTEN_PID is right.
    let program = modeld(dir.path(), &socket);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"");
    shell.arg(program.get_program()).arg("serve");
    shell.arg("--models-path").arg(dir.path().join("models"));
    shell.env_clear();
    for (name, value) in program.get_envs() {
        shell.env(name, value.unwrap());
    }
    let log = fs::File::create(dir.path().join("log")).unwrap();
    shell.stdin(Stdio::from(OwnedFd::from(listener))).stdout(Stdio::null()).stderr(log);
    let mut child = shell.spawn().unwrap();
    let status = early.join().unwrap();
    send(child.id().cast_signed(), Signal::TERM);
    wait_until(Duration::from_secs(10), "it stops", || child.try_wait().unwrap().is_some());
    assert_eq!(status, 200);
    assert!(socket.exists(), "whoever made the socket removes it");
}

#[test]
fn a_setting_that_cannot_be_used_exits_78_and_is_named() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("d.sock");
    for (flag, value) in [("--keep-alive", "soon"), ("--max-queue", "many"), ("--tcp", "host:x")] {
        let mut command = modeld(dir.path(), &socket);
        command.arg("serve").arg("--socket").arg(&socket).args([flag, value]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{flag} {value}: {errors}");
        assert!(errors.contains(value), "{flag} {value}: {errors}");
    }
}

#[test]
fn an_unknown_argument_is_a_usage_error() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("d.sock");
    let output = modeld(dir.path(), &socket).args(["serve", "--no-such"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
