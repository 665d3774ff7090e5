use std::net::SocketAddr;

use axum::body::Body;
use http::Request;
use serde_json::json;

use super::support::{Answer, Bench, CHAT, chat};
use crate::api::{ACTIONS, ListenerClass, ROUTES};
use crate::engine::scripted::ScriptedFactory;

async fn bench() -> Bench {
    Bench::new(ScriptedFactory::answering(["Hi"])).await
}

/// A request over TCP.
async fn tcp(bench: &Bench, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if method == "POST" { chat(&json!({})).to_string() } else { String::new() };
    let mut request = request.body(Body::from(body)).expect("a request");
    let local: SocketAddr = "127.0.0.1:12434".parse().expect("an address");
    request.extensions_mut().insert(ListenerClass::Tcp { local });
    bench.send(request).await
}

const HOST: (&str, &str) = ("host", "localhost:12434");
const LOCAL_PAGE: (&str, &str) = ("origin", "http://localhost:3000");
const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn tcp_infers_and_lists_but_does_not_manage() {
    let bench = bench().await;
    tcp(&bench, "POST", CHAT, &[HOST, JSON]).await.expect(200);
    for route in ROUTES.iter().chain(ACTIONS) {
        for prefix in ["", "/exp/vDD4.40", "/", "/exp/vDD4.40/"] {
            let path = format!("{prefix}{}", route.path.replace("{*model}", "ai/tiny"));
            let answer = tcp(&bench, route.method, &path, &[HOST, JSON]).await;
            let refused = answer.status == 403;
            assert_eq!(refused, route.for_owner, "{} {path}: {}", route.method, answer.text);
        }
    }
    bench.get("/models/ai/tiny").await.expect(200);
}

#[tokio::test]
async fn a_foreign_name_or_page_gets_nothing() {
    let bench = bench().await;
    for headers in [
        &[("host", "evil.example")][..],
        &[("host", "localhost:80")],
        &[],
        &[HOST, ("origin", "https://evil.example")],
        &[HOST, ("origin", "null")],
        &[HOST, ("sec-fetch-site", "cross-site")],
    ] {
        for (method, path) in [("GET", "/models"), ("POST", CHAT), ("GET", "/"), ("GET", "/x")] {
            let answer = tcp(&bench, method, path, headers).await.expect(403);
            assert_eq!(answer.header("access-control-allow-origin"), None);
            assert!(answer.header("x-request-id").is_some());
        }
    }
    let openai = tcp(&bench, "POST", CHAT, &[("host", "evil.example")]).await;
    assert_eq!(openai.json()["error"]["code"], "host_not_allowed");
}

#[tokio::test]
async fn a_page_of_this_machine_may_ask() {
    let bench = bench().await;
    let answer = tcp(&bench, "POST", CHAT, &[HOST, JSON, LOCAL_PAGE]).await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(LOCAL_PAGE.1));
    assert_eq!(answer.header("vary"), Some("Origin"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    let error = tcp(&bench, "GET", "/no-such", &[HOST, LOCAL_PAGE]).await.expect(404);
    assert_eq!(error.header("access-control-allow-origin"), Some(LOCAL_PAGE.1));
    tcp(&bench, "DELETE", "/models/ai/tiny", &[HOST, LOCAL_PAGE]).await.expect(403);

    let asks = ("access-control-request-method", "POST");
    let with = ("access-control-request-headers", "content-type,x-stainless-os");
    let preflight = tcp(&bench, "OPTIONS", CHAT, &[HOST, LOCAL_PAGE, asks, with]).await.expect(204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some(LOCAL_PAGE.1));
    let methods = preflight.header("access-control-allow-methods").unwrap();
    let allowed: Vec<&str> = methods.split(", ").collect();
    for route in ROUTES {
        assert!(allowed.contains(&route.method), "{} {} in {methods}", route.method, route.path);
    }
    assert_eq!(preflight.header("access-control-allow-headers"), Some(with.1));
}

#[tokio::test]
async fn no_page_reaches_the_socket() {
    let bench = bench().await;
    for origin in ["http://localhost:3000", "https://evil.example", "null"] {
        let request = Request::builder().uri("/models").header("origin", origin);
        let answer = bench.send(request.body(Body::empty()).expect("a request")).await.expect(403);
        assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
    }
}

#[tokio::test]
async fn what_a_form_can_send_is_not_taken_over_tcp() {
    let bench = bench().await;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let answer = tcp(&bench, "POST", CHAT, &[HOST, ("content-type", kind)]).await.expect(415);
        assert!(answer.text.contains("application/json"), "{}", answer.text);
    }
    tcp(&bench, "POST", CHAT, &[HOST]).await.expect(200);
}
