use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, Method, header};

use super::super::testing::{TestServer, raw_port, reply, stalling};
use super::super::*;
use super::common::*;

#[tokio::test]
async fn an_empty_upload_says_that_it_is_empty() {
    let server = TestServer::start(|_| reply(202, &[], "")).await;
    for body in [None, Some(reqwest::Body::from(""))] {
        let mut request = EgressRequest::get(server.url("/"), server.url("/"));
        request.method = Method::POST;
        request.body = body;
        egress().send(request).await.unwrap();
    }
    assert!(server.seen().iter().all(|seen| seen.header("content-length") == "0"));
}

#[tokio::test]
async fn a_large_upload_arrives_whole() {
    let server = TestServer::start(|_| reply(201, &[], "")).await;
    let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    egress().send(post(server.url("/"), bytes.clone().into())).await.unwrap();
    let pieces = stream::iter(bytes.chunks(70_000).map(<[u8]>::to_vec).collect::<Vec<_>>());
    let body = reqwest::Body::wrap_stream(pieces.map(Ok::<_, std::io::Error>));
    let mut request = post(server.url("/"), body);
    request.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    egress().send(request).await.unwrap();
    for seen in server.seen() {
        assert!(seen.body == bytes, "{} of {} bytes", seen.body.len(), bytes.len());
        assert_eq!(seen.header("content-length"), "4000000");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_not_held() {
    let server = TestServer::start(|_| reply(200, &[], vec![7_u8; 1000])).await;
    let whole = get(&egress(), server.url("/")).await.unwrap().read(1000).await.unwrap();
    assert_eq!(whole.len(), 1000);
    let over = get(&egress(), server.url("/")).await.unwrap().read(999).await;
    assert!(matches!(over, Err(EgressError::Invalid(t)) if t.contains("more than 999 bytes")));
}

#[tokio::test]
async fn an_answer_in_an_encoding_is_refused() {
    let server = TestServer::start(|seen| {
        reply(200, &[("content-encoding", seen.target.trim_start_matches('/'))], "x")
    })
    .await;
    for coding in ["gzip", "br", "zstd", "gzip,gzip"] {
        let refused = error(get(&egress(), server.url(&format!("/{coding}"))).await);
        assert!(matches!(&refused, EgressError::Invalid(t) if t.contains(coding)), "{refused}");
    }
    for coding in ["identity", "IDENTITY", ""] {
        get(&egress(), server.url(&format!("/{coding}"))).await.unwrap();
    }
}

#[tokio::test]
async fn a_body_that_pauses_or_breaks_off_ends_in_an_error() {
    let server = TestServer::start(|_| stalling(b"12345")).await;
    let broken = raw_port(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123").await;
    let limited =
        Egress::new(EgressOptions { first_byte: Duration::from_secs(30), ..options() }).unwrap();
    for (egress, port, expected) in [
        (limited, server.port(), "stalled: no byte for 200ms after 5 bytes"),
        (egress(), broken, "broke off after 3 bytes"),
    ] {
        let mut answer = get(&egress, url(&format!("http://127.0.0.1:{port}/"))).await.unwrap();
        let mut last = None;
        while let Some(piece) = answer.body.next().await {
            last = Some(piece);
        }
        let Some(Err(EgressError::Unreachable(text))) = last else { panic!("{last:?}") };
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let port = raw_port(b"").await;
    let limited = Egress::new(EgressOptions {
        connect: Duration::from_millis(200),
        settle: Duration::from_millis(200),
        ..options()
    })
    .unwrap();
    let at = url(&format!("http://127.0.0.1:{port}/v2/?signature=canary"));
    for request in [EgressRequest::get(at.clone(), at.clone()), post(at, "body".into())] {
        let stalled = error(limited.send(request).await);
        let EgressError::Unreachable(text) = stalled else { panic!("{stalled}") };
        assert!(text.contains("stalled") && !text.contains("canary"), "{text}");
    }
}

#[tokio::test]
async fn an_upload_whose_source_pauses_is_given_up() {
    let server = TestServer::start(|_| reply(201, &[], "")).await;
    let limited =
        Egress::new(EgressOptions { connect: Duration::from_millis(100), ..options() }).unwrap();
    let pieces = stream::iter([Ok::<_, std::io::Error>("x")]).chain(stream::pending());
    let body = reqwest::Body::wrap_stream(pieces);
    let stalled = error(limited.send(post(server.url("/"), body)).await);
    assert!(matches!(&stalled, EgressError::Unreachable(t) if t.contains("stalled")), "{stalled}");
}

#[tokio::test]
async fn a_source_that_fails_is_not_the_registrys_fault() {
    let server = TestServer::start(|_| reply(201, &[], "")).await;
    let pieces = stream::iter([Ok("x"), Err(std::io::Error::other("the disk is gone"))]);
    let body = reqwest::Body::wrap_stream(pieces);
    let failed = error(egress().send(post(server.url("/"), body)).await).to_string();
    assert!(failed.contains("cannot be read: the disk is gone"), "{failed}");
}
