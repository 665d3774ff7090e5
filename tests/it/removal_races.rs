//! A model that is pulled, asked and removed all at once.

use serde_json::json;

use crate::support::Daemon;
use crate::support::fake_registry::FakeRegistry;
use crate::support::pulling::{WEIGHTS, pull, sound};
use crate::support::{is_long, models};

#[test]
fn whoever_removes_a_model_harms_nobody_who_uses_it() {
    let rounds = if is_long() { 1_000 } else { 40 };
    let registry = FakeRegistry::start();
    let weights = models::endless().bytes();
    registry.model("ai/racer", &[(WEIGHTS, &weights)]);
    let name = registry.reference("ai/racer");
    let daemon = Daemon::builder().start();
    let ask = json!({
        "model": name, "max_tokens": 2, "messages": [{ "role": "user", "content": "Go" }],
    });
    let (mut answered, mut removed) = (0, 0);
    for round in 0..rounds {
        pull(&daemon, &name);
        let path = format!("/models/{name}?force={}", round % 2 == 0);
        let statuses = std::thread::scope(|scope| {
            let again = scope.spawn(|| pull(&daemon, &name));
            let removal = scope.spawn(|| daemon.client().delete(&path));
            let chat = daemon.client().post("/engines/v1/chat/completions", &ask);
            drop(again.join().expect("a pull"));
            [chat, removal.join().expect("a removal")].map(|done| {
                // Removed before it was found, or by force while it was loaded or asked.
                assert!(matches!(done.status, 200 | 404 | 409), "{}: {}", done.status, done.text());
                done.status
            })
        });
        answered += usize::from(statuses[0] == 200);
        removed += usize::from(statuses[1] == 200);
    }
    pull(&daemon, &name);
    sound(&daemon.store(), "the race");
    let log = daemon.log();
    assert!(!log.contains("signal"), "a worker was killed by its file: {log}");
    daemon.client().post("/engines/v1/chat/completions", &ask).expect(200);
    assert!(answered > 0 && removed > 0, "{answered} answers, {removed} removals");
}
