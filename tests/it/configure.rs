//! What is configured for single models, by the command line and over the socket.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Daemon, models, wait_until};

const CONFIGURE: &str = "/engines/_configure";
const SOON: Duration = Duration::from_secs(30);

fn answer(daemon: &Daemon, model: &str) -> String {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]});
    let answer = daemon.client().post("/v1/chat/completions", &body).expect(200).json();
    answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

fn configured(daemon: &Daemon, model: &str) -> Value {
    let shown = daemon.cli_ok(&["configure", "show", model]);
    let mut list: Value = serde_json::from_str(&shown).unwrap();
    list[0]["Config"].take()
}

fn until_context(daemon: &Daemon, tokens: u64) {
    wait_until(SOON, "the model has its context", || {
        daemon.loaded().iter().any(|model| model["context_size"] == tokens)
    });
}

#[test]
fn what_is_configured_outlives_the_daemon() {
    let mut daemon = Daemon::with("ai/hello", &models::hello());
    daemon.cli_ok(&[
        "configure",
        "ai/hello",
        "--context-size",
        "1024",
        "--keep-alive",
        "-1",
        "--",
        "-n",
        "2",
    ]);
    until_context(&daemon, 1024);
    assert_eq!(answer(&daemon, "ai/hello"), "Hello wor");
    daemon.stop();
    daemon.start();
    let said = json!({"context-size": 1024, "keep_alive": "-1", "runtime-flags": ["-n", "2"]});
    assert_eq!(configured(&daemon, "ai/hello"), said);
    assert_eq!(answer(&daemon, "ai/hello"), "Hello wor");
    let loaded = daemon.loaded();
    assert_eq!(
        (&loaded[0]["context_size"], &loaded[0]["keep_alive"]),
        (&json!(1024), &json!("-1"))
    );

    daemon.cli_ok(&["configure", "ai/hello", "--reset"]);
    until_context(&daemon, 8192);
    assert_eq!(answer(&daemon, "ai/hello"), "Hello world! STOP here.");
    daemon.cli_ok(&["configure", "ai/hello", "--no-think"]);
    daemon.cli_ok(&["rm", "ai/hello"]);
    daemon.package("ai/hello", &models::hello().bytes());
    assert_eq!(daemon.client().get(CONFIGURE).expect(200).json(), json!([]));
}

#[test]
fn a_damaged_file_is_put_aside_and_the_daemon_starts() {
    let mut daemon = Daemon::with("ai/hello", &models::hello());
    daemon.cli_ok(&["configure", "ai/hello", "--keep-alive", "1h"]);
    daemon.stop();
    let file = daemon.store().join("configurations.json");
    std::fs::write(&file, "{\"version\":1,\"models\":[{").unwrap();
    daemon.start();
    assert_eq!(daemon.client().get(CONFIGURE).expect(200).json(), json!([]));
    let aside = daemon.store().join("configurations.json.damaged");
    assert_eq!(std::fs::read_to_string(aside).unwrap(), "{\"version\":1,\"models\":[{");
    assert!(daemon.log().contains("configurations are put aside"));
    daemon.cli_ok(&["configure", "ai/hello", "--keep-alive", "2h"]);
    assert_eq!(configured(&daemon, "ai/hello"), json!({"keep_alive": "2h0m0s"}));
}

#[test]
fn a_model_in_use_is_not_loaded_anew() {
    let daemon = Daemon::with("ai/endless", &models::endless());
    let body = json!({"model": "ai/endless", "stream": true,
                      "messages": [{"role": "user", "content": "Count"}]});
    let mut stream = daemon.client().stream("/v1/chat/completions", &body);
    stream.first_text();
    let refused = daemon.cli(&["configure", "ai/endless", "--context-size", "512"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("runner already active"), "{said}");
    daemon.cli_ok(&["configure", "ai/endless", "--keep-alive", "10m"]);
    assert_eq!(daemon.loaded()[0]["keep_alive"], "10m0s");
    drop(stream);
    wait_until(SOON, "nothing runs", || !daemon.is_busy());
    daemon.cli_ok(&["configure", "ai/endless", "--context-size", "512"]);
    until_context(&daemon, 512);
}
