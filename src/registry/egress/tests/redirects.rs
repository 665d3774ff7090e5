use std::sync::{Arc, OnceLock};

use futures_util::stream;
use http::{HeaderValue, Method, header};
use url::Url;

use super::super::testing::{Seen, TestServer, reply};
use super::super::*;
use super::common::*;

/// Sends everything to where its table says, and answers the rest.
async fn chain(code: u16, to: Option<Url>) -> TestServer {
    TestServer::start(move |_| match &to {
        Some(to) => reply(code, &[("location", to.as_str())], ""),
        None => reply(200, &[], "end"),
    })
    .await
}

#[tokio::test]
async fn credentials_go_to_the_first_origin_and_no_further() {
    for code in [301, 302, 303, 307, 308] {
        let third = chain(code, None).await;
        let second = chain(code, Some(third.url("/3"))).await;
        let away = second.url("/2");
        let first = TestServer::start(move |seen| match seen.target.as_str() {
            "/start" => reply(code, &[("location", "/again")], ""),
            _ => reply(code, &[("location", away.as_str())], ""),
        })
        .await;
        let listed =
            EgressOptions { private_hosts: vec!["127.0.0.1".into()], ..EgressOptions::default() };
        let mut request = EgressRequest::get(first.url("/start"), first.url("/"));
        request.authorization = Some(HeaderValue::from_static("Bearer canary"));
        for (name, value) in [
            (header::COOKIE, "canary"),
            (header::RANGE, "bytes=5-"),
            (header::ACCEPT, "application/x-test"),
        ] {
            request.headers.insert(name, HeaderValue::from_static(value));
        }
        let answer = Egress::new(listed).unwrap().send(request).await.unwrap();
        assert_eq!(answer.url, third.url("/3"));
        let origin = first.seen();
        assert_eq!(origin.len(), 2);
        assert!(origin.iter().all(|seen| seen.header("authorization") == "Bearer canary"));
        assert!(origin.iter().all(|seen| seen.header("cookie") == "canary"));
        for server in [&second, &third] {
            let [seen] = &server.seen()[..] else { panic!("asked more than once") };
            let all = format!("{:?}", seen.headers);
            assert!(!all.contains("canary"), "{code}: {all}");
            assert_eq!(seen.header("range"), "bytes=5-");
            assert_eq!(seen.header("accept"), "application/x-test");
            assert_eq!(seen.header("accept-encoding"), "identity");
        }
    }
}

#[tokio::test]
async fn credentials_do_not_come_back_with_the_request() {
    let back = Arc::new(OnceLock::<Url>::new());
    let target = back.clone();
    let second =
        TestServer::start(move |_| reply(307, &[("location", target.get().unwrap().as_str())], ""))
            .await;
    let away = second.url("/");
    let first = TestServer::start(move |seen| match seen.target.as_str() {
        "/start" => reply(307, &[("location", away.as_str())], ""),
        _ => reply(200, &[], ""),
    })
    .await;
    back.set(first.url("/back")).unwrap();
    let listed =
        EgressOptions { private_hosts: vec!["127.0.0.1".into()], ..EgressOptions::default() };
    let mut request = EgressRequest::get(first.url("/start"), first.url("/"));
    request.authorization = Some(HeaderValue::from_static("Bearer canary"));
    Egress::new(listed).unwrap().send(request).await.unwrap();
    let sent: Vec<String> = first.seen().iter().map(|seen| seen.header("authorization")).collect();
    assert_eq!(sent, ["Bearer canary", ""]);
}

#[tokio::test]
async fn redirects_are_followed_five_times() {
    let server = TestServer::start(|seen| {
        let left: u32 = seen.target.trim_start_matches('/').parse().unwrap();
        match left {
            0 => reply(200, &[], "end"),
            left => reply(302, &[("location", &format!("/{}", left - 1))], ""),
        }
    })
    .await;
    assert_eq!(text(get(&egress(), server.url("/5")).await.unwrap()).await, "end");
    let refused = error(get(&egress(), server.url("/6")).await);
    assert!(matches!(&refused, EgressError::Invalid(t) if t.contains("more than 5 times")));
    assert_eq!(server.seen().len(), 6 + 6);
}

#[tokio::test]
async fn https_is_never_left() {
    let plain = TestServer::start(|_| reply(200, &[], "")).await;
    let to = plain.url("/").to_string();
    let registry = TestServer::start_tls(move |_| reply(302, &[("location", &to)], "")).await;
    let (_dir, mut options) = trusting();
    options.insecure = vec!["127.0.0.1".into()];
    let refused = error(get(&Egress::new(options).unwrap(), registry.url("/")).await);
    assert!(matches!(&refused, EgressError::Forbidden(t) if t.contains("from https to http")));
    assert_eq!(plain.seen().len(), 0);
}

async fn to_other_path(code: u16) -> TestServer {
    TestServer::start(move |seen| match seen.target.as_str() {
        "/a" => reply(code, &[("location", "/b")], ""),
        _ => reply(201, &[("location", "/made")], "made"),
    })
    .await
}

#[tokio::test]
async fn a_body_in_memory_is_sent_again_where_the_code_says_so() {
    for code in [307, 308] {
        let server = to_other_path(code).await;
        let answer = egress().send(post(server.url("/a"), "body".into())).await.unwrap();
        // 201 has a Location that is no redirect.
        assert_eq!((answer.status.as_u16(), answer.url.path()), (201, "/b"));
        let bodies: Vec<Seen> = server.seen();
        assert!(bodies.iter().all(|seen| seen.method == Method::POST && seen.body == "body"));
        assert!(bodies.iter().all(|seen| seen.header("content-length") == "4"));
        assert_eq!(bodies.len(), 2);
    }
    for code in [301, 302, 303] {
        let server = to_other_path(code).await;
        let refused = error(egress().send(post(server.url("/a"), "body".into())).await);
        assert!(matches!(refused, EgressError::Invalid(_)), "{refused}");
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_body_that_is_a_stream_is_sent_once() {
    let server = to_other_path(307).await;
    let pieces = stream::iter(["on", "ce"].map(Ok::<_, std::io::Error>));
    let body = reqwest::Body::wrap_stream(pieces);
    let refused = error(egress().send(post(server.url("/a"), body)).await);
    assert!(matches!(&refused, EgressError::Invalid(t) if t.contains("on their way")));
    assert_eq!(server.seen()[0].body, "once");
    assert_eq!(server.seen().len(), 1);
}
