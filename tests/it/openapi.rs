//! The OpenAPI document, and the daemon held to it: schemathesis makes requests out of the document,
//! good and bad, and looks whether the answers are what it says. `contrib/test` installs it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use crate::support::{Daemon, from_env, is_long, models};

#[test]
fn the_document_lists_every_route() {
    let daemon = Daemon::builder().start();
    let answer = daemon.client().get("/openapi.json").expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let document = answer.json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    assert_eq!(document["info"]["title"], "modeld");
    let mut listed = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("an item").keys() {
            listed.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let served: BTreeSet<String> = modeld::api::ROUTES
        .iter()
        .chain(modeld::api::ACTIONS)
        .map(|route| match (route.method, route.path) {
            ("POST", "/models/{*model}") => "POST /models/{model}/tag".to_owned(),
            (method, path) => format!("{method} {}", path.replace("{*", "{")),
        })
        .collect();
    assert_eq!(listed, served);
    // The same bytes again, and under the other server.
    let again = daemon.client().get("/exp/vDD4.40/openapi.json").expect(200);
    assert_eq!(again.text(), answer.text());
}

#[test]
fn answers_are_what_the_document_says() {
    let test = "answers_are_what_the_document_says";
    let Some(python) = from_env(test, "MODELD_TEST_FRAMEWORKS") else { return };
    let mut daemon = Daemon::builder().tcp().model("ai/hello", &models::hello()).start();
    let counts = daemon.dir().join("answers.json");
    let (examples, phases) =
        if is_long() { ("300", "examples,coverage,fuzzing") } else { ("30", "examples,fuzzing") };
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let output = Command::new(python)
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(clients.join("schemathesis.toml"))
        .arg("run")
        .arg(format!("http://{}/openapi.json", daemon.port()))
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,\
             response_schema_conformance",
        ])
        .args(["--max-examples", examples, "--phases", phases, "--mode", "all", "--seed", "1"])
        .args(["--generation-database", "none", "--suppress-health-check", "all"])
        .args(["--continue-on-failure", "--no-color", "--warnings", "off"])
        // It would take the model from all the others; tests/it/docker_cli.rs purges.
        .args(["--exclude-path", "/models/purge"])
        // It would take away the listener that all of this goes over; tests/it/tcp.rs opens and closes.
        .args(["--exclude-path", "/modeld/tcp"])
        .args(["--request-timeout", "30"])
        .env("SCHEMATHESIS_HOOKS", "schemathesis_hooks")
        .env("PYTHONPATH", &clients)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("MODEL", "ai/hello")
        .env("ANSWERS", &counts)
        .current_dir(daemon.dir())
        .output()
        .expect("the interpreter runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(daemon.is_alive(), "{}", daemon.log());
    assert!(output.status.success(), "{text}\n{errors}\n{}", daemon.log());
    let counts = std::fs::read(&counts).expect("what the hooks counted");
    let counts: BTreeMap<String, u64> = serde_json::from_slice(&counts).expect("counts");
    let all: u64 = counts.values().sum();
    let answered = |path: &str| counts.get(&format!("POST {path} 200")).copied().unwrap_or(0);
    eprintln!("{all} cases: {counts:#?}");
    assert!(all > 200, "{all} cases");
    // Some got as far as the model.
    let paths = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"];
    let reached = paths.iter().filter(|path| answered(path) > 0).count();
    assert!(reached >= 2, "too few of the cases were answered: {counts:#?}");
}
