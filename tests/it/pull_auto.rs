//! Requests for models that are not in the store.

use serde_json::json;

use crate::support::fake_registry::FakeRegistry;
use crate::support::pulling::{ANSWER, WEIGHTS, answer, chat, sound};
use crate::support::{Daemon, models, wait_until};

fn registry() -> (FakeRegistry, String, Vec<u8>) {
    let registry = FakeRegistry::start();
    let weights = models::hello().bytes();
    registry.model("ai/hello", &[(WEIGHTS, &weights)]);
    let name = registry.reference("ai/hello");
    (registry, name, weights)
}

#[test]
fn a_model_that_only_the_registry_has_is_pulled_and_answers() {
    let (registry, name, weights) = registry();
    let daemon = Daemon::builder().args(&["--auto-pull"]).start();
    // Both wait for one pull.
    registry.hold(Some(1000));
    std::thread::scope(|scope| {
        let asking = || answer(&daemon, &name);
        let (first, second) = (scope.spawn(asking), scope.spawn(asking));
        let limit = std::time::Duration::from_secs(60);
        wait_until(limit, "both wait", || {
            let list = daemon.client().get("/modeld/transfers").expect(200).json();
            list[0]["watchers"] == json!(2)
        });
        registry.hold(None);
        assert_eq!(first.join().unwrap(), ANSWER);
        assert_eq!(second.join().unwrap(), ANSWER);
    });
    assert_eq!(registry.seen_of(&weights).len(), 1);
    sound(&daemon.store(), "a pull on demand");
    let missing = chat(&daemon, &registry.reference("ai/none")).expect(404).text();
    assert!(missing.contains("ai/none"), "{missing}");
}

#[test]
fn unless_it_is_asked_to_the_daemon_pulls_nothing() {
    let (registry, name, _) = registry();
    let daemon = Daemon::builder().start();
    let refused = chat(&daemon, &name).expect(404).text();
    assert!(refused.contains(&format!("modeld pull {name}")), "{refused}");
    assert!(registry.seen().is_empty(), "{:?}", registry.seen());
}

#[test]
fn run_pulls_what_is_missing() {
    let (_registry, name, _) = registry();
    let daemon = Daemon::builder().start();
    assert_eq!(daemon.cli_ok(&["run", &name, "Hi"]).trim_end(), ANSWER);
}
