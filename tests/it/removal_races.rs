//! A model that is pulled, asked and removed all at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use crate::support::Daemon;
use crate::support::fake_registry::FakeRegistry;
use crate::support::pulling::{WEIGHTS, answer, pull, sound};
use crate::support::{is_long, models};

#[test]
fn whoever_removes_a_model_harms_nobody_who_uses_it() {
    let rounds = if is_long() { 1_000 } else { 40 };
    let registry = FakeRegistry::start();
    let weights = models::endless().bytes();
    registry.model("ai/racer", &[(WEIGHTS, &weights)]);
    let name = registry.reference("ai/racer");
    let daemon = Daemon::builder().start();
    let over = AtomicBool::new(false);
    let (answered, removed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let pulls = scope.spawn(|| {
            for _ in 0..rounds {
                pull(&daemon, &name);
            }
            over.store(true, Ordering::Relaxed);
        });
        for force in ["false", "true"] {
            let path = format!("/models/{name}?force={force}");
            let (over, removed, daemon) = (&over, &removed, &daemon);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let done = daemon.client().delete(&path);
                    assert!(matches!(done.status, 200 | 404 | 409), "{}", done.text());
                    removed.fetch_add(usize::from(done.status == 200), Ordering::Relaxed);
                }
            });
        }
        let ask = json!({
            "model": name, "max_tokens": 2, "messages": [{ "role": "user", "content": "Go" }],
        });
        while !pulls.is_finished() {
            let done = daemon.client().post("/engines/v1/chat/completions", &ask);
            // Removed before it was found, or by force while it was loaded or asked.
            assert!(matches!(done.status, 200 | 404 | 409), "{}: {}", done.status, done.text());
            answered.fetch_add(usize::from(done.status == 200), Ordering::Relaxed);
        }
    });
    assert!(removed.load(Ordering::Relaxed) > 0);
    pull(&daemon, &name);
    sound(&daemon.store(), "the race");
    let log = daemon.log();
    assert!(!log.contains("signal"), "a worker was killed by its file: {log}");
    let _ = (answered, answer(&daemon, &name));
}
