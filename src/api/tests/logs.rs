//! What the log says of a request, and what it never says.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use serde_json::json;
use tracing::level_filters::LevelFilter;

use super::support::{Bench, CHAT, chat, request};
use crate::engine::scripted::ScriptedFactory;

const CANARY: &str = "tweet-7f3a";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn access_lines(&self) -> Vec<String> {
        let text = self.text();
        text.lines().filter(|line| line.contains("modeld::access")).map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Everything that this thread logs, at every level.
fn record() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // Without one for all threads, an event that another test's thread came by first may be taken
    // for one that nobody wants.
    static EVERYWHERE: std::sync::Once = std::sync::Once::new();
    EVERYWHERE.call_once(|| {
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry());
    });
    (log, tracing::subscriber::set_default(subscriber))
}

#[tokio::test]
async fn prompts_answers_and_secrets_are_not_logged_at_any_level() {
    let (log, _guard) = record();
    let bench = Bench::new(ScriptedFactory::answering([CANARY])).await;
    let messages = json!([{ "role": "user", "content": CANARY }]);
    for changes in [
        json!({ "messages": messages }),
        json!({ "messages": messages, "stream": true }),
        json!({ "messages": CANARY }),
        json!({ "messages": messages, "stop": [CANARY, ""] }),
    ] {
        let mut request = request("POST", CHAT, chat(&changes).to_string().into());
        let token = format!("Bearer {CANARY}").parse().expect("a value");
        request.headers_mut().insert("authorization", token);
        bench.send(request).await;
    }
    bench.get(&format!("/models/ai/tiny?token={CANARY}")).await;
    let text = log.text();
    assert!(!text.contains(CANARY), "{text}");
    assert_eq!(log.access_lines().len(), 5, "{text}");
}

#[tokio::test]
async fn every_request_has_one_line() {
    let (log, _guard) = record();
    let bench = Bench::new(ScriptedFactory::answering(["Hi"])).await;
    bench.get("/models/ai/tiny").await.expect(200);
    bench.get("/no-such/secret-path").await.expect(404);
    let body = chat(&json!({ "stream": true })).to_string();
    drop(bench.begin(request("POST", CHAT, Body::from(body))).await);
    let lines = log.access_lines();
    let [found, lost, left] = lines.as_slice() else { panic!("three lines: {lines:?}") };
    for word in [
        "method=GET",
        "route=\"/models/{*model}\"",
        "status=200",
        "complete=true",
        "listener=\"unix\"",
    ] {
        assert!(found.contains(word), "{word} in {found}");
    }
    assert!(lost.contains("status=404") && !lost.contains("secret-path"), "{lost}");
    for word in ["status=200", "complete=false", "queue_ms="] {
        assert!(left.contains(word), "{word} in {left}");
    }
}
