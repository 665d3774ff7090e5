//! The client libraries of OpenAI and Anthropic against the daemon. `contrib/test` installs them and
//! says where.

use std::path::Path;
use std::process::Command;

use crate::support::{Daemon, from_env, models};

/// What the libraries take for the address of their API: they add `/chat/completions` to one and
/// `/v1/messages` to the other.
const OPENAI: &str = "/engines/v1";
const ANTHROPIC: &str = "/anthropic";

#[test]
fn the_python_library_works() {
    python("the_python_library_works", "openai_chat.py", OPENAI);
}

#[test]
fn the_node_library_works() {
    node("the_node_library_works", "openai_chat.mjs", OPENAI);
}

#[test]
fn anthropics_python_library_works() {
    python("anthropics_python_library_works", "anthropic_messages.py", ANTHROPIC);
}

#[test]
fn anthropics_node_library_works_at_the_root() {
    node("anthropics_node_library_works_at_the_root", "anthropic_messages.mjs", "");
}

#[track_caller]
fn python(test: &str, script: &str, path: &str) {
    let Some(python) = from_env(test, "MODELD_TEST_PYTHON") else { return };
    run(path, || {
        let mut command = Command::new(&python);
        command.arg(client(script));
        command
    });
}

#[track_caller]
fn node(test: &str, script: &str, path: &str) {
    let Some(modules) = from_env(test, "MODELD_TEST_NODE_MODULES") else { return };
    // An ES module looks for packages from its own place upwards: from a directory of this test.
    let dir = tempfile::TempDir::new().expect("a directory");
    let beside = dir.path().join(script);
    std::fs::copy(client(script), &beside).expect("a writable directory");
    std::os::unix::fs::symlink(Path::new(&modules), dir.path().join("node_modules"))
        .expect("a link");
    run(path, || {
        let mut command = Command::new("node");
        command.arg(&beside);
        command
    });
}

fn client(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Over TCP, then over the Unix socket.
#[track_caller]
fn run(path: &str, command: impl Fn() -> Command) {
    let daemon = Daemon::builder()
        .tcp()
        .model("ai/hello", &models::hello())
        .model("ai/tiny", &models::tiny())
        .start();
    let tcp = format!("http://{}{path}", daemon.port());
    passes(command().env("BASE_URL", tcp).env_remove("SOCKET"));
    let local = format!("http://localhost{path}");
    passes(command().env("BASE_URL", local).env("SOCKET", &daemon.socket));
}

#[track_caller]
fn passes(command: &mut Command) {
    let output = command.output().expect("the interpreter runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.trim_end().ends_with("all checks passed"), "{text}");
}
