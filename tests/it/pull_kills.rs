//! A daemon that is killed while it pulls: nothing half or wrong is ever seen, and the next pull
//! goes on from what came.

use std::io::Read as _;

use serde_json::json;

use crate::support::fake_registry::FakeRegistry;
use crate::support::http::JSON;
use crate::support::pulling::{WEIGHTS, big, create, lines, nothing_visible, pull, sound};
use crate::support::{Daemon, is_long};

/// Bytes per second: a whole pull takes about a second.
const RATE: u64 = 32 << 20;
/// From here on what came has to be worth something.
const EARLY: u64 = 8 << 20;

#[test]
fn a_killed_pull_leaves_nothing_wrong_and_goes_on() {
    let registry = FakeRegistry::start();
    let weights = big();
    let id = registry.model("ai/big", &[(WEIGHTS, weights)]);
    let name = registry.reference("ai/big");
    let size = weights.len() as u64;
    let (mut late, mut resumed) = (0, 0);
    let rounds = if is_long() { 200 } else { 20 };
    for round in 0..rounds {
        let mut daemon = Daemon::builder().start();
        registry.rate(Some(RATE));
        let before = registry.served();
        let body = json!({ "from": name }).to_string();
        let mut watching = daemon.client().open("POST", "/models/create", JSON, body.as_bytes());
        assert_eq!(watching.status, 200);
        let kill_at = fastrand::u64(1..=size);
        registry.wait_served(before + kill_at);
        daemon.kill();
        let served = registry.served() - before;
        let mut rest = Vec::new();
        let _ = watching.body.read_to_end(&mut rest);

        daemon.start();
        // The last bytes may have been enough.
        let done = daemon.client().get("/models").expect(200).json() != json!([]);
        if !done {
            sound(&daemon.store(), "a kill");
        }
        registry.rate(None);
        let before = registry.served();
        let lines = pull(&daemon, &name);
        let again = registry.served() - before;
        let last = lines.last().unwrap();
        assert_eq!(last["model"], json!(id), "{round}: {last}");
        sound(&daemon.store(), "the second pull");
        assert!(again <= size, "{round}: {again} of {size} bytes came in the second pull");
        if served >= EARLY {
            late += 1;
            resumed += u32::from(again < size);
        }
        eprintln!("round {round}: killed after {served}, then {again} of {size}");
    }
    eprintln!("{resumed} of {late} pulls went on that were killed after the first 8 MiB");
    assert!(f64::from(resumed) >= 0.9 * f64::from(late), "{resumed} of {late} went on");
}

#[test]
fn what_a_kill_left_is_checked_before_it_is_shown() {
    let registry = FakeRegistry::start();
    let weights = big();
    registry.model("ai/big", &[(WEIGHTS, weights)]);
    let name = registry.reference("ai/big");
    let mut daemon = Daemon::builder().start();
    registry.hold(Some(24 << 20));
    let body = json!({ "from": name }).to_string();
    let watching = daemon.client().open("POST", "/models/create", JSON, body.as_bytes());
    registry.wait_served(24 << 20);
    let part = || {
        let files = std::fs::read_dir(daemon.store().join("ingest")).unwrap().flatten();
        let mut paths = files.map(|entry| entry.path());
        paths.find(|path| path.extension().is_some_and(|end| end == "json"))
    };
    let limit = std::time::Duration::from_secs(30);
    crate::support::wait_until(limit, "there is a checkpoint", || part().is_some());
    let data = part().unwrap().with_extension("").with_extension("part");
    daemon.kill();
    drop(watching);
    // A disk that lost a bit of it.
    let file = std::fs::File::options().write(true).open(data).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"?!?!", 1 << 20).unwrap();
    drop(file);

    daemon.start();
    registry.hold(None);
    let before = registry.served();
    let told = lines(&create(&daemon.client(), &name));
    let begun = |line: &serde_json::Value| line["message"].as_str().unwrap().contains("anew");
    assert!(told.iter().any(begun), "{told:#?}");
    assert_eq!(told.last().unwrap()["type"], "success", "{told:#?}");
    assert!(registry.served() - before > weights.len() as u64, "the rest, and then everything");
    sound(&daemon.store(), "damage was found");
}

#[test]
fn a_stopped_pull_of_a_wrong_model_leaves_nothing() {
    let registry = FakeRegistry::start();
    registry.model("ai/wrong", &[(WEIGHTS, b"GGUF, but not for long")]);
    let daemon = Daemon::builder().start();
    let told = lines(&create(&daemon.client(), &registry.reference("ai/wrong")));
    assert_eq!(told.last().unwrap()["type"], "error", "{told:#?}");
    nothing_visible(&daemon);
}
