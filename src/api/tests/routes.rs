use axum::body::Body;

use super::support::{Bench, request};
use crate::api::ROUTES;
use crate::engine::scripted::ScriptedFactory;

async fn bench() -> Bench {
    Bench::new(ScriptedFactory::answering(["Hi"])).await
}

fn allowed(answer: &super::support::Answer) -> Vec<String> {
    let allow = answer.header("allow").unwrap_or_default();
    allow.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

/// Both ways: every listed route is served, and no listed path takes a method that is not listed.
#[tokio::test]
async fn the_table_of_routes_is_what_is_served() {
    let bench = bench().await;
    for route in ROUTES {
        let path = route.path.replace("{*model}", "ai/some").replace("{response_id}", "resp_x");
        let path = path.replace("{digest}", "sha256:00");
        let mut paths = vec![path.clone(), format!("/exp/vDD4.40{path}")];
        if path.starts_with("/v1") {
            paths.extend([format!("/engines{path}"), format!("/engines/llama.cpp{path}")]);
        }
        if let Some(bare) = path.strip_prefix("/v1").filter(|path| path.starts_with("/responses")) {
            paths.extend([bare.to_owned(), format!("/engines{bare}")]);
        }
        for path in paths {
            let options = bench.call("OPTIONS", &path).await.expect(204);
            let mut listed: Vec<String> = ROUTES
                .iter()
                .filter(|other| other.path == route.path)
                .map(|other| other.method.to_owned())
                .collect();
            if listed.contains(&"GET".to_owned()) {
                listed.push("HEAD".to_owned());
            }
            listed.sort();
            let mut served = allowed(&options);
            served.sort();
            assert_eq!(served, listed, "{path}");
        }
    }
}

#[tokio::test]
async fn a_wrong_method_is_405_and_says_which_are_right() {
    let bench = bench().await;
    for (method, path, allow) in [
        ("GET", "/engines/v1/chat/completions", "POST"),
        ("DELETE", "/v1/models", "GET,HEAD"),
        ("DELETE", "/v1/models/ai/x", "GET,HEAD"),
        ("PUT", "/models/ai/x", "GET,HEAD,DELETE,POST"),
        ("GET", "/models/load", "POST"),
        ("POST", "/engines/ps", "GET,HEAD"),
        ("PATCH", "/", "GET,HEAD"),
    ] {
        let answer = bench.call(method, path).await.expect(405);
        let (mut served, mut wanted) = (allowed(&answer), allow.split(',').collect::<Vec<_>>());
        served.sort();
        wanted.sort_unstable();
        assert_eq!(served, wanted, "{method} {path}");
        assert!(answer.text.contains(method), "{}", answer.text);
    }
}

#[tokio::test]
async fn paths_that_lead_nowhere_have_no_allow_and_the_right_envelope() {
    let bench = bench().await;
    for path in
        ["/no-such", "/models/", "/engines", "/exp/vDD4/models", "/a/../models", "/%2e%2e/x"]
    {
        let answer = bench.get(path).await.expect(404);
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"), "{path}");
        assert_eq!(answer.header("allow"), None, "{path}");
    }
    for path in
        ["/v1", "/v1/no-such", "/engines/v1/x", "/engines/x/v1/models", "/exp/vDD4.40//v1//x"]
    {
        let answer = bench.get(path).await.expect(404);
        assert_eq!(answer.json()["error"]["code"], "unknown_url", "{path}");
    }
}

#[tokio::test]
async fn small_routes() {
    let bench = bench().await;
    assert_eq!(bench.get("/exp/vDD4.40").await.expect(200).text, "modeld is running\n");
    assert!(bench.get("/version").await.expect(200).json()["version"].is_string());
    bench.get("/health").await.expect(200);
    bench.get("/ready").await.expect(200);
    bench.draining.cancel();
    let stopping = bench.get("/ready").await.expect(503);
    assert!(stopping.header("retry-after").is_some());
    bench.get("/health").await.expect(200);
}

#[tokio::test]
async fn request_ids_are_given_and_taken_over() {
    let bench = bench().await;
    let first = bench.get("/no-such").await.header("x-request-id").map(str::to_owned);
    let second = bench.get("/models").await.header("x-request-id").map(str::to_owned);
    assert!(first.is_some() && first != second);
    for (given, kept) in [("req-7.A_b", true), ("a b", false), ("", false)] {
        let mut request = request("GET", "/models", Body::empty());
        request.headers_mut().insert("x-request-id", given.parse().expect("a value"));
        let answer = bench.send(request).await;
        assert_eq!(answer.header("x-request-id") == Some(given), kept, "{given:?}");
    }
}
