//! Registries that break their answers: what comes is the model that was promised, or an error and
//! nothing.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::Daemon;
use crate::support::fake_registry::{FakeRegistry, Fault};
use crate::support::pulling::{
    ANSWER, WEIGHTS, answer, big, create, files, lines, nothing_visible, pull, sound,
};
use crate::support::{is_long, models, skip, wait_until};

/// A registry with one model of more than 32 MiB and a daemon that has nothing.
fn both() -> (FakeRegistry, String, Daemon) {
    let registry = FakeRegistry::start();
    registry.model("ai/big", &[(WEIGHTS, big())]);
    let name = registry.reference("ai/big");
    (registry, name, Daemon::builder().start())
}

fn message(line: &Value) -> &str {
    line["message"].as_str().expect("a message")
}

#[track_caller]
fn fails(daemon: &Daemon, name: &str) -> String {
    let told = lines(&create(&daemon.client(), name));
    let last = told.last().expect("a last line");
    assert_eq!(last["type"], "error", "{told:#?}");
    nothing_visible(daemon);
    message(last).to_owned()
}

#[test]
fn a_pull_survives_what_passes() {
    let size = big().len() as u64;
    let retry = || vec![("Retry-After", "1".to_owned())];
    let cases: [(&str, Vec<Fault>, u64); 6] = [
        ("a cut", vec![Fault::CutAt(20_000_003)], size),
        ("three cuts", [1, 5_000_000, 30_000_000].map(Fault::CutAt).into(), size),
        ("429", vec![Fault::Status(429, retry())], size),
        ("503 twice", vec![Fault::Status(503, vec![]), Fault::Status(503, vec![])], size),
        ("a cut, then no ranges", vec![Fault::CutAt(9_000_000), Fault::NoRanges], 2 * size),
        (
            "a cut, 503, a cut",
            { vec![Fault::CutAt(8_000_000), Fault::Status(503, vec![]), Fault::CutAt(9_000_000)] },
            size,
        ),
    ];
    for (what, script, most) in cases {
        let (registry, name, daemon) = both();
        registry.script(script.clone());
        let begun = Instant::now();
        pull(&daemon, &name);
        assert!(registry.script_is_over(), "{what}");
        assert!(registry.served() <= most, "{what}: {} bytes", registry.served());
        sound(&daemon.store(), what);
        let asked = script.iter().any(|fault| matches!(fault, Fault::Status(429, _)));
        assert!(!asked || begun.elapsed() >= Duration::from_secs(1), "{what}: asked too soon");
    }
}

#[test]
fn a_registry_that_falls_silent_is_asked_again() {
    if !is_long() {
        // The daemon waits half a minute before it gives an answer up.
        return skip("a_registry_that_falls_silent_is_asked_again", "only with --long");
    }
    let (registry, name, daemon) = both();
    registry.script([Fault::HangAt(20_000_000)]);
    pull(&daemon, &name);
    assert!(registry.script_is_over());
    assert!(registry.served() <= big().len() as u64 + (1 << 20), "{}", registry.served());
    sound(&daemon.store(), "silence");
}

#[test]
fn an_answer_that_is_not_what_was_asked_for_is_never_part_of_a_model() {
    // The first answer breaks off, so that the second one is for a range.
    let cut = Fault::CutAt(9_000_000);
    for (what, fault) in [
        ("another range", Fault::WrongRange),
        ("a coding", Fault::Gzip),
        ("a loop", Fault::Redirect(String::new())),
    ] {
        let (registry, name, daemon) = both();
        let fault = match fault {
            Fault::Redirect(_) => Fault::Redirect(format!("http://{}", registry.host)),
            other => other,
        };
        registry.script([cut.clone()]);
        registry.always(Some(fault));
        let error = fails(&daemon, &name);
        assert!(error.contains(&registry.host), "{what}: {error}");
        // Once it is well again, the pull goes on from what came before.
        registry.always(None);
        let before = registry.served();
        pull(&daemon, &name);
        assert!(registry.served() - before < big().len() as u64, "{what}: it began anew");
        sound(&daemon.store(), what);
    }
}

#[test]
fn one_wrong_byte_is_found() {
    let (registry, name, daemon) = both();
    registry.always(Some(Fault::Flip(17_000_001)));
    let error = fails(&daemon, &name);
    assert!(error.contains("sha256:"), "{error}");
    // Nothing that came then is of any use now.
    registry.always(None);
    let before = registry.served();
    pull(&daemon, &name);
    assert_eq!(registry.served() - before, big().len() as u64);
    sound(&daemon.store(), "a wrong byte");
}

#[test]
fn one_wrong_byte_before_a_break_is_found_and_made_good() {
    let (registry, name, mut daemon) = both();
    // What is wrong comes in one process, the rest in another.
    registry.script([Fault::Flip(1_000_001)]);
    registry.hold(Some(20 << 20));
    let body = json!({ "from": name, "detach": true });
    daemon.client().post("/models/create", &body).expect(202);
    registry.wait_served(20 << 20);
    assert!(daemon.stop().success());
    registry.hold(None);
    daemon.start();
    let told = pull(&daemon, &name);
    assert!(told.iter().any(|line| message(line).contains("anew")), "{told:#?}");
    sound(&daemon.store(), "a wrong byte of before");
}

#[test]
fn a_login_stays_with_the_host_that_it_is_for() {
    let registry = FakeRegistry::start();
    let other = FakeRegistry::start();
    let weights = models::hello().bytes();
    for registry in [&registry, &other] {
        registry.model("ai/hello", &[(WEIGHTS, &weights)]);
    }
    registry.user("Basic YWxpY2U6czNjcmV0");
    registry.always(Some(Fault::Redirect(format!("http://{}", other.host))));
    let name = registry.reference("ai/hello");

    // A registry does not decide what is asked on this machine.
    let daemon = Daemon::builder().start();
    log_in(&daemon, &registry.host);
    let refused = create(&daemon.client(), &name).expect(403).text();
    assert!(refused.contains("--registry-private-host"), "{refused}");
    nothing_visible(&daemon);
    assert!(other.seen().is_empty(), "{:?}", other.seen());

    let daemon = Daemon::builder().args(&["--registry-private-host", &other.host]).start();
    create(&daemon.client(), &name).expect(401);
    log_in(&daemon, &registry.host);
    pull(&daemon, &name);
    let seen = other.seen_of(&weights);
    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.authorization.is_none()), "{seen:?}");
    let seen = registry.seen_of(&weights);
    assert!(seen.iter().any(|seen| seen.authorization.is_some()), "{seen:?}");
    assert_eq!(answer(&daemon, &name), ANSWER);
}

#[track_caller]
fn log_in(daemon: &Daemon, host: &str) {
    let body = json!({ "registry": host, "username": "alice", "password": "s3cret" });
    daemon.client().post("/modeld/login", &body).expect(200);
}

#[test]
fn two_daemons_never_have_one_store() {
    let daemon = Daemon::builder().start();
    let dir = tempfile::TempDir::new().unwrap();
    let socket = dir.path().join("d.sock");
    let mut second = crate::support::daemon::modeld(dir.path(), &socket);
    second.args(["serve", "--models-path"]).arg(daemon.store()).stdin(Stdio::null());
    let output = second.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{errors}");
    assert!(errors.contains(&*daemon.store().to_string_lossy()), "{errors}");
    daemon.client().get("/models").expect(200);
}

#[test]
fn a_model_in_use_is_not_removed_unless_forced() {
    let registry = FakeRegistry::start();
    let weights = models::endless().bytes();
    registry.model("ai/endless", &[(WEIGHTS, &weights)]);
    let name = registry.reference("ai/endless");
    let daemon = Daemon::builder().start();
    pull(&daemon, &name);
    let body = json!({
        "model": name, "stream": true, "messages": [{ "role": "user", "content": "Count" }],
    });
    let mut stream = daemon.client().stream("/engines/v1/chat/completions", &body);
    stream.first_text();
    let path = format!("/models/{name}");
    let refused = daemon.client().delete(&path).expect(409).text();
    assert!(refused.contains("force"), "{refused}");
    assert!(stream.first_text().content().len() > 1, "it goes on");
    // Meanwhile another pull finds it there.
    let told = pull(&daemon, &name);
    assert!(message(told.last().unwrap()).starts_with("Using cached model"), "{told:#?}");
    daemon.client().delete(&format!("{path}?force=true")).expect(200);
    drop(stream);
    let limit = Duration::from_secs(10);
    wait_until(limit, "its process ends", || daemon.loaded().is_empty());
    // The space comes back when nobody needs the files any more.
    wait_until(limit, "the files are gone", || files(&daemon.store()).is_empty());
    nothing_visible(&daemon);
}
