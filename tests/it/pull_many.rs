//! Many who want one model: it comes once, and for as long as somebody wants it.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::fake_registry::FakeRegistry;
use crate::support::http::{Answer, JSON};
use crate::support::pulling::{WEIGHTS, big, pull, sound};
use crate::support::{Daemon, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
/// Where the registry waits.
const HALF: u64 = 16 << 20;

/// A registry that holds the model back half way, and a daemon that has nothing.
fn held() -> (FakeRegistry, String, Daemon) {
    let registry = FakeRegistry::start();
    registry.model("ai/big", &[(WEIGHTS, big())]);
    registry.hold(Some(HALF));
    let name = registry.reference("ai/big");
    (registry, name, Daemon::builder().start())
}

fn transfers(daemon: &Daemon) -> Vec<Value> {
    let list = daemon.client().get("/modeld/transfers").expect(200).json();
    list.as_array().unwrap().clone()
}

/// How many watch the only transfer; 0 where there is none.
fn watchers(daemon: &Daemon) -> u64 {
    let list = transfers(daemon);
    assert!(list.len() <= 1, "{list:?}");
    list.first().map_or(0, |one| one["watchers"].as_u64().unwrap())
}

/// Begins a pull and does not read on.
fn watch(daemon: &Daemon, name: &str) -> Answer {
    let body = json!({ "from": name }).to_string();
    let answer = daemon.client().open("POST", "/models/create", JSON, body.as_bytes());
    assert_eq!(answer.status, 200);
    answer
}

/// The last line of an answer that is read to its end.
fn end(mut answer: Answer) -> Value {
    let mut text = String::new();
    answer.body.read_to_string(&mut text).expect("a whole answer");
    serde_json::from_str(text.lines().last().expect("a last line")).expect("JSON")
}

/// A process that asks fifty times at once.
fn fifty(daemon: &Daemon, name: &str) -> Child {
    let body = json!({ "from": name }).to_string();
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--no-progress-meter", "--parallel"]);
    command.args(["--parallel-immediate", "--parallel-max", "50"]);
    command.arg("--unix-socket").arg(&daemon.socket).args(["--data", &body]);
    command.args(["--header", "Content-Type: application/json"]);
    // With a range of numbers curl makes fifty requests of one URL.
    command.arg("http://localhost/models/create?n=[1-50]");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("curl runs")
}

#[test]
fn a_hundred_get_one_download() {
    let (registry, name, daemon) = held();
    let processes = [fifty(&daemon, &name), fifty(&daemon, &name)];
    wait_until(LIMIT, "all hundred watch", || watchers(&daemon) == 100);
    registry.hold(None);
    for process in processes {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        // The lines of fifty answers may be cut by each other's.
        let ends = text.matches(r#"{"type":"success","message":"Model pulled successfully""#);
        assert_eq!(ends.count(), 50, "{text}");
    }
    let asked = registry.seen_of(big());
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(registry.served(), big().len() as u64);
    sound(&daemon.store(), "a hundred pulls");
}

#[test]
fn it_comes_as_long_as_somebody_wants_it() {
    let (registry, name, daemon) = held();
    let (first, second) = (watch(&daemon, &name), watch(&daemon, &name));
    registry.wait_served(HALF);
    drop(first);
    wait_until(LIMIT, "one has left", || watchers(&daemon) == 1);
    registry.hold(None);
    assert_eq!(end(second)["type"], "success");
    assert_eq!(registry.seen_of(big()).len(), 1);
    assert_eq!(registry.served(), big().len() as u64);
}

#[test]
fn when_the_last_one_leaves_it_stops_and_another_goes_on() {
    let (registry, name, daemon) = held();
    let (first, second) = (watch(&daemon, &name), watch(&daemon, &name));
    registry.wait_served(HALF);
    drop((first, second));
    wait_until(LIMIT, "the transfer is gone", || transfers(&daemon).is_empty());
    let size = big().len() as u64;
    let before = registry.served();
    // Let go, the connection that nobody reads from any more breaks.
    registry.hold(None);
    pull(&daemon, &name);
    let after = registry.served() - before;
    assert!(after < size, "{after} of {size} bytes came again");
    let asked = registry.seen_of(big());
    let [whole, rest] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(whole.range, None);
    let from = rest.range.as_deref().unwrap().strip_prefix("bytes=").unwrap();
    let from: u64 = from.split('-').next().unwrap().parse().unwrap();
    assert!(from > 0 && from <= HALF, "{asked:?}");
    sound(&daemon.store(), "a pull in two parts");
}

#[test]
fn who_detaches_need_not_stay() {
    let (registry, name, daemon) = held();
    let told = daemon.cli(&["pull", "--detach", &name]);
    assert!(told.status.success());
    registry.wait_served(HALF);
    let list = transfers(&daemon);
    assert_eq!((&list[0]["watchers"], &list[0]["detached"]), (&json!(0), &json!(true)), "{list:?}");
    assert!(daemon.cli_ok(&["transfers"]).contains(&name));
    // Somebody looks in and leaves again: it goes on all the same.
    drop(watch(&daemon, &name));
    wait_until(LIMIT, "nobody watches", || watchers(&daemon) == 0);
    registry.hold(None);
    wait_until(LIMIT, "it is there", || {
        transfers(&daemon).is_empty()
            && daemon.client().get(&format!("/models/{name}")).status == 200
    });
    assert_eq!(registry.seen_of(big()).len(), 1);
}

#[test]
fn a_cancelled_pull_says_so_to_all_and_keeps_what_came() {
    let (registry, name, daemon) = held();
    let watching = watch(&daemon, &name);
    registry.wait_served(HALF);
    let said = daemon.cli_ok(&["transfers", "--cancel", &name]);
    assert!(said.contains("Cancelled"), "{said}");
    let last = end(watching);
    assert_eq!(last["type"], "error", "{last}");
    let before = registry.served();
    registry.hold(None);
    pull(&daemon, &name);
    assert!(registry.served() - before < big().len() as u64);
}
