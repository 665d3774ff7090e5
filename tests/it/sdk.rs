//! OpenAI's own client libraries against the daemon. `contrib/test` installs them and says where.

use std::path::Path;
use std::process::Command;

use crate::support::{Daemon, from_env, models};

#[test]
fn the_python_library_works() {
    let Some(python) = from_env("the_python_library_works", "MODELD_TEST_PYTHON") else { return };
    run(Command::new(python).arg(client("openai_chat.py")));
}

#[test]
fn the_node_library_works() {
    let Some(modules) = from_env("the_node_library_works", "MODELD_TEST_NODE_MODULES") else {
        return;
    };
    // An ES module looks for packages from its own place upwards, so it has to lie beside them.
    let script = Path::new(&modules).join("../openai_chat.mjs");
    std::fs::copy(client("openai_chat.mjs"), &script).expect("a writable directory");
    run(Command::new("node").arg(script));
}

fn client(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

#[track_caller]
fn run(command: &mut Command) {
    let daemon = Daemon::builder()
        .tcp()
        .model("ai/hello", &models::hello())
        .model("ai/tiny", &models::tiny())
        .start();
    let url = format!("http://{}/engines/v1", daemon.port());
    let output = command.env("BASE_URL", url).output().expect("the interpreter runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.trim_end().ends_with("all checks passed"), "{text}");
}
