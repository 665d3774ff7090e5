//! Over a real connection: whoever goes away stops costing compute, streamed or not.

use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tower::ServiceExt;

use super::support::{Bench, CHAT, chat};
use crate::api::ListenerClass;
use crate::engine::scripted::{Script, ScriptedFactory};

/// A client's end of a connection that is served like the daemon's.
fn connect(bench: &Bench) -> UnixStream {
    let (client, server) = UnixStream::pair().expect("a pair");
    let service = bench.router.clone().map_request(|mut request: http::Request<_>| {
        request.extensions_mut().insert(ListenerClass::Unix);
        request
    });
    tokio::spawn(async move {
        let builder = hyper::server::conn::http1::Builder::new();
        let service = TowerToHyperService::new(service);
        // A client that goes away is an error to hyper and the point of these tests.
        let _ = builder.serve_connection(TokioIo::new(server), service).await;
    });
    client
}

async fn ask(client: &mut UnixStream, stream: bool) {
    let body = chat(&json!({ "stream": stream })).to_string();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(head.as_bytes()).await.expect("sent");
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let wait = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(10), wait).await;
    assert!(waited.is_ok(), "{what}");
}

#[tokio::test]
async fn leaving_frees_the_engine_streamed_or_not() {
    for stream in [false, true] {
        let script = Script { hang: true, ..Script::default() };
        let bench = Bench::new(ScriptedFactory::new(script)).await;
        let mut client = connect(&bench);
        ask(&mut client, stream).await;
        until("it runs", || bench.control.live() == 1).await;
        drop(client);
        until("it is cancelled", || bench.control.live() == 0).await;
    }
}

#[tokio::test]
async fn leaving_while_the_model_loads_gives_it_up() {
    let bench = Bench::new(ScriptedFactory::answering(["Hi"]).holding_loads()).await;
    let mut client = connect(&bench);
    ask(&mut client, false).await;
    bench.until("it loads for one", |model| model.loading.is_some() && model.waiting == 1).await;
    drop(client);
    until("the load is given up", || bench.scheduler.snapshot().models.is_empty()).await;
    assert!(bench.control.prompts().is_empty());
}

#[tokio::test]
async fn a_stream_arrives_piece_by_piece() {
    let bench = Bench::new(ScriptedFactory::answering(["one", "two"]).by_hand()).await;
    let mut client = connect(&bench);
    ask(&mut client, true).await;
    let mut seen = String::new();
    let mut read_until = async |word: &str| {
        while !seen.contains(word) {
            let mut piece = [0; 4096];
            let n = client.read(&mut piece).await.expect("read");
            assert!(n > 0, "closed before {word}: {seen}");
            seen += &String::from_utf8_lossy(&piece[..n]);
        }
        seen.clone()
    };
    bench.control.step(1);
    let so_far = read_until("one").await;
    assert!(!so_far.contains("two"), "{so_far}");
    bench.control.step(1);
    read_until("[DONE]").await;
}
